"""Many REPLs at once, workers killed at random, nothing left behind; and the ladder of tiers."""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.repl import ReplConfig, SandboxError, open_pool, sandbox
from rlm_eval.repl.pool import SandboxPool


@pytest.fixture(autouse=True)
def scratch(monkeypatch, tmp_path):
    """Scratch folders in a folder that only the user of the tests may enter."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leftovers():
    """What could be left: processes, descriptors, threads, scratch folders."""
    return {
        "processes": {p.pid for p in psutil.Process().children(recursive=True)},
        "descriptors": {p.name for p in Path("/proc/self/fd").iterdir()},
        "threads": {t.name for t in threading.enumerate() if "asyncio" not in t.name},
        "scratch": {p.name for p in Path(tempfile.gettempdir()).glob("rlm-eval-repl-*")},
    }


def new_since(before, after):
    """What is there after and was not before."""
    return {kind: new for kind in after if (new := after[kind] - before[kind])}


async def stress(n_repls: int, n_blocks: int, kills: float) -> None:
    """Each REPL counts for itself and calls a host function of its own."""
    rng = random.Random(0)
    config = ReplConfig(block_seconds=60)

    async def one(pool, number):
        async def tell(text):
            await asyncio.sleep(rng.random() * 0.005)
            return f"{number}/{text}"

        async with pool.open([f"context {number}"], {"tell": tell}, seed=number) as repl:
            first = await repl.run(
                "import random\nme = context[0].split()[1]\ncount = 0\ndrawn = random.random()"
            )
            assert first.error is None
            expected, killed = 0, 0
            while expected < n_blocks:
                code = "count += 1\nanswers = [tell(count), tell(me)]\nprint(answers, count, drawn)"
                task = asyncio.create_task(repl.run(code))
                if rng.random() < kills:
                    await asyncio.sleep(rng.random() * 0.01)
                    link = repl._link
                    if link is not None and not task.done():
                        link.signal(signal.SIGKILL)
                        killed += 1
                done = await task  # a block whose worker was killed from outside runs again
                assert (done.error, done.diverged) == (None, False), done.stderr
                expected += 1
                drawn = random.Random(number).random()
                told = [f"{number}/{expected}", f"{number}/{number}"]
                assert done.stdout == f"{told} {expected} {drawn}\n"
            return killed

    before = leftovers()
    async with open_pool(config) as pool:
        killed = await asyncio.gather(*(one(pool, i) for i in range(n_repls)))
        assert sum(killed) > 0
    assert new_since(before, leftovers()) == {}


async def test_many_repls_with_workers_killed_at_random():
    await stress(n_repls=16, n_blocks=25, kills=0.03)


@pytest.mark.slow
async def test_64_repls_of_200_blocks_with_workers_killed_at_random():
    await stress(n_repls=64, n_blocks=200, kills=0.01)


@pytest.mark.parametrize("tier", ["A", "B"])
async def test_nothing_is_left_behind(tier):
    if tier == "A" and sandbox.bubblewrap_trouble(sandbox.bubblewrap()):
        pytest.skip("no bubblewrap")
    before = leftovers()
    config = ReplConfig(block_seconds=5, interrupt_grace_seconds=0.2)
    with tempfile.TemporaryDirectory() as kept:
        (Path(kept) / "precious").write_text("kept")
        async with SandboxPool(config, tier) as pool:
            for code in (
                "import os\nfor i in range(2000):\n    os.mkdir('d')\n    os.chdir('d')",
                f"import os\nos.symlink({kept!r}, 'link')\nos.makedirs('a/b/c')\nos.mkdir('no', 0)",
                "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
                "import os\nos._exit(0)",
                "x = 1",
            ):
                async with pool.open("c" * 5_000_000, {}) as repl:
                    await repl.run(code)
            assert len(leftovers()["processes"]) <= 4
        assert (Path(kept) / "precious").read_text() == "kept"
    assert new_since(before, leftovers()) == {}


HARNESS = """
import asyncio, os, sys
from rlm_eval.repl import ReplConfig, open_pool
async def main():
    async with open_pool(ReplConfig()) as pool, pool.open("x" * 5_000_000, {}) as repl:
        done = await repl.run("import os, threading, time\\nprint(os.getcwd())")
        print(os.path.dirname(done.stdout.strip()), repl._link.pid, flush=True)
        await repl.run("time.sleep(1000)")
asyncio.run(main())
"""


def test_a_killed_harness_leaves_nothing():
    harness = subprocess.Popen([sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True)
    scratch, worker = harness.stdout.readline().split()
    everything = psutil.Process(harness.pid).children(recursive=True)
    assert int(worker) in {p.pid for p in everything}
    harness.kill()
    harness.wait()
    harness.stdout.close()
    for _ in range(200):
        if not any(psutil.pid_exists(p.pid) for p in everything):
            break
        time.sleep(0.05)
    assert [p for p in everything if psutil.pid_exists(p.pid)] == []
    left = Path(scratch)
    assert not left.exists() or list(left.iterdir()) == []


async def test_strict_refuses_what_is_too_weak():
    with pytest.raises(SandboxError) as refused:
        async with SandboxPool(ReplConfig(), overrides={"max_abi": 0}):
            pass
    for word in ("tier B", "Landlock", "bubblewrap", "repl.isolation=best", "repl.isolation=none"):
        assert word in str(refused.value)


async def test_best_goes_one_step_further_and_says_so():
    async with SandboxPool(ReplConfig(isolation="best"), overrides={"max_abi": 0}) as pool:
        assert pool.report.tier == "C"
        assert any("no files" in note for note in pool.report.notes)
        assert all(pool.report.canaries.values())
        async with pool.open("text", {}) as repl:
            assert (await repl.run("import re\nprint(context)")).stdout == "text\n"
            assert (await repl.run("open('x', 'w')")).error == "PermissionError"


async def test_none_is_stamped():
    async with open_pool(ReplConfig(isolation="none")) as pool:
        assert pool.report.tier == "none"
        assert "no isolation" in pool.report.as_dict()["notes"][-1]
        async with pool.open(None, {}) as repl:
            assert (await repl.run("print(open('/etc/passwd').read()[:4])")).stdout == "root\n"


async def test_other_systems_are_told_what_to_do(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"needs Linux \(this is darwin\).*DockerPool"):
        async with open_pool(ReplConfig()):
            pass


async def test_packages_are_importable_only_when_named():
    async with open_pool(ReplConfig()) as pool, pool.open(None, {}) as repl:
        assert (await repl.run("import numpy")).error == "ModuleNotFoundError"
    async with open_pool(ReplConfig(packages=["numpy"], memory_mb=4096)) as pool:
        assert "numpy" in pool.report.packages
        async with pool.open(None, {}, seed=3) as repl:
            done = await repl.run("import numpy as np\nprint(int(np.arange(10).sum()))")
            assert (done.stdout, done.stderr) == ("45\n", "")
            assert (await repl.run("import pandas")).error == "ModuleNotFoundError"
            assert (await repl.run("import rlm_eval")).error == "ModuleNotFoundError"
    with pytest.raises(SandboxError, match="no_such_package"):
        async with open_pool(ReplConfig(packages=["no_such_package"])):
            pass


def test_settings_are_checked():
    with pytest.raises(ValueError, match="strict, best, none"):
        ReplConfig(isolation="strong")
    with pytest.raises(ValueError, match="block_seconds"):
        ReplConfig(block_seconds=0)
    with pytest.raises(ConfigError, match="repl.backend"):
        open_pool(ReplConfig(backend="rlm_eval.repl.nowhere.Pool"))
