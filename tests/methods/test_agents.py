"""ReAct and CodeAct: exact requests, tools, turns. CodeAct runs in the real REPL."""

from pathlib import Path

import pytest
from baseline_bench import open_bench, sample_of

from rlm_eval.core.errors import ContextOverflow, LimitReached, ProviderError, Refused
from rlm_eval.core.types import Outcome, Role
from rlm_eval.methods.agent_text import load_parts
from rlm_eval.methods.codeact import CodeAct
from rlm_eval.methods.react import React

DOCUMENTS = (
    "The red door is in the hall.",
    "The violet door opens with 7391.",
    "Nothing else is known about doors.",
)
AT = len(DOCUMENTS[0]) + 2
EVIDENCE = ((AT, AT + len(DOCUMENTS[1])),)
QUESTION = "What opens the violet door?"


async def test_react_requests(tmp_path: Path) -> None:
    _, parts = load_parts("react/plain", None, ("system", "nothing", "format"))
    sample = sample_of(DOCUMENTS, QUESTION, evidence=EVIDENCE)
    method = React(chunk_by="documents", search_k=2, max_turns=5)
    script = ["Look.\nSEARCH: violet", "hm", "SEARCH: whale", "Found.\nANSWER: 7391"]
    async with open_bench(tmp_path, sample, root=script) as bench:
        answer = await method.solve(sample, bench.session)
        assert bench.requests()[-1] == [
            ("system", parts["system"].replace("{k}", "2")),
            ("user", QUESTION),
            ("assistant", "Look.\nSEARCH: violet"),
            ("user", f"The passages found, best first:\n\n[1]\n{DOCUMENTS[1]}"),
            ("assistant", "hm"),
            ("user", parts["format"]),
            ("assistant", "SEARCH: whale"),
            ("user", parts["nothing"]),
        ]
        assert [len(request) for request in bench.requests()] == [2, 4, 6, 8]
    assert (answer.text, answer.call, answer.outcome) == ("7391", 3, None)
    notes = {"searches": 2, "empty_searches": 1, "format_errors": 1, "retrieval_recall": 1.0}
    assert bench.session.notes == notes


@pytest.mark.parametrize("prompt", ["react/plain", "react/steps"])
async def test_react_out_of_turns(tmp_path: Path, prompt: str) -> None:
    sample = sample_of(DOCUMENTS, QUESTION)
    method = React(chunk_by="documents", max_turns=2, prompt=prompt)
    script = ["SEARCH: red", "SEARCH: blue", "maybe 7391"]
    async with open_bench(tmp_path, sample, root=script) as bench:
        answer = await method.solve(sample, bench.session)
        assert bench.requests()[-1][-1] == ("user", load_parts(prompt, None, ("last",))[1]["last"])
    assert (answer.text, answer.outcome, answer.provenance) == (
        "maybe 7391",
        Outcome.LIMIT_TURNS,
        "fallback",
    )


COMPARED = (
    "Is 'location' more common than 'entity'? Give your final answer in the form "
    "'Answer: location is [X] entity'."
)


@pytest.mark.parametrize(
    ("question", "reply", "text"),
    [
        (COMPARED, "Answer: location is more common than entity", None),
        (COMPARED, "**ANSWER: [more common than]**", "Answer: [more common than]"),
        (COMPARED, "ANSWER: Answer: [more common than]", "Answer: [more common than]"),
        (COMPARED, "ANSWER:", ""),
        (COMPARED, "perhaps", None),
        ("Answer with the name alone.", "Answer: Ann", "Ann"),
        ("Give it as\nExact Answer: the name", "Answer: Ann", "Ann"),
    ],
)
async def test_a_key_that_the_question_asks_for_is_handed_over(
    tmp_path: Path, question: str, reply: str, text: str | None
) -> None:
    """OOLONG's official scorer reads a sentence only behind its colon."""
    sample = sample_of("1, 2 and 40", question)
    expected = reply if text is None else text
    for method, script in (
        (React(format_patience=1), [reply]),
        (CodeAct(format_patience=1), [reply]),
        (React(max_turns=1, label="last"), ["SEARCH: x", reply]),
    ):
        folder = tmp_path / method.name
        folder.mkdir()
        async with open_bench(folder, sample, repl=True, root=script) as bench:
            assert (await method.solve(sample, bench.session)).text == expected


