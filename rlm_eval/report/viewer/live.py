"""Records of runs that may still be running: stored rows, and rows for newer results.

A running process writes `records.parquet` when it ends. Until then the rows of a cell are built
here from its logs, each once. Nothing is written.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.errors import NoRecords
from rlm_eval.core.types import Call
from rlm_eval.records.build import row_maker
from rlm_eval.records.record import FILE, load_records, read_file, read_typed, to_frame
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import CellStore, read_manifest
from rlm_eval.storage.lease import holder_of

if TYPE_CHECKING:
    import pandas as pd

_RESULTS = ("trajectories.jsonl", "scores.jsonl")
_WATCHED = (*_RESULTS, "journal.jsonl", "DONE", "manifest.json")


@dataclass(frozen=True)
class Unfinished:
    """A sample in progress in a live process."""

    folder: Path
    """Folder of its cell."""
    line: dict[str, Any]
    """The stored sample line."""
    epoch: int
    calls: tuple[Call, ...]
    """Model calls so far."""


class LiveRecords:
    """Records of run directories, reloaded when they change."""

    def __init__(self, run_dirs: Sequence[Path]) -> None:
        self.run_dirs = tuple(run_dirs)
        self.unfinished: list[Unfinished] = []
        """Samples in progress at the last `load`."""
        self._made: dict[Path, dict[int, dict[str, Any]]] = {}  # cell -> trajectory -> record
        self._seen: tuple[Any, ...] = ()

    def is_changed(self) -> bool:
        """Return whether a relevant file has changed since the last `load`."""
        return self._seen != self._stamps()

    def progress(self) -> dict[str, int]:
        """Return the counts of started, finished and running cells."""
        cells = [folder for run in self.run_dirs for folder in started_cells(run)]
        done = sum((folder / "DONE").exists() for folder in cells)
        return {"cells": len(cells), "done": done, "held": len(self._held())}

    def load(self) -> pd.DataFrame | None:
        """Load the current records; `None` if no sample has ended, but a process works on one.

        Raises `RlmEvalError` if a run has neither records nor a live process, `NoRecords` if no
        sample has ended and none is in progress.
        """
        self._seen = self._stamps()
        held = self._held()
        self.unfinished = [one for folder in held for one in _unfinished(folder)]
        try:
            return load_records(self.run_dirs, self._read)
        except NoRecords:
            if not held:
                raise
            return None

    def _held(self) -> list[Path]:
        """Return the cells that a live process writes."""
        cells = (folder for run in self.run_dirs for folder in started_cells(run))
        return [f for f in cells if not (f / "DONE").exists() and holder_of(f) is not None]

    def _stamps(self) -> tuple[Any, ...]:
        paths = (
            path
            for run in self.run_dirs
            for path in (run / FILE, *(f / name for f in started_cells(run) for name in _WATCHED))
        )
        return tuple((str(path), *stamp) for path in paths if (stamp := _stamp(path)))

    def _read(self, run: Path) -> pd.DataFrame:
        """Return the rows of one run, rebuilt for cells with newer results."""
        import pandas as pd

        stored = read_file(run) if (run / FILE).is_file() else None
        newer = list(self._newer(run, stored))
        if stored is None and not any(map(holder_of, started_cells(run))) and not newer:
            return read_file(run)  # raises an error that names the missing file
        parts = [] if stored is None else [stored]
        if newer:
            fresh = {str(store.manifest["identity"]): self._rows(store) for store in newer}
            parts = [part[~part["cell_id"].isin(list(fresh))] for part in parts]
            buffer = io.BytesIO()  # a Parquet round trip gives the same types as stored rows
            to_frame(row for rows in fresh.values() for row in rows).to_parquet(buffer, index=False)
            buffer.seek(0)
            parts.append(read_typed(buffer))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _newer(self, run: Path, stored: pd.DataFrame | None) -> Iterator[CellStore]:
        """Yield cells with results that the stored records lack."""
        made = _stamp(run / FILE) or (0, 0)
        counts = {} if stored is None else stored["cell_id"].value_counts().to_dict()
        for folder in started_cells(run):
            stamps = [_stamp(folder / name) or (0, 0) for name in _RESULTS]
            if max(stamps) <= made and stored is not None:
                continue
            store = CellStore(folder)
            is_copy = counts.get(store.manifest["identity"]) == len(store.attempts)
            if store.attempts and not (is_copy and holder_of(folder) is None):
                yield store

    def _rows(self, store: CellStore) -> list[dict[str, Any]]:
        """Return the records of a cell; those of earlier calls are cached."""
        made = self._made.setdefault(store.folder, {})
        make = row_maker(store)
        found = {}
        for who, attempt in store.attempts.items():
            number = attempt.number
            found[number] = made.get(number) or make(*store.one(*who))
        self._made[store.folder] = found
        return list(found.values())


def _unfinished(folder: Path) -> Iterator[Unfinished]:
    for line, epoch, _, calls in CellStore(folder).unfinished():
        yield Unfinished(folder, line, epoch, calls)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return (modification time in ns, size in bytes); `None` without the file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def facts_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a cell, for samples without a record yet."""
    return read_manifest(folder)
