"""From cells to a finished run directory: cost check, run or resume, merge, records, report.

Shared by the commands and the Python interface (`api`). `runner` runs the cells themselves.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.budget.prices import price_of
from rlm_eval.config.cell import run_folder, sweep_budget
from rlm_eval.config.contexts import ContextSource
from rlm_eval.config.trust import foreign
from rlm_eval.core.errors import (
    ConfigError,
    EndedBySignal,
    MissingDependency,
    NoRecords,
    RlmEvalError,
)
from rlm_eval.core.messages import fail, say, warn
from rlm_eval.core.types import Outcome
from rlm_eval.records.build import write_records
from rlm_eval.records.record import FILE
from rlm_eval.runner.planning.estimate import expected
from rlm_eval.runner.planning.fit import first_sample
from rlm_eval.runner.planning.power import designs_of
from rlm_eval.runner.runner import Runner
from rlm_eval.runner.signals import Signals
from rlm_eval.runner.summary import Summary
from rlm_eval.storage.cell_store import output_folder
from rlm_eval.storage.done import covers
from rlm_eval.storage.shards import merge_done
from rlm_eval.suites.reporting import is_current, summary, write_report

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rlm_eval.config.cell import Cell


def outcomes(text: str | None) -> list[Outcome]:
    """Parse the outcomes named by `--redo`, or `all`. Raises `ConfigError` for an unknown name."""
    if text is None:
        return []
    try:
        if text == "all":
            return list(Outcome)
        return [Outcome(name) for name in text.removeprefix("outcome=").split(",")]
    except ValueError as error:
        known = ", ".join(outcome.value for outcome in Outcome)
        raise ConfigError(f"--redo {text}: {error}; the outcomes are all, {known}") from error


@dataclass(frozen=True)
class ExpectedCost:
    """Expected cost of a run's unfinished cells."""

    dollars: float
    """US dollars for the models with a known price."""
    text: str
    """The amount and its range, in words."""
    unpriced: bool
    """True if the price of another model is unknown."""
    incomplete: bool = False
    """True if calls of a cell are not counted: its rehearsal failed."""

    def is_within(self, above: float) -> bool:
        """Return whether no question is needed; for an incomplete amount only if none ever is."""
        return above == math.inf or (self.dollars <= above and not self.incomplete)


async def expected_cost(
    folder: Path, cells: Sequence[Cell], redo: Sequence[Outcome] = ()
) -> ExpectedCost | None:
    """Estimate the unfinished cells of the run directory `folder` without a model call.

    With outcomes to run again (`redo`), all cells count in full. `None` if none of their models
    has a price.
    """
    todo = list(cells) if redo else _open_cells(folder, cells)
    priced = [c for c in todo if any(price_of(m.price) for m in c.models.values())]
    if not priced:
        return None
    found = [await expected(cell) for cell in priced]
    dollars, most = sum(e.priced for e in found), sum(e.priced * e.high for e in found)
    text = f"about ${dollars:,.2f} expected (up to ${most:,.2f})"
    if unpriced := dict.fromkeys(slot for cell in todo for slot in cell.unpriced):
        text = f"at least ${dollars:,.2f} expected; the price of {', '.join(unpriced)} is unknown"
    if incomplete := [e.cell for e in found if e.incomplete]:
        text += f"; incomplete: the rehearsal of {', '.join(incomplete)} failed"
    return ExpectedCost(dollars, text, bool(unpriced), bool(incomplete))


