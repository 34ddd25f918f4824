"""The sandbox under attack from its surroundings: nothing of it may become a score.

The fork server is killed, stopped, robbed of its folder and its descriptors; workers are killed.
Either the run goes on as if nothing had been, or samples are missing and the run says why.
"""

import asyncio
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fake_server import FakeProcess, FakeServer, rules
from runs import RULES, asked, cell_folder, overrides, records, run_here, start

from rlm_eval.core.errors import ReplCrash, ReplUnavailable
from rlm_eval.repl import ReplConfig, driver, fork, sandbox, server
from rlm_eval.repl.pool import SandboxPool
from tests.support.processes import command

CHANGES = ("seconds", "retried", "lost", "replayed", "run")
SLOW = """```python
import time
chunks = [context[i : i + 1000] for i in range(0, len(context), 900)]
found = []
for c in chunks:
    time.sleep(0.03)
    found.append(llm_query(c + " KEY=\\1"))
print("FOUND=" + ([f for f in found if f != "none"] + ["0"])[0] + ".")
```"""
"""A first turn that takes its time: a kill meets it in the middle."""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(driver, "_RETRY_SECONDS", 0.01)


@pytest.fixture
async def pool():
    """Tier B, whose folder and processes can be reached from here."""
    async with SandboxPool(ReplConfig(block_seconds=20), "B") as opened:
        yield opened


def fork_servers(pid: int | None = None) -> list[psutil.Process]:
    """Those under a process; the workers are their children, and not among them."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "zygote.main()" in " ".join(command(process)) and "bwrap" not in process.name():
                found[process.pid] = process.ppid(), process
    return [process for parent, process in found.values() if parent not in found]


def scratch_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("rlm-eval-repl-*"))


def oom_score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def comparable(rows):
    return {
        row["sample_id"]: {k: v for k, v in row.items() if not any(c in k for c in CHANGES)}
        for row in rows
    }


class Asked:
    """A host function that takes a while and counts."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        await asyncio.sleep(0.05)
        return prompt.upper()


COUNT = "n += 1\nanswers = [ask(str(i)) for i in range(8)]\nprint(n, answers)"
COUNTED = f"1 {[str(i) for i in range(8)]}\n"


async def killed_in_the_middle(pool, kill, context="context", times=1):
    """A block whose worker is lost while calls are under way: (result, calls, a later result)."""
    host = Asked()
    async with pool.open(context, {"ask": host.ask}) as repl:
        await repl.run("n = 0")
        running = asyncio.create_task(repl.run(COUNT))
        for number in range(times):
            while len(host.prompts) < 3 + number:  # noqa: ASYNC110 - three calls, no event
                await asyncio.sleep(0.01)
            kill(pool, repl)
        done = await running
        after = await repl.run("print(n)")
        return done, host.prompts, after


def kill_server(_pool, _repl) -> None:
    (process,) = fork_servers()
    process.kill()


def kill_template(pool, _repl) -> None:
    (made,) = pool._templates.values()
    signal.pidfd_send_signal(made.result().handle, signal.SIGKILL)


def kill_worker(_pool, repl) -> None:
    os.kill(repl._link.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("kill", "chars", "times"),
    [(kill_server, 10, 1), (kill_server, 10, 3), (kill_server, 6_000_000, 1),
     (kill_template, 6_000_000, 2), (kill_worker, 10, 1), (kill_worker, 6_000_000, 1)],
)  # fmt: skip
async def test_a_block_goes_on_as_if_nothing_had_been(pool, kill, chars, times):
    done, prompts, after = await killed_in_the_middle(pool, kill, "c" * chars, times)
    assert (done.error, done.stdout, done.restored, done.diverged) == (None, COUNTED, False, False)
    assert prompts == [str(i) for i in range(8)]  # none was asked twice
    assert (done.n_calls, done.n_failed_calls, after.stdout) == (8, 0, "1\n")


async def test_a_worker_killed_twice_in_one_block_is_an_error_that_the_model_sees(pool):
    done, _, after = await killed_in_the_middle(pool, kill_worker, times=2)
    assert (done.error, done.restored, after.stdout) == ("worker_lost", True, "0\n")


