"""What the REPL costs: start, round trip, contexts, batches, memory, limits, many at once.

    python benchmarks/harness_overhead/repl.py               (about two minutes on an idle machine)
    python benchmarks/harness_overhead/repl.py --tier B --json repl.json
    python benchmarks/harness_overhead/repl.py --only start,round_trip

Every row prints what was measured beside its target. The official `rlms` package's local REPL (in
its harness's own process, no isolation) is measured in the same run, in the environment that
scripts/rlms_envs.sh makes or with the interpreter that --rlms-python names.
Times are wall clock of this machine as it is: run it on an idle one. The load average is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from rlm_eval.core.paths import cache_dir
from rlm_eval.repl import ReplConfig
from rlm_eval.repl.pool import SandboxPool

CONFIG = ReplConfig(block_seconds=60, interrupt_grace_seconds=0.4, memory_mb=4096)


@dataclass
class Row:
    """One measurement."""

    what: str
    measured: str
    target: str
    met: bool


def timed(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def pss_mb(pid: int) -> float:
    """Proportional set size: shared pages divided among those who share them."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


async def echo_one(prompts: list[str]) -> list[str]:
    return ["ok"] * len(prompts)


async def start(pool: SandboxPool) -> list[Row]:
    times = []
    for _ in range(200):
        began = time.perf_counter()
        async with pool.open("context", {}):
            times.append(timed(began))
    median = statistics.median(times)
    text = f"{median:.1f} / {p95(times):.1f} ms"
    met = median <= 12 and p95(times) <= 25
    return [Row("isolated worker start, median / p95", text, "12 / 25 ms", met)]


BARE = """
import json, os
names = {}
while order := os.read(0, 1 << 16):
    exec(compile(json.loads(order), "<block>", "exec"), names)
    os.write(0, json.dumps({"error": None, "stdout": ""}).encode())
"""
"""The least that runs a block in another process: nothing captured, limited or isolated."""


