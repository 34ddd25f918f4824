"""Progress of a run on standard error and in its log file; results go to standard output.

With a terminal: a live table of the cells. Without one: a line when a cell ends and a line for the
whole run every 30 s. In both, the first failures of a cell are printed when they happen.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from rlm_eval.budget.prices import call_cost
from rlm_eval.config.cell import Cell
from rlm_eval.core import no_text
from rlm_eval.core.messages import fail, is_shown, log_only, say, warn
from rlm_eval.core.terminal import MessageStream
from rlm_eval.core.types import Call, Outcome, Sample
from rlm_eval.models import shown_name
from rlm_eval.records.record import CallCost, headline
from rlm_eval.runner.eta import Kind, Pace, in_words, seconds_left
from rlm_eval.session.prompt_check import cut_note
from rlm_eval.stats.bounds import CUT_SHARE, bounds
from rlm_eval.stats.intervals import mean_interval
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.done import Done

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_SHOWN_ERRORS = 3  # per cell: print the first ones, count the rest
_REFRESH_SECONDS = 1.0
_LINE_SECONDS = 30.0  # between lines for the whole run without a live table
_COLUMNS = ("cell", "done", "outcomes", "accuracy", "tokens", "spent", "time", "")


class Progress:
    """Progress of a run's cells. As an async context manager it is live on a terminal."""

    def __init__(self, cells: Sequence[Cell] = (), folder: Path | None = None) -> None:
        """`cells` in the order in which they will run; `folder` is their run directory."""
        self._names = {cell.plan_id: _label(cell) for cell in cells}
        self._waiting = {cell.plan_id: (_kind(cell), _expected(cell, folder)) for cell in cells}
        """Cells not started yet -> kind for the pace, and samples to run."""
        self._lines: dict[str, CellProgress] = {}
        self._ended: dict[str, str] = {}
        self._live: Live | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._room: int | None = None
        self._ends: set[str] = set()
        """Unknown finish reasons that were already reported."""

    async def __aenter__(self) -> Progress:
        errors = sys.stderr  # `None` where the caller has closed it
        if errors and errors.isatty() and os.environ.get("TERM") != "dumb" and is_shown():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=cast(TextIO, MessageStream(errors)))
            self._live = Live(
                get_renderable=self.table,
                console=console,
                auto_refresh=False,
                redirect_stdout=False,
            )
            self._room = max(3, console.height - 4)
            self._live.start(refresh=True)
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        if self._live is None:
            return
        self._room = None  # the final output is the whole table
        self._live.vertical_overflow = "visible"
        self._live.refresh()
        self._live.stop()
        self._live = None

    async def _tick(self) -> None:
        due = time.monotonic() + _LINE_SECONDS
        while True:
            await asyncio.sleep(min(_REFRESH_SECONDS, _LINE_SECONDS))
            if self._live is not None:
                self._live.refresh()
            if time.monotonic() >= due:
                due += _LINE_SECONDS
                (say if self._live is None else log_only)(f"progress: {self.whole()}")

    def whole(self) -> str:
        """Return the whole run in one line: cells, samples, tokens, cost, time left."""
        lines = self._lines.values()
        ended = sum(how != "unfinished" for how in self._ended.values())
        ran = sum(line.now for line in lines)
        todo = sum(line.todo for line in lines) + sum(count for _, count in self._waiting.values())
        told = [f"{ended} of {len(self._names)} cells done"]
        if todo:
            told.append(f"{ran} of {todo} samples run")
        told.append(f"{sum(x.tokens for x in lines):,} tokens")
        if spent := sum(line.spent for line in lines):
            told.append(f"${spent:,.2f}")
        if (left := self.seconds_left()) is not None:
            told.append(f"about {in_words(left)} left")
        return ", ".join(told)

    def seconds_left(self) -> float | None:
        """Return the seconds until the last cell ends, by the pace so far.

        `None` if it is unknown or nothing is left.
        """
        seen = [line.pace for line in self._lines.values() if line.pace is not None]
        running = [
            (line.kind, line.todo - line.now)
            for name, line in self._lines.items()
            if name not in self._ended
        ]
        return seconds_left([*running, *self._waiting.values()], seen) or None

    def cell(
        self,
        cell: Cell,
        store: CellStore,
        samples: Sequence[Sample],
        todo: Sequence[tuple[Sample, int]],
    ) -> CellProgress:
        """Start the line of a cell."""
        total = len(samples) * cell.epochs
        again = {(sample.id, epoch) for sample, epoch in todo}
        places = [(s.id, epoch) for epoch in range(cell.epochs) for s in samples]
        kept = [store.attempts.get(who) for who in places if who not in again]
        prices = {slot: model.price for slot, model in cell.models.items()}
        clusters = {sample.id: sample.cluster for sample in samples}
        line = CellProgress(self, cell, total, len(todo), call_cost(prices), clusters)
        for attempt in kept:
            if attempt is not None and not attempt.trajectory.outcome.is_missing:
                line.count(attempt)
        self._names.setdefault(cell.plan_id, line.label)
        self._waiting.pop(cell.plan_id, None)
        self._lines[cell.plan_id] = line
        return line

    def note(self, text: str, level: int = logging.WARNING) -> None:
        """Print a permanent line."""
        say(text, level)

    def unknown_end(self, call: Call) -> None:
        """Report an unknown finish reason, once per run."""
        if call.finish_reason not in self._ends:
            self._ends.add(call.finish_reason)
            said = (
                f"finish reason {call.finish_reason!r}"
                if call.finish_reason
                else "no finish reason"
            )
            self.note(
                f"{call.model}: a reply has {said}, so it is unknown whether it was cut; "
                "the column n_unknown_ends counts such replies"
            )

    def problem(self, cell: str, why: str) -> None:
        """Report a cell that did not finish."""
        self._ended[cell] = "unfinished"
        self._waiting.pop(cell, None)
        fail(f"UNFINISHED {cell}: {why}")

    def end(self, cell: str, line: CellProgress, how: str) -> None:
        """Finalize a cell's line."""
        self._ended[cell] = how
        (say if self._live is None else log_only)(f"{line.text()}  {how}")

    def table(self) -> Table:
        """Build the table of cells; centred on the running one if not all fit on the terminal."""
        from rich.table import Table
        from rich.text import Text

        names = list(self._names)
        room = len(names) if self._room is None else self._room
        at = next((i for i, name in enumerate(names) if name not in self._ended), len(names))
        first = max(0, min(at - room // 3, len(names) - room))
        table = Table(box=None, pad_edge=False, caption=self.whole(), caption_justify="left")
        for name in _COLUMNS:
            right = name in ("done", "tokens")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for name in names[first : first + room]:
            line = self._lines.get(name)
            cells = [self._names[name], *(line.cells() if line else [""] * 6)]
            state = self._ended.get(name, "running" if line else "waiting")
            table.add_row(*(Text(cell) for cell in (*cells, state)))  # names are not markup
        return table


class CellProgress:
    """Progress line of a cell: done, outcomes, accuracy with its interval, tokens, cost, time."""

    def __init__(
        self,
        progress: Progress,
        cell: Cell,
        total: int,
        todo: int,
        cost: CallCost,
        clusters: Mapping[str, str],
    ) -> None:
        """`total` samples, `todo` of them to run now; `cost` prices a call.

        `clusters` maps sample ids to clusters.
        """
        self.label = _label(cell)
        self.tokens = 0
        """Input and output tokens of the valid samples."""
        self.spent = 0.0
        """US dollars spent; calls with an unknown price are excluded."""
        self._name = cell.plan_id
        self._progress = progress
        self.kind = _kind(cell)
        self.todo = todo
        """Samples for this process to run."""
        self.now = 0
        """Number of the `todo` samples that ended."""
        self._total = total
        self._outcomes: Counter[str] = Counter()
        self._clusters = clusters
        self._scores: dict[str, dict[int, float | None]] = {}
        """Scores by sample and epoch; `None` = not scored."""
        self._cut: set[str] = set()
        """Samples truncated by an output cap or a limit."""
        self._cost = cost
        self._errors = 0
        self._cut_prompts = False
        self._textless = (0, 0)
        """Replies without text, and all replies."""
        self._started = self._began = self._latest = time.monotonic()
        self._seconds: float | None = None

    def count(self, attempt: RolloutResult) -> None:
        """Add a finished attempt to the line."""
        outcome = attempt.trajectory.outcome
        self._outcomes[outcome.value] += 1
        sample, epoch = attempt.trajectory.sample, attempt.trajectory.epoch
        score = headline(outcome, attempt.scores)
        self._scores.setdefault(sample, {})[epoch] = score
        if outcome.is_cut:
            self._cut.add(sample)
        lacking, replies = no_text.counts(attempt.trajectory.calls)
        self._textless = (self._textless[0] + lacking, self._textless[1] + replies)
        for call in attempt.trajectory.calls:
            self.tokens += _tokens(call)
            self.spent += self._cost(call)[0] or 0.0

    def finished(self, attempt: RolloutResult) -> None:
        """Add a sample that ended just now."""
        trajectory = attempt.trajectory
        if not self.now:  # exclude the start of our servers, before the first sample
            self._began = max(self._started, time.monotonic() - (trajectory.wall_seconds or 0.0))
        self.now += 1
        self._latest = time.monotonic()
        self.count(attempt)
        cut = next((call for call in trajectory.calls if call.is_server_cut), None)
        if cut and not self._cut_prompts and trajectory.outcome is not Outcome.SERVER_CUT:
            self._cut_prompts = True
            self._progress.note(f"{self.label}: {cut_note(cut)}")
        for call in trajectory.calls:
            if call.has_unknown_end:
                self._progress.unknown_end(call)
        if trajectory.outcome.is_missing:
            self._errors += 1
            if self._errors <= _SHOWN_ERRORS:
                what = f"{trajectory.outcome.value}: {trajectory.error}"
                warn(f"{self.label}: sample {trajectory.sample[:8]} {what}")

    def done(self, how: str = "done") -> None:
        """End the cell; keep its line."""
        lacking, replies = self._textless
        if lacking > no_text.MOST * replies:
            warn(f"{self.label}: {no_text.told(lacking, replies)}")
        self._seconds = time.monotonic() - self._started
        self._progress.end(self._name, self, how)

    @property
    def pace(self) -> Pace | None:
        """Pace of the cell; `None` before its first sample ended."""
        if not self.now:
            return None
        seconds = (self._latest - self._began) / self.now
        if self._seconds is None:  # a running sample may take longer than the finished ones
            seconds = max(seconds, (time.monotonic() - self._began) / (self.now + 1))
        return Pace(self.kind, max(0.0, seconds))

    def text(self) -> str:
        """Return the line as text."""
        done, outcomes, accuracy, tokens, *rest = self.cells()
        named = [accuracy and f"acc {accuracy}", tokens and f"{tokens} tok"]
        return "  ".join(filter(None, [f"{self.label:<52} {done}", outcomes, *named, *rest]))

    def cells(self) -> tuple[str, ...]:
        """Return done, outcomes, accuracy, tokens, cost, time; empty if not applicable."""
        done = f"{sum(self._outcomes.values())}/{self._total}"
        outcomes = " ".join(f"{name}:{count}" for name, count in self._outcomes.most_common())
        money = seconds = ""
        tokens = f"{self.tokens:,}" if self.tokens else ""
        if self.now:  # samples of this process
            share = self.todo / self.now
            money = f"${self.spent:,.2f} of about ${self.spent * share:,.2f}" if self.spent else ""
            elapsed = self._seconds or time.monotonic() - self._started
            is_over = self._seconds is not None or self.now == self.todo
            seconds = f"{elapsed:.0f} s" if is_over else f"{elapsed * (share - 1):.0f} s left"
        return done, outcomes, self._accuracy(), tokens, money, seconds

    def _accuracy(self) -> str:
        """Return the score so far with the interval that the report will print, or its bounds."""
        repeats = {
            sample: [score for score in found.values() if score is not None]
            for sample, found in self._scores.items()
        }
        means = [sum(found) / len(found) if found else math.nan for found in repeats.values()]
        if all(map(math.isnan, means)):
            return ""
        unsure = [sample in self._cut or not found for sample, found in repeats.items()]
        if len(self._cut) > CUT_SHARE * len(means) or not all(repeats.values()):
            low, high = bounds(means, unsure)
            return f"{low:.0%} to {high:.0%}"
        clusters = [self._clusters.get(sample, sample) for sample in repeats]
        seen = mean_interval(means, clusters)
        return f"{seen.estimate:.0%} [{seen.low:.0%}, {seen.high:.0%}]"


def _label(cell: Cell) -> str:
    models = dict.fromkeys(shown_name(model) for model in cell.models.values())
    shard = [f"{cell.shard.number}/{cell.shard.of}"] if cell.shard else []
    return " ".join([cell.task.name, cell.length_name, cell.method.name, *models, *shard])


def _kind(cell: Cell) -> Kind:
    return Kind(cell.method.name, tuple(m.name for m in cell.models.values()), cell.length)


def _expected(cell: Cell, folder: Path | None) -> int:
    """Return the number of samples left in a cell, before they are drawn; an unfinished cell
    counts in full."""
    done = 0
    if folder is not None:
        counts = Done.of(folder / cell.folder)
        done = counts.n * counts.epochs if counts else 0
    total = max(0, cell.n * cell.epochs - done)
    return total if cell.shard is None else math.ceil(total / cell.shard.of)


def _tokens(call: Call) -> int:
    return call.usage.total or 0
