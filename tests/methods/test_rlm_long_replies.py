"""Degenerate replies: the parsers' work grows with the length of a reply, not with its square."""

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


@pytest.fixture
def read(monkeypatch):
    """Characters that the tokenizer and Python's parser have read so far, in a list of one."""
    found = [0]
    tokenized, parsed = blocks.tokenize.generate_tokens, blocks.ast.parse

    def counted(readline):
        def line():
            text = readline()
            found[0] += len(text)
            return text

        return tokenized(line)

    def counted_code(code):
        found[0] += len(code)
        return parsed(code)

    monkeypatch.setattr(blocks.tokenize, "generate_tokens", counted)
    monkeypatch.setattr(blocks.ast, "parse", counted_code)
    return found


@pytest.mark.parametrize("reply", FLOODS.values(), ids=FLOODS)
def test_the_work_is_bounded_by_the_length(reply, read):
    """The patterns of before, which this does not count, took minutes to days for some of these."""
    parse(reply, blocks=Blocks.LENIENT, tags=True, outside_code=True)
    parse(reply, blocks=Blocks.REPL, tags=True)
    parse(reply, blocks=Blocks.REPL, tags=True, greedy=False)
    assert read[0] <= blocks._MOST_CHARS + (blocks._PASSES + 4) * len(reply)


def test_a_string_is_read_again_only_where_it_may_have_ended(read):
    blocks.scan(FLOODS["fences in a string"], cut=False)
    assert read[0] < N


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
