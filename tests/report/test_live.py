"""The viewer shows a run while it goes on: finished samples, those under way, and what is new."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import made_runs as runs
import pytest
from made_samples import score

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call
from rlm_eval.records.record import FILE
from rlm_eval.report.viewer.shelf import ViewerData
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.lease import Lease

CELL = "rlm-1024"


@asynccontextmanager
async def running(run: Path) -> AsyncIterator[Any]:
    """A process that works on one more sample of a cell: what it may write."""
    folder = run / "cells" / CELL
    lines = (folder / "samples.jsonl").read_bytes()
    (folder / "samples.jsonl").write_bytes(lines.replace(b'"s0-1024"', b'"s9-1024"') + lines)
    item = runs.sample_of(9, 1024)
    async with (
        Lease(folder),
        JsonlLog(folder / "journal.jsonl") as log,
        JsonlLog(folder / "trajectories.jsonl") as trajectories,
        JsonlLog(folder / "scores.jsonl") as scores,
    ):
        journal = Journal(log)
        number = journal.start(item.id, 0, item.context.hash)
        done = runs._rlm(item)

        def call(one: Call) -> None:
            journal.write(number, f"r{one.id}", one)

        def end() -> None:
            attempt = RolloutResult(number, done, score(0.0), 0, 0)
            CellStore(folder).append(trajectories, scores, attempt)

        yield done, call, end


def listed(shelf: ViewerData) -> list[dict[str, Any]]:
    """The list as a page would get it now."""
    shelf._next_look = 0.0
    shelf.list({})
    return shelf.rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two cells of two samples, with their records."""
    return runs.write(tmp_path, lengths=(1024,), n=2)


@pytest.mark.parametrize("has_records", [True, False])
async def test_a_sample_is_shown_while_it_runs_and_when_it_has_ended(
    run: Path, has_records: bool
) -> None:
    if not has_records:
        (run / FILE).unlink()
    async with running(run) as (done, call, end):
        call(done.calls[0])
        shelf = ViewerData([run])
        before = shelf.list({})
        assert (before["held"], before["cells"]) == (1, 2)
        assert shelf.list({"since": str(before["version"])}).keys() == before.keys() - {"rows"}
        [now] = [row for row in shelf.rows if row["outcome"] == "running"]
        assert (now["calls"], now["score"], now["sample"]) == (1, None, "s9-1024")
        assert len(shelf.rows) == 4 + 1
        address = f"{now['run']}/{now['cell']}/s9-1024/0"
        assert len(shelf.trajectory({"sample": address})["item"]["calls"]) == 1
        for one in done.calls[1:]:
            call(one)
        end()
        [now] = [row for row in listed(shelf) if row["sample"] == "s9-1024"]
        assert (now["outcome"], now["calls"], now["score"]) == ("ok", 4, 0.0)
        item = shelf.trajectory({"sample": address})["item"]
        assert (len(item["calls"]), len(item["steps"])) == (4, 1)
        assert len(listed(shelf)) == 5
    assert not (run / FILE).exists() or has_records, "a viewer writes nothing"


def test_without_records_and_without_a_process_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RlmEvalError, match=r"no records\.parquet here"):
        ViewerData([tmp_path])