async def round_trip(pool: SandboxPool) -> list[Row]:
    """Ours and the bare one in turns, so that whatever else the machine does meets both."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    command = [sys.executable, "-I", "-c", BARE]
    process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno())
    theirs.close()

    async def bare() -> None:
        await loop.sock_sendall(ours, json.dumps("x = 1").encode())
        json.loads(await loop.sock_recv(ours, 1 << 16))

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    async with pool.open("context", {}) as repl:
        for name, action in (("ours", lambda: repl.run("x = 1")), ("bare", bare)) * 10:
            for _ in range(200):
                began = time.perf_counter()
                await action()
                times[name].append(timed(began))
    ours.close()
    await process.wait()
    median, floor = (statistics.median(times[name]) for name in ("ours", "bare"))
    text = f"{median:.2f} ms (p95 {p95(times['ours']):.2f})"
    return [
        Row("block round trip, median", text, "0.3 ms", median <= 0.3),
        Row("  a bare process in the same seconds", f"{floor:.2f} ms", "-", True),
    ]


async def contexts(pool: SandboxPool) -> list[Row]:
    rows = []
    plain = "a line of some forty characters, or so.\n" * 1_000_000
    large = "a line of some forty characters, or so.\n" * 5_000_000
    cases = (("40 MB context", plain, 100), ("40 MB context with one emoji", plain + "😀", 200))
    for name, text, target in (*cases, ("200 MB context", large, 0)):
        times = []
        for _ in range(5 if target else 3):
            began = time.perf_counter()
            async with pool.open(text, {}) as repl:
                times.append(timed(began))
                assert (await repl.run("print(len(context))")).stdout == f"{len(text)}\n"
        median = statistics.median(times)
        wanted = f"{target} ms" if target else "works"
        rows.append(Row(name, f"{median:.0f} ms", wanted, not target or median <= target))
    return rows


async def batches(pool: SandboxPool) -> list[Row]:
    rows = []
    async with pool.open(None, {"llm_query_batched": echo_one}) as repl:
        cases = (("1,000 batched calls", 40, 5), ("the same with 40 KB prompts", 40_000, 150))
        for name, size, target in cases:
            await repl.run(f"prompts = [str(i) + 'x' * {size} for i in range(1000)]")
            times = []
            for _ in range(15):
                began = time.perf_counter()
                done = await repl.run("answers = llm_query_batched(prompts)")
                times.append(timed(began))
                assert done.error is None, done.stderr
            median = statistics.median(times)
            rows.append(Row(name, f"{median:.1f} ms", f"{target} ms", median <= target))
    return rows


async def idle_workers(pool: SandboxPool) -> list[Row]:
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        repls = await asyncio.gather(
            *(stack.enter_async_context(pool.open("context", {})) for _ in range(500))
        )
        seconds = timed(began) / 1000
        await asyncio.gather(*(repl.run("x = 1") for repl in repls))
        pids = [repl._link.pid for repl in repls]  # type: ignore[attr-defined]
        each = statistics.mean(pss_mb(pid) for pid in pids)
    text = f"{each:.1f} MB each, started in {seconds:.1f} s"
    return [Row("500 idle workers alive (PSS)", text, "4 MB, 3 s", each <= 4 and seconds <= 3)]


async def shared_context(pool: SandboxPool) -> list[Row]:
    from contextlib import AsyncExitStack

    text = "forty words make a line of a long text.\n" * (112 * 1024 * 1024 // 40)
    async with AsyncExitStack() as stack:
        repls = [
            await stack.enter_async_context(pool.open(text, {}, key="shared")) for _ in range(20)
        ]
        for repl in repls:
            await repl.run("n = context.count('words')")
        children = psutil.Process().children(recursive=True)
        total = sum(pss_mb(child.pid) for child in children if "python" in child.name())
    what = "20 attempts on one 112 MB context, in total"
    return [Row(what, f"{total:.0f} MB", "200 MB", total < 200)]


async def limits(pool: SandboxPool) -> list[Row]:
    rows = []
    config = ReplConfig(block_seconds=1, interrupt_grace_seconds=0.4)
    cases = (
        ("`while True` in a block", "while True: pass", 50, "kept"),
        (
            "swallows interrupts",
            "import time\nwhile True:\n    try: time.sleep(10)\n    except BaseException: pass",
            600,
            "before",
        ),
        ("loops in C", "sum(iter(int, 1))", 600, "before"),
        ("calls os._exit", "import os\nos._exit(1)", 600, "before"),
    )
    async with SandboxPool(config, pool.report.tier) as limited:
        for name, code, over, state in cases:
            times = []
            for _ in range(5):
                async with limited.open("context", {}) as repl:
                    await repl.run("x = list(range(1000))")
                    began = time.perf_counter()
                    done = await repl.run(f"x.append(1)\n{code}")
                    after = await repl.run("print(len(x))")
                    took = timed(began) - (0 if "_exit" in code else 1000)
                    times.append(took)
                    assert done.error, done
                    kept = "kept" if after.stdout == "1001\n" else "before"
                    assert kept == state, (name, after)
            text = f"limit + {max(times):.0f} ms, state {state} the block".replace(
                "kept the block", "kept"
            )
            rows.append(Row(name, text, f"limit + {over} ms", max(times) <= over))
    return rows


async def storm(pool: SandboxPool) -> list[Row]:
    """64 REPLs of 200 blocks, workers killed at random."""
    rng = random.Random(0)
    wrong: list[Any] = []
    killed = 0

    async def one(number: int) -> None:
        nonlocal killed

        async def tell(text: str) -> str:
            await asyncio.sleep(0)
            return f"{number}/{text}"

        async with pool.open([str(number)], {"tell": tell}, seed=number) as repl:
            await repl.run("count = 0")
            for turn in range(1, 201):
                while True:
                    task = asyncio.create_task(
                        repl.run("count += 1\nprint(tell(context[0]), count)")
                    )
                    if rng.random() < 0.005:
                        await asyncio.sleep(rng.random() * 0.002)
                        link = repl._link  # type: ignore[attr-defined]
                        if link is not None and not task.done():
                            link.signal(signal.SIGKILL)
                            killed += 1
                    done = await task
                    if done.error != "worker_lost":
                        break
                if done.stdout != f"{number}/{number} {turn}\n":
                    wrong.append(done)

    def state() -> tuple[set[int], set[str], int]:
        children = {p.pid for p in psutil.Process().children(recursive=True)}
        return children, {p.name for p in Path("/proc/self/fd").iterdir()}, threading.active_count()

    before = state()
    began = time.perf_counter()
    await asyncio.gather(*(one(i) for i in range(64)))
    seconds = timed(began) / 1000
    after = state()
    leaked = [len(after[0] - before[0]), len(after[1] - before[1]), after[2] - before[2]]
    text = (
        f"{len(wrong)} failures, {killed} workers killed and restored, leaked processes, files, "
        f"threads: {leaked}, {seconds:.0f} s"
    )
    met = not wrong and leaked == [0, 0, 0]
    return [Row("64 REPLs x 200 blocks, random kills", text, "0 failures, 0 leaks", met)]


OFFICIAL = """
import json, statistics, time
from importlib.metadata import version
from rlm.environments.local_repl import LocalREPL

