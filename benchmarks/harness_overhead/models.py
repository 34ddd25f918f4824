"""The client's own cost: 1,000 calls at 256 in flight against a 50 ms server, ours and bare.

    python benchmarks/harness_overhead/models.py

The server is a process of its own. "bare" is aiohttp with a semaphore and no retries, types or
limits; httpx is what most harnesses use. Alternated, best of `--repeats`: interference only slows.
Aim: ours in at most 1.5 times bare.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import orjson

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from fake_server import FakeProcess  # noqa: E402

from rlm_eval.core.types import Message  # noqa: E402
from rlm_eval.models import Sampling  # noqa: E402
from rlm_eval.models.http.model import OpenAIModel  # noqa: E402

PROMPT = "x" * 4000


async def many(calls: int, ask: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*[ask() for _ in range(calls)])
    return time.perf_counter() - began


async def ours(url: str, calls: int, at_once: int) -> float:
    model = OpenAIModel("bench", "m", base_url=url, concurrency=at_once)
    async with model.open() as client:
        messages = [Message("user", PROMPT)]
        return await many(calls, lambda: client.complete(messages, Sampling()))


async def bare(url: str, calls: int, at_once: int) -> float:
    payload = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    gate = asyncio.Semaphore(at_once)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> object:
            async with (
                gate,
                session.post(
                    url + "/chat/completions", data=orjson.dumps(payload), headers=headers
                ) as response,
            ):
                return orjson.loads(await response.read())

        return await many(calls, ask)


async def with_httpx(url: str, calls: int, at_once: int) -> float:
    import httpx

    payload = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=at_once)
    gate = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:

        async def ask() -> object:
            async with gate:
                return (await client.post(url + "/chat/completions", json=payload)).json()

        return await many(calls, ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--httpx", action="store_true", help="measure httpx too (slow)")
    options = parser.parse_args()
    best = {"ours": float("inf"), "bare": float("inf")}
    with FakeProcess("--latency", "0.05") as server:
        for _ in range(options.repeats):
            for name, run in (("bare", bare), ("ours", ours)):
                seconds = asyncio.run(run(server.url, options.calls, options.at_once))
                best[name] = min(best[name], seconds)
        if options.httpx:
            best["httpx"] = asyncio.run(with_httpx(server.url, options.calls, options.at_once))
    for name, seconds in best.items():
        print(f"{name:6} {seconds:6.2f} s  {options.calls / seconds:6.0f} calls/s")
    print(f"ours / bare: {best['ours'] / best['bare']:.2f} (aim: at most 1.5)")


if __name__ == "__main__":
    main()
