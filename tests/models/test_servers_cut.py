"""A prompt that a server cut without an error is noticed; a harmless low count is not."""

import base64
import json
import random
import re
from pathlib import Path

import pytest
from fake_server import FakeServer, find_number
from hypothesis import given
from hypothesis import strategies as st
from runs import cell_folder, overrides, records, run_here

from rlm_eval.commands.report import main as report
from rlm_eval.core.tokens import get_tokenizer
from rlm_eval.core.types import Message, Usage
from rlm_eval.session.prompt_check import PromptCheck, least_tokens

PROSE = "The harbour was quiet in the morning and the boats had not yet come back from sea. "
PYTHON = Path(json.__file__).parent.joinpath("decoder.py").read_text()
TEXTS = {
    "prose": PROSE * 200,
    "python": PYTHON,
    "indented code": "\n".join(" " * 32 + "if (x) { return; }" for _ in range(1500)),
    "json": json.dumps([{"id": i, "name": f"user{i}", "value": i / 7} for i in range(900)]),
    "table": "\n".join("| " + " | ".join(["-" * 20] * 6) + " |" for _ in range(300)),
    "base64": base64.b64encode(random.Random(0).randbytes(12_000)).decode(),
    "digits": " ".join(str(random.Random(i).randrange(10**7)) for i in range(2500)),
    "chinese": "人工智能是计算机科学的一个分支，它企图了解智能的实质，并生产出一种新的智能机器。"
    * 120,
    "japanese": "人工知能とは、計算という概念とコンピュータという道具を用いて知能を研究する。"
    * 120,
    "korean": "인공지능은 인간의 학습능력과 추론능력을 인공적으로 구현하려는 분야이다. " * 120,
    "russian": "Искусственный интеллект выполняет творческие функции человека. " * 150,
    "german": "Die Donaudampfschifffahrtsgesellschaft veröffentlichte eine Verordnung. " * 150,
}


def usage(tokens, cached=None):
    return Usage(input=int(tokens), cached=cached, output=5)


async def told(text, reported, *, counted=None, exact=True):
    """What the check says of one prompt of which the server reported so much."""

    async def count(_messages):
        return counted

    check = PromptCheck(count if counted else None, exact=exact)
    return check.cut(await check.expect([Message("user", text)]), reported)


@pytest.mark.parametrize("tokenizer", ["o200k_base", "cl100k_base", "approx4"])
@pytest.mark.parametrize("kind", TEXTS)
async def test_servers_that_count_the_whole_prompt_raise_no_alarm(kind, tokenizer):
    text = TEXTS[kind]
    try:
        tokens = get_tokenizer(tokenizer).count(text)
    except Exception as missing:  # noqa: BLE001 - without ranks there is nothing to count with
        pytest.skip(str(missing))
    assert await told(text, usage(tokens)) is None
    assert await told(text, usage(tokens + 60)) is None, "a chat template adds tokens"
    if kind in ("prose", "python", "german"):
        assert await told(text, usage(tokens * 0.67)) is None, "a tokenizer with a third fewer"


@pytest.mark.parametrize("kind", TEXTS)
async def test_servers_that_count_an_eighth_are_noticed_from_the_text_alone(kind):
    text = TEXTS[kind]
    whole = {"table": 9500, "base64": 8000}.get(kind) or get_tokenizer("approx4").count(text)
    if kind == "table":
        pytest.skip("dashes may be few tokens: nothing can be said from the text alone")
    assert (await told(text, usage(whole / 8)) or 0) > whole / 8


async def test_servers_that_cut_prose_in_half_are_noticed_from_the_text_alone():
    tokens = get_tokenizer("approx4").count(TEXTS["prose"])
    assert await told(TEXTS["prose"], usage(0.48 * tokens * 0.85)) is not None


@pytest.mark.parametrize("kind", TEXTS)
async def test_servers_cut_is_exact_where_the_prompt_is_counted(kind):
    text = TEXTS[kind]
    for tokens in (5000, 20_000):
        assert await told(text, usage(tokens * 0.8), counted=tokens) == tokens
        assert await told(text, usage(tokens * 0.95), counted=tokens) is None
        own = {"counted": tokens, "exact": False}
        assert await told(text, usage(tokens * 0.67), **own) is None, "its tokenizer may differ"
        assert await told(text, usage(tokens * 0.5), **own) == tokens


async def test_servers_that_leave_cached_tokens_out_raise_no_alarm():
    first, second = PROSE * 300 + "Who came back?", PROSE * 300 + "When did they come?"
    check = PromptCheck(None, exact=True)
    assert check.cut(await check.expect([Message("user", first)]), usage(5100)) is None
    # The same beginning once more: reported apart, or silently left out.
    assert check.cut(await check.expect([Message("user", second)]), usage(80, 5020)) is None
    assert check.cut(await check.expect([Message("user", second)]), usage(80)) is None
    assert (
        check.cut(await check.expect([Message("user", PROSE[::-1] * 300)]), usage(80)) is not None
    )


async def grown(turns, report):
    """The turn at which a growing history is noticed; `report`: (whole, new) tokens -> counted."""
    check, text, whole = PromptCheck(None, exact=True), "", 0
    for turn, new in enumerate(turns):
        text += new
        tokens = get_tokenizer("approx4").count(new)
        whole += tokens
        reported = usage(report(whole, tokens))
        if check.cut(await check.expect([Message("user", text)]), reported) is not None:
            return turn
    return None


