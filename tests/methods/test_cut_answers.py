"""An answer whose reply was cut at the output cap is `truncated`, by whatever method it came."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from baseline_bench import Request, open_bench, sample_of
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.config.grid import CONFIG_DIR
from rlm_eval.core.reasoning import Final
from rlm_eval.core.types import Answer, Message, Outcome, Reply, Role, Sample, Score, Usage
from rlm_eval.methods.external import External
from rlm_eval.methods.program import Program
from rlm_eval.protocols import Session
from rlm_eval.records.rescoring import readable
from rlm_eval.runner.rollout import run_rollout

QUESTION = "What is the code?"
CONTEXT = "The code is 7391. " * 20
NO_CALL = {"floor_constant", "floor_oracle"}
OTHERS_ENVIRONMENT = {"external_dspy", "external_minrlm", "external_pyrlm"} | {
    "external_recursive_llm",
    "external_rlms",
    "external",
}
"""Run below, on a runner of this file."""
EMBEDDER = {"rag_dense", "rag_hybrid"}
"""Of the class of `rag`; they need an embedder."""
OF_A_TASK = {"program_matched", "program_label_each"}
"""Of the class of `program_map`; they make no call on this context."""
METHODS = sorted(
    {path.stem for path in (CONFIG_DIR / "method").glob("*.yaml")}
    - (NO_CALL | OTHERS_ENVIRONMENT | EMBEDDER | OF_A_TASK)
)
LONG = "a long chain of thought that goes on and on before"
BLOCK = "```repl\nanswer['content'] = '7391'\nanswer['ready'] = True\n```\n" + LONG
FINISHED = {
    "rlm": BLOCK,
    "rlm_read": BLOCK,
    "rlm_official_latest": BLOCK,
    "rlm_official_0_1_1": f"FINAL({LONG})",
    "rlm_paper_v1": f"FINAL({LONG})",
    "rlm_paper_v1_strict": f"FINAL({LONG})",
    "codeact": f"ANSWER: {LONG}",
    "codeact_bm25": f"ANSWER: {LONG}",
    "codeact_sub": f"ANSWER: {LONG}",
    "react_bm25": f"ANSWER: {LONG}",
}
"""A reply that such a method takes for the answer; the others take any text."""
ENGINE = """
import json, sys, urllib.request
job = json.load(open(sys.argv[1]))
body = {"model": "root", "messages": [{"role": "user", "content": job["question"]}]}
key = {"Authorization": "Bearer " + job["api_key"]}
url = job["base_url"] + "/chat/completions"
with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), key)) as reply:
    text = json.load(reply)["choices"][0]["message"]["content"]