def timed(action, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)

def start(context="context"):
    LocalREPL(context_payload=context).cleanup()

repl = LocalREPL(context_payload="context")
found = {
    "start": timed(start, 50),
    "block round trip": timed(lambda: repl.execute_code("x = 1"), 500),
    "40 MB context": timed(lambda: start("a line of some forty characters, or so.\\n" * 10**6), 3),
}
repl.cleanup()
print(json.dumps({"version": version("rlms"), "milliseconds": found}))
"""
"""Measures the official package's local REPL, which runs in the process of its harness."""


def official(python: Path) -> list[Row]:
    """The official package in an environment of its own: no isolation, no time limit."""
    if not python.exists():
        return [Row("rlms: not measured (scripts/rlms_envs.sh installs it)", "-", "-", True)]
    done = subprocess.run([python, "-c", OFFICIAL], capture_output=True, text=True, check=False)
    if done.returncode:
        return [Row(f"rlms: not measured ({done.stderr.strip()[-200:]})", "-", "-", True)]
    found = json.loads(done.stdout.splitlines()[-1])
    name = f"rlms {found['version']} local"
    rows = found["milliseconds"].items()
    return [Row(f"{name}: {what}", f"{took:.3g} ms", "none held", True) for what, took in rows]


ROWS: dict[str, Callable[[SandboxPool], Awaitable[list[Row]]]] = {
    "start": start,
    "round_trip": round_trip,
    "contexts": contexts,
    "batches": batches,
    "idle_workers": idle_workers,
    "shared_context": shared_context,
    "limits": limits,
    "storm": storm,
}


async def measure(names: list[str], tier: str | None) -> tuple[str, list[Row]]:
    rows = []
    async with SandboxPool(CONFIG, tier) as pool:
        for name in names:
            for row in await ROWS[name](pool):
                rows.append(row)
                mark = "  " if row.met else "! "
                print(f"{mark}{row.what:<46}{row.target:<22}{row.measured}", flush=True)
        return pool.report.tier, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tier", choices=("A", "B", "C"), help="default: the strongest")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, comma-separated")
    envs = cache_dir() / "rlms"  # what scripts/rlms_envs.sh makes
    parser.add_argument("--rlms-python", type=Path, default=envs / "0.1.3" / "bin" / "python")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    logging.getLogger("rlm_eval.repl").setLevel(logging.ERROR)  # the storm kills workers
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, ")
    print(f"load average {os.getloadavg()[0]:.1f} at the start")
    print(f"  {'what':<46}{'target':<22}measured")
    tier, rows = asyncio.run(measure(options.only.split(","), options.tier))
    for row in official(options.rlms_python):
        rows.append(row)
        print(f"  {row.what:<46}{row.target:<22}{row.measured}")
    load = os.getloadavg()[0]
    print(f"tier {tier}; load average {load:.1f} at the end; ! = target missed")
    if options.json:
        found = {"tier": tier, "load": load, "platform": platform.platform()}
        options.json.write_text(json.dumps(found | {"rows": [asdict(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
