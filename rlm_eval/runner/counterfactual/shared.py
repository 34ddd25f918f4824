"""The journal of a counterfactual cell: replies of the original up to the first divergence.

A reply is shared if the same request was answered at the same position of the original trajectory
and no earlier unit of the trajectory diverged. A unit is a turn of the root, or one of its code
blocks with all calls that the block makes, at every depth: they run concurrently, so their order
must not matter. The first request without a stored reply is the divergence; in the units after it
every call is sent, even with identical text. A judge's verdict on the same answer is always
shared: judge noise is not an effect of the change. Shared calls are copied into the new journal
(`from`), which is then self-contained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call
from rlm_eval.storage.cell_store import CellStore
from rlm_eval.storage.damage import damaged
from rlm_eval.storage.journal import FINAL_ERRORS, FROM, Journal, JournalReader, StoredReplies, Who
from rlm_eval.storage.jsonl import JsonlLog

KEY = "counterfactual"
"""Key of a configuration: `run`, `cell` (folder), `of` (identity), `change` (list of KEY=VALUE)."""
_TURN = re.compile(r"t\d+(\.b\d+)?")
_JUDGE = "judge"
_COPY = "to copy"
"""Marks a line of the original, whose numbers are invalid in the new journal."""


def unit(position: str) -> str:
    """Return the part of a trajectory in which calls run concurrently."""
    top = position.partition("/")[0]
    found = _TURN.match(top)
    return found[0] if found else re.sub(r"\d+", "", top)


@dataclass
class SharedReplies(StoredReplies):
    """Replies of this sample: its own from an earlier session first, then the original's."""

    own: StoredReplies = field(default_factory=StoredReplies)
    original: StoredReplies = field(default_factory=StoredReplies)
    diverged_in: str | None = None
    """Unit of the first divergence; `None` before it."""
    taken: list[int] = field(default_factory=list)
    """Numbers, in the original's journal, of the replies that were returned."""

    def __post_init__(self) -> None:
        self.unused = self.own.unused

    def overlap(self, position: str) -> bool:
        """See `StoredReplies.overlap`; checks both journals."""
        return self.own.overlap(position) or self.original.overlap(position)

    def take(self, position: str, request: str, occurrence: int) -> dict[str, Any] | None:
        """Return the stored call line, its number in the original under `from`; `None` = send."""
        own = self.own.take(position, request, occurrence)
        self.unused = self.own.unused
        if own is not None:
            if FROM not in own:
                self._diverge(position)
            return own
        if position == _JUDGE or self.diverged_in in (None, unit(position)):
            line = self.original.take(position, request, occurrence)
            if line is not None:
                self.taken.append(line["c"])
                return {**line, FROM: line["c"], _COPY: True}
        self._diverge(position)
        return None

    def _diverge(self, position: str) -> None:
        if self.diverged_in is None and position != _JUDGE:
            self.diverged_in = unit(position)


class Original:
    """Finished attempts of a stored cell, by sample and epoch."""

    def __init__(self, folder: Path) -> None:
        """Raise `RlmEvalError` if there is no such cell, or its journal lost calls."""
        if not (folder / "journal.jsonl").is_file():
            raise RlmEvalError(
                f"{folder}: no journal, so that nothing can be replayed from it; restore the "
                "original run, or replay another"
            )
        self.store = CellStore(folder)
        with damaged(folder / "journal.jsonl"):
            self.calls = JournalReader(folder / "journal.jsonl")
        ended = self.store.attempts.items()
        self.store.check(
            [who for who, a in ended if not a.trajectory.outcome.is_missing], self.calls
        )

    def replies(self, who: Who) -> StoredReplies:
        """Return the replies of the valid attempt; none if the sample has no result."""
        found = StoredReplies()
        for line in self.lines(who):
            if "cut" not in line and line.get("error", "").partition(":")[0] in FINAL_ERRORS:
                found.add(line)
        return found

    def lines(self, who: Who) -> Iterator[dict[str, Any]]:
        """Yield the call lines of the valid attempt; none if the sample has no result."""
        attempt = self.store.attempts.get(who)
        if attempt is None or attempt.trajectory.outcome.is_missing:
            return
        yield from (line for line, _ in self.calls.lines(attempt.number))


class SharedJournal(Journal):
    """Journal of a counterfactual cell; see the module docstring."""

    def __init__(
        self,
        log: JsonlLog,
        original: Original,
        wanted: Mapping[Who, int] | None = None,
        free: int = 0,
    ) -> None:
        super().__init__(log, wanted, free)
        self._original = original
        for request, tokens in original.calls.counts.items():
            if request not in self.counts:
                self.write_count(request, tokens)

    def replies(self, sample: str, epoch: int) -> StoredReplies:
        """Return the replies of this cell and of the original."""
        own = super().replies(sample, epoch)
        return SharedReplies(own=own, original=self._original.replies((sample, epoch)))

    def write_again(self, trajectory: int, stored: Mapping[str, Any], call: Call) -> None:
        """Copy a shared reply; reference a reply from an earlier session."""
        if _COPY in stored:
            self.write(trajectory, stored["request"], call, **{FROM: stored[FROM]})
        else:
            super().write_again(trajectory, stored, call)


def journal_of(
    origin: Mapping[str, Any] | None, log: JsonlLog, wanted: Mapping[Who, int], free: int
) -> Journal:
    """Return a cell's journal; `origin` is its `counterfactual`, `None` for any other cell."""
    if origin is None:
        return Journal(log, wanted, free)
    original = Original(Path(origin["run"]) / "cells" / origin["cell"])
    return SharedJournal(log, original, wanted, free)
