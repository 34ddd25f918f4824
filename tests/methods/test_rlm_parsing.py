"""Replies as models write them: blocks, tags, and every counted parser mode."""

import re

import pytest

from rlm_eval.methods.rlm.own import Own
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


PROMPT = "p = '''"
NESTED = f"{PROMPT}Write:\n```python\nx = 1\n```\n'''\nprint(p)"
LENIENT = {
    "plain": ("```python\nx = 1\n```", ["x = 1"], ""),
    "python3": ("```python3\nx = 1\n```", ["x = 1"], "other_tag"),
    "capital": ("```Python\nx = 1\n```", ["x = 1"], "other_tag"),
    "py": ("```py title='a'\nx = 1\n```", ["x = 1"], "other_tag"),
    "untagged": ("Look:\n```\nx = len(context)\n```", ["x = len(context)"], "untagged_block"),
    "untagged_output": ("```\n['a', 'b']\n```\n```\nnot code at all\n```", [], "no_block"),
    "untagged_beside_tagged": ("```\nx = 1\n```\n```repl\ny = 2\n```", ["y = 2"], ""),
    "another_language": ("```json\n{}\n```\n```bash\nls\n```", [], "no_block"),
    "tildes": ("~~~python\nx = '```'\n```\n~~~", ["x = '```'\n```"], "tilde_fence"),
    "four": ("````python\nx = 1\n```\ny\n````", ["x = 1\n```\ny"], "long_fence"),
    "joined": ("```python\nx\n``````python\ny\n```", ["x", "y"], "joined_fences"),
    "joined_with_a_space": ("```python\nx\n``` ```repl\ny\n```", ["x", "y"], "joined_fences"),
    "joined_in_a_list": ("- ```python\n  x\n  ``````python\n  y\n  ```", ["x", "y"],
                         "indented_block joined_fences"),
    "joined_behind_output": ("```text\nx\n``````python\ny\n```", ["y"], ""),
    "joined_in_a_string": ("```python\nx = '''\n``````python\n'''\n```",
                           ["x = '''\n``````python\n'''"], "fence_in_string"),
    "six": ("``````python\nx = 1\n```\nSo:\n```python\ny = 2\n```", ["x = 1", "y = 2"],
            "long_fence short_fence"),
    "four_in_a_string": ("````python\nx = '''\n```\n'''", ["x = '''\n```\n'''"],
                         "long_fence unclosed_block"),
    "list": ("1. Do:\n   ```python\n   if x:\n     y\n   ```", ["if x:\n  y"], "indented_block"),
    "list_item": ("- ```python\n  x = 1\n  y\n  ```", ["x = 1\ny"], "indented_block"),
    "indented_code": ("```python\n    x = 1\n    y\n```", ["x = 1\ny"], "indented_block"),
    "in_string": (f"```python\n{NESTED}\n```\nDone.", [NESTED], "fence_in_string"),
    "open_string": (f"```python\n{PROMPT}abc\n```\nText.", [f"{PROMPT}abc"], ""),
    "on_code_line": ("```python\nx = 1\nprint(x)```\nSo.", ["x = 1\nprint(x)"],
                     "fence_on_code_line"),
    "hash_in_a_string": ("```python\nprint('#a')```\nSo.", ["print('#a')"], "fence_on_code_line"),
    "comment_on_code_line": ("```python\nprint(x)  # x```\nIt is:\n```\n5\n```", ["print(x)  # x"],
                             "fence_on_code_line"),
    "words_on_code_line": ("```python\nprint(x)``` and so\non", ["print(x)"], "fence_on_code_line"),
    "words_behind": ("```python\nx\n``` Then:\n```repl\ny\n```", ["x", "y"], "words_beside_fence"),
    "words_before": ("Look: ```python\nx = 1\n```", ["x = 1"], "words_beside_fence"),
    "sentence": ("I write ```python\nas you said, then\n```", [], "no_block"),
    "json_instead_of_the_end": ("```python\nx\n```json\n{}\n```", ["x"], "unclosed_block"),
    "marks_in_a_comment": ("```python\nx  # ``` here\ny = (\n```", ["x  # ``` here\ny = ("], ""),
    "minor": ("```python3.11\nx = 1\n```", ["x = 1"], "other_tag"),
    "tool_code": ("```tool_code\nx = 1\n```", ["x = 1"], "other_tag"),
    "crlf": ("```python\r\nx = 1\r\ny\r\n```\r\n", ["x = 1\ny"], "crlf"),
    "unclosed": ("```python\nx = 1\n", ["x = 1"], "unclosed_block"),
    "unclosed_then_another": ("```python\nx = 1\n```python\ny\n```", ["x = 1", "y"],
                              "unclosed_block"),
    "two": ("```python\nx\n```\ntext\n```repl\ny\n```", ["x", "y"], ""),
    "one_line": ("```python x = 1```", ["x = 1"], "code_on_fence_line"),
    "one_line_of_a_list": ("1. ```repl print(1)```.", ["print(1)"], "code_on_fence_line"),
    "first_line": ("```python x = 1\ny = 2\n```", ["x = 1\ny = 2"], "code_on_fence_line"),
    "only_first_line": ("```python x=1\n```", ["x=1"], "code_on_fence_line"),
    "first_line_of_a_loop": ("```python for c in s:\n    p(c)\n```", ["for c in s:\n    p(c)"],
                             "code_on_fence_line"),
    "attributes": ("```python {.numbers} start=3\nx = 1\n```", ["x = 1"], ""),
    "one_line_of_words": ("```python is good```", [], "no_block"),
    "one_line_of_another": ("```bash ls -l```", [], "no_block"),
    "prompts": ("```python\n>>> x = 1\n>>> for i in a:\n...     p(i)\n...\n1\n>>> x\n1\n```",
                ["x = 1\nfor i in a:\n    p(i)\n\nx"], "interpreter_prompts"),
    "prompts_behind_a_comment": ("```python\n# look\n>>>x = 1\n>>>p(x)\n1\n```", ["x = 1\np(x)"],
                                 "interpreter_prompts"),
    "notebook": ("```python\nIn [1]: x = 1\n   ...: y\nOut[1]: 3\n```", ["x = 1\ny"],
                 "interpreter_prompts"),
    "doctest": ("```python\ndef f():\n    \"\"\"\n    >>> f()\n    \"\"\"\n```",
                ["def f():\n    \"\"\"\n    >>> f()\n    \"\"\""], ""),
    "quoted": ("> So:\n> ```python\n> if x:\n>     y\n> ```\n> Done.", ["if x:\n    y"],
               "quoted_block"),
    "quoted_twice": (">> ```python\n>> x\n>> ```", ["x"], "quoted_block"),
    "quoted_in_a_string": ("```python\nx = '''\n> ```\n'''\n```", ["x = '''\n> ```\n'''"],
                           "fence_in_string"),
    "quoted_beside_plain": ("> ```python\n> old\n> ```\nNow:\n```python\nx\n```", ["x"], ""),
    "inline": ("Use ```x = 1``` here, or `y`.", [], "no_block"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "blocks", "mode"), LENIENT.values(), ids=LENIENT)
