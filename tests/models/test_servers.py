"""Managed servers, with the fake server as the child: started, shared, stopped with their own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from rlm_eval.core.errors import EndpointUnusable
from rlm_eval.core.types import Message, text_hash
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.servers.managed import CELL, Launch
from tests.support.processes import command, running

ROOT = Path(__file__).parents[2]
ASK = [Message("user", "hello")]

SERVER = """
import os, runpy, sys
sys.argv = [sys.argv[1], "--port", sys.argv[2], "--api-key", os.environ["FAKE_KEY"]]
sys.argv += ["--latency", os.environ["FAKE_LATENCY"], "--reply", os.environ["FAKE_REPLY"]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
STUBBORN = (
    """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
"""
    + SERVER
)
"""A server that ignores TERM and has a child which does so too, in a session of its own."""


@dataclass(frozen=True)
class FakeEngine:
    """The fake server, or any program in its place."""

    code: str = SERVER
    startup_s: float = 20.0
    label: str = "fake"
    gpus: int = 0
    cores: int = 1
    latency: float = 0.0
    reply: str = "echo"

    def launch(self, model, window, port, key):
        fake = str(ROOT / "tests" / "support" / "fake_server.py")
        command = (sys.executable, "-c", self.code, fake, str(port))
        environment = {"FAKE_KEY": key, "FAKE_LATENCY": str(self.latency), "FAKE_REPLY": self.reply}
        return Launch(command, environment, "r1")

    def found(self, model):
        return f"template of {model}", None

    def version(self):
        return "fake 1"


def local(**fields):
    fields = {"model": "m", "engine": FakeEngine(), **fields}
    return OpenAIModel("local", server="spawn", **fields)


def descendants():
    return {p.pid for p in psutil.Process().children(recursive=True)}


async def test_one_server_for_equal_models_and_nothing_left_behind():
    before = descendants()
    engine = FakeEngine(code=STUBBORN)
    async with local(engine=engine).open() as root:
        async with local(engine=engine, concurrency=3).open() as sub:
            assert root.base_url == sub.base_url
            assert (await sub.complete(ASK, Sampling())).text == "hello"
        assert (await root.complete(ASK, Sampling())).text == "hello"
        started = descendants() - before
        assert len(started) >= 3  # the supervisor, the server, its stubborn child
        async with local(model="other").open() as other:
            assert other.base_url != root.base_url
        info = await root.check()
        account = await root.account()
        assert 0 < account.busy_s <= account.model_s < account.held_s < 60
    assert not [pid for pid in started if psutil.pid_exists(pid)]
    assert (info.engine, info.version, info.revision, info.gpus) == ("fake", "fake 1", "r1", 0)
    assert info.chat_template_hash == text_hash("template of m")
    assert info.command[0] == sys.executable
    assert info.base_url.startswith("http://127.0.0.1:")


async def test_a_server_that_dies_at_once_is_quoted():
    engine = FakeEngine(code="print('loading'); raise SystemExit('no such weights: x.gguf')")
    with pytest.raises(EndpointUnusable, match=r"(?s)exit code 1.*no such weights: x.gguf"):
        async with local(engine=engine).open():
            pass


async def test_a_server_that_never_answers_is_given_up_and_ended():
    before = descendants()
    engine = FakeEngine(code="import time; time.sleep(600)", startup_s=0.5)
    with pytest.raises(EndpointUnusable, match=r"not ready after 0 s.*engine.startup_s="):
        async with local(engine=engine).open():
            pass
    assert descendants() == before


def serving():
    """The server's own process, below its supervisor."""
    supervisor = running(psutil.Process().children(), "supervise")
    return running(supervisor.children(), "fake_server")


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 4])
async def test_a_server_that_dies_is_started_again_once_per_cell_and_said(calls, capsys):
    config = local(backoff_s=0.001, retries=2, engine=FakeEngine(latency=0.5))
    CELL.set("first")
    async with config.open() as held:

        async def killed_in_the_middle():
            asked = [held.complete(ASK, Sampling()) for _ in range(calls)]
            tasks = [asyncio.create_task(ask) for ask in asked]
            await asyncio.sleep(0.2)
            serving().kill()
            return await asyncio.gather(*tasks, return_exceptions=True)

        old = held.base_url
        replies = await killed_in_the_middle()
        assert [reply.text for reply in replies] == ["hello"] * calls
        assert held.base_url != old
        assert capsys.readouterr().err.count("exit code 137; its last words") == 1
        told = await killed_in_the_middle()
        assert {type(error) for error in told} == {EndpointUnusable}
        assert "is gone again, exit code 137" in str(told[0])
        CELL.set("second")
        assert (await held.complete(ASK, Sampling())).text == "hello"


async def test_a_server_that_died_between_two_calls_is_started_again():
    async with local(backoff_s=0.001, retries=0).open() as held:
        serving().kill()
        await asyncio.sleep(0.5)
        assert (await held.complete(ASK, Sampling())).text == "hello"


def until_zombie(process):
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)


async def test_a_death_that_is_reported_late_costs_no_attempt():
    """The supervisor gets no processor time for 3 s, as on a busy machine."""
    async with local(backoff_s=0.001, retries=0).open() as held:
        dead = serving()
        supervisor = dead.parent()
        supervisor.suspend()
        asyncio.get_running_loop().call_later(3.0, supervisor.resume)
        dead.kill()
        await asyncio.to_thread(until_zombie, dead)
        reply = await held.complete(ASK, Sampling())
        assert (reply.text, reply.attempts, reply.lost_attempts) == ("hello", 1, 0)


async def test_cancelling_a_start_leaves_nothing():
    before = descendants()
    engine = FakeEngine(code="import time; time.sleep(600)")

    async def hold():
        async with local(engine=engine).open():
            pass

    task = asyncio.create_task(hold())
    await asyncio.sleep(0.5)
    assert descendants() - before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descendants() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, "STUBBORN"), (signal.SIGINT, "SERVER")]
)
def test_a_harness_that_dies_takes_its_servers_along(number, code):
    harness = (
        "import asyncio\nfrom tests.models.test_servers import *\n"
        # A shell starts its background jobs with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "async def hold():\n"
        f"    async with local(engine=FakeEngine({code})).open() as client:\n"
        "        print(client.base_url, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(hold())"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", harness], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert harness.stdout.readline().startswith(b"http://127.0.0.1:")
    started = psutil.Process(harness.pid).children(recursive=True)
    assert len(started) >= 2
    folder = Path(next(w for w in command(started[0]) if "rlm_eval_server_" in w))
    assert (folder / "log").exists()
    os.kill(harness.pid, number)
    harness.communicate(timeout=20)
    gone, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    assert len(gone) == len(started)
    assert not folder.exists()
