"""The meter and the journal: nothing unmetered, nothing lost, nothing asked twice."""

import asyncio
import json

import pytest
from bench import Answering, sample_of, session_over

from rlm_eval.budget import reservation
from rlm_eval.budget.limits import Limits
from rlm_eval.core.errors import (
    CallCancelled,
    EndpointGone,
    LimitReached,
    NoStorage,
    ProviderError,
    RunStopped,
)
from rlm_eval.core.types import Message, Outcome, Reply, Role, Slice, Usage
from rlm_eval.methods.long_context import LongContext
from rlm_eval.models import ON_SEND, Sampling
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.session.prompt_check import PromptCheck
from rlm_eval.storage.journal import JournalReader, ReplayJournal
from rlm_eval.storage.jsonl import count_torn
from rlm_eval.storage.prompt_slices import decode
from rlm_eval.storage.spend import Spend, spent

TEXT = " ".join(
    f"line {n} says that {n * 7919 % 1000} is the number of the day." for n in range(400)
)


def user(text: str) -> list[Message]:
    return [Message("user", text)]


async def test_a_finished_call_is_on_disk_before_its_reply_is_used(tmp_path):
    client = Answering(lambda messages: "seven")
    async with session_over(client, tmp_path, sample_of(TEXT)) as session:
        prompt = "Look:\n" + TEXT[1000:5000] + "\nWhat?"
        call = await session.call(user(prompt), role=Role.SUB, position="t0.b0", depth=1, parent=0)
        stored = JournalReader(tmp_path / "journal.jsonl").of(session.trajectory)
    assert stored == (call,)
    (_, parts), *_ = call.prompt.messages
    assert Slice(sample_of(TEXT).context.hash, 1000, 5000) in parts
    assert decode(parts, TEXT) == prompt
    assert call.usage == Usage(input=10, output=5)


async def test_resume_serves_what_was_answered_and_asks_the_rest(tmp_path):
    client = Answering(lambda messages: messages[-1].content.upper())
    sample = sample_of(TEXT)

    async def ask(session, words):
        return [(await session.call(user(w), role=Role.SUB, position="t0.b0")).reply for w in words]

    async with session_over(client, tmp_path, sample) as session:
        assert await ask(session, ["a", "b", "a"]) == ["A", "B", "A"]
    async with session_over(client, tmp_path, sample) as session:
        # Another order, one call more: matched by request and occurrence, not by order.
        assert await ask(session, ["b", "a", "a", "c"]) == ["B", "A", "A", "C"]
        assert [call.replayed for call in session.calls] == [True, True, True, False]
        assert session.diverged == 0  # going on behind the last reply is no divergence
        again = JournalReader(tmp_path / "journal.jsonl").of(session.trajectory)
        assert [call.reply for call in again] == ["B", "A", "A", "C"]
    assert [m[-1].content for m in client.asked] == ["a", "b", "a", "c"]
    async with session_over(client, tmp_path, sample) as session:
        assert await ask(session, ["a", "x"]) == ["A", "X"]
        assert session.diverged == 3  # two of "a" and "b", "c" were paid for and not asked again


async def test_the_clock_of_a_resumed_sample_goes_on_behind_what_is_stored(tmp_path):
    client = Answering(lambda messages: "x", latency=0.2)
    sample = sample_of(TEXT)
    async with session_over(client, tmp_path, sample) as session:
        first = await session.call(user("a"), role=Role.SUB, position="t0.b0")
    client.latency = 0.0
    async with session_over(client, tmp_path, sample) as session:
        ask = [session.call(user(w), role=Role.SUB, position="t0.b0") for w in ("a", "b")]
        again, beside = await asyncio.gather(*ask)
        behind = await session.call(user("c"), role=Role.SUB, position="t0.b1")
        assert (again.replayed, again.times) == (True, first.times)
        assert beside.times.submit < first.times.end  # asked in one batch with "a"
        assert behind.times.submit >= first.times.end >= 0.2
        assert session.elapsed() >= 0.2


async def test_another_request_epoch_or_sampling_is_not_served_from_the_journal(tmp_path):
    client = Answering(lambda messages: "x")
    sample = sample_of(TEXT)
    async with session_over(client, tmp_path, sample) as session:
        await session.call(user("q"), role=Role.ROOT, position="t0")
    for options in ({"epoch": 1}, {"sampling": Sampling(temperature=0.5)}):
        async with session_over(client, tmp_path, sample, **options) as session:
            call = await session.call(user("q"), role=Role.ROOT, position="t0")
            assert not call.replayed
    async with session_over(client, tmp_path, sample) as session:
        assert not (await session.call(user("q"), role=Role.ROOT, position="t1")).replayed
    assert len(client.asked) == 4


