"""The shipped engines, each in its own environment, on scripted replies in its own protocol.

`scripts/engine_env.sh NAME` makes the environments; an engine without one is skipped.
"""

from pathlib import Path
from typing import Any

import pytest
from baseline_bench import Request, open_bench, sample_of
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.config.grid import CONFIG_DIR
from rlm_eval.core.types import Outcome
from rlm_eval.methods.external import External

pytestmark = pytest.mark.slow

QUESTION = "What is the code?"
CONTEXT = "The code is 7391. " * 200
DSPY = (
    "[[ ## reasoning ## ]]\nAs asked.\n\n"
    "[[ ## code ## ]]\n```python\n{}\n```\n\n[[ ## completed ## ]]"
)
PYTHON = "```python\n{}\n```"
REPL = "```repl\n{}\n```"
SCRIPTS = {
    # engine: (turns with two sub-calls and an answer, a turn that goes on)
    "rlms": (
        [
            REPL.format("parts = llm_query_batched(['Find A', 'Find B'])\nprint(parts)"),
            REPL.format("answer['content'] = parts[1]\nanswer['ready'] = True"),
        ],
        REPL.format("print(len(context))"),
    ),
    "dspy": (
        [
            DSPY.format("parts = llm_query_batched(['Find A', 'Find B'])\nprint(parts)"),
            DSPY.format("SUBMIT(answer=parts[1])"),
        ],
        DSPY.format("print(len(context))"),
    ),
    "minrlm": (
        [
            PYTHON.format(
                "peek(input_0)\nparts = sub_llm_batch([('Find A', 'a'), ('Find B', 'b')])\n"
                "print(parts)"
            ),
            PYTHON.format("print(input_0[:20])\nFINAL(parts[1])"),
        ],
        PYTHON.format("print(len(input_0))"),
    ),
    "recursive_llm": (
        ["parts = [llm_query('Find A'), llm_query('Find B')]\npart = parts[1]", "FINAL_VAR(part)"],
        "print(len(context))",
    ),
    "pyrlm": (
        [
            PYTHON.format("parts = llm_batch(['Find A', 'Find B'])\npart = parts[1]\nprint(part)"),
            "FINAL_VAR: part",
        ],
        PYTHON.format("print(len(P))"),
    ),
}
TURNS = {
    "rlms": {"max_iterations": 2},
    "dspy": {"max_iters": 2},
    "minrlm": {"max_iterations": 2},
    "recursive_llm": {"max_iterations": 2},
    "pyrlm": {"policy": {"max_steps": 2}},
}


def shipped(name: str, **settings: Any) -> External:
    """The engine as its YAML has it."""
    node = OmegaConf.load(CONFIG_DIR / "method" / f"external_{name}.yaml")
    node = OmegaConf.merge(node, {"settings": settings, "seconds": 120.0})
    method: External = build(node, "method")
    if told := method.unready():
        pytest.skip(told)
    return method


class Turns:
    """Gives the root's replies in order, then the last one again, and what a sub-call gets."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)

    def __call__(self, request: Request) -> str:
        if QUESTION not in str(request):
            return "7391"
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


async def run(name: str, folder: Path, replies: list[str], **settings: Any) -> Any:
    """(answer, notes, the root's requests, the sub-model's requests)."""
    sample = sample_of(CONTEXT, QUESTION)
    method = shipped(name, **settings)
    async with open_bench(
        folder, sample, root=Turns(*replies), sub=lambda request: "7391"
    ) as bench:
        answer = await method.solve(sample, bench.session)
        return answer, bench.session.notes, bench.requests("root"), bench.requests("sub")


@pytest.mark.parametrize("name", SCRIPTS)
async def test_an_engine_answers_and_every_call_of_it_is_metered(name: str, tmp_path: Path) -> None:
    answer, notes, root, sub = await run(name, tmp_path, SCRIPTS[name][0])
    assert (answer.text, answer.outcome, notes["engine_ended"]) == ("7391", None, "answer")
    assert len(sub) == (0 if name == "minrlm" else 2)
    assert len(root) == (4 if name == "minrlm" else 2)
    assert notes["engine_missed_calls"] == (2 if name == "minrlm" else 0)
    assert notes["engine_missed_tokens"] == 0
    assert notes["engine_failed_calls"] == 0
    assert notes["engine_version"] == shipped(name).release
    assert notes["engine_input_chars_first"] > 1000


PROSE = "I think that it is 7391."
ENDS = {
    # engine: how it ends where no reply finishes, and how the text begins that it then demands
    "rlms": ("forced", "```repl"),
    "minrlm": ("turns", None),
    "recursive_llm": ("turns", None),
    "pyrlm": ("forced", "```python"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_turns_that_run_out_are_no_answer_of_the_model(name: str, tmp_path: Path) -> None:
    ended, begins = ENDS[name]
    answer, notes, root, _ = await run(name, tmp_path, [SCRIPTS[name][1]], **TURNS[name])
    assert notes["engine_ended"] == ended
    assert len(root) == (3 if ended == "forced" else 2)
    if begins is None:
        assert (answer.text, answer.outcome) == (None, Outcome.LIMIT_TURNS)
    else:
        assert answer.text.startswith(begins)
        assert (answer.outcome, notes["engine_forced"]) == (None, True)


async def test_an_answer_that_dspy_demands_is_marked(tmp_path: Path) -> None:
    going_on = SCRIPTS["dspy"][1]
    demanded = "[[ ## answer ## ]]\n7391\n\n[[ ## completed ## ]]"
    replies = [going_on, going_on, demanded]
    answer, notes, root, _ = await run("dspy", tmp_path, replies, **TURNS["dspy"])
    assert (answer.text, notes["engine_ended"], notes["engine_forced"]) == ("7391", "forced", True)
    assert len(root) == 3


@pytest.mark.parametrize(
    ("name", "reason", "requests"),
    [
        ("dspy", "reply without the fields of JSONAdapter", 2),
        ("minrlm", "reply without code", 1),
        ("pyrlm", "replies in a row without code or FINAL", 5),
    ],
)
async def test_a_reply_that_an_engine_cannot_use_is_no_answer(
    name: str, reason: str, requests: int, tmp_path: Path
) -> None:
    """Though the prose holds the right number, and two of them hand a text for an answer."""
    answer, notes, root, _ = await run(name, tmp_path, [PROSE])
    assert (answer.text, answer.outcome) == (None, Outcome.NO_ANSWER)
    assert (notes["engine_ended"], notes["engine_reason"]) == ("error", reason)
    assert len(root) == requests
