"""Replies as models write them: blocks, tags, and every counted parser mode."""

import pytest

from rlm_eval.methods.rlm.parsing import MODES, Blocks, parse
from rlm_eval.methods.text import sections


def modes(reply, **how):
    return set(parse(reply, blocks=Blocks.REPL, tags=True, **how).modes)


@pytest.mark.parametrize(
    ("mode", "reply", "how"),
    [
        ("no_block", "I will look.", {}),
        ("python_fence", "```python\nx = 1\n```", {}),
        ("unclosed_block", "```repl\nx = 1", {}),
        ("final_in_fence", "```repl\nFINAL(x)\n```", {}),
        ("final_inline", "I return FINAL(x) now", {}),
        ("final_cut_at_bracket", "FINAL(f(x))", {"greedy": False}),
        ("final_swallowed", "FINAL(7)\nas (I said)\n", {}),
        ("final_is_plan", "FINAL(I will first count the lines)", {}),
    ],
)
def test_each_mode_is_counted(mode, reply, how):
    assert mode in MODES
    assert mode in modes(reply, **how)


@pytest.mark.parametrize(
    "reply", ["FINAL(77 (of 80))", "  FINAL(I, Claudius)", 'FINAL_VAR("best")', "FINAL()"]
)
def test_a_plain_answer_shows_no_mode(reply):
    assert modes(reply) == set()


@pytest.mark.parametrize(
    ("reply", "greedy", "content"),
    [
        ("FINAL(f(x))", True, "f(x)"),
        ("FINAL(f(x))", False, "f(x"),
        ("FINAL_VAR('best')", True, "best"),
        ("FINAL(text)\nFINAL_VAR(name)", True, "name"),
        ("FINAL(two\nlines)", True, "two\nlines"),
    ],
)
def test_tags(reply, greedy, content):
    assert parse(reply, blocks=Blocks.REPL, tags=True, greedy=greedy).tag.content == content


def test_official_blocks_are_closed_repl_fences_in_order():
    reply = "a\n```repl\nx = 1\n```\n```python\nno\n```\n```repl \n\n  y = 2\n```\n```repl\ncut"
    assert parse(reply, blocks=Blocks.REPL, tags=False).blocks == ("x = 1", "y = 2")


def test_lenient_blocks_take_python_fences_and_an_unclosed_last_one():
    reply = "a\n```python\nx = '```'\n```\n  ```repl\ny = 2\n```\n```\nplain\n```\n```py\nz = 3"
    assert parse(reply, blocks=Blocks.LENIENT, tags=False).blocks == ("x = '```'", "y = 2", "z = 3")
    assert parse(reply, blocks=Blocks.LENIENT, tags=False, cut=True).blocks[-1] == "y = 2"


def test_lenient_blocks_may_end_their_lines_as_windows_does():
    reply = "a\r\n```python\r\nx = 1\r\ny = 2\r\n```\r\n```repl\r\nz = 3"
    assert parse(reply, blocks=Blocks.LENIENT, tags=False).blocks == ("x = 1\r\ny = 2", "z = 3")


def test_sections_of_a_prompt_file():
    assert sections("intro\n=== one\na\n\nb\n=== two \n```\n=\n```\n") == {
        "one": "a\n\nb", "two": "```\n=\n```",
    }  # fmt: skip