json.dump(RESULT, open(job["result"], "w"))
"""


class Codes:
    """A task that scores every answer 0: only the outcome matters here."""

    name = "codes"

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        return (Score("official", 0.0, answer.text),)


async def outcome(method: Any, folder: Path, text: str, **more: Any) -> Any:
    """The outcome and the score of a sample whose every reply is `text`, cut at its output cap."""

    def reply(request: Request) -> Reply:
        return Reply(text, "length", Usage(input=10, output=64))

    sample = sample_of(CONTEXT, QUESTION, **more)
    scripts: dict[str, Any] = dict.fromkeys(method.slots, reply)
    runs_code = type(method).runs_code
    windows = dict.fromkeys(method.slots, 65_536)  # two methods split the text by it
    async with open_bench(
        folder, sample, windows=windows, cap=64, repl=runs_code, **scripts
    ) as bench:
        trajectory, _ = await run_rollout(Codes(), method, sample, bench.session)  # type: ignore[arg-type]
        return trajectory


def shipped(name: str) -> Any:
    node: Any = OmegaConf.load(CONFIG_DIR / "method" / f"{name}.yaml")
    if node.get("chunk_by") == "documents":
        node.chunk_by = "lines"
    return build(node, "method")


@pytest.mark.parametrize("name", METHODS)
async def test_a_cut_answer_is_truncated(name: str, tmp_path: Path) -> None:
    done = await outcome(shipped(name), tmp_path, FINISHED.get(name, f"The answer is {LONG}"))
    assert done.outcome is Outcome.TRUNCATED, (done.outcome, done.answer, done.error)


@pytest.mark.parametrize(
    "result",
    [
        "{'answer': text, 'ended': 'answer'}",
        "{'answer': text[4:20], 'ended': 'answer'}",
        "{'answer': 'computed from it', 'ended': 'answer'}",
        "{'answer': text, 'ended': 'forced'}",
        "{'answer': None, 'ended': 'answer'}",
        "{'ended': 'error', 'reason': 'reply without code'}",
    ],
)
async def test_an_engines_cut_answer_is_truncated(result: str, tmp_path: Path) -> None:
    runner = tmp_path / "run_mine.py"
    runner.write_text(ENGINE.replace("RESULT", result))
    method = External(engine="mine", runner=str(runner))
    done = await outcome(method, tmp_path, "The answer is a long chain of thought before 7391")
    assert done.outcome is Outcome.TRUNCATED
    assert done.answer.call == 0


async def test_thoughts_in_an_engines_answer_are_not_scored(tmp_path: Path) -> None:
    """The engine reads replies as sent; its answer may hold the thoughts of the call it names."""
    runner = tmp_path / "run_mine.py"
    runner.write_text(ENGINE.replace("RESULT", "{'answer': text, 'ended': 'forced'}"))
    method = External(engine="mine", runner=str(runner))
    done = await outcome(method, tmp_path, "<think>Is it 12?</think>7391")
    assert done.answer.call == 0
    assert "12" in done.answer.text
    read = readable(done.answer, method, done.calls).text
    assert not isinstance(read, Final), "a scorer removes the thoughts"


async def test_a_benchmarks_own_output_cap_is_no_cut(tmp_path: Path) -> None:
    runner = tmp_path / "run_mine.py"
    runner.write_text(ENGINE.replace("RESULT", "{'answer': text, 'ended': 'answer'}"))
    method = External(engine="mine", runner=str(runner))
    done = await outcome(method, tmp_path, "The answer is 7391", output_cap=64)
    assert done.outcome is Outcome.OK


@dataclass(frozen=True)
class Unnamed:
    """A method whose answer, `text` or else the whole reply of the root, names no call."""

    text: str | None = None
    provenance: str = "root_text"
    slots: tuple[str, ...] = ("root", "sub")
    runs_code: ClassVar[bool] = False

    async def solve(self, sample: Sample, session: Session) -> Answer:
        question = [Message("user", sample.question)]
        call = await session.call(question, role=Role.ROOT, position="t")
        return Answer(self.text or call.reply, provenance=self.provenance)


@pytest.mark.parametrize("text", [None, "chain of thought", "computed from it"])
async def test_an_answer_without_a_call_is_that_of_its_likely_call(
    text: str | None, tmp_path: Path
) -> None:
    done = await outcome(Unnamed(text), tmp_path, f"The answer is {LONG}")
    assert (done.outcome, done.answer.call) == (Outcome.TRUNCATED, 0)


async def test_an_answer_that_code_computed_comes_from_no_reply(tmp_path: Path) -> None:
    done = await outcome(Unnamed("12", "program"), tmp_path, f"Items 12 and {LONG}")
    assert (done.outcome, done.answer.call) == (Outcome.OK, None)


async def test_a_program_that_read_only_cut_replies_is_truncated(tmp_path: Path) -> None:
    """Its code counts labels, so that no reply equals the answer."""
    program = tmp_path / "count.md"
    program.write_text(
        "=== ask\n{text}\n=== code\n"
        "parts = llm_query_batched([context[:50], context[50:100]])\n"
        "answer['content'] = str(sum(part.count('ferry') for part in parts))\n"
        "answer['ready'] = True\n"
    )
    done = await outcome(Program(program_file=str(program)), tmp_path, "1: ferry, 2: fer")
    assert (done.answer.text, done.outcome) == ("2", Outcome.TRUNCATED)
