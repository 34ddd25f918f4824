"""Degenerate replies: the parsers' work grows with the length of a reply, not with its square."""

import sys
import threading

import pytest
from rlm_bench import block, rlm_bench, turns

from rlm_eval.methods.rlm import RLM, blocks
from rlm_eval.methods.rlm.own import Own
from rlm_eval.methods.rlm.parsing import Blocks, parse

N = 100_000


def flood(unit, head=""):
    return head + unit * ((N - len(head)) // len(unit))


FLOODS = {
    "fences in a string": flood("```\n", '```python\nx = """\n'),
    "strings that open and end": flood('```\n""" """\n', '```python\nx = """\n'),
    "blocks in a string": flood('```python\n"""doc"""\nx\n```\n', '```python\nx = """\n'),
    "strings left open": flood('```python\nx = """ """ """\n'),
    "indented string": flood("```\n", '```python\n  x = """\n'),
    "braces in a string": flood("```\n{}\n", '```python\nx = """\n'),
    "words before fences": flood("so ```python\n"),
    "words behind fences": flood("a b c\n``` so\n", "```python\n"),
    "one line": "```python x = [" + flood("1, "),
    "words on a fence": '```python\nx = "```' + flood("a b ") + '"\n```',
    "a quotation": flood("> ") + "```python\nx",
    "quoted blocks": flood("> ```python\n> x\n"),
    "empty lines": "\n" * N,
    "marks": "`" * N + "x`",
    "tildes": "~" * N + "`",
    "a long tag": "```" + "a" * N + "`",
    "a wide fence": "```" + " " * N + "`",
    "tags": flood("FINAL(x\n"),
    "tags of variables": flood("FINAL_VAR(x\n"),
    "closing brackets": "FINAL(" + flood(")x"),
    "opening brackets": "FINAL" + "(" * N,
    "tags in a row": flood("FINAL()"),
    "repl fences": flood("x ```repl\n y"),
    "a repl fence and empty lines": "```repl" + "\n" * N,
}


def calls_of(reply):
    """Python calls, also those of the tokenizer, that the parsers make for this reply."""
    count = 0

    def counted(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        parse(reply, blocks=Blocks.LENIENT, tags=True, outside_code=True)
        parse(reply, blocks=Blocks.REPL, tags=True)
        parse(reply, blocks=Blocks.REPL, tags=True, greedy=False)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("reply", FLOODS.values(), ids=FLOODS)
def test_the_work_is_bounded_by_the_length(reply):
    """The patterns of before took minutes to days for some of these."""
    assert calls_of(reply) < 40 * N


def test_the_work_on_possible_ends_is_bounded():
    """Each of these fences is inside the string or not, which the tokenizer alone can tell."""
    reply = FLOODS["strings that open and end"]
    read = 0
    tokenized = blocks.tokenize.generate_tokens

    def counted(readline):
        def line():
            nonlocal read
            text = readline()
            read += len(text)
            return text

        return tokenized(line)

    blocks.tokenize.generate_tokens = counted
    try:
        found = blocks.scan(reply, cut=False)
    finally:
        blocks.tokenize.generate_tokens = tokenized
    assert found.blocks[0].startswith('x = """')
    assert 0 < read <= blocks._MOST_CHARS + (blocks._PASSES + 2) * len(reply)


def test_one_fence_in_a_string_after_many_is_still_found():
    fences = "```\nso\n" * 2000
    reply = f'```python\nx = """\n{fences}"""\nprint(x)\n```\nDone.'
    parsed = parse(reply, blocks=Blocks.LENIENT, tags=False)
    assert parsed.blocks == (f'x = """\n{fences}"""\nprint(x)',)
    assert parsed.modes == ("fence_in_string",)


async def test_a_long_reply_is_parsed_beside_the_event_loop(tmp_path):
    threads = []

    class Watched(Own):
        def parse(self, reply, *, cut):
            threads.append((len(reply), threading.current_thread() is threading.main_thread()))
            return super().parse(reply, cut=cut)

    end = block('answer["content"] = "42"\nanswer["ready"] = True')
    async with rlm_bench(tmp_path, turns("x" * 9000, end)) as bench:
        answer = await RLM(protocol=Watched()).solve(bench.session.sample, bench.session)
    assert answer.text == "42"
    assert threads == [(9000, False), (len(end), True)]
