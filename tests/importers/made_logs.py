"""Made-up foreign logs of the shapes that `rlm-eval import` reads; no text of anybody's log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LABELS = ("red", "green", "blue", "amber")
CONTEXT = "".join(f"Shelf {i} holds a lamp and a bell. " for i in range(60))


def dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = value if isinstance(value, str) else json.dumps(value)
    path.write_text(lines, encoding="utf-8")
    return path


def lines(path: Path, values: Sequence[Any]) -> Path:
    return dump(path, "".join(json.dumps(value) + "\n" for value in values))


def wang(folder: Path, *, n: int = 6, cap: int = 512) -> Path:
    """A cut plain arm that is never right, and a whole one that is right on two of three."""
    for method, right in (("plain_llm", False), ("depth1", True)):
        rows = []
        for i in range(n):
            gold = LABELS[i % 4]
            good = right and i % 3 != 2
            key = "llm_response" if method == "plain_llm" else "rlm_response"
            usage = {"input_tokens": 600 + i, "output_tokens": 2000 + i if right else cap}
            rows.append({
                "sample_id": i, "question": f"Question {i}: which of the colours is it?",
                "gold_answer": f"['{gold}']", key: f"Label: {gold if good else 'none'}",
                "score": float(good), "correct": good, "execution_time": 3.5,
                "usage": usage,
            })  # fmt: skip
        head = {"experiment": f"oolong_{method}", "model": "made-model", "dataset_filter": "made"}
        dump(folder / f"{method}.json", {**head, "total_cost_usd": 0.0, "results": rows})
    return folder


def minrlm(path: Path, seeds: Sequence[int] = (1, 2, 3, 4)) -> Path:
    """Each seed draws question `seed % 2`: two distinct ones; the cost is an eighth too low."""
    rows = []
    for seed in seeds:
        for runner in ("vanilla", "ours"):
            question = seed % 2
            good = runner == "vanilla"
            rows.append({
                "task_name": "official_oolong", "task_instance_seed": seed, "runner_name": runner,
                "model": "gpt-5-nano", "correct": True, "partial_score": 1.0,
                "response": "Label: correct" if good else "Label: incorrect",
                "expected": "correct", "input_tokens": 600 + question, "output_tokens": 900 + seed,
                "time_seconds": 2.0, "iterations": 1, "error": None, "context_size": 2400,
                "timestamp": f"2026-02-18T11:59:{seed:02d}",
                "metadata": {"context_len": 1024, "context_window_id": 8,
                             "answer_type": "ANSWER_TYPE.LABEL"},
                "cost_usd": (0.05 * (600 + question) + 0.4 * (900 + seed)) / 1e6 / 8,
            })  # fmt: skip
    return dump(path, rows)


def pr160(folder: Path) -> Path:
    """Two golds; an arm that answers with the other's, and one without a scored row."""
    golds = {"i0": "31415926", "i1": "27182818"}
    for method, said in (
        ("direct", golds),
        ("rlm_a1", {"i0": "31415926", "i1": "31415926"}),
        ("rlm_a2", {"i0": None, "i1": None}),
    ):
        for name, gold in golds.items():
            answer = said[name]
            lost = answer is None
            tokens = 0 if lost else 3000
            dump(folder / method / f"{name}.jsonl", {
                "benchmark": "sniah", "method": method, "query_id": f"sniah::tier2000::{name}",
                "prediction": answer or "", "duration_sec": 2.0, "input_tokens": tokens,
                "output_tokens": tokens // 100, "cache_read_tokens": 0,
                "cache_creation_tokens": tokens * 2, "cost_usd": 0.0 if lost else 0.1,
                "num_iterations": 0, "num_subcalls": 0,
                "score": None if lost else float(answer == gold),
                "error": "Exception: exit code 1\nmore" if lost else None,
            })  # fmt: skip
    return folder


def _iteration(number: int, second: float, *, blocks: Sequence[Any] = (), **more: Any) -> Any:
    return {
        "type": "iteration", "iteration": number, "timestamp": f"2026-03-01T10:00:{second:09.6f}",
        "prompt": [{"role": "system", "content": "S"},
                   {"role": "user", "content": "Answer the following: How many lamps?\n\n"
                                               "Your context is a str."}],
        "response": f"turn {number}", "code_blocks": list(blocks), "final_answer": None,
        "iteration_time": 1.0, **more,
    }  # fmt: skip


