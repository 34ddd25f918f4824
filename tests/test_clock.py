"""Suspensions of the process: in no limit, no latency and no score."""

import asyncio
import json
import signal
import time
from dataclasses import dataclass

import psutil
import pytest
from bench import Answering, sample_of, session_over
from fake_server import FakeProcess, FakeServer, Fault
from runs import FIRST, RULES, cell_folder, overrides, records, start

from rlm_eval.core import clock
from rlm_eval.core.clock import LEAST_S, awake_time, suspended, time_asleep, working_time
from rlm_eval.core.types import Answer, Message, Role, Score
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.repl.host import BlockClock
from rlm_eval.runner.rollout import run_rollout


@dataclass
class Machine:
    """Clocks that pass only where a test says so."""

    now: float = 1000.0
    cpu: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.cpu

    def suspend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def machine(monkeypatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(clock, "time", made)
    monkeypatch.setattr(clock, "_detector", None)
    return made


@dataclass
class Link:
    """A worker of which only the processor time is asked."""

    cpu: float = 0.0

    def cpu_seconds(self) -> float:
        return self.cpu


def block_clock(link, ends, **changes) -> BlockClock:
    given = {
        "seconds": 60.0,
        "cpu_seconds": 120.0,
        "grace": 60.0,
        "interrupt": lambda: ends.append("interrupt"),
        "kill": lambda: ends.append("kill"),
    }
    return BlockClock(link, **{**given, **changes})


def look(block: BlockClock) -> None:
    """Let the clock check its limits, as its timer does."""
    block.call_began()
    block.call_ended()


# -- the detector


async def test_a_suspension_is_no_time(machine, capsys):
    began = awake_time()
    machine.now += 0.25
    machine.suspend(3600)
    assert 0.25 <= awake_time() - began <= 0.75
    assert 3599.5 <= time_asleep() <= 3600
    assert "stood still for 3600 s" in capsys.readouterr().err
    assert awake_time() - began <= 0.75
    assert capsys.readouterr().err == ""


async def test_a_busy_machine_and_a_short_freeze_are_no_suspension(machine):
    began = awake_time()
    machine.suspend(LEAST_S)
    assert awake_time() - began == LEAST_S
    machine.now, machine.cpu = machine.now + 60, 58.0  # the loop computed
    assert awake_time() - began == LEAST_S + 60
    assert time_asleep() == 0.0


def test_an_idle_process_is_not_suspended(machine, monkeypatch):
    """Its thread beats, also while a plug-in blocks the event loop."""
    monkeypatch.setattr(clock, "_BEAT_S", 0.01)
    began = awake_time()
    for _ in range(2):
        machine.now += LEAST_S
        time.sleep(0.2)  # longer than a beat
    assert awake_time() - began == 2 * LEAST_S


async def test_a_suspension_within_an_outage_counts_once(machine):
    began = working_time()
    with suspended():
        machine.now += 2.0
        machine.suspend(100)
        assert working_time() == began
    machine.now += 1.0
    assert working_time() - began == 1.0


def test_a_suspension_is_no_time_without_a_loop_either(machine):
    began = awake_time()
    machine.suspend(3600)
    assert awake_time() - began <= 0.5
    assert time_asleep() >= 3599.5


# -- a block of code


async def test_a_block_is_not_interrupted_for_a_suspension(machine):
    ends = []
    block = block_clock(Link(), ends)
    machine.suspend(3600)
    look(block)
    assert (block.reached, ends) == (None, [])
    assert block.wall() <= 0.5
    for _ in range(15):
        machine.now += 4.0
        look(block)
    assert (block.reached, ends) == ("limit:time", ["interrupt"])
    block.close()


async def test_a_block_that_computed_while_the_harness_was_suspended_is_interrupted(machine):
    ends, link = [], Link()
    block = block_clock(link, ends)
    machine.suspend(90)
    link.cpu = 61.0
    look(block)
    assert (block.reached, ends) == ("limit:time", ["interrupt"])
    block.close()


async def test_several_threads_may_compute_longer_than_the_block_lasts(machine):
    ends, link = [], Link()
    block = block_clock(link, ends)
    machine.now, link.cpu = machine.now + 4.0, 100.0
    look(block)
    assert (block.reached, ends) == (None, [])
    block.close()


async def test_a_suspension_uses_up_no_grace(machine):
    ends, killed = [], asyncio.Event()
    block = block_clock(Link(), ends, kill=killed.set, grace=0.6)
    block.stop("limit:time")
    machine.suspend(3600)
    block._expire()  # its timer, which a suspension does not stop
    assert not killed.is_set()
    machine.now += 0.6
    await asyncio.wait_for(killed.wait(), 60)


# -- calls and samples


async def test_a_call_lost_in_a_suspension_uses_up_no_retry(machine):
    """What broke it may be its time-out or its peer's, both of which ran on."""

    def faults(number, _request):
        if number == 0:
            machine.suspend(3600)
            return Fault("drop")
        return None

    async with (
        FakeServer(faults=faults) as server,
        OpenAIModel("tested", "m", base_url=server.url, retries=0).open() as client,
    ):
        reply = await client.complete([Message("user", "hello")], Sampling())
    assert (reply.text, reply.attempts, reply.lost_attempts) == ("hello", 2, 1)


async def test_a_suspension_is_in_no_latency_and_noted_on_the_sample(machine, tmp_path):
    class Asks:
        async def solve(self, sample, session):
            call = await session.call([Message("user", "x")], role=Role.ROOT, position="a")
            return Answer(call.reply, call=call.id)

    class Checks:
        def score(self, sample, answer):
            return [Score("checks", 1.0)]

    def late(_messages):
        machine.suspend(3600)
        return "fine"

    async with session_over(Answering(late), tmp_path, sample_of("text")) as session:
        trajectory, _ = await run_rollout(Checks(), Asks(), session.sample, session)
    assert trajectory.wall_seconds <= 0.5
    assert trajectory.calls[0].times.end <= 0.5
    assert 3599 <= trajectory.notes["suspended_seconds"] <= 3600


async def test_a_latency_measured_by_the_client_has_no_suspension_in_it(machine):
    def faults(_number, _request):
        machine.suspend(3600)

    async with (
        FakeServer(faults=faults) as server,
        OpenAIModel("tested", "m", base_url=server.url, stream=True).open() as client,
    ):
        reply = await client.complete([Message("user", "hello")], Sampling())
    assert max(reply.service_seconds, reply.queue_seconds, reply.first_token_seconds) <= 0.5


@pytest.mark.slow
def test_a_run_that_was_stopped_and_continued_has_the_same_records(tmp_path, monkeypatch):
    """As by `scontrol suspend`: SIGSTOP to all its processes, in the middle of a block."""
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    sleeping = FIRST.replace("```python\n", "```python\nimport time\n" + "time.sleep(0.1)\n" * 20)
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([RULES[0], {**RULES[1], "reply": sleeping}, *RULES[2:]]))
    with FakeProcess("--reply", str(path)) as server:
        given = ("n=2", "max_samples=2", "repl.block_seconds=20", "limits.seconds=25")
        run = start(overrides(tmp_path, server.url, *given))
        while not (found := list((tmp_path / "test" / "cells").glob("*/journal.jsonl"))) or (
            b'"k":"call"' not in found[0].read_bytes()
        ):
            assert run.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(30)
        for process in reversed(processes):
            process.send_signal(signal.SIGCONT)
        _, told = run.communicate(timeout=120)
    assert run.returncode == 0, told
    assert "stood still for" in told
    rows = records(tmp_path)
    assert [(row["outcome"], row["score"], row["n_root_calls"]) for row in rows] == [
        ("ok", 1.0, 2)
    ] * 2
    assert all(row["wall_seconds"] < 25 for row in rows)
    assert all(row["note_suspended_seconds"] > 25 for row in rows)
    assert cell_folder(tmp_path).joinpath("DONE").exists()