async def test_codeact_requests(tmp_path: Path) -> None:
    sample = sample_of("1, 2 and 40", "What is the sum?")
    code = (
        "THINK: add\n```python\ntotal = 1 + 2\nprint(total)\n```\n```python\nprint(total + 40)\n```"
    )
    script = [code, "no idea", "ANSWER: 43"]
    async with open_bench(tmp_path, sample, repl=True, root=script) as bench:
        answer = await CodeAct().solve(sample, bench.session)
        system, task, *rest = bench.requests()[-1]
    _, parts = load_parts("codeact/plain", None, ("system", "format"))
    assert system == ("system", parts["system"].replace("{tools}", ""))
    assert task == ("user", "1, 2 and 40\n\nWhat is the sum?")
    assert rest == [
        ("assistant", code),
        ("user", "3\n\n43"),
        ("assistant", "no idea"),
        ("user", parts["format"]),
    ]
    assert (answer.text, answer.call) == ("43", 2)
    assert [step.position for step in bench.session.steps] == ["t0.b0", "t0.b1"]
    assert bench.session.notes == {"format_errors": 1, "early_answers": 0}


async def test_codeact_runs_blocks_whose_lines_end_as_on_windows(tmp_path: Path) -> None:
    sample = sample_of("1, 2 and 40", "What is the sum?")
    code = "Add.\r\n```python\r\nif True:\r\n    print(1 + 42)\r\n```\r\n"
    async with open_bench(tmp_path, sample, repl=True, root=[code, "ANSWER: 43\r\n"]) as bench:
        assert (await CodeAct().solve(sample, bench.session)).text == "43"
        assert bench.requests()[-1][-1] == ("user", "43")


