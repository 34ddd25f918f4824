"""The official dialects end to end without the package: thoughts, exits, odd prompts."""

import json
from pathlib import Path

import pytest
from rlm_bench import block, rlm_bench

from rlm_eval.core.types import Outcome
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.official import OfficialLatest, PaperV1

WORDS = str(Path(__file__).parent / "rlm_golden" / "words.md")
READY = "answer['content'] = {}\nanswer['ready'] = True"
ODD = """
one = llm_query('')
many = llm_query_batched('ab')
chat = llm_query([{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'hi'}])
wrong = llm_query_batched([5, 'c'], 'no such model')
"""


async def solve(folder, *replies, protocol=OfficialLatest, **options):
    script = iter(replies)
    method = RLM(protocol=protocol(prompt_file=WORDS), failed_sub_calls="text", **options)
    async with rlm_bench(folder, lambda _: next(script)) as bench:
        return await method.solve(bench.session.sample, bench.session), bench


async def test_a_block_in_a_thought_runs_and_the_thought_is_sent_back(tmp_path):
    thought = "<think>\n" + block("n = 6", "repl") + "\n</think>\nI wait."
    answer, bench = await solve(tmp_path, thought, block(READY.format("n + 1"), "repl"))
    assert answer.text == "7"
    assert ("assistant", thought) in bench.contents()
    first = bench.session.calls[0]
    assert (first.reply, first.as_sent) == ("I wait.", thought)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["raw"] for line in lines if "raw" in line] == [thought], "a resumed run reads it"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("import sys\nsys.exit()", "SystemExit"), ("import sys\nsys.stdout.close()", "ValueError")],
)
async def test_what_ends_the_packages_process_ends_the_sample(tmp_path, code, kind):
    answer, bench = await solve(tmp_path, block(code, "repl"))
    assert (answer.text, answer.outcome) == (None, Outcome.REPL_CRASH)
    assert bench.session.notes["official_process_ended_by"] == kind


async def test_odd_prompts_are_sent_or_refused_as_by_the_package(tmp_path):
    end = block(ODD + READY.format("[one, many, chat, wrong]"), "repl")
    answer, bench = await solve(tmp_path, end)
    wrong = "Error: a prompt must be a str or a list of messages, not <class 'int'>"
    expected = ["Error: the prompt is empty", ["A", "B"], "HI", [wrong, "C"]]
    assert answer.text == str(expected)
    assert answer.value is None, "the package hands over text"
    assert len(bench.sub.asked) == 4


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("v = 7", "7"),
        ("v = 7\nprint = 'x'", "TypeError: 'str' object is not callable"),
        ("v = 7\ndef print(*_):\n    pass", ""),
        ("def bad(self):\n    raise ValueError('no')\nv = type('T', (), {'__str__': bad})()",
         "ValueError: no"),
    ],
)  # fmt: skip
async def test_final_var_is_code_that_the_model_may_have_changed(tmp_path, code, text):
    replies = (block(code, "repl"), "FINAL_VAR(v)")
    answer, _ = await solve(tmp_path, *replies, protocol=PaperV1)
    assert answer.text == text
