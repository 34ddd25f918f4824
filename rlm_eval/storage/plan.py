"""The planned cells of a run directory: `plan.json`, and one mark per cell in `plan/`.

Processes that plan at the same time need no lock: a mark is an empty file named after its cell, so
that marks cannot overwrite each other, and a process that writes `plan.json` writes it again until
it names every mark. A plan of an older release has no marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

import orjson

from rlm_eval.core.paths import sync_folder
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.damage import damaged


class Planned(Protocol):
    """The fields of a `config.cell.Cell` that are read here."""

    @property
    def plan_id(self) -> str:
        """The cell's id; of a shard, also its number."""


def plan(run: Path, cells: Sequence[Planned]) -> None:
    """Add the cells to the run's plan, so that `status` can name the missing ones."""
    known = set(_listed(run))
    new = [name for cell in cells if (name := cell.plan_id) not in known]
    if not new:  # a job of a submitted sweep finds its cells planned and does not change the plan
        return
    marks = run / "plan"
    marks.mkdir(exist_ok=True)
    for name in new:
        _mark(run, name).touch()
    sync_folder(marks)
    # The last process that writes `plan.json` reads the marks after its write: none is lost.
    while set(named := planned(run, first=new)) - set(_listed(run)):
        write_json(run / "plan.json", {"cells": named})


def planned(run: Path, first: Sequence[str] = ()) -> list[str]:
    """Return every planned cell, in the order of planning where known; empty without a plan.

    `first` are names whose order the caller has. Raises `RlmEvalError` for a damaged plan.
    """
    marks = sorted(unquote(path.name) for path in (run / "plan").glob("[!.]*"))
    given = [name for name in first if name in set(marks)]
    return list(dict.fromkeys([*_listed(run), *given, *marks]))


def all_unfinished(run: Path) -> str | None:
    """Return the error text for a run without a result; `None` where it has no cell at all."""
    begun = (path.name for kind in ("cells", "shards") for path in (run / kind).glob("[!.]*"))
    if not (count := len({name.partition("/")[0] for name in planned(run)} or set(begun))):
        return None
    cells = "1 cell, unfinished" if count == 1 else f"{count} cells, all unfinished"
    return (
        f"{run}: {cells}; run the same command again to resume (`rlm-eval status {run}` lists the "
        "reasons)"
    )


def why_no_run(run: Path, lack: str) -> str:
    """Return the error text for a folder in which nothing can be read; `lack` is what it lacks."""
    named = "name a run directory, e.g. results/runs/scratch (`rlm-eval run` prints it)"
    if not run.exists():
        return f"{run}: no such folder; {named}"
    if not run.is_dir():
        return f"{run}: a file, no folder; {named}"
    has_begun = any(run.glob("cells/*/manifest.json"))
    return (None if has_begun else all_unfinished(run)) or f"{run}: no {lack} here; {named}"


def none_finished(runs: Sequence[Path]) -> str:
    """Return the error text for runs in which no sample has finished, one clause each."""
    unknown = "no sample has finished yet; run it first"
    return "; ".join(all_unfinished(Path(run)) or f"{run}: {unknown}" for run in runs)


def is_planned(run: Path, name: str) -> bool:
    """Return true if the plan has a mark of this cell."""
    return _mark(run, name).exists()


def _mark(run: Path, name: str) -> Path:
    return run / "plan" / quote(name, safe="")


def _listed(run: Path) -> list[str]:
    path = run / "plan.json"
    if not path.exists():
        return []
    with damaged(path, "delete it: the same command writes it again"):
        names = orjson.loads(path.read_bytes())["cells"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("`cells` is not a list of names")
        return names