async def test_codeact_errors_are_shown_and_early_answers_wait(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    script = ["```python\n1/0\n```\nANSWER: 5", "ANSWER: 6"]
    async with open_bench(tmp_path, sample, repl=True, root=script) as bench:
        answer = await CodeAct(prompt="codeact/stepwise").solve(sample, bench.session)
        _, shown = bench.requests()[-1][-1]
    assert "ZeroDivisionError" in shown
    assert shown.endswith("ANSWER: ...")
    assert answer.text == "6"
    assert bench.session.steps[0].error == "ZeroDivisionError"
    assert bench.session.notes["early_answers"] == 1


async def test_codeact_search_replaces_the_context(tmp_path: Path) -> None:
    sample = sample_of(DOCUMENTS, QUESTION, evidence=EVIDENCE)
    method = CodeAct(context_in_prompt=False, search=True, chunk_by="documents", search_k=1)
    script = ["```python\nprint(SEARCH('violet door'))\n```", "ANSWER: 7391"]
    async with open_bench(tmp_path, sample, repl=True, root=script) as bench:
        await method.solve(sample, bench.session)
        system, task, _, shown = bench.requests()[-1]
    assert "SEARCH(query)" in system[1]
    assert "llm_query" not in system[1]
    assert DOCUMENTS[0] not in task[1]
    assert shown == ("user", str([DOCUMENTS[1]]))
    assert bench.session.notes["retrieval_recall"] == 1.0
    assert method.name == "codeact_bm25"


async def test_codeact_sub_calls(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    block = "print(llm_query('one'))\nprint(llm_query_batched(['two', 'one']))"
    async with open_bench(
        tmp_path,
        sample,
        repl=True,
        root=[f"```python\n{block}\n```", "ANSWER: done"],
        sub=lambda request: request[0][1].upper(),
    ) as bench:
        await CodeAct(sub_calls=True).solve(sample, bench.session)
        assert bench.requests("root")[-1][-1] == ("user", "ONE\n['TWO', 'ONE']")
        assert sorted(request[0][1] for request in bench.requests("sub")) == ["one", "one", "two"]
    subs = [call for call in bench.session.calls if call.role is Role.SUB]
    assert {(c.position, c.depth, c.parent) for c in subs} == {("t0.b0", 1, 0)}
    assert sorted(bench.session.steps[0].calls) == [c.id for c in sorted(subs, key=lambda c: c.id)]


async def test_codeact_failed_sub_call_is_an_error_in_the_code(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    block = "try:\n    llm_query('x')\nexcept Exception as e:\n    print(type(e).__name__, e)"
    async with open_bench(
        tmp_path,
        sample,
        repl=True,
        root=[f"```python\n{block}\n```", "ANSWER: done"],
        sub=[Refused("filtered")],
    ) as bench:
        await CodeAct(sub_calls=True).solve(sample, bench.session)
        assert "SubCallError" in bench.requests("root")[-1][-1][1]
        assert "filtered" in bench.requests("root")[-1][-1][1]


async def test_codeact_ends_where_a_provider_failed_for_good(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    block = "try:\n    llm_query('x')\nexcept Exception:\n    print('swallowed')"
    async with open_bench(
        tmp_path,
        sample,
        repl=True,
        root=[f"```python\n{block}\n```"],
        sub=[ProviderError("overloaded")],
    ) as bench:
        with pytest.raises(ProviderError, match="overloaded"):
            await CodeAct(sub_calls=True).solve(sample, bench.session)
        assert bench.session.steps[0].stdout == "swallowed\n"


async def test_a_limit_met_in_a_block_ends_the_sample_whatever_the_code_makes_of_it(
    tmp_path: Path,
) -> None:
    sample = sample_of("text", "Q?")
    block = "try:\n    llm_query('x')\nexcept Exception:\n    print('swallowed')"
    stop = LimitReached(Outcome.LIMIT_CALLS, "no more calls")
    async with open_bench(
        tmp_path, sample, repl=True, root=[f"```python\n{block}\n```"], sub=[stop]
    ) as bench:
        with pytest.raises(LimitReached, match="no more calls"):
            await CodeAct(sub_calls=True).solve(sample, bench.session)
        assert bench.session.steps[0].stdout == "swallowed\n"
        bench.clients["sub"].requests.clear()  # refused: no call of the session


async def test_codeact_out_of_turns_and_clipped_output(tmp_path: Path) -> None:
    sample = sample_of("text", "Q?")
    script = ["```python\nprint('x' * 500)\n```", "my best guess"]
    method = CodeAct(max_turns=1, output_chars=100)
    async with open_bench(tmp_path, sample, repl=True, root=script) as bench:
        answer = await method.solve(sample, bench.session)
        assert len(bench.requests()[-1][-2][1]) < 200
    assert (answer.text, answer.outcome) == ("my best guess", Outcome.LIMIT_TURNS)
    assert bench.session.steps[0].stdout_chars == 501


async def test_an_answer_without_the_word_is_taken_in_the_end(tmp_path: Path) -> None:
    sample = sample_of(DOCUMENTS, QUESTION)
    for method in (CodeAct(), React(chunk_by="documents")):
        async with open_bench(tmp_path, sample, repl=True, root=["It is 7391."] * 3) as bench:
            answer = await method.solve(sample, bench.session)
        assert (answer.text, answer.call, answer.provenance) == ("It is 7391.", 2, "fallback")
        assert bench.session.notes["format_errors"] == 3
        (tmp_path / "journal.jsonl").unlink()


def test_refused_settings() -> None:
    with pytest.raises(ValueError, match="search=true"):
        CodeAct(context_in_prompt=False)
    with pytest.raises(ValueError, match="head, tail, middle"):
        CodeAct(truncate_side="left")
    with pytest.raises(ValueError, match="max_turns"):
        React(max_turns=0)


async def test_codeact_over_the_window_sends_nothing(tmp_path: Path) -> None:
    sample = sample_of("text " * 1000, "Q?")
    windows = {"root": 500}
    async with open_bench(tmp_path, sample, windows=windows, repl=True, root=[]) as bench:
        with pytest.raises(ContextOverflow, match="window of root has 500"):
            await CodeAct().solve(sample, bench.session)
