"""Every fault of an endpoint ends, through a whole run, in its outcome, charged if billed."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from bodies import OVERFLOW, ZERO, chat, sent
from fake_server import FakeServer, Fault, always, rules
from runs import RULES, overrides, records, run_here

from rlm_eval.budget.prices import price_of
from rlm_eval.records.build import write_records
from rlm_eval.report import summary as cells
from rlm_eval.report.conclusion import conclusion
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.comparison import against
from rlm_eval.report.tables.served import is_alike

PRICE = "gpt-4o-mini"
OWN = [
    "method=long_context", "length=1k", "n=1", f"root.price={PRICE}", "root.retries=1",
    "root.backoff_s=0.001",
]  # fmt: skip
SILENT = {"stall": ["root.stall_s=1.5"], "hang": ["root.timeout_s=1.5"]}
"""Fault -> the limit that ends it, only there: on a busy machine an answer takes as long."""


@pytest.fixture(autouse=True)
def _shared_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def proof(request) -> bool:
    return request["messages"][-1]["content"].startswith("Reply with the word")


async def one_sample(tmp_path, fault: Fault, times: int, *more: str):
    """(row or `None`, summary, server) of a sample whose first `times` requests meet the fault."""
    met = 0

    def plan(_number, request):
        nonlocal met
        if proof(request) or met == times:
            return None
        met += 1
        return fault

    server = FakeServer(reply=rules(RULES), faults=plan)
    async with server:
        summary = await run_here(overrides(tmp_path, server.url, *OWN, *more))
    sent = [entry["request"] for entry in server.log if not proof(entry["request"])]
    return next(iter(records(tmp_path)), None), summary, len(sent)


RETRIED = {
    # fault: (streamed, its reply was lost on the way, its tokens were told)
    Fault("status", 429): (False, False, False),
    Fault("status", 429, retry_after="0.05"): (False, False, False),
    Fault("status", 500): (False, False, False),
    Fault("status", 502): (False, False, False),
    Fault("reset"): (False, True, False),
    Fault("stall"): (True, True, False),
    Fault("hang"): (False, True, False),
    Fault("bad_json"): (False, True, False),
    Fault("empty_choices"): (False, False, True),
}


@pytest.mark.parametrize(("fault", "facts"), RETRIED.items())
async def test_a_transient_fault_is_retried_and_else_a_provider_error(tmp_path, fault, facts):
    streamed, lost, told = facts
    how = [f"root.stream={str(streamed).lower()}", *SILENT.get(fault.kind, ())]
    row, _, sent = await one_sample(tmp_path / "once", fault, 1, *how)
    assert (row["outcome"], row["score"], sent) == ("ok", 1.0, 2)
    assert (row["n_retried_calls"], row["n_lost_attempts"]) == (1, lost)
    assert row["cost_cold"] == pytest.approx(paid(row))
    assert bool(row["failed_cost"]) == told
    prompt = row["input_tokens"] / (1 + told)
    # For good: no outcome that says something about the method; the same command tries again.
    row, summary, sent = await one_sample(tmp_path / "always", fault, 9, *how)
    assert (row["outcome"], row["score"], sent) == ("provider_error", None, 2)
    assert "1 provider_error" in summary.unfinished.popitem()[1]
    assert (row["n_failed_calls"], row["n_lost_attempts"]) == (1, 2 * lost)
    assert row["input_tokens"] == 2 * prompt * told
    assert row["failed_cost"] == row["cost_cold"]
    assert row["cost_cold"] == pytest.approx(paid(row))


async def test_servers_that_drop_a_request_on_a_connection_left_open_billed_nothing(tmp_path):
    """As a keep-alive that ended: no retry is used up. On a new connection it may be billed."""
    row, _, sent = await one_sample(tmp_path / "once", Fault("drop"), 1, "root.retries=0")
    assert (row["outcome"], row["score"], sent) == ("ok", 1.0, 2)
    assert (row["n_retried_calls"], row["n_lost_attempts"]) == (1, 0)
    row, summary, sent = await one_sample(tmp_path / "always", Fault("drop"), 9)
    assert (row["outcome"], row["score"], sent) == ("provider_error", None, 3)
    assert "1 provider_error" in summary.unfinished.popitem()[1]
    assert (row["n_failed_calls"], row["n_lost_attempts"]) == (1, 2)


def paid(row) -> float:
    rates = price_of(PRICE).base
    return (row["input_tokens"] * rates.input + row["output_tokens"] * rates.output) / 1e6


async def test_nobody_listens_any_more(tmp_path):
    row, summary, sent = await one_sample(tmp_path, Fault("hang"), 0)
    assert (row["outcome"], sent, summary.unfinished) == ("ok", 1, {})
    given = overrides(tmp_path, "http://127.0.0.1:9/v1", *OWN, "seed=1")
    (why,) = (await run_here(given)).unfinished.values()
    assert "Cannot connect" in why  # proved before the cell: no sample was run


@pytest.mark.parametrize(
    ("fault", "outcome", "score"),
    [
        (Fault("content_filter"), "refused", None),
        (Fault("refusal"), "refused", None),
        (Fault("prompt_filter"), "refused", None),
        (Fault("length"), "truncated", 0.0),
        (Fault("no_usage"), "ok", 1.0),
        (Fault("absurd_usage"), "ok", 1.0),
        (Fault("status", 400), "provider_error", None),
        *(
            (Fault(f"context:{name}"), "context_overflow", 0.0)
            for name in ("openai", "openai_input", "vllm", "vllm_old", "llama_cpp", "anthropic")
        ),
    ],
)
async def test_a_final_fault_is_asked_once_and_has_its_outcome(tmp_path, fault, outcome, score):
    row, _, sent = await one_sample(tmp_path, fault, 9)
    assert (row["outcome"], sent) == (outcome, 1)
    assert row["score"] == score or outcome == "refused"
    assert row["n_retried_calls"] == row["n_lost_attempts"] == 0
    billed = fault.kind in ("content_filter", "refusal", "length")
    assert bool(row["cost_cold"]) == billed
    if fault.kind.endswith("usage"):
        assert (row["cost_cold"], row["input_tokens"]) == (None, None)  # unknown, not nothing
    elif billed:
        assert row["cost_cold"] == pytest.approx(paid(row))


def thought(content, **message):
    body = chat(content)
    body["choices"][0]["message"] |= message
    return body


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (chat(""), "no_answer"),
        (chat(None), "no_answer"),
        (chat(" \n"), "no_answer"),
        (thought("", reasoning_content="It may be 7."), "no_answer"),
        (chat("<think>It may be 7.</think>"), "no_answer"),
        (chat("<thinking>It may be 7.</thinking>"), "no_answer"),
        (chat("", "tool_calls"), "no_answer"),
        (chat("It may be", "MAX_TOKENS"), "truncated"),
        (chat("", "model_context_window_exceeded"), "truncated"),
        (chat(None, "content_filter: SAFETY"), "refused"),
        (chat("It", "RECITATION"), "refused"),
        (chat("", usage=ZERO), "provider_error"),
        (chat(None, error={"code": 429}), "provider_error"),
        (chat(None, error={"message": OVERFLOW}), "context_overflow"),
    ],
)
async def test_a_200_is_not_ok_by_itself(tmp_path, body, outcome):
    row, _, requests = await one_sample(tmp_path, sent(body), 9)
    assert row["outcome"] == outcome
    assert row["score"] == (None if outcome == "provider_error" else 0.0)
    assert requests == (2 if outcome == "provider_error" else 1)
    if outcome == "no_answer":
        assert row["failure"] == "no_answer"


@pytest.mark.parametrize(
    "body",
    [thought(None, reasoning_content="The number is 7."), chat(None, "tool_calls")],
    ids=["reasoning", "tool calls"],
)
async def test_answers_in_another_field_are_told_at_once_and_conclude_nothing(
    tmp_path, capsys, body
):
    async with FakeServer(reply=rules(RULES), faults=always(sent(body))) as server:
        await run_here(overrides(tmp_path, server.url, *OWN, "n=2"))
    rows = records(tmp_path)
    assert [(row["outcome"], row["n_textless_replies"]) for row in rows] == [("no_answer", 1)] * 2
    first, end = [x for x in capsys.readouterr().err.splitlines() if "tool parsers" in x]
    assert "the first reply holds no text" in first
    assert "2 of 2 replies hold no text" in end
    frame = cells.prepare(
        pd.read_parquet(write_records(tmp_path / "test"), dtype_backend="numpy_nullable")
    )
    table = cells.summarise(frame)
    limits = caveats(frame, table)
    assert [x for x in limits if "2 of 2 replies hold no text" in x]
    found = conclusion(frame, table, against(frame, "long_context"), limits)
    assert found.may == ()
    assert found.may_not[0].text.startswith("The scores of 1 of 1 cells may not be the model's")


async def test_replies_with_text_beside_reasoning_or_tools_raise_no_word(tmp_path, capsys):
    said = "The number is 7."
    bodies = [thought(said, reasoning_content="Let me see."), chat(said, "tool_calls")]

    def plan(number, _request):
        return sent(bodies[number % 2])

    async with FakeServer(reply=rules(RULES), faults=plan) as server:
        await run_here(overrides(tmp_path, server.url, *OWN, "n=2"))
    assert [(r["n_replies"], r["n_textless_replies"]) for r in records(tmp_path)] == [(1, 0)] * 2
    assert "hold no text" not in capsys.readouterr().err


async def test_an_output_cap_that_was_used_up_by_thoughts_is_truncated(tmp_path):
    told = "Could not finish the message because max_tokens or model output limit was reached."
    fault = replace(sent({"error": {"message": told, "code": None}}), status=400)
    row, _, requests = await one_sample(tmp_path, fault, 9)
    assert (row["outcome"], row["score"], requests) == ("truncated", 0.0, 1)


@pytest.mark.parametrize(("end", "shown"), [("OTHER", "OTHER"), (None, "none")])
async def test_an_end_that_is_not_known_is_counted_and_named_once(tmp_path, capsys, end, shown):
    body = chat("The number is 7.", end)
    row, _, _ = await one_sample(tmp_path, sent(body), 9, "n=2")
    assert (row["outcome"], row["n_unknown_ends"], row["unknown_ends"]) == ("ok", 1, shown)
    noted = [line for line in capsys.readouterr().err.splitlines() if "n_unknown_ends" in line]
    assert len(noted) == 1
    assert (f"finish reason '{end}'" if end else "no finish reason") in noted[0]
    frame = pd.read_parquet(write_records(tmp_path / "test"), dtype_backend="numpy_nullable")
    assert frame["n_unknown_ends"].sum() == 2
    prepared = cells.prepare(frame)
    [said] = [s for s in caveats(prepared, cells.summarise(prepared)) if "not known" in s]
    assert said.startswith("2 replies")
    assert f"({shown})" in said


@pytest.mark.parametrize("kind", ["auth", "unknown_model"])
async def test_what_no_sample_can_survive_stops_the_cell_and_is_no_outcome(tmp_path, kind):
    row, summary, sent = await one_sample(tmp_path, Fault(kind), 9, "n=3", "max_samples=1")
    assert (row, sent, summary.attempted) == (None, 1, 0)
    (why,) = summary.unfinished.values()
    assert {"auth": "authentication failed", "unknown_model": "does not exist"}[kind] in why


@pytest.mark.parametrize("names", [("big-1", "small-1"), ("big-1", "big-1"), ("big-1", None)])
async def test_servers_that_change_the_model_between_replies_are_a_caveat(tmp_path, names):
    """A gateway that falls back to another model: half of the scores are not the model's."""
    left = list(names)

    def plan(_number, request):
        return None if proof(request) else sent(chat("The number is 7.", model=left.pop(0)))

    async with FakeServer(reply=rules(RULES), faults=plan) as server:
        await run_here(overrides(tmp_path, server.url, *OWN, "n=2", "max_samples=1"))
    frame = pd.read_parquet(write_records(tmp_path / "test"), dtype_backend="numpy_nullable")
    told = {f"root: {name}" for name in names if name}
    assert set(frame["served_models"].dropna()) == told
    prepared = cells.prepare(frame)
    said = [s for s in caveats(prepared, cells.summarise(prepared)) if "several models" in s]
    if len(told) == 1:
        assert said == []
    else:
        assert "root model name several models (" in said[0]
        assert {"big-1 in 1 samples", "small-1 in 1 samples"} == set(
            re.findall(r"\S+ in 1 samples", said[0].replace("(", " "))
        )