async def test_a_server_that_stops_answering_is_replaced(pool, monkeypatch):
    async with pool.open("context", {}) as repl:
        await repl.run("x = 5")
        monkeypatch.setattr(fork, "START_SECONDS", 0.5)
        (process,) = fork_servers()
        process.suspend()
        async with pool.open("context", {}) as other:
            assert (await other.run("print(1)")).stdout == "1\n"
        assert (await repl.run("print(x)")).stdout == "5\n"
        assert not process.is_running()


async def test_a_start_that_fails_is_its_own_and_the_server_goes_on(pool):
    (process,) = fork_servers()
    (folder,) = scratch_folders()
    shutil.rmtree(folder)
    with pytest.raises(ReplUnavailable, match=r"cannot be started.*No such file"):
        async with pool.open("context", {}):
            pass
    folder.mkdir(mode=0o711)
    async with pool.open("context", {}) as repl:
        assert (await repl.run("print(1)")).stdout == "1\n"
    assert fork_servers() == [process]


async def test_a_server_without_descriptors_says_so_and_goes_on(pool):
    (process,) = fork_servers()
    before = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), before[1]))
    with pytest.raises(ReplUnavailable, match="too many open files"):
        async with pool.open("context", {}):
            pass
    process.rlimit(resource.RLIMIT_NOFILE, before)
    async with pool.open("context", {}) as repl:
        assert (await repl.run("print(1)")).stdout == "1\n"
    assert fork_servers() == [process]


async def test_a_host_without_descriptors_is_the_machines_fault(pool):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # a descriptor gets the lowest free number: one more is left
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, before[1]))
    try:
        with pytest.raises(ReplUnavailable, match="open files"):
            async with pool.open("context", {}):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    async with pool.open("context", {}) as repl:
        assert (await repl.run("print(1)")).stdout == "1\n"


async def test_a_server_that_ends_too_often_is_given_up_with_a_reason(pool, monkeypatch, caplog):
    monkeypatch.setattr(server, "RESTARTS", 2)
    async with pool.open("context", {}) as repl:
        for number in (1, 2):
            kill_server(pool, repl)
            while f"restarting it, {number} of at most 2" not in caplog.text:
                assert (await repl.run("print(1)")).stdout == "1\n"
        kill_server(pool, repl)
        while not pool._client.lost:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        with pytest.raises(ReplUnavailable, match="ended 2 times in 10 minutes"):
            await repl.run("time.sleep(5)")


async def test_what_the_code_itself_does_twice_is_a_crash(pool):
    """Killed from outside while it is restored, it would be missing: this is neither."""
    async with pool.open("context", {}) as repl:
        late = time.time() + 1
        await repl.run(f"import os, time\nif time.time() > {late}: os._exit(1)")
        await asyncio.sleep(1.1)
        with pytest.raises(ReplCrash):
            await repl.run("os._exit(1)")


async def test_where_memory_runs_out_workers_go_before_the_server(pool):
    async with pool.open("context", {}) as repl:
        (process,) = fork_servers()
        assert oom_score(process.pid) <= oom_score("self")
        assert oom_score(repl._link.pid) == 1000


@pytest.mark.slow
def test_a_run_whose_fork_server_is_killed_gives_the_same_records(tmp_path):
    """kill -9 three times; nothing is paid for twice."""
    table = [r | {"reply": SLOW} if "numbers? for" in r["match"] else r for r in RULES]
    (tmp_path / "rules.json").write_text(json.dumps(table))
    with FakeProcess("--reply", str(tmp_path / "rules.json"), "--latency", "0.02") as fake:
        calm, rough = tmp_path / "calm", tmp_path / "rough"
        process = start(overrides(calm, fake.url))
        process.communicate(timeout=120)
        assert process.returncode == 0
        undisturbed, seen = comparable(records(calm)), len(fake.get("/_log"))
        once = asked(fake.get("/_log"))

        process = start(overrides(rough, fake.url))
        kills = 0
        while process.poll() is None and kills < 3:
            requests = len(fake.get("/_log")) - seen
            servers = fork_servers(process.pid)
            if servers and requests > 3 + 4 * kills:
                servers[0].kill()
                kills += 1
            time.sleep(0.02)
        _, told = process.communicate(timeout=120)
        assert (process.returncode, kills) == (0, 3), told
        assert told.count("fork server has ended") == 3
        assert comparable(records(rough)) == undisturbed
        assert asked(fake.get("/_log")[seen:]) == once