def test_blocks_as_weak_models_write_them(reply, blocks, mode):
    parsed = parse(reply, blocks=Blocks.LENIENT, tags=False)
    assert list(parsed.blocks) == blocks
    assert parsed.modes == tuple(mode.split())
    assert {*parsed.modes} <= {*MODES, "no_block"}


def test_sections_of_a_prompt_file():
    assert sections("intro\n=== one\na\n\nb\n=== two \n```\n=\n```\n") == {
        "one": "a\n\nb", "two": "```\n=\n```",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "content"),
    [
        ("~~~python\nx = 5\nFINAL(x)\n~~~", None),
        ("1. do\n\n   ~~~repl\n   FINAL_VAR(x)\n   ~~~\n", None),
        ("```json\nFINAL(x)\n```", None),
        ("```python\nx = 1\n# then\nFINAL(x)\n```\nFINAL(42)", "42"),
        ("```python\nv = 3\nFINAL_VAR(v)\n```\n\nFINAL(3)", "3"),
        ("The marker ``` is odd.\nFINAL(3)", "3"),
        ("FINAL(42)\n\nNote (see above)", "42"),
        ("FINAL(42)\n\nFINAL(43)", "42"),
        ("FINAL(f(x) = (1)).", "f(x) = (1)"),
        ("FINAL(open\nFINAL_VAR(x)", "x"),
        ("FINAL(the set (a, b)", "the set (a, b"),
        ('FINAL(\n```json\n{"a": ")"}\n```\n)', '```json\n{"a": ")"}\n```'),
        ("So FINAL(3)", None),
    ],
)
def test_tags_outside_code_end_at_their_own_bracket(reply, content):
    """In the mode `final_tags` of our own dialect; the official ones read as their package does."""
    parsed = Own(answer_mode="final_tags").parse(reply, cut=False)
    assert (parsed.tag and parsed.tag.content) == content
    if content is None:
        assert set(parsed.modes) & {"final_in_fence", "final_inline"}


def test_the_official_repl_pattern_takes_empty_lines_as_its_end():
    for reply in ("```repl\n\n```", "```repl \n \n```\nx", "```repl\n\nx\n```", "```repl\n```"):
        pattern = re.compile(r"```repl\s*\n(.*?)\n```", re.DOTALL)
        found = parse(reply, blocks=Blocks.REPL, tags=False).blocks
        assert list(found) == [match[1].strip() for match in pattern.finditer(reply)], reply
