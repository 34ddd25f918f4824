"""What the journal costs: bytes, milliseconds a call, memory and seconds to resume of a large run.

    PYTHONPATH=. python benchmarks/harness_overhead/journal.py            (about a minute)
    PYTHONPATH=. python benchmarks/harness_overhead/journal.py --calls 20000 --samples 200

A trajectory of 4,000 sub-calls over a context of 40 MB: how large is its journal, is every prompt
decoded exactly, what does a call cost? The same of a mixed trajectory (slices, two slices in one
prompt, edited copies, prompts without any of the context). A run of 100,000 calls: peak memory,
seconds to resume, seconds to read it all for the records. Costs are processor time, all threads
together: they do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.core.types import Context, Message, Reply, Role, Sample, Usage, text_hash
from rlm_eval.models import ON_SEND, EndpointInfo, Sampling
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal, JournalReader
from rlm_eval.storage.jsonl import JsonlLog, Writer
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.prompt_slices import SourceIndex, decode


class Instant:
    """A client that answers at once; what is sent is journalled as for a real one."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:  # noqa: ARG002
        ON_SEND.get()(0)
        return Reply("none", "stop", Usage(input=len(messages[-1].content) // 4, output=1))

    async def check(self) -> EndpointInfo:
        return EndpointInfo("instant")


def text_of(chars: int, seed: int = 0) -> str:
    """Lines of words; no two lines alike."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnoprstuvw"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(5000)]
    lines, size = [], 0
    while size < chars:
        lines.append(f"{len(lines)}: {' '.join(draw.choices(words, k=12))}")
        size += len(lines[-1]) + 1
    return "\n".join(lines)[:chars]


def sample_of(text: str, identity: str) -> Sample:
    context = Context(text_hash(text), len(text), len(text) // 4, "approx4", lambda: text)
    return Sample(identity, "bench", 0, "?", context, "", 1, "c", "i")


def endpoint() -> Endpoint:
    return Endpoint("instant", Instant(), Sampling(), None, lambda _usage: None)


def writer(lease: Lease) -> Writer:
    """As in a run: every line is marked, and the lease looked at before it."""
    return Writer(lease.claim(), lease.check)


async def ask(session: Session, prompt: str) -> float:
    """Processor milliseconds of one sub-call, the (instant) reply included."""
    began = time.process_time()
    await session.call([Message("user", prompt)], role=Role.SUB, position="t0", model="sub")
    return (time.process_time() - began) * 1000


def contiguous(text: str, count: int) -> Callable[[int], str]:
    size = len(text) // count
    return lambda i: f"Chunk {i}. Is a kettle named here?\n\n{text[i * size : (i + 1) * size]}"


def mixed(text: str, count: int) -> Callable[[int], str]:
    """A quarter each: one slice, two slices, an edited copy, no slice."""
    draw = random.Random(1)
    size = len(text) // count

    def prompt(i: int) -> str:
        piece = text[i * size : (i + 1) * size]
        kind = i % 4
        if kind == 1:
            at = draw.randrange(len(text) - 4000)
            return f"{piece}\n---\n{text[at : at + 4000]}\nDo these agree?"
        if kind == 2:
            return "\n".join(f"> {line}" for line in piece.split("\n")) + "\nSum up."
        if kind == 3:
            return "Notes so far: " + " ".join(str(draw.random()) for _ in range(400))
        return f"Sum up:\n{piece}"

    return prompt


async def trajectory(text: str, count: int, make: Callable[[int], str], name: str) -> None:
    """Write `count` calls, report, decode every prompt."""
    began = time.perf_counter()
    index = SourceIndex(text_hash(text), text)
    indexing = time.perf_counter() - began
    sample = sample_of(text, "00000000")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        async with Lease(Path(folder)) as lease, JsonlLog(path, writer=writer(lease)) as log:
            session = Session(
                sample, 0, {"sub": endpoint(), "root": endpoint()}, Journal(log), Budget(Limits()),
                None, index,
            )  # fmt: skip
            prompts = [make(i) for i in range(count)]
            spent = sorted([await ask(session, prompt) for prompt in prompts])
        calls = JournalReader(path).of(0)
        began = time.process_time()
        for prompt in prompts:
            index.encode(prompt)
        encoding = (time.process_time() - began) / count * 1000
        again = Path(folder) / "again.jsonl"
        async with Lease(Path(folder)) as lease, JsonlLog(again, writer=writer(lease)) as log:
            journal = Journal(log)
            journal.start(sample.id, 0, sample.context.hash)
            began = time.process_time()
            for call in calls:
                journal.write(0, "0" * 20, call)
            writing = (time.process_time() - began) / count * 1000
        exact = [decode(call.prompt.messages[0][1], text) for call in calls] == prompts
        print(
            f"{name}: {count} calls over {len(text) / 1e6:.0f} MB: journal "
            f"{path.stat().st_size / 1e6:.2f} MB, decoded exactly: {exact}; a call "
            f"{sum(spent) / count:.3f} ms on average, {spent[count // 2]:.3f} ms median, "
            f"{spent[int(count * 0.99)]:.3f} ms at 99 %, of which the journal "
            f"{encoding + writing:.3f} ms (slices {encoding:.3f}, line {writing:.3f}); index once "
            f"{indexing:.1f} s of wall time"
        )


async def large_run(samples: int, calls: int) -> None:
    """Write the journal of a large run through sessions, then resume it and read it."""
    each = calls // samples
    texts = [text_of(200_000, seed) for seed in range(8)]
    indexes = [SourceIndex(text_hash(text), text) for text in texts]
    slots = {"sub": endpoint(), "root": endpoint()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"

        async def run(wanted: dict[tuple[str, int], int] | None) -> tuple[float, float]:
            began = time.process_time()
            async with Lease(Path(folder)) as lease, JsonlLog(path, writer=writer(lease)) as log:
                journal = Journal(log, wanted)
                opened = time.process_time() - began
                for number in range(samples):
                    identity = f"{number:08x}"
                    if wanted is not None and (identity, 0) not in wanted:
                        continue
                    which = number % len(texts)
                    session = Session(
                        sample_of(texts[which], identity), 0, slots, journal, Budget(Limits()),
                        None, indexes[which],
                    )  # fmt: skip
                    make = contiguous(texts[which], each)
                    for i in range(each):
                        await ask(session, make(i))
                    assert not session.diverged
            return opened, time.process_time() - began

        _, writing = await run(None)
        size = path.stat().st_size
        half = {(f"{n:08x}", 0): 0 for n in range(samples - 20, samples)}
        opened, _ = await run(half)
        began = time.process_time()
        places = JournalReader(path)
        seen = sum(len(places.of(number)) for number in places)
        reading = time.process_time() - began
    print(
        f"large run: {calls} calls of {samples} samples: journal {size / 1e6:.0f} MB, "
        f"written in {writing:.1f} s ({writing / calls * 1000:.3f} ms a call); read to resume 20 "
        f"samples in {opened:.1f} s; {seen} calls read back in {reading:.1f} s; peak memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chars", type=int, default=40_000_000)
    parser.add_argument("--sub-calls", type=int, default=4000)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    await large_run(options.samples, options.calls)
    text = text_of(options.chars)
    count = options.sub_calls
    await trajectory(text, count, contiguous(text, count), "contiguous")
    await trajectory(text, count, mixed(text, count), "mixed")


if __name__ == "__main__":
    asyncio.run(main())