@pytest.mark.slow
async def test_a_run_without_a_sandbox_stops_and_the_same_command_finishes_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sandbox.TIERS, "strict", ("B",))
    answer = rules(RULES)
    broken = True

    def reply(request):
        if broken:  # the disk is gone as soon as the first sample asks
            for folder in scratch_folders():
                shutil.rmtree(folder, ignore_errors=True)
        return answer(request)

    async with FakeServer(reply=reply) as fake:
        given = overrides(tmp_path, fake.url, "n=8", "max_samples=1")
        summary = await run_here(given)
        (why,) = summary.unfinished.values()
        assert "samples in a row got no REPL" in why
        assert "run the same command again" in why
        told = capsys.readouterr().err
        assert told.count("stopping") == 1
        assert "Traceback" not in told
        assert not (cell_folder(tmp_path) / "DONE").exists()
        rows = records(tmp_path)
        assert len(rows) <= 4, "it went on"
        outcomes = [row["outcome"] for row in rows]
        assert outcomes.count("repl_unavailable") == 3
        assert {row["score"] for row in rows if row["outcome"] == "repl_unavailable"} == {None}
        broken = False
        summary = await run_here(given)
        assert not summary.unfinished
        assert [(r["outcome"], r["score"]) for r in records(tmp_path)] == [("ok", 1.0)] * 8
        sent = asked([entry for entry in fake.log if not entry["fault"]])
        assert max(sent.values()) == 1, "something was paid for twice"


async def storm(pool, n_repls: int, n_blocks: int, kills: int) -> Counter[str]:
    """REPLs that count for themselves while whatever carries them is killed at random."""
    draw = random.Random(0)
    text = "words and words " * 400_000
    done = Counter()

    async def one(number: int) -> None:
        asked: list[str] = []

        async def tell(prompt: str) -> str:
            asked.append(prompt)
            await asyncio.sleep(draw.random() * 0.01)
            return f"{number}/{prompt}"

        context = text if number % 2 else "small"
        async with pool.open(context, {"tell": tell}, key="k", seed=number) as repl:
            await repl.run("count = 0")
            for turn in range(1, n_blocks + 1):
                found = await repl.run("count += 1\nprint(tell(str(count)), tell('x'), count)")
                if found.error == "worker_lost":  # killed twice in one block
                    done["seen by the model"] += 1
                    asked.clear()
                    found = await repl.run("count += 1\nprint(tell(str(count)), tell('x'), count)")
                assert found.stdout == f"{number}/{turn} {number}/x {turn}\n", found
                assert asked == [str(turn), "x"]
                asked.clear()

    async def disturb() -> None:
        for _ in range(kills):
            await asyncio.sleep(draw.uniform(0.1, 0.6))
            kind = draw.choice(["server", "template", "worker", "worker"])
            servers = fork_servers()
            if kind == "server":
                victims = servers
            else:
                score, victims = {"worker": 1000, "template": 500}[kind], []
                with suppress(psutil.NoSuchProcess, OSError):
                    below = [p for one in servers for p in one.children(recursive=True)]
                    victims = [p for p in below if oom_score(p.pid) == score]
            with suppress(psutil.NoSuchProcess, IndexError):
                draw.choice(victims).kill()
                done[kind] += 1

    disturber = asyncio.create_task(disturb())
    rounds = 0
    while not disturber.done():
        await asyncio.gather(*(one(number) for number in range(n_repls)))
        rounds += 1
    await disturber
    done["blocks"] = rounds * n_repls * n_blocks
    return done


async def test_a_storm_of_kills_changes_nothing(pool):
    done = await storm(pool, n_repls=6, n_blocks=10, kills=6)
    assert sum(done[kind] for kind in ("server", "template", "worker")) >= 4


@pytest.mark.slow
async def test_a_long_storm_of_kills_changes_nothing(pool, monkeypatch):
    monkeypatch.setattr(server, "RESTARTS", 1000)
    done = await storm(pool, n_repls=24, n_blocks=40, kills=80)
    print(done)
    assert min(done[kind] for kind in ("server", "template", "worker")) >= 5
