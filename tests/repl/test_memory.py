"""REPLs that do not fit into memory wait; none waits for itself, and none for ever."""

import asyncio
import signal
from contextlib import AsyncExitStack
from contextvars import Context

import orjson
import psutil
import pytest

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl import ReplConfig
from rlm_eval.repl.memory import WORKER_BYTES, Memory, free_bytes, held_bytes
from rlm_eval.repl.pool import SandboxPool

TEXT = "words and words " * 400_000


@pytest.fixture
async def small():
    """A pool with room for two REPLs on one context of 6 MB."""
    async with SandboxPool(ReplConfig()) as pool:
        assert pool._memory.used == 0
        assert pool._memory.total > WORKER_BYTES
        pool._memory = Memory(2 * WORKER_BYTES + held_bytes(TEXT))
        yield pool
        assert pool._memory.used == 0


def stranger(pool, text, key):
    """A task that holds no REPL yet opens one: what it read there."""

    async def run():
        async with pool.open(text, {}, key=key) as repl:
            return (await repl.run("print(len(context))")).stdout

    return asyncio.create_task(run(), context=Context())


async def test_one_that_does_not_fit_waits_until_others_are_closed(small, caplog):
    async with small.open(TEXT, {}, key="k"):
        # The context is counted once, so that another on it fits; one on another does not.
        assert await stranger(small, TEXT, "k") == f"{len(TEXT)}\n"
        assert "REPLs wait" not in caplog.text
        other = stranger(small, TEXT + "more", "l")
        cancelled = stranger(small, TEXT + "more", "l")
        async with asyncio.timeout(60):
            while "REPLs wait for memory" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert not other.done()
        cancelled.cancel()
    assert await other == f"{len(TEXT) + 4}\n"
    with pytest.raises(asyncio.CancelledError):
        await cancelled


@pytest.mark.parametrize("key", ["l", None])
async def test_those_who_wait_for_one_context_come_in_together(small, key):
    both = asyncio.Barrier(2)

    async def meet():
        async with small.open(TEXT[::-1], {}, key=key):
            await both.wait()

    async with small.open(TEXT, {}, key="k"):
        others = [asyncio.create_task(meet(), context=Context()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert len(small._templates) == 1
    async with asyncio.timeout(20):
        await asyncio.gather(*others)


async def test_what_was_taken_is_given_back_though_an_equal_text_is_smaller():
    """The first text has cached its UTF-8, which counts; the one that is closed last has not."""
    first, last = ["wörds " * 900_000 for _ in range(2)]
    orjson.dumps(first)
    assert held_bytes(first) > held_bytes(last)
    async with SandboxPool(ReplConfig()) as pool:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.open(first, {}, key="k"))
            async with pool.open(last, {}, key="k"):
                await stack.aclose()
        assert pool._memory.used == 0


async def test_a_shared_context_that_was_killed_is_made_again(small):
    async with small.open(TEXT, {}, key="k") as one, small.open(TEXT, {}, key="k") as other:
        assert (await one.run("kept = 1")).error is None
        (made,) = small._templates.values()
        signal.pidfd_send_signal(made.result().handle, signal.SIGKILL)
        while not made.result().client.lost:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        await asyncio.gather(one.run("pass"), other.run("pass"))  # or lost, and made again
        both = await asyncio.gather(one.run("print(kept)"), other.run("print(len(context))"))
        assert [done.stdout for done in both] == ["1\n", f"{len(TEXT)}\n"]
        assert len(small._templates) == 1
        assert small._memory.used == 2 * WORKER_BYTES + held_bytes(TEXT)
    assert not small._templates


async def test_a_shared_context_that_is_killed_before_it_is_ready_leaves_no_descriptor(
    small, monkeypatch
):
    start = small._client.start

    async def killed(request, fds):
        handle, ended = await start(request, fds)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return handle, ended

    before = psutil.Process().num_fds()
    monkeypatch.setattr(small._client, "start", killed)
    with pytest.raises(ReplUnavailable, match="the fork server has ended"):
        async with small.open(TEXT, {}, key="k"):
            pass
    assert psutil.Process().num_fds() == before
    monkeypatch.undo()
    async with small.open(TEXT, {}, key="k") as repl:
        assert (await repl.run("print(len(context))")).stdout == f"{len(TEXT)}\n"


async def test_a_child_does_not_wait_for_its_parent(small):
    small._memory = Memory(1)

    async def child(text):
        async with small.open(text, {}) as repl:
            return (await repl.run("print(context)")).stdout

    async def parent(number):
        async with small.open(None, {"rlm_query": child}) as repl:
            return (await repl.run(f"print(rlm_query('{number}'), end='')")).stdout

    async with asyncio.timeout(60):
        assert await asyncio.gather(*map(parent, range(3))) == ["0\n", "1\n", "2\n"]


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/job/step", "job", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/job/step",
            "memory/job",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_a_cgroup_allows_less_than_the_machine(tmp_path, line, folder, names):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   8000 kB\n")
    (proc / "self" / "cgroup").write_text(f"3:cpu:/x\n{line}\n")
    assert free_bytes(proc, groups) == 8000 << 10
    limit, usage, cache = names
    step, job = groups / folder / "step", groups / folder
    step.mkdir(parents=True)
    for group, most in ((step, "max"), (job, "500000")):
        (group / limit).write_text(f"{most}\n")
        (group / usage).write_text("200000\n")
        (group / "memory.stat").write_text(f"anon 5\n{cache} 50000\n")
    assert free_bytes(proc, groups) == 350_000


def test_an_emoji_costs_four_bytes_a_character():
    assert held_bytes(["x" * 1000, {"a": "x" * 999 + "😀"}]) > 5000