@pytest.mark.parametrize(
    ("served", "is_told"),
    [("llama-3.2-1b-instruct", True), ("org/fake-2026-01-01", False), ("fake", False)],
)
async def test_servers_that_answer_with_another_model_are_a_caveat(tmp_path, served, is_told):
    def plan(_number, request):
        return None if proof(request) else sent(chat("The number is 7.", model=served))

    async with FakeServer(reply=rules(RULES), faults=plan) as server:
        await run_here(overrides(tmp_path, server.url, *OWN, "n=2"))
    frame = pd.read_parquet(write_records(tmp_path / "test"), dtype_backend="numpy_nullable")
    assert set(frame["requested_models"]) == {"root: fake"}
    prepared = cells.prepare(frame)
    said = [s for s in caveats(prepared, cells.summarise(prepared)) if "was asked for as" in s]
    assert len(said) == is_told
    for line in said:
        assert "root model was asked for as fake;" in line
        assert f"({served} in 2 samples)" in line
    without = cells.prepare(frame.assign(requested_models=pd.NA))  # records of before
    assert not any("asked for as" in s for s in caveats(without, cells.summarise(without)))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True), ("openai/gpt-4o", "gpt-4o", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022", True),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3_1-8b-instruct:free", True),
        ("qwen2.5-0.5b-instruct", "/models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", True),
        ("accounts/fireworks/models/deepseek-v3", "deepseek-v3", True), ("", "x", True),
        ("llama3.2:1b", "llama3.2:3b", False), ("gpt-4o", "gpt-3.5-turbo", False),
        ("qwen3-coder-480b", "llama-3.2-1b-instruct", False),
    ],
)  # fmt: skip
def test_names_of_one_model_are_alike(one, other, same):
    assert is_alike(one, other) is is_alike(other, one) is same
