"""What `rlm-eval view` takes at 10M-token contexts and thousands of trajectories.

    PYTHONPATH=.:tests/report python benchmarks/harness_overhead/viewer.py [trajectories]

Writes a run through the project's own store and journal (half plain, half with 66 calls each, the
context a repeated line of 40M characters), serves it, asks for what a page asks for: processor
seconds of the server, its memory, and the size of each answer. Where a Chromium is installed, also
the wall time from each action of a reader to the picture that answers it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
from browser import CHROMIUM, chromium
from made_samples import CELL, call, score, step, trajectory

from rlm_eval.core.types import Call, Context, Role, Sample, Slice, Step
from rlm_eval.records import record
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog

CHARS = 40_000_000


def sample(index: int) -> Sample:
    """A sample over its own context."""
    digest = hashlib.sha256(str(index).encode()).hexdigest()
    return Sample(
        id=f"s{index}", task="s_niah", index=index, question="What is the key?", target="7412",
        context=Context(digest, CHARS, CHARS // 4, "cl100k", str), length=10 * 2**20,
        cluster=f"i{index}", item=f"i{index}", evidence=((CHARS // 2, CHARS // 2 + 4),), meta={},
    )  # fmt: skip


def plain(item: Sample) -> tuple[tuple[Call, ...], tuple[Step, ...]]:
    """One call with the whole context."""
    return (call(0, 0.0, 2.0, parts=(Slice(item.context.hash, 0, CHARS),)),), ()


def recursive(item: Sample) -> tuple[tuple[Call, ...], tuple[Step, ...]]:
    """Six turns, two of them with 30 sub-calls on slices."""
    calls: list[Call] = []
    steps = []
    for turn in range(6):
        root, start = len(calls), 10.0 * turn
        past = tuple(f"output {item.index} of turn {t}. " * 60 for t in range(turn))
        calls.append(
            call(root, start, start + 2, parts=("You have a REPL. " * 40, *past), turn=turn)
        )
        width = CHARS // 30
        for at in range(0, CHARS - width, width) if turn in (1, 2) else ():
            part = Slice(item.context.hash, at, at + width // (4 * turn))
            reply = f"Nothing at {at} about door {item.index}. " * 8
            calls.append(call(len(calls), start + 2.5, start + 5, parent=root, role=Role.SUB,
                              parts=("Find the key: ", part), reply=reply))  # fmt: skip
        made = tuple(range(root + 1, len(calls)))
        code = "for chunk in chunks:\n    print(llm_query('Find the key: ' + chunk))\n" * 10
        steps.append(step(root, 0.2, code=code, stdout="out " * 400, stdout_chars=1600, calls=made))
    return tuple(calls), tuple(steps)


async def write(run: Path, each: int) -> None:
    """Two cells of `each` trajectories."""
    rows = []
    for name, made in (("long_context", plain), ("rlm", recursive)):
        facts = CELL | {"method": name, "sub": "model-a"}
        folder = run / "cells" / name
        store, samples = CellStore(folder), [sample(i) for i in range(each)]
        store.begin({"identity": name, "facts": facts, "prices": {}}, samples)
        async with (
            JsonlLog(folder / "journal.jsonl") as log,
            JsonlLog(folder / "trajectories.jsonl") as trajectories,
            JsonlLog(folder / "scores.jsonl") as scores,
        ):
            journal = Journal(log)
            for item in samples:
                number = journal.start(item.id, 0, item.context.hash)
                calls, steps = made(item)
                done = trajectory(item, calls, steps=steps)
                for one in calls:
                    journal.write(number, f"r{one.id}", one)
                attempt = RolloutResult(number, done, score(float(item.index % 3 > 0)), 0, 0)
                store.append(trajectories, scores, attempt)
                cell = facts | {"run": run.name, "cell_id": name}
                rows.append(
                    record.record_of(cell, item, done, attempt.scores, lambda _: (None, None))
                )
    record.to_frame(rows).to_parquet(run / record.FILE)


def main(trajectories: int) -> None:
    """Write, serve, ask."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "made_up"
        run.mkdir()
        asyncio.run(write(run, trajectories // 2))
        size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 1e6
        print(f"{trajectories:,} trajectories, contexts of {CHARS:,} characters, {size:.0f} MB")
        measure(run, trajectories)


def measure(run: Path, trajectories: int) -> None:
    """Open the server and print a line per request."""
    started = time.process_time()
    from rlm_eval.report.viewer.server import open_server

    line = "The gate keeper wrote another line. "
    server, address = open_server([run], context_of=lambda *_: line * (CHARS // len(line) + 1))
    tell("start, imports included", started, 0)
    base, key = address.split("?key=")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    last, deep = trajectories // 2 - 1, CHARS * 3 // 4
    one, other = ({"sample": f"made_up/rlm/s{n}/0"} for n in (last, last - 1))
    for label, path, query in (
        ("list of all samples", "list", {}),
        ("news of them", "list", {"since": 1}),
        ("first trajectory of a cell", "trajectory", one),
        ("another one of it", "trajectory", other),
        ("first stretch of a context", "context", one | {"start": deep, "end": deep + 20_000}),
        ("another one of it", "context", one | {"start": 100, "end": 20_100}),
        ("search in everything", "search", {"words": "about door 17"}),
    ):
        started = time.process_time()
        answer = urlopen(f"{base}{path}?{urlencode({**query, 'key': key})}").read()
        json.loads(answer)
        tell(label, started, len(answer))
    if CHROMIUM:
        asyncio.run(act(address, trajectories))
    server.shutdown()
    server.server_close()


WAIT = """(async () => {
  const began = performance.now();
  %s;
  while (!(%s)) {
    if (performance.now() - began > 30000) return null;
    await new Promise((next) => setTimeout(next, 2));
  }
  await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
  return performance.now() - began;
})()"""
COUNT = "document.getElementById('count')?.textContent.startsWith('%d ')"
FIRST = "document.querySelector('.items tbody tr')"
CHANGE = (
    "(() => {{ const box = document.getElementById('by-{}'); box.value = '{}';"
    "box.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
)


async def act(address: str, trajectories: int) -> None:
    """What a reader does, in a browser; a line per action."""
    half, wrong = trajectories // 2, -(-(trajectories // 2) // 3)
    deep = f"#sample=made_up%2Frlm%2Fs{half - 2}%2F0&call=40"
    cell = f"{FIRST}.cells[3].textContent"
    actions = (
        ("sort by seconds", "document.getElementById('sort-seconds').click()",
         "document.getElementById('sort-seconds').textContent.includes('▲')"),
        ("sort by score", "document.getElementById('sort-score').click()",
         f"{FIRST}.cells[6].textContent === '0.000'"),
        ("filter by method", CHANGE.format("method", "rlm"), COUNT % half),
        ("filter by score", CHANGE.format("score", "<1"), COUNT % wrong),
        ("drop the filters", "dispatchEvent(new KeyboardEvent('keydown', {key: 'x'}))",
         COUNT % trajectories),
        ("a cell of the score table", "document.querySelectorAll('#score-table td a')[1].click()",
         f"{COUNT % half} && {cell} === 'rlm'"),
        ("open a sample of 66 calls", f"{FIRST}.click()",
         "document.querySelectorAll('.side .call').length >= 6"),
        ("next sample, by key", "dispatchEvent(new KeyboardEvent('keydown', {key: 'j'}))",
         "document.querySelector('.items tr.on')?.id === 'row-1'"
         " && document.querySelectorAll('.side .call').length >= 6"),
        ("other method beside it", "document.querySelector('.chip .beside').click()",
         "document.querySelectorAll('.side section.why').length === 2"),
        ("search in everything", CHANGE.format("words", "about door 17."), COUNT % 1),
        ("address of a call", f"location.hash = '{deep}'",
         "document.querySelector('.call.aimed')?.id === 'call-a-40'"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as profile:
        async with chromium(Path(profile)) as page:
            began = time.perf_counter()
            await page.open(address)
            await page.until(COUNT % trajectories)
            show("open the viewer", 1000 * (time.perf_counter() - began))
            for label, action, holds in actions:
                show(label, await page.run(WAIT % (action, holds)))
            began = time.perf_counter()
            await page.open(f"{address}{deep}".replace("/?", "/?again=1&"))
            await page.until("document.querySelector('.call.aimed') !== null")
            show("address of a call, afresh", 1000 * (time.perf_counter() - began))
            if page.errors:
                print(f"errors of the page: {page.errors}")


def show(label: str, milliseconds: float | None) -> None:
    """One row of a browser's times."""
    told = "never" if milliseconds is None else f"{milliseconds / 1000:7.3f} s to its picture"
    print(f"{label:32s} {told}")


def tell(label: str, started: float, size: int) -> None:
    """One row."""
    seconds = time.process_time() - started
    memory = psutil.Process().memory_info().rss / 1e6
    print(f"{label:32s} {seconds:7.3f} s processor, {size / 1000:7.1f} kB, {memory:5.0f} MB memory")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)