async def test_a_torn_last_record_is_skipped_and_told(tmp_path):
    client = Answering(lambda messages: "x")
    sample = sample_of(TEXT)
    async with session_over(client, tmp_path, sample) as session:
        await session.call(user("one"), role=Role.ROOT, position="t0")
        await session.call(user("two"), role=Role.ROOT, position="t1")
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert count_torn(path) == 1
    async with session_over(client, tmp_path, sample) as session:
        assert (await session.call(user("one"), role=Role.ROOT, position="t0")).replayed
        assert not (await session.call(user("two"), role=Role.ROOT, position="t1")).replayed
    assert len(JournalReader(path).of(1)) == 2


async def test_a_failed_call_is_kept_charged_and_never_served(tmp_path):
    error = ProviderError("down", usage=Usage(input=4, output=1), attempts=3)
    client = Answering(lambda messages: error)
    sample = sample_of(TEXT)
    async with session_over(client, tmp_path, sample) as session:
        with pytest.raises(ProviderError):
            await session.call(user("q"), role=Role.ROOT, position="t0")
        assert session.calls[0].error == "ProviderError: down"
        assert session.budget.tokens == 5
    client.answer = lambda messages: "now"
    async with session_over(client, tmp_path, sample) as session:
        assert (await session.call(user("q"), role=Role.ROOT, position="t0")).reply == "now"


async def test_a_cancelled_call_is_recorded_as_in_flight(tmp_path):
    client = Answering(lambda messages: "late", latency=30)
    async with session_over(client, tmp_path, sample_of(TEXT)) as session:
        task = asyncio.create_task(session.call(user("q"), role=Role.ROOT, position="t0"))
        while not client.asked:  # noqa: ASYNC110 - in flight
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.calls[0].error.startswith("Cancelled")


async def test_a_call_that_was_cancelled_before_it_was_sent_is_no_call(tmp_path):
    client = Answering(lambda messages: CallCancelled((), 0, 0))
    limits = Limits(tokens=1000, calls=1)
    async with session_over(client, tmp_path, sample_of(TEXT), limits=limits) as session:
        with pytest.raises(asyncio.CancelledError) as caught:
            await session.call(user("q"), role=Role.ROOT, position="t0")
        assert type(caught.value) is asyncio.CancelledError
        assert (session.calls, session.budget.tokens, session.budget.calls) == ([], 0, 0)
        client.answer = lambda messages: CallCancelled((Usage(input=7, output=2),), 2, 1)
        with pytest.raises(asyncio.CancelledError):
            await session.call(user("q"), role=Role.ROOT, position="t0")
    (call,) = session.calls
    assert (call.attempts, call.lost_attempts, call.failed_usage.output) == (2, 1, 2)


