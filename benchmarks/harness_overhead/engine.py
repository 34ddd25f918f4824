"""What the engine costs around the models: a cell, a sample, a call, completions at once, a start.

    PYTHONPATH=. python benchmarks/harness_overhead/engine.py            # all rows, about a minute
    PYTHONPATH=. python benchmarks/harness_overhead/engine.py sample call

Every figure is processor seconds (user and system, waited children too), which other work on the
machine changes little. Beside each stands a floor that is measured in the same run and repeat, and
the ratio to it, which a slower machine does not change either. The best of `--repeats` counts.

row       what                                             floor
compose   expand + build, a cell of a sweep of 72          a copy of its configuration
cell      run, a cell of 24 with one sample each           three durable files a cell
sample    run, a sample of a scripted long_context cell    two JSON lines written and synced
call      run, a call of a program that asks 99 times      a JSON line of its prompt written
many      64 completions of the RLM at once, in all        64 x two blocks in a bare worker
more      the same, 256                                    256 x two blocks in a bare worker
cold      `rlm-eval run debug=scripted`                    the same imports, nothing else
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

SCRIPT = ["model@root=scripted", "tokenizer=approx4", "name=engine"]
AIMS = {
    "compose": (1e3, "ms a cell", 20),
    "cell": (1e3, "ms a cell", 20),
    "sample": (1e3, "ms a sample", 1.5),
    "call": (1e3, "ms a call", 0.5),
    "many": (1, "s", 0.25),
    "more": (1, "s", 1.0),
    "cold": (1, "s", 4),
}
"""Factor to the unit, unit, aim on an idle machine with two cores."""


def used() -> float:
    """Processor seconds of this process and of the children that it has waited for."""
    own, children = (resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def cpu(work: Callable[[], object]) -> float:
    began = used()
    work()
    return used() - began


def run(folder: Path, *given: str) -> None:
    """Run the cells in this process, without records or report."""
    from rlm_eval.config.cell import build_cell, run_folder, sweep_budget
    from rlm_eval.config.grid import expand
    from rlm_eval.runner.runner import Runner

    configs = expand([*SCRIPT, f"results={folder}", *given])
    cells = [build_cell(config) for config in configs]
    summary = Runner(run_folder(configs[0]), cells, sweep_budget(configs[0])).run_now()
    if summary.unfinished:
        raise RuntimeError(str(summary.unfinished))


def lines(path: Path, count: int, line: bytes, *, every: int = 1) -> None:
    """Append lines and make every n-th durable."""
    with path.open("ab") as file:
        for number in range(count):
            file.write(line)
            if number % every == 0:
                file.flush()
                os.fdatasync(file.fileno())


def compose(folder: Path) -> tuple[float, float]:
    from rlm_eval.config.cell import build_cell
    from rlm_eval.config.grid import expand

    given = ["task=s_niah,ledger", "length=1k,2k", "seed=1,2,3", "method=long_context,rag,rlm"]
    sweep = [*SCRIPT, f"results={folder}", "n=1", "max_samples=1,2", *given]
    configs = expand(sweep)

    def work() -> None:
        for config in expand(sweep):
            _ = build_cell(config).id

    return (
        cpu(work) / len(configs),
        cpu(lambda: [config.copy() for config in configs]) / len(configs),
    )


def cell(folder: Path) -> tuple[float, float]:
    cells = 24
    given = ["task=s_niah", "method=long_context", "length=1k", "n=1"]
    run(folder / "warm", *given)
    with_one = cpu(lambda: run(folder / "one", *given, "seed=0"))
    seeds = ",".join(map(str, range(cells + 1)))
    spent = cpu(lambda: run(folder / "all", *given, f"seed={seeds}")) - with_one

    def floor() -> None:
        for number in range(3 * cells):
            lines(folder / f"{number}", 1, b"x" * 4000)

    return spent / cells, cpu(floor) / cells


def sample(folder: Path) -> tuple[float, float]:
    few, many = 20, 220
    given = ["task=s_niah", "method=long_context", "length=1k", "max_samples=8"]
    run(folder / "warm", *given, "n=1")
    base = cpu(lambda: run(folder / "few", *given, f"n={few}"))
    spent = cpu(lambda: run(folder / "many", *given, f"n={many}")) - base
    line = orjson.dumps({"text": "x" * 800}) + b"\n"
    floor = cpu(lambda: lines(folder / "lines", 2 * (many - few), line, every=2))
    return spent / (many - few), floor / (many - few)


def call(folder: Path) -> tuple[float, float]:
    given = ["task=s_niah", "method=program_map", "length=16k", "max_samples=8"]
    given += ["method.settings={chunk_chars: 660, overlap_chars: 0}"]
    run(folder / "warm", *given, "n=1")
    base = cpu(lambda: run(folder / "few", *given, "n=1"))
    spent = cpu(lambda: run(folder / "many", *given, "n=21")) - base
    line = orjson.dumps({"prompt": "x" * 300}) + b"\n"
    floor = cpu(lambda: lines(folder / "lines", 20 * 99, line, every=99))
    return spent / (20 * 99), floor / (20 * 99)


def completions(folder: Path, width: int) -> tuple[float, float]:
    """(of `width` RLM completions of two turns at once, of as many bare workers)."""
    from rlm import SCRIPTS, one

    from rlm_eval.core.types import Message, Reply, Usage
    from rlm_eval.models import Sampling
    from rlm_eval.repl import ReplConfig, open_pool

    blocks = [f"```repl\n{code}\n```" for code in SCRIPTS["empty"]]

    class Client:
        """Answers at once with the script of the empty completion."""

        async def complete(self, messages: list[Message], _: Sampling) -> Reply:
            turn = sum(m.content in blocks for m in messages if m.role == "assistant")
            return Reply(blocks[turn], "stop", Usage(input=10, output=10))

    async def ours() -> None:
        async with open_pool(ReplConfig(isolation="best")) as pool, asyncio.TaskGroup() as group:
            for n in range(width):
                group.create_task(one("empty", Client(), pool, folder, n))

    async def bare() -> None:
        async with open_pool(ReplConfig(isolation="best")) as pool:

            async def work() -> None:
                async with pool.open("line of the context\n" * 50, {}, answer_dict=True) as repl:
                    for code in SCRIPTS["empty"]:
                        await repl.run(code)

            async with asyncio.TaskGroup() as group:
                for _ in range(width):
                    group.create_task(work())

    return cpu(lambda: asyncio.run(ours())), cpu(lambda: asyncio.run(bare()))


def cold(folder: Path) -> tuple[float, float]:
    def ours() -> None:
        subprocess.run(
            [sys.executable, "-m", "rlm_eval", "run", "debug=scripted", f"results={folder}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
        )

    modules = (
        "aiohttp, bm25s, hydra, matplotlib.pyplot, numpy, orjson, pandas, pyarrow, scipy.stats"
    )
    bare = [sys.executable, "-c", f"import {modules}"]
    return cpu(ours), cpu(lambda: subprocess.run(bare, check=True))


ROWS: dict[str, Callable[[Path], tuple[float, float]]] = {
    "compose": compose,
    "cell": cell,
    "sample": sample,
    "call": call,
    "many": lambda folder: completions(folder, 64),
    "more": lambda folder: completions(folder, 256),
    "cold": cold,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help=", ".join(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'row':8} {'aim':>8} {'measured':>10} {'floor':>9} {'ratio':>7}")
    for name in options.rows or ROWS:
        found = []
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                found.append((*ROWS[name](Path(folder)), time.perf_counter() - began))
        spent, floor = (min(row[i] for row in found) for i in (0, 1))
        factor, unit, aim = AIMS[name]
        print(
            f"{name:8} {aim:8g} {spent * factor:10.3g} {floor * factor:9.3g} "
            f"{spent / floor:7.1f}  {unit}",
            flush=True,
        )


if __name__ == "__main__":
    main()
