"""What a run says while it runs: one line per cell, the first failures as they happen.

On a terminal the line of the running cell is rewritten in place; without one, a cell is one line
when it ends. Everything goes to standard error: standard output is for results.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rlm_eval.cell import Cell
from rlm_eval.prices import call_cost
from rlm_eval.records import CallCost
from rlm_eval.stats.intervals import wilson
from rlm_eval.store import Attempt, CellStore
from rlm_eval.types import Call, Sample

_SHOWN_ERRORS = 3  # per cell: the first ones tell, the rest are counted


class Progress:
    """Prints the lines of a run."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._open_line = False

    def cell(
        self,
        cell: Cell,
        store: CellStore,
        samples: Sequence[Sample],
        todo: Sequence[tuple[Sample, int]],
    ) -> CellProgress:
        """Start the line of a cell."""
        total = len(samples) * cell.epochs
        models = dict.fromkeys(model.name for model in cell.models.values())
        label = " ".join([cell.task.name, str(cell.length), cell.method.name, *models])
        kept = [store.attempts.get((s.id, e)) for e in range(cell.epochs) for s in samples]
        prices = {slot: model.price for slot, model in cell.models.items()}
        line = CellProgress(self, label, total, len(todo), call_cost(prices))
        for attempt in kept:
            if attempt is not None and not attempt.trajectory.outcome.is_missing:
                line.count(attempt)
        return line

    def note(self, text: str) -> None:
        """A line that stays."""
        self._end_line()
        print(text, file=sys.stderr, flush=True)

    def problem(self, cell: str, why: str) -> None:
        """A cell that did not finish."""
        self.note(f"UNFINISHED {cell}: {why}")

    def rewrite(self, text: str) -> None:
        """The running cell's line, in place; nothing without a terminal."""
        if self._live:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._open_line = True

    def _end_line(self) -> None:
        if self._open_line:
            print("\r\x1b[2K", end="", file=sys.stderr)
            self._open_line = False


class CellProgress:
    """The line of one cell: done, outcomes, accuracy with its interval, tokens, money, time."""

    def __init__(
        self, progress: Progress, label: str, total: int, todo: int, cost: CallCost
    ) -> None:
        """`total` samples of which `todo` are to be run now; `cost` prices a call."""
        self._progress = progress
        self._label = label
        self._total = total
        self._todo = todo
        self._now = 0
        self._outcomes: Counter[str] = Counter()
        self._scores: list[float] = []
        self._tokens = 0
        self._cost = cost
        self._spent = 0.0
        self._errors = 0
        self._started = time.monotonic()
        progress.rewrite(self.text())

    def count(self, attempt: Attempt) -> None:
        """Take a finished attempt into the line."""
        self._outcomes[attempt.trajectory.outcome.value] += 1
        if attempt.scores and attempt.scores[0].value is not None:
            self._scores.append(attempt.scores[0].value)
        for call in attempt.trajectory.calls:
            self._tokens += _tokens(call)
            self._spent += self._cost(call)[0] or 0.0

    def finished(self, attempt: Attempt) -> None:
        """A sample ended just now."""
        self._now += 1
        self.count(attempt)
        trajectory = attempt.trajectory
        if trajectory.outcome.is_missing:
            self._errors += 1
            if self._errors <= _SHOWN_ERRORS:
                what = f"{trajectory.outcome.value}: {trajectory.error}"
                self._progress.note(f"{self._label}: sample {trajectory.sample[:8]} {what}")
        self._progress.rewrite(self.text())

    def done(self, how: str = "done") -> None:
        """The cell ended: its line stays."""
        self._progress.note(f"{self.text()}  {how}")

    def text(self) -> str:
        """The line."""
        outcomes = " ".join(f"{name}:{count}" for name, count in self._outcomes.most_common())
        parts = [f"{self._label:<52} {sum(self._outcomes.values())}/{self._total}", outcomes]
        if self._scores:
            low, high = wilson(sum(self._scores), len(self._scores))
            mean = sum(self._scores) / len(self._scores)
            parts.append(f"acc {mean:.0%} [{low:.0%}, {high:.0%}]")
        if self._tokens:
            parts.append(f"{self._tokens:,} tok")
        if self._spent and self._now:  # of this process; an unknown price adds nothing
            projected = self._spent * self._todo / self._now
            parts.append(f"${self._spent:,.2f} of about ${projected:,.2f}")
        elapsed = time.monotonic() - self._started
        if 0 < self._now < self._todo:
            parts.append(f"{elapsed * (self._todo - self._now) / self._now:.0f} s left")
        elif self._now:
            parts.append(f"{elapsed:.0f} s")
        return "  ".join(part for part in parts if part)


def _tokens(call: Call) -> int:
    return (call.usage.input or 0) + (call.usage.output or 0)