def _block(code: str, *, calls: Sequence[Any] = (), **more: Any) -> Any:
    result = {"stdout": "out", "stderr": "", "locals": {"context": CONTEXT},
              "execution_time": 0.25, "rlm_calls": list(calls), **more}  # fmt: skip
    return {"code": code, "result": result}


def _sub(prompt: str, tokens: int, seconds: float, **more: Any) -> Any:
    usage = {"total_calls": 1, "total_input_tokens": tokens, "total_output_tokens": 2}
    return {"root_model": "sub-model", "prompt": prompt, "response": "7",
            "usage_summary": {"model_usage_summaries": {"sub-model": usage}},
            "execution_time": seconds, **more}  # fmt: skip


def rlms(path: Path) -> Path:
    """Four turns: a look, a batch of two and a single call, a child and an error, the answer."""
    child = {"run_metadata": {"root_model": "sub-model"}, "iterations": [_iteration(1, 3.5)]}
    batch = [_sub(f"Count: {CONTEXT[i : i + 200]}", 50, 0.1) for i in (0, 200)]
    single = _sub("Add these: 7 and 7", 9, 0.05)
    error = "Traceback ...\nNameError: name 'x' is not defined"
    return lines(path, [
        {"type": "metadata", "timestamp": "2026-03-01T10:00:00", "root_model": "root-model",
         "max_depth": 2, "max_iterations": 6, "backend_kwargs": {"base_url": "http://secret:1"}},
        _iteration(1, 1.0, blocks=[_block("print(context[:9])")]),
        _iteration(2, 2.5, blocks=[_block("llm_query_batched(...)", calls=[*batch, single])]),
        _iteration(3, 4.0, blocks=[_block("rlm_query(...)", stderr=error,
                                          calls=[_sub("How many?", 4, 0.1, metadata=child)])]),
        _iteration(4, 5.0, blocks=[_block("answer", final_answer="60")], final_answer="60"),
    ])  # fmt: skip


def inspect_tree() -> dict[str, Any]:
    """One sample with a solver's call, a tool, and a grader of the same model."""

    def model(start: float, tokens: int, said: str, stop: str = "stop") -> Any:
        return {"event": "model", "model": "m/a", "working_start": start, "working_time": 0.5,
                "input": [{"role": "user", "content": "attachment://q"}], "retries": 0,
                "output": {"choices": [{"message": {"content": said}, "stop_reason": stop}],
                           "usage": {"input_tokens": tokens, "output_tokens": 3,
                                     "input_tokens_cache_read": 10}}}  # fmt: skip

    sample = {
        "id": 1, "epoch": 1, "input": "attachment://q", "target": "seven",
        "output": {"choices": [{"message": {"content": "It is seven"}, "stop_reason": "stop"}]},
        "scores": {"graded": {"value": "C", "answer": "seven"}, "other": {"value": 3.0}},
        "metadata": {"level": "easy"}, "attachments": {"q": "How many, asked at length?"},
        "model_usage": {"m/a": {"input_tokens": 100, "output_tokens": 6}},
        "total_time": 4.0,
        "events": [
            model(0.0, 20, "I run code"),
            {"event": "tool", "function": "python", "arguments": {"code": "print(7)"},
             "result": "7", "working_time": 0.1},
            model(1.0, 30, "It is seven"),
            {"event": "span_begin", "id": "s", "type": "scorer"},
            model(2.0, 50, "GRADE: C"),
            {"event": "span_end", "id": "s"},
        ],
    }  # fmt: skip
    head = {"task": "made", "model": "m/a", "solver": "agent", "created": "2026-03-01T10:00:00"}
    return {"version": 2, "status": "success", "eval": head, "samples": [sample]}


def verifiers(path: Path) -> Path:
    """Two episodes: one answered at depth 1 with a cache, one that failed."""
    nodes = [{"parent": None, "message": {"role": "user", "content": "How many lamps?"}},
             {"parent": 0, "message": {"role": "assistant", "content": "60"}}]  # fmt: skip
    usage = {"prompt_tokens": 40, "completion_tokens": 2, "cached_input_tokens": 60,
             "reasoning_tokens": None}  # fmt: skip
    call = {"node": 1, "model": "m", "finish_reason": "stop", "usage": usage,
            "time": {"start": 100.0, "end": 101.5}, "error": None}  # fmt: skip
    trace = {"nodes": nodes, "calls": [call], "agent": {"name": "rlm"}, "metrics": {"turns": 1},
             "rewards": {"exact": {"score": 1.0, "weight": 1.0}},
             "stop_condition": "done"}  # fmt: skip
    task = {"hash": "t1", "data": {"question": "How many lamps?", "answer": "60"}}
    good = {"id": "e1", "env": {"id": "made-env"}, "task": task, "ok": True, "traces": [trace]}
    lost = {**good, "id": "e2", "ok": False, "task": {**task, "hash": "t2"},
            "errors": [{"type": "APIError", "message": "gone"}],
            "traces": [{**trace, "calls": [], "nodes": []}]}  # fmt: skip
    return lines(path, [good, lost])


