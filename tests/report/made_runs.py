"""A real run directory, written through the project's own store and journal, without a model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from made_samples import CELL, call, sample, score, step, trajectory

from rlm_eval.core.types import Outcome, Role, Sample, Slice, Trajectory
from rlm_eval.records import record
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog

HOSTILE = '</script><script>document.title = "owned"</script><img src=x onerror="document.title=1">'
FILLER = "The gate keeper wrote another line about the weather. "


def text_of(index: int, length: int) -> str:
    count = 4 * length // len(FILLER)
    half = FILLER * (count // 2)
    return f"{half}The key of the red door is {7000 + index}. {half}"


def sample_of(index: int, length: int) -> Sample:
    return sample(
        text_of(index, length),
        str(7000 + index),
        index,
        id=f"s{index}-{length}",
        length=length,
    )


def write(
    run: Path,
    *,
    lengths: tuple[int, ...] = (1024, 2048),
    n: int = 3,
    protected: bool = False,
    reply: str = HOSTILE,
) -> Path:
    """Two methods, each length, n samples; one reply holds markup, one sample is wrong.

    Another `reply` makes a run of the same cells that answered differently, in other times.
    """
    rows: list[dict[str, Any]] = []
    for method in ("long_context", "rlm"):
        for length in lengths:
            rows += asyncio.run(_cell(run, method, length, n, protected, reply))
    record.to_frame(rows).to_parquet(run / record.FILE)
    return run


async def _cell(
    run: Path, method: str, length: int, n: int, protected: bool, reply: str
) -> list[dict[str, Any]]:
    identity = f"id-{method}-{length}"
    facts = CELL | {"method": method, "sub": "model-a", "prompt": "own_short"}
    facts |= {"protected": protected}
    folder = run / "cells" / f"{method}-{length}"
    store = CellStore(folder)
    samples = [sample_of(i, length) for i in range(n)]
    manifest = {"identity": identity, "facts": facts, "command": ["rlm-eval", "run", "x=1"]}
    manifest["prices"] = {"root": "gpt-5-mini", "sub": "gpt-5-mini"}
    store.begin(manifest, samples)
    rows = []
    async with (
        JsonlLog(folder / "journal.jsonl") as log,
        JsonlLog(folder / "trajectories.jsonl") as trajectories,
        JsonlLog(folder / "scores.jsonl") as scores,
    ):
        journal = Journal(log)
        for item in samples:
            number = journal.start(item.id, 0, item.context.hash)
            done = _rlm(item) if method == "rlm" else _plain(item)
            done = answered(done, reply)
            for made in done.calls:
                journal.write(number, f"r{made.id}", made)
            right = 0.0 if item.index == 1 else 1.0
            attempt = RolloutResult(number, done, score(right), 0, 0)
            store.append(trajectories, scores, attempt)
            cell = facts | {"run": run.name, "cell_id": identity}
            rows.append(
                record.record_of(cell, item, done, attempt.scores, lambda _: (0.001, 0.0005))
            )
    return rows


def answered(done: Trajectory, reply: str) -> Trajectory:
    """The trajectory with another text for the markup, and another time."""
    if reply == HOSTILE:
        return done
    calls = tuple(replace(c, reply=c.reply.replace(HOSTILE, reply)) for c in done.calls)
    return replace(done, calls=calls, wall_seconds=9.0)


def _plain(item: Sample) -> Any:
    whole = Slice(item.context.hash, 0, item.context.chars)
    only = call(0, 0.0, 2.0, parts=("Read this:\n", whole, "\n" + item.question), reply=HOSTILE)
    return trajectory(item, (only,))


def _rlm(item: Sample) -> Any:
    source, half = item.context.hash, item.context.chars // 2
    calls = (
        call(0, 0.0, 1.0, parts=("You have a REPL with `context`.", item.question), reply="code"),
        call(1, 1.2, 2.0, parent=0, role=Role.SUB, parts=("Find: ", Slice(source, 0, half))),
        call(2, 1.2, 2.4, parent=0, role=Role.SUB, parts=("Find: ", Slice(source, half, 2 * half))),
        call(3, 2.6, 3.0, parts=("go on",), reply=f"{HOSTILE} done", turn=1),
    )
    code = 'parts = [context[:10]]  # cut\nfor p in parts:\n    print(llm_query("Find: " + p))\n'
    steps = (step(0, 0.2, code=code, stdout=HOSTILE, stdout_chars=len(HOSTILE), calls=(1, 2)),)
    outcome = Outcome.TRUNCATED if item.index == 2 else Outcome.OK
    return trajectory(item, calls, steps=steps, outcome=outcome)


def context_of(_: Any, sample_id: str) -> str:
    """Rebuilds what `sample_of` made."""
    index, length = sample_id.removeprefix("s").split("-")
    return text_of(int(index), int(length))