def _open_cells(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that need a call: a larger n or more epochs open a finished one again."""
    return [cell for cell in cells if not covers(folder / cell.folder, cell.n, cell.epochs)]


def unready(folder: Path, cells: Sequence[Cell]) -> dict[str, str]:
    """Return identity -> one-line reason for each unfinished cell that cannot run here.

    Checks the methods that need more than a model (an external engine's environment); makes no
    model call.
    """
    asked = {c.identity: getattr(c.method, "unready", None) for c in _open_cells(folder, cells)}
    told = {identity: ask() for identity, ask in asked.items() if ask is not None}
    return {identity: why for identity, why in told.items() if why}


def weak_designs(folder: Path, cells: Sequence[Cell], tests: int | None = None) -> list[str]:
    """Warn about underpowered designs; `tests`: number of comparisons named beforehand."""
    if not _open_cells(folder, cells):
        return []
    # Scripted replies are not measurements: no design to check.
    real = [c for c in cells if not any(getattr(m, "scripted", False) for m in c.models.values())]
    return [design.warning() for design in designs_of(real, tests) if design.shows_little]


def open_inputs(folder: Path, cells: Sequence[Cell]) -> None:
    """Draw the first sample of every unfinished cell's task: its file and its tokenizer exist.

    Raises `ConfigError` for bad input. Any other failure, such as a hub that cannot be reached or
    a fault of a user's class, is left to the run, which reports it with its cell.
    """
    tried: list[object] = []
    for cell in _open_cells(folder, cells):
        if any(task is cell.task for task in tried):
            continue
        tried.append(cell.task)
        first_sample(cell.task)


async def check_cost(
    config: DictConfig, folder: Path, cells: Sequence[Cell], redo: Sequence[Outcome] = ()
) -> None:
    """Raise `ConfigError` where the expected cost is above `confirm_above` of `config`."""
    above = confirmed_above(config)
    cost = await expected_cost(folder, cells, redo)
    if cost is not None and not cost.is_within(above):
        raise ConfigError(f"{cost.text}, over ${above:g}: give confirm_above=... to spend it")


def confirmed_above(config: DictConfig) -> float:
    """Return `confirm_above` of the configuration, in US dollars.

    Raises `ConfigError` if it is not a number. NaN is not one: no cost would be above it.
    """
    try:
        above = float(config.confirm_above)
    except (TypeError, ValueError):
        above = math.nan
    if math.isnan(above):
        raise ConfigError(
            f"confirm_above={config.confirm_above}: give US dollars as a number, as 10; "
            "`inf` never asks"
        )
    return above


def confirm(
    folder: Path,
    cells: Sequence[Cell],
    above: float,
    *,
    yes: bool,
    ask: bool = True,
    tests: int | None = None,
    redo: Sequence[Outcome] = (),
) -> None:
    """Warn about underpowered designs; ask before spending more than `above` US dollars.

    `tests`: number of comparisons named beforehand; `redo`: outcomes to run again. Raises
    `ConfigError` without a terminal, or if `ask` is false (then there is no `--yes`).
    """
    for warning in weak_designs(folder, cells, tests):
        warn(warning)
    confirm_cost(folder, cells, above, yes=yes, ask=ask, redo=redo)


def confirm_cost(
    folder: Path,
    cells: Sequence[Cell],
    above: float,
    *,
    yes: bool,
    ask: bool = True,
    redo: Sequence[Outcome] = (),
    details: str = " (details: `rlm-eval estimate`)",
) -> None:
    """Ask before spending more than `above` US dollars: `confirm` without its warnings."""
    if yes or (cost := asyncio.run(expected_cost(folder, cells, redo))) is None:
        return
    if cost.is_within(above):
        if cost.unpriced:
            say(cost.text)
        return
    told = f"{cost.text}{details}, over ${above:g}"
    if not (ask and sys.stdin.isatty()):
        raise ConfigError(f"{told}: {'add --yes, or ' if ask else ''}raise confirm_above")
    try:
        answer = input(f"{told}. Go on? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError("no model was called")


def execute(
    config: DictConfig,
    cells: Sequence[Cell],
    redo: Sequence[Outcome] = (),
    *,
    yes: bool,
    report: bool,
    begin: Callable[[Path], None] = lambda _: None,
    tests: int | None = None,
) -> int:
    """Confirm, run or resume the cells, make records and report; return the exit code.

    `config` holds the settings of the whole run; `begin` is called with its folder before any model
    call; `tests` is the number of comparisons named beforehand, `None` if there are none.

    Raises `EndedBySignal` if Ctrl-C or SIGTERM left cells unfinished, and `MissingDependency`
    before any call if a method lacks a dependency on this machine.
    """
    folder = output_folder(run_folder(config))
    if lacking := unready(folder, cells):
        lines = dict.fromkeys(lacking.values())
        raise MissingDependency("\n".join([*lines, "nothing was called"]))
    confirm(folder, cells, confirmed_above(config), yes=yes, tests=tests, redo=redo)
    begin(folder)

    runner = Runner(folder, cells, sweep_budget(config), redo, Signals())
    ended = runner.run_now()
    try:
        for told in merge_done(folder, cells):
            say(told)
        if any((folder / "cells").glob("*/manifest.json")):
            _print_results(folder, cells, ended, report=report)
    except (OSError, RlmEvalError) as error:
        if not ended.unfinished:
            raise
        fail(f"no records were written: {error}")
    if not ended.unfinished:
        return 0
    then = "the same command resumes"
    if not (folder / "plan.json").exists():
        then = f"put {folder} back, then {then}"
    told = f"{len(ended.unfinished)} of {len(cells)} cells unfinished; {ended.next_step(then)}"
    if runner.stop.signal is not None:
        raise EndedBySignal(told, runner.stop.signal)
    fail(told)
    return 1


def update_records(folder: Path, ended: Summary) -> bool:
    """Rebuild a run's records; return false if they hold all results already."""
    is_new = bool(ended.attempted or ended.rescored) or _is_older(folder / FILE, _results(folder))
    if is_new:
        write_records(folder)
    return is_new


_RESULTS = ("manifest.json", "samples.jsonl", "trajectories.jsonl", "scores.jsonl", "DONE")
"""Files of a cell that its records are made of. The journal is written before these."""


def _results(folder: Path) -> list[Path]:
    return [path for name in _RESULTS for path in (folder / "cells").glob(f"*/{name}")]


def _is_older(path: Path, sources: Iterable[Path]) -> bool:
    """Return true where `path` does not exist, or a source was written after it.

    A killed process, another process or `--no-report` leaves results that are in no record yet.
    """
    if not path.exists():
        return True
    made = path.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > made for source in sources)


def contexts_of(cells: Sequence[Cell]) -> ContextSource:
    """Return the contexts of these cells' samples for a report, trusting the cells' classes."""
    return ContextSource(known={name for cell in cells for name in foreign(cell.resolved)})


def _print_results(folder: Path, cells: Sequence[Cell], ended: Summary, *, report: bool) -> None:
    """Make records and report unless nothing changed; print results and file locations."""
    out = folder / "report"
    is_new = update_records(folder, ended)
    if report:
        old = is_new or not is_current([folder], out)
        try:
            print(write_report([folder], out, contexts_of(cells)) if old else summary(out))
        except NoRecords:
            return  # the caller prints the unfinished cells and reasons next
    print(f"records: {folder / FILE}")