@pytest.mark.parametrize("turn", [600, 1000, 1800])
async def test_servers_that_cut_a_growing_history_are_noticed(turn):
    turns = [(PROSE * 500)[: 4 * turn + 200 * i] for i in range(20)]
    noticed = await grown(turns, lambda whole, _new: min(whole, 4096))
    assert noticed is not None
    assert noticed * turn < 2 * 4096


async def test_servers_that_count_only_new_turns_raise_no_alarm():
    mixed = ["Find the key. ", *TEXTS.values(), PROSE * 3, *TEXTS.values()]
    for turns in (mixed, ["Find it. ", *[PROSE * 100] * 20], [PROSE * (i + 1) for i in range(40)]):
        assert await grown(turns, lambda _whole, new: new + 9) is None


async def test_servers_that_cached_what_an_earlier_process_sent_raise_no_alarm():
    check = PromptCheck(None, exact=True)
    check.replayed([Message("user", PROSE * 300)])
    assert check.cut(await check.expect([Message("user", PROSE * 310)]), usage(180)) is None


async def test_servers_cut_every_prompt_though_they_begin_alike():
    check = PromptCheck(None, exact=True)
    for question in ("Who came back?", "When did they come?", "Which boat?"):
        expected = await check.expect([Message("user", PROSE * 300 + question)])
        assert check.cut(expected, usage(512)) is not None


async def test_servers_without_usage_and_small_prompts_say_nothing():
    assert await told(PROSE * 300, Usage()) is None
    assert await told("one two three", usage(1)) is None
    assert await told(PROSE * 300, usage(25)) is None, "no server has such a window"
    assert await told(PROSE * 300, usage(64)) is not None


async def test_servers_are_asked_to_count_only_as_prompts_grow():
    asked = []

    async def count(messages):
        asked.append(len(messages[0].content))
        return len(messages[0].content) // 4

    check = PromptCheck(count, exact=True)
    for size in (300, 300, 299, 310, 100, 600, 600, 620):
        text = PROSE * size
        expected = await check.expect([Message("user", text)])
        assert check.cut(expected, usage(len(text) // 4)) is None
    assert asked == [len(PROSE) * 300, len(PROSE) * 600]


def test_least_tokens_of_runs_and_of_nothing():
    assert least_tokens("") == 0
    assert least_tokens("=" * 50_000) == 1
    assert least_tokens(" \n\t " * 1000) == 0


@given(st.text("aB7_-. \n\x1c\u00e9\u2003\u4e2d", max_size=120))
def test_least_tokens_is_what_its_description_says(text):
    short = re.sub(r"(.)\1{3,}", r"\1", text, flags=re.DOTALL)
    wide = len(re.findall("[\u2e80-\U0010ffff]", short))
    short = re.sub("[\u2e80-\U0010ffff]", " ", short)
    words = [max(1, len(word) // 8) for word in short.split()]
    pieces = re.findall(r"[A-Za-z]+|[0-9]{1,3}|[^\w\s]+", short)
    least = max(sum(words), min(0.85 * len(pieces), len(short) / 4.5))
    assert least_tokens(text) == least + 0.3 * wide


async def test_servers_cut_is_an_outcome_that_is_missing_and_redone(tmp_path, capsys):
    async with FakeServer(reply=find_number, cuts=512) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "length=8k", "n=3")
        summary = await run_here(given)
        (why,) = summary.unfinished.values()
        assert "3 server_cut" in why
        shown = capsys.readouterr().err
        assert "counted 512 prompt tokens" in shown
        assert "root.window=512" in shown
        for row in records(tmp_path):
            assert (row["outcome"], row["score"]) == ("server_cut", None)
            assert (row["coverage"], row["evidence_seen"], row["failure"]) == (None, None, None)
            assert row["n_server_cut_calls"] == 1
        assert not (cell_folder(tmp_path) / "DONE").exists()
        report([str(tmp_path / "test")])
        text = (tmp_path / "test" / "report" / "report.html").read_text()
        assert "In 3 calls the server cut the prompt" in text
        asked = len(server.log)
        server.cuts = None  # its owner raised the window
        assert not (await run_here(given)).unfinished
        assert len(server.log) == asked + 1 + 3, "every cut sample was asked again, once"
    assert [row["outcome"] for row in records(tmp_path)] == ["ok"] * 3
    assert all(row["re_rolls"] == 1 for row in records(tmp_path))
    assert all(row["score"] is not None and row["coverage"] == 1.0 for row in records(tmp_path))


async def test_servers_that_cut_a_sub_call_make_a_column_and_a_caveat(tmp_path, capsys):
    done = "answer['content'] = '7'\nanswer['ready'] = True"
    code = f"```python\nfound = llm_query(context)\n{done}\n```"
    async with FakeServer(reply=lambda request: code, cuts=1500, counts=True) as server:
        given = overrides(tmp_path, server.url, "method=rlm", "length=8k", "n=2")
        assert not (await run_here(given)).unfinished
    assert "cut the prompt without an error" in capsys.readouterr().err
    for row in records(tmp_path):
        assert row["outcome"] == "ok"
        assert row["n_server_cut_calls"] == 1
        assert (row["coverage"], row["failure"]) == (None, "prompt_cut")


async def test_servers_in_anthropics_dialect_are_checked_too(tmp_path):
    async with FakeServer(reply=find_number, cuts=512) as server:
        given = overrides(
            tmp_path, server.url, "method=long_context", "length=8k", "n=1",
            "root._target_=rlm_eval.models.http.anthropic.AnthropicModel",
        )  # fmt: skip
        (why,) = (await run_here(given)).unfinished.values()
    assert "1 server_cut" in why