def verifiers_whole(path: Path) -> Path:
    """An episode with every field that the writer has: a helper that ended first, a retried
    attempt, a tool turn, reasoning, cache reads, two rewards, a judge outside the graph."""
    asked = {"role": "user", "content": [{"type": "text", "text": "How many"},
                                         {"type": "text", "text": "lamps?"}]}  # fmt: skip
    tool = {"id": "c1", "name": "repl", "arguments": "{}"}
    nodes = [
        {"parent": None, "message": {"role": "system", "content": "Count."}, "sampled": False,
         "token_ids": [], "mask": [], "semantic_parents": []},
        {"parent": 0, "message": asked, "sampled": False},
        {"parent": 1, "sampled": True, "message": {
            "role": "assistant", "content": None, "reasoning_content": "I call the tool.",
            "tool_calls": [tool]}},
        {"parent": 2, "message": {"role": "tool", "tool_call_id": "c1", "content": "59"},
         "sampled": False},
        {"parent": 3, "message": {"role": "assistant", "content": "59 or 60"}, "sampled": True},
    ]  # fmt: skip

    def usage(prompt, output, cached=None, reasoning=None):
        return {"prompt_tokens": prompt, "completion_tokens": output,
                "cached_input_tokens": cached, "reasoning_tokens": reasoning,
                "cost": 0.01}  # fmt: skip

    def call(node, start, tokens, ended="stop", **more):
        return {"node": node, "model": "m/root", "sampling": {"temperature": 0.5},
                "endpoint": "/chat/completions", "finish_reason": ended, "usage": tokens,
                "time": {"start": start, "end": start + 1.0}, **more}  # fmt: skip

    failed = call(None, 99.0, None, None, error={"type": "RateLimit", "message": "later"})
    root = {
        "version": 1, "id": "t-root", "verifiers": {"version": "1.0"}, "nodes": nodes,
        "agent": {"name": "solver", "config": {"model": "m/root"}, "trainable": True},
        "calls": [failed, call(2, 101.0, usage(20, 5, 0, 3), "tool_calls"),
                  call(4, 105.0, usage(8, 4, 30))],
        "rewards": {"exact": {"score": 1.0, "weight": 0.75}, "form": {"score": 0.0, "weight": 1}},
        "metrics": {"turns": 2.0, "unscored": None}, "info": {"judge_calls": []},
        "root_reply": "60", "is_completed": True, "ok": True, "stop_condition": "agent_completed",
        "extra_usage": [usage(50, 7), usage(60, 8)], "timing": {"start": 98.0},
        "errors": [{"type": "RateLimit", "message": "later", "status_code": 429}],
    }  # fmt: skip
    helper = {
        "version": 1, "id": "t-help", "agent": {"name": "reader", "config": {}},
        "nodes": [{"parent": None, "message": {"role": "user", "content": "Read."}},
                  {"parent": 0, "message": {"role": "assistant", "content": "59"}}],
        "calls": [{**call(1, 102.0, usage(9, 1)), "model": "m/help"}],
        "rewards": {}, "ok": True,
    }  # fmt: skip
    data = {"question": "How many lamps?", "answer": "60"}
    task = {"type": "Lamps", "data": data, "key": "k1", "hash": "h1"}
    good = {"id": "e1", "env": {"id": "made-env", "name": "lamps"}, "task": task, "ok": True,
            "group": {"id": "g1"}, "run": {"type": "eval", "id": "r1"},
            "errors": [{"type": "RateLimit", "message": "later"}],
            "traces": [helper, root]}  # fmt: skip
    unscored = {**root, "rewards": {"exact": None}, "stop_condition": "max_output_tokens"}
    other = {**good, "id": "e2", "task": {**task, "hash": "h2"}, "traces": [unscored]}
    empty = {**good, "id": "e3", "task": {**task, "hash": "h3"}, "ok": False, "traces": []}
    return lines(path, [good, other, empty])
