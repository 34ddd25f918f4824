"""What the RLM loop itself costs: the same scripted completions, ours, the official rlms, bare.

    python benchmarks/harness_overhead/rlm.py --rlms-python DIR/0.1.3/bin/python

The fake server answers after 50 ms from a script, in a process of its own; all sides talk to it in
the same run, alternated, best of `--repeats` (interference only slows). Ours writes its journal
and runs the code in sandboxed workers; "bare" sends the same chains of requests with aiohttp and
no REPL. `--rlms-python` is the interpreter of an environment with `rlms` installed; without it that
column is empty. What each row should reach is in `AIMS`: on an idle machine, two cores at least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from bench import sample_of  # noqa: E402  (the path above comes first)
from fake_server import FakeServer  # noqa: E402

from rlm_eval.budget.limits import Budget, Limits  # noqa: E402
from rlm_eval.methods.rlm import RLM  # noqa: E402
from rlm_eval.models import Client, Sampling  # noqa: E402
from rlm_eval.models.http.model import OpenAIModel  # noqa: E402
from rlm_eval.repl import ReplConfig, ReplPool, open_pool  # noqa: E402
from rlm_eval.session.session import Endpoint, Session  # noqa: E402
from rlm_eval.storage.journal import Journal  # noqa: E402
from rlm_eval.storage.jsonl import JsonlLog  # noqa: E402
from rlm_eval.storage.prompt_slices import SourceIndex  # noqa: E402

LATENCY = 0.05
BATCH, LOOP, AT_ONCE, CHILDREN = 1000, 50, 64, 8
FINISH = "answer['content'] = str(len(x))\nanswer['ready'] = True"
SCRIPTS = {
    "empty": ["x = context\nprint(len(x))", FINISH],
    "batch": [f"x = llm_query_batched(['sub %d' % n for n in range({BATCH})])\n{FINISH}"],
    "loop": [f"x = [llm_query('sub %d' % n) for n in range({LOOP})]\n{FINISH}"],
    "depth": [f"x = rlm_query_batched(['part %d' % n for n in range({CHILDREN})])\n{FINISH}"],
    "child": ["x = llm_query('sub of ' + context)\nprint(x)", FINISH],
}
CHAINS = {
    "empty": (2, 0, 0),
    "batch": (1, BATCH, 1),
    "loop": (1 + LOOP, 0, 0),
    "many": (0, AT_ONCE, 2),
    "depth": (1, CHILDREN, 3),
}
"""(requests one after the other, chains at once after them, requests of each chain)."""
IDEAL = {
    name: (first + length) * LATENCY
    for name, (first, _, length) in CHAINS.items()
    if name != "batch"
}
"""Seconds of pure latency; a batch wider than the limit in flight has only the bare client."""
AIMS = {
    "empty": "at most 1.5 x the ideal",
    "batch": "at most 1.6 x bare, a quarter of official",
    "loop": "within 5 % of the ideal",
    "many": "no failure; 5 x the official throughput at 16",
    "depth": "about the critical path",
}


def reply(request: dict[str, Any]) -> str:
    """The script that the question names; a child is known by having no question."""
    messages = request["messages"]
    if messages[-1]["content"].startswith("sub "):
        return "ok"
    text = "".join(m["content"] for m in messages)
    name = text.partition("job=")[2].partition(";")[0] if "job=" in text else "child"
    blocks = [f"```repl\n{code}\n```" for code in SCRIPTS[name]]
    return blocks[sum(m["content"] in blocks for m in messages if m["role"] == "assistant")]


async def serve() -> None:
    async with FakeServer(reply=reply, latency=LATENCY) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await asyncio.Event().wait()


async def one(job: str, client: Client, pool: ReplPool, folder: Path, number: int) -> float:
    """Seconds of one completion of ours, journal and slices included."""
    sample = sample_of("line of the context\n" * 50, f"job={job};", f"{number:08x}")
    endpoint = Endpoint("bench", client, Sampling(), None, lambda _: None)
    method = RLM(depth=2 if job == "depth" else 1)
    async with JsonlLog(folder / f"{job}{number}.jsonl") as log:
        index = SourceIndex(sample.context.hash, sample.context.text())
        slots = {"root": endpoint, "sub": endpoint}
        session = Session(sample, 0, slots, Journal(log), Budget(Limits()), pool, index)
        began = time.perf_counter()
        answer = await method.solve(sample, session)
        seconds = time.perf_counter() - began
    if answer.outcome is not None or not answer.text or any(c.error for c in session.calls):
        raise RuntimeError(f"{job}: {answer}")
    return seconds


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Callable[[str], Awaitable[float]]]:
    model = OpenAIModel("bench", "m", base_url=url, concurrency=256)
    with tempfile.TemporaryDirectory() as name:
        async with model.open() as client, open_pool(ReplConfig(isolation="best")) as pool:
            count = 0

            async def run(job: str) -> float:
                nonlocal count
                count += AT_ONCE
                folder = Path(name)
                if job != "many":
                    return await one(job, client, pool, folder, count)
                began = time.perf_counter()
                async with asyncio.TaskGroup() as group:
                    for n in range(AT_ONCE):
                        group.create_task(one("empty", client, pool, folder, count + n))
                return time.perf_counter() - began

            await run("empty")  # connections and workers are warm on every side
            yield run


async def bare(url: str, job: str) -> float:
    """The chain of requests of a job by a plain client: no REPL, no journal, 256 in flight."""
    gate = asyncio.Semaphore(256)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(n: int) -> None:
            messages = [{"role": "user", "content": f"sub {n}"}]
            body = {"model": "m", "messages": messages}
            async with gate, session.post(url + "/chat/completions", json=body) as response:
                await response.json()

        async def chain(length: int) -> None:
            for n in range(length):
                await ask(n)

        await ask(0)
        began = time.perf_counter()
        first, width, length = CHAINS[job]
        await chain(first)
        await asyncio.gather(*[chain(length) for _ in range(width)])
        return time.perf_counter() - began


OFFICIAL = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from rlm import RLM
out = sys.stdout  # its threads swap sys.stdout and may leave another one behind
def one(job):
    rlm = RLM(backend="openai", max_depth=2 if job == "depth" else 1, backend_kwargs={
        "model_name": "m", "base_url": sys.argv[1], "api_key": "x"})
    began = time.perf_counter()
    try:
        done = rlm.completion("line of the context\\n" * 50, root_prompt=f"job={job};")
        return time.perf_counter() - began, bool(done.response)
    except Exception:
        return time.perf_counter() - began, False
for line in sys.stdin:
    job, width = line.split()
    began = time.perf_counter()
    with ThreadPoolExecutor(int(width)) as threads:
        done = list(threads.map(one, [job] * int(width)))
    seconds = time.perf_counter() - began if int(width) > 1 else done[0][0]
    print(json.dumps([seconds, sum(not ok for _, ok in done)]), file=out, flush=True)
"""


