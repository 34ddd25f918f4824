"""Chaos: money that nobody reported: time-outs, lost replies, kills; and prompts of dense text."""

import asyncio
import time

import fake_server
import pytest
from bench import Answering, sample_of, session_over
from fake_server import FakeServer, Fault, always, rules
from runs import RULES, cell_folder, overrides, records, run_here, server_process, start

from rlm_eval.budget import reservation
from rlm_eval.budget.limits import Limits
from rlm_eval.budget.prices import call_cost, table
from rlm_eval.budget.reservation import most_tokens
from rlm_eval.commands.status import main as status
from rlm_eval.core.errors import LimitReached, ProviderError
from rlm_eval.core.types import Call, Message, Outcome, Prompt, Reply, Role, Usage
from rlm_eval.models import Sampling
from rlm_eval.storage.budget_ledger import balance
from rlm_eval.storage.journal import JournalReader, stored_call
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.storage.spend import Spend, spent

ONE = ["method=long_context", "length=1k", "root.backoff_s=0.001", "root.price=gpt-4o-mini"]
CAP = "root.sampling.max_output_tokens=100"
DENSE = {
    "cjk": "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏" * 40,
    "digits": "8731902465" * 90,
    "emoji": "🙂🚀🧪🎲" * 80,
    "code": "if(a[i]!=b[j]){x+=f(*p++,&q->r);}\n" * 30,
    "base64": "q8ZkV1tXbB0aUe5Rw3yLh7Jd" * 40,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def user(text: str) -> list[Message]:
    return [Message("user", text)]


# -- lost replies


@pytest.mark.parametrize("kind", ["hang", "drop", "reset", "bad_json", "stream_cut"])
async def test_chaos_servers_lost_replies_count_against_budgets(tmp_path, capsys, kind):
    def plan(_number, request):
        proof = request["messages"][-1]["content"].startswith("Reply with the word")
        return None if proof else Fault(kind)

    stream = f"root.stream={str(kind == 'stream_cut').lower()}"
    given = [
        *overrides(tmp_path, "", *ONE, CAP, stream),
        "n=12", "root.retries=2", "root.timeout_s=0.3", "max_samples=1", "budget.tokens=9000",
    ]  # fmt: skip
    async with FakeServer(reply=rules(RULES), faults=plan) as server:
        summary = await run_here([*given, f"root.base_url={server.url}"])
        asked = len(server.log) - 1
        sent = server.total["lost_prompt_tokens"] + server.total["lost_completion_tokens"]
    (why,) = summary.unfinished.values()
    assert "estimate for lost replies" in why
    assert sent <= 9000
    assert 0 < asked < 12  # of 36 that would have been sent
    told = spent(cell_folder(tmp_path))
    # The first one died on the connection that the preflight had left idle: it was not received.
    stale = kind == "drop"
    assert (told.tokens, told.cost, told.estimated) == (0, 0.0, asked - stale)
    assert 9000 >= told.estimated_tokens > (asked - stale) * 900
    assert told.estimated_cost > 0
    assert status([str(tmp_path / "test")]) == 1
    shown = capsys.readouterr().out
    assert f"estimated besides: up to {told.estimated_tokens:,} tokens" in shown
    row, *_ = records(tmp_path)
    assert row["outcome"] == "provider_error"
    assert (row["lost_tokens_estimated"] > 3 * 900, row["input_tokens"]) == (True, 0)
    assert row["lost_cost_estimated"] > row["cost_cold"] == 0
    # A resumed process knows of it.
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here([*given, f"root.base_url={server.url}"])
        later = server.total["prompt_tokens"] + server.total["completion_tokens"]
    assert later + told.estimated_tokens <= 9000


async def test_chaos_servers_a_limit_reached_by_lost_replies_is_no_outcome(tmp_path):
    """What the server lost is not the method's: the sample is missing, and redone it fits."""
    lost = ProviderError("gone", attempts=3)
    lost.lost_attempts = 3
    client = Answering(lambda messages: Reply("x", "stop", Usage(input=100, output=10)))
    limits, sampling = Limits(tokens=1500), Sampling(max_output_tokens=200)
    sample = sample_of("text")
    async with session_over(client, tmp_path, sample, limits=limits, sampling=sampling) as session:
        await session.call(user("one " * 90), role=Role.ROOT, position="t0")
        client.answer = lambda messages: lost
        with pytest.raises(ProviderError):
            await session.call(user("two " * 90), role=Role.SUB, position="t0.b0")
        assert session.budget.tokens == 110 + 3 * (200 + 120 + 8)
        with pytest.raises(LimitReached, match="without the estimate for lost") as caught:
            await session.call(user("three " * 90), role=Role.ROOT, position="t1")
        assert caught.value.outcome is Outcome.PROVIDER_ERROR
    client.answer = lambda messages: Reply("x", "stop", Usage(input=100, output=10))
    async with session_over(client, tmp_path, sample, limits=limits, sampling=sampling) as session:
        for position, word in (("t0", "one "), ("t0.b0", "two "), ("t1", "three ")):
            await session.call(user(word * 90), role=Role.ROOT, position=position)
        assert session.budget.tokens == 330


async def test_chaos_servers_a_lost_reply_that_came_at_last_has_its_own_prompt(tmp_path):
    reply = Reply("x", "stop", Usage(input=50, output=7), attempts=3, lost_attempts=2)
    client = Answering(lambda messages: reply)
    sampling = Sampling(max_output_tokens=30)
    async with session_over(client, tmp_path, sample_of("t"), sampling=sampling) as session:
        call = await session.call(user("q"), role=Role.ROOT, position="t0")
        assert (call.estimate, call.estimated_attempts) == (Usage(input=50, output=30), 2)
        assert session.budget.tokens == 57 + 2 * 80
        assert JournalReader(tmp_path / "journal.jsonl").of(session.trajectory) == (call,)


async def test_chaos_servers_usage_that_is_not_reported_is_estimated(tmp_path):
    async with FakeServer(reply=rules(RULES), faults=always(Fault("no_usage"))) as server:
        await run_here(overrides(tmp_path, server.url, *ONE, CAP, "n=1"))
    told, (row,) = spent(cell_folder(tmp_path)), records(tmp_path)
    assert (told.tokens, told.estimated, told.unpriced) == (0, 1, 1)
    assert row["input_tokens"] is None
    assert row["lost_tokens_estimated"] == told.estimated_tokens > 1000


# -- kills


@pytest.mark.slow
def test_chaos_servers_what_was_in_flight_at_a_kill_counts_as_possibly_billed(tmp_path, capsys):
    with server_process(tmp_path, "--latency", "3") as server:
        given = overrides(tmp_path, server.url, *ONE, CAP, "n=4", "max_samples=3")
        given += ["root.concurrency=2", "root.preflight=false"][:1]
        process = start(given)
        end = time.monotonic() + 60
        while len(server.get("/_log")) < 3:  # the proof, and two of three samples
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
        process.communicate()
    told = spent(cell_folder(tmp_path))
    assert (told.calls, told.tokens, told.estimated) == (2, 0, 2)  # the third was never sent
    assert 3000 > told.estimated_tokens > 2000
    assert status([str(tmp_path / "test")]) == 1
    assert "of 2 requests without reported usage" in capsys.readouterr().out
    with server_process(tmp_path) as server:
        # They are reserved: of 5 calls 2 are gone, though all 4 samples are asked anew.
        given = [*given, f"root.base_url={server.url}", "budget.calls=5", "max_samples=1"]
        _, words = (process := start(given)).communicate(timeout=60)
        assert process.returncode == 1, words
        assert len(server.get("/_log")) == 1 + 3
    assert balance(tmp_path / "test").startswith("calls 5: 5 spent")


async def test_chaos_servers_what_was_not_sent_is_not_journalled_as_sent(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here(overrides(tmp_path, server.url, *ONE, "n=2"))
    lines = list(read_lines(cell_folder(tmp_path) / "journal.jsonl"))
    kinds = [(line["k"], line["t"], line["id"]) for line in lines if line["k"] in ("sent", "call")]
    assert kinds.index(("sent", 0, 0)) < kinds.index(("call", 0, 0))
    assert sum(kind == "sent" for kind, *_ in kinds) == 2
    assert spent(cell_folder(tmp_path)).estimated == 0


# -- prices


def test_chaos_servers_each_failed_attempt_has_its_own_tier():
    key = next(key for key, price in table().items() if price.long)
    price = table()[key]
    above = price.long[0][0]
    below = Usage(input=above * 2 // 3, output=10)
    line = {
        "k": "call", "t": 0, "c": 0, "id": 0, "role": "root", "position": "t0", "model": "m",
        "reply": "x", "usage": [below.input, None, 10, None], "times": [0, 0, None, 1],
        "failed_usage": [[below.input, None, 10, None]] * 2,
    }  # fmt: skip
    call = stored_call(line, line, Prompt(()))
    base = (below.input * price.base.input + 10 * price.base.output) / 1e6
    assert call_cost({"root": key})(call)[0] == pytest.approx(3 * base)
    older = stored_call(line | {"failed_usage": [5, None, 1, None]}, line, Prompt(()))
    assert older.failed == (Usage(5, None, 1, None),)  # a journal that kept their sum


# -- reservations


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
def test_chaos_servers_the_bound_holds_for_dense_text(text):
    tokenizer = pytest.importorskip("rlm_eval.core.tokens").get_tokenizer
    for name in ("o200k_base", "cl100k_base"):
        assert tokenizer(name).count(text) <= most_tokens(text)
    # Tokenizers of single digits, characters or bytes are no denser than that.
    letters = sum(c.isascii() and c.isalpha() for c in text)
    assert most_tokens(text) >= len(text.encode()) - letters * 2 // 3 - text.count(" ")


def test_chaos_servers_the_bound_of_prose_is_not_far_off():
    prose = "The committee met on the third day and agreed that the old bridge should be kept. "
    assert len(prose) / 4 < most_tokens(prose * 50) / 50 < len(prose) / 1.7


@pytest.mark.parametrize("limit", ["budget", "cell_budget"])
async def test_chaos_servers_dense_prompts_keep_to_the_budget(tmp_path, monkeypatch, limit):
    """A tokenizer of bytes, which no bound but that of bytes holds for."""
    monkeypatch.setattr(fake_server, "tokens_of", lambda text: len(text.encode()))
    async with FakeServer(reply=lambda request: "ok", latency=0.02) as server:
        given = overrides(tmp_path, server.url, *ONE, CAP, "n=8", "max_samples=8")
        await run_here([*given, "length=2k", f"{limit}.tokens=20000"])
        used = server.total["prompt_tokens"] + server.total["completion_tokens"]
    assert 7000 < used <= 20000


@pytest.mark.parametrize("name", DENSE)
async def test_chaos_servers_dense_calls_keep_to_a_samples_limit(tmp_path, name):
    """One token a byte, a batch at once: what is reported stays below the limit."""

    class Dense(Answering):
        async def complete(self, messages, sampling):
            size = len(messages[0].content.encode())
            self.answer = lambda _messages: Reply("x", "stop", Usage(input=size + 12, output=30))
            return await super().complete(messages, sampling)

    client, limits = Dense(lambda messages: "x", latency=0.01), Limits(tokens=9000)
    sampling = Sampling(max_output_tokens=30)
    async with session_over(
        client, tmp_path, sample_of("t"), limits=limits, sampling=sampling
    ) as session:
        calls = [
            session.call(user(f"{k} {DENSE[name]}"), role=Role.SUB, position="b") for k in range(30)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert 4000 < session.budget.tokens <= 9000
    assert {type(r) for r in results} <= {LimitReached, Call}


async def test_chaos_servers_a_prompt_that_does_not_fit_by_bytes_is_counted(tmp_path):
    """English text of 12 kB takes 3k tokens: a limit of 5k must not refuse it."""
    asked = []

    async def count(messages):
        asked.append(messages)
        return 3000

    client = Answering(lambda messages: Reply("x", "stop", Usage(input=3000, output=10)))
    limits, sampling = Limits(tokens=5000), Sampling(max_output_tokens=100)
    async with session_over(
        client, tmp_path, sample_of("t"), limits=limits, sampling=sampling
    ) as session:
        session._endpoints["root"] = reservation.replace(session._endpoints["root"], count=count)
        await session.call(user("word " * 2400), role=Role.ROOT, position="t0")
        assert session.budget.tokens == 3010
        with pytest.raises(LimitReached):
            await session.call(user("word " * 2400), role=Role.ROOT, position="t1")
        await session.call(user("short"), role=Role.ROOT, position="t2")
    assert len(asked) == 1  # the same prompt is counted once, a short one not at all


async def test_chaos_servers_a_reply_above_its_cap_counts_in_full_and_is_told_once(
    tmp_path, caplog
):
    client = Answering(lambda messages: Reply("x", "stop", Usage(input=20, output=900), model="m9"))
    limits, sampling = Limits(tokens=1500), Sampling(max_output_tokens=50)
    async with session_over(
        client, tmp_path, sample_of("t"), limits=limits, sampling=sampling
    ) as session:
        await session.call(user("a"), role=Role.ROOT, position="t0")
        await session.call(user("b"), role=Role.ROOT, position="t1")
        assert session.budget.tokens == 1840
        with pytest.raises(LimitReached):
            await session.call(user("c"), role=Role.ROOT, position="t2")
    assert caplog.text.count("m9: a reply of 900 tokens is above its cap of 50") == 1


async def test_chaos_servers_a_sample_waits_for_what_is_in_flight(tmp_path):
    """A batch whose reservations exceed the limit ends with every call answered."""
    async with FakeServer(reply=rules(RULES), latency=0.02) as server:
        given = overrides(tmp_path, server.url, "n=1", "root.sampling.max_output_tokens=2000")
        await run_here([*given, "limits.tokens=20000"])  # its 9 sub-calls reserve 28,000
    (row,) = records(tmp_path)
    assert (row["outcome"], row["score"], row["n_failed_calls"]) == ("ok", 1.0, 0)
    assert row["n_sub_calls"] == 9


def test_chaos_servers_estimates_are_never_mixed_into_what_was_reported():
    told = Spend(3, 100, 0.5, estimated=2, estimated_tokens=900, estimated_cost=0.1)
    assert str(told) == (
        "3 calls, 100 tokens, $0.5000; estimated besides: up to 900 tokens, $0.1000 of 2 requests "
        "without reported usage"
    )
    assert told.budgeted == {"tokens": 1000, "cost": 0.6, "calls": 3}
