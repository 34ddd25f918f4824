"""Detects stored results that lost calls: their journal is an older copy, was cut or deleted.

Such a result would appear to be cheap, or free. A copy of a run that is being written is the usual
cause: its files are copied in alphabetical order, so that the journal is older than the results.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.storage.damage import damaged
from rlm_eval.storage.journal import JournalReader
from rlm_eval.storage.jsonl import line_at

CALLS = "calls"
"""Key of a line of `trajectories.jsonl`: the number of calls that its trajectory has made."""


@dataclass(frozen=True)
class LostCalls:
    """Compares the results of a cell with its journal."""

    folder: Path
    """Directory of the cell."""
    names: bool
    """Results without a number of calls, of earlier releases, name calls in the journal: our own
    methods do, an import or a user's method may name others."""

    @classmethod
    def of_cell(cls, folder: Path, manifest: Mapping[str, Any]) -> LostCalls:
        """Return those of a cell; `manifest` is empty where it has not begun."""
        method = (manifest.get("config") or {}).get("method") or {}
        return cls(folder, names=str(method.get("_target_")).startswith("rlm_eval."))

    def check(self, places: Collection[int], journal: JournalReader | None = None) -> None:
        """Raise `RlmEvalError` where the journal (`None` = read it) lacks calls of the results at
        these places of `trajectories.jsonl`.
        """
        if not places:
            return
        if journal is None:
            with damaged(self._path):
                journal = JournalReader(self._path)
        with self._results() as file:
            lost = [self._of(line_at(file, place), journal) for place in places]
        self._refuse([why for why in lost if why])

    def whole(self, place: int, journal: JournalReader) -> dict[str, Any]:
        """Return the line of one result. Raises as `check`."""
        with self._results() as file:
            line = line_at(file, place)
            lost = self._of(line, journal)
        self._refuse([lost] if lost else [])
        return line

    @property
    def _path(self) -> Path:
        return self.folder / "journal.jsonl"

    @contextmanager
    def _results(self) -> Iterator[BinaryIO]:
        path = self.folder / "trajectories.jsonl"
        with damaged(path), path.open("rb") as file:
            yield file

    def _refuse(self, lost: list[str]) -> None:
        if lost:
            more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            raise RlmEvalError(
                f"{self._path}: {lost[0]}{more}: the file is an older copy than the results, was "
                "cut or deleted; restore it, or move the cell's folder away and run the cell again"
            )

    def _of(self, line: Mapping[str, Any], journal: JournalReader) -> str | None:
        """Return what the journal lacks of a result; `None` = nothing."""
        number, who = line["t"], (line["sample"], line["epoch"])
        began, found = journal.starts.get(number), journal.ids(number)
        of = f"trajectory {number}, whose result is stored"
        if began is not None and began[:2] != who:
            return f"holds calls of another sample as those of {of}"
        wanted: int | None = line.get(CALLS)
        if not found and (wanted or (wanted is None and began is None)):
            return f"holds no call of {of}"
        if wanted is not None:  # more are whole, too: a method may have left a call in flight
            return f"holds {len(found)} of {wanted} calls of {of}" if len(found) < wanted else None
        if not self.names:
            return None
        named = {line["answer"]["call"]}.union(*([s["call"], *s["calls"]] for s in line["steps"]))
        return None if named <= {None, *found} else f"lacks calls of {of}"