class Official:
    """The official package in its own interpreter, one completion per line sent to it."""

    def __init__(self, python: str, url: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", OFFICIAL, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    async def run(self, job: str, width: int = 1) -> tuple[float, int]:
        def ask() -> tuple[float, int]:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            print(job, width, file=self.process.stdin, flush=True)
            for line in self.process.stdout:
                if line.startswith("["):
                    seconds, failures = json.loads(line)
                    return seconds, failures
            raise RuntimeError("the official package ended")

        return await asyncio.to_thread(ask)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


async def measure(
    url: str, jobs: list[str], repeats: int, rlms_python: str | None
) -> list[dict[str, Any]]:
    rows = []
    async with ours(url) as run:
        for job in jobs:
            mine, theirs, plain, failed = [], [], [], 0
            # One process per job: after concurrent completions its working directory is gone.
            official = Official(rlms_python, url) if rlms_python else None
            try:
                if official:
                    await official.run("empty")
                for _ in range(repeats):
                    mine.append(await run(job))
                    plain.append(await bare(url, job))
                    if official:
                        kind = ("empty", 16) if job == "many" else (job, 1)
                        seconds, failures = await official.run(*kind)
                        theirs.append(seconds)
                        failed += failures
            finally:
                if official:
                    official.close()
            rows.append(
                {
                    "job": job,
                    "ideal": IDEAL.get(job),
                    "bare": min(plain),
                    "ours": min(mine),
                    "ours_median": statistics.median(mine),
                    "official": min(theirs) if theirs else None,
                    "official_failures": failed if official else None,
                    "aim": AIMS[job],
                }
            )
            print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    theirs = "-" if row["official"] is None else f"{row['official']:.3f} s"
    failed = f" ({row['official_failures']} failed)" if row["official_failures"] else ""
    ideal = f"{row['ideal']:.2f} s" if row["ideal"] else "-"
    return (
        f"{row['job']:6} ideal {ideal}  bare {row['bare']:.3f} s  ours {row['ours']:.3f} s"
        f" (x{row['ours'] / row['bare']:.2f} of bare; median {row['ours_median']:.3f})"
        f"  official {theirs}{failed}  aim: {row['aim']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rlms-python", default=None)
    parser.add_argument("--jobs", default=",".join(CHAINS), help="comma list")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return
    command = [sys.executable, __file__, "--serve"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        rows = asyncio.run(
            measure(url, arguments.jobs.split(","), arguments.repeats, arguments.rlms_python)
        )
    finally:
        server.terminate()
        server.wait()
    if arguments.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