@pytest.mark.parametrize("kind", [RunStopped, EndpointGone])
async def test_a_call_that_ended_before_it_was_sent_is_no_call(tmp_path, kind):
    def fail(_messages):
        if kind is EndpointGone:  # an attempt was made, and met no server
            ON_SEND.get()(0)
        return kind("gone", attempts=0)

    client, limits = Answering(fail), Limits(tokens=1000, calls=1)
    async with session_over(client, tmp_path, sample_of(TEXT), limits=limits) as session:
        with pytest.raises(kind):
            await session.call(user("q"), role=Role.ROOT, position="t0")
        assert (session.calls, session.budget.tokens, session.budget.calls) == ([], 0, 0)
    manifest = {"schema_version": 1, "identity": "a", "facts": {}, "prices": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert spent(tmp_path) == Spend()


async def test_a_call_that_ends_before_it_is_sent_gives_its_reservation_back(tmp_path):
    """Cancelled while its prompt is measured, or refused by the journal: its siblings go on."""
    measuring = asyncio.Event()

    async def count(messages):
        measuring.set()
        await asyncio.sleep(30)

    client = Answering(lambda messages: Reply("x", "stop", Usage(input=90, output=5)))
    most = {"limits": Limits(tokens=2000, calls=2), "sampling": Sampling(max_output_tokens=500)}
    check = PromptCheck(count, exact=True)
    prompt = "word " * 250  # larger than what is left beside another reservation
    async with session_over(client, tmp_path, sample_of(TEXT), check=check, **most) as session:
        task = asyncio.create_task(session.call(user(prompt), role=Role.SUB, position="b"))
        await measuring.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (session.budget.tokens, session.budget.calls) == (0, 0)

    def refuse(*_):
        raise NoStorage("full")

    async def through_the_hook(messages, sampling):
        ON_SEND.get()(0)

    client.complete = through_the_hook
    async with session_over(client, tmp_path, sample_of(TEXT), **most) as session:
        session._journal.write_sent = refuse
        with pytest.raises(NoStorage):
            await session.call(user(prompt), role=Role.SUB, position="b")
        assert (session.budget.tokens, session.budget.calls) == (0, 0)


async def test_concurrent_calls_cannot_overspend_together(tmp_path):
    most = 90 + reservation.FRAME + 10  # of a call; it takes 15 (`Answering`)
    in_flight, peak = 0, 0

    class Counting(Answering):
        async def complete(self, messages, sampling):
            nonlocal in_flight, peak
            in_flight, peak = in_flight + 1, max(peak, in_flight + 1)
            reply = await super().complete(messages, sampling)
            in_flight -= 1
            return reply

    client = Counting(lambda messages: Reply("x", "stop", Usage(input=10, output=5)), latency=0.02)
    limits = Limits(tokens=2 * most + 50)
    sampling = Sampling(max_output_tokens=90)
    async with session_over(
        client, tmp_path, sample_of(TEXT), limits=limits, sampling=sampling
    ) as session:
        calls = [session.call(user(str(n)), role=Role.SUB, position="b") for n in range(30)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    # None ends on the reservations of its siblings; those that do not fit alone are refused.
    refused = [r for r in results if isinstance(r, LimitReached)]
    assert {r.outcome for r in refused} == {Outcome.LIMIT_TOKENS}
    assert peak == 2
    assert session.budget.tokens == 15 * len(client.asked) > limits.tokens - most - 15
    assert len(refused) + len(client.asked) == 30


async def test_billed_failed_attempts_count(tmp_path):
    reply = Reply("x", "stop", Usage(input=5, output=1), attempts=2, failed=(Usage(5, None, 0),))
    client = Answering(lambda messages: reply)
    async with session_over(client, tmp_path, sample_of(TEXT)) as session:
        call = await session.call(user("q"), role=Role.ROOT, position="t0")
        assert session.budget.tokens == 11
        assert JournalReader(tmp_path / "journal.jsonl").of(session.trajectory) == (call,)


async def test_a_seed_differs_by_sample_epoch_and_place_but_not_by_run(tmp_path):
    seeds = []

    class Seeing(Answering):
        async def complete(self, messages, sampling):
            seeds.append(sampling.seed)
            return await super().complete(messages, sampling)

    for identity, epoch, position in [
        ("0000aaaa", 0, "t0"),
        ("0000aaaa", 1, "t0"),
        ("0000aaaa", 0, "t1"),
        ("0000bbbb", 0, "t0"),
        ("0000aaaa", 0, "t0"),
    ]:
        folder = tmp_path / str(len(seeds))
        folder.mkdir()
        async with session_over(
            Seeing(lambda messages: "x"),
            folder,
            sample_of(TEXT, identity=identity),
            sampling=Sampling(seed=3),
            epoch=epoch,
        ) as session:
            await session.call(user("q"), role=Role.ROOT, position=position)
    assert len(set(seeds[:4])) == 4
    assert seeds[4] == seeds[0]


async def test_a_replay_counts_what_its_journal_does_not_hold_and_writes_nothing(tmp_path):
    path = tmp_path / "journal.jsonl"
    async with session_over(
        Answering(lambda messages: "one"), tmp_path, sample_of(TEXT)
    ) as session:
        await session.call(user("first"), role=Role.ROOT, position="t0")
    before = path.read_bytes()
    tape = ReplayJournal(JournalReader(path), 0)
    tape.write_count("request", 3)
    assert tape.counts == {"request": 3}
    assert path.read_bytes() == before


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS"])
async def test_an_answer_cut_at_its_cap_is_truncated_in_every_providers_words(tmp_path, reason):
    client = Answering(lambda messages: Reply("sev", reason, Usage(input=10, output=3)))
    sample = sample_of(TEXT)
    async with session_over(client, tmp_path, sample) as session:
        trajectory, _ = await run_rollout(Unscored(), LongContext(), sample, session)
    assert trajectory.outcome is Outcome.TRUNCATED
    assert trajectory.calls[0].is_cut


class Unscored:
    """A task as far as `run_rollout` needs one."""

    def score(self, sample, answer):
        return ()
