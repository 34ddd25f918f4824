"""Run cells: any Hydra overrides, comma lists sweep; the same command again resumes.

rlm-eval run task=s_niah method=rlm,rag length=1k,4k n=20 model@root=coder-0.5b
rlm-eval run experiment=quickstart
rlm-eval run debug=scripted --cfg          (prints the composed configuration, runs nothing)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rlm_eval.config.cell import Cell
    from rlm_eval.core.types import Outcome
    from rlm_eval.runner.runner import Summary


def main(argv: Sequence[str]) -> int:
    """Expand the overrides, run every cell, write the records and the report."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval run",
        description=__doc__,
        epilog=_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument(
        "--cfg", action="store_true", help="print the cells' configuration, run none"
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="accepted: lists always sweep"
    )
    parser.add_argument(
        "--redo",
        metavar="all|outcome=NAME[,NAME]",
        help="do finished samples again: all (their code has changed), or those with these "
        "outcomes (truncated, limit:tokens, ...); what failed for reasons outside the method is "
        "always done again",
    )
    parser.add_argument("--yes", action="store_true", help="spend above `confirm_above` unasked")
    parser.add_argument("--no-report", action="store_true", help="write records, but no report")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.cfg:
        return _print_configs(arguments.overrides)
    redo = outcomes(arguments.redo)
    return _run(arguments.overrides, redo, yes=arguments.yes, report=not arguments.no_report)


def outcomes(text: str | None) -> list[Outcome]:
    """The outcomes named by `--redo`, or `all`."""
    from rlm_eval.core.errors import ConfigError
    from rlm_eval.core.types import Outcome

    if text is None:
        return []
    try:
        if text == "all":
            return list(Outcome)
        return [Outcome(name) for name in text.removeprefix("outcome=").split(",")]
    except ValueError as error:
        known = ", ".join(outcome.value for outcome in Outcome)
        raise ConfigError(f"--redo {text}: {error}; the outcomes are all, {known}") from error


def _print_configs(overrides: list[str]) -> int:
    from omegaconf import OmegaConf

    from rlm_eval.config.grid import expand

    print("---\n".join(OmegaConf.to_yaml(config) for config in expand(overrides)), end="")
    return 0


def confirm(
    folder: Path,
    cells: Sequence[Cell],
    above: float,
    *,
    yes: bool,
    ask: bool = True,
    tests: int | None = None,
) -> None:
    """Warn of designs that show little; ask before more than `above` US dollars are spent.

    `tests`: comparisons that were named beforehand. Raises `ConfigError` without a terminal, or
    where `ask` is false (then there is no `--yes`).
    """
    from rlm_eval.budget.prices import price_of
    from rlm_eval.runner.planning.power import designs_of

    open_cells = [cell for cell in cells if not (folder / cell.folder / "DONE").exists()]
    # A script measures nothing.
    real = [c for c in cells if not any(getattr(m, "scripted", False) for m in c.models.values())]
    for design in designs_of(real, tests) if open_cells else ():
        if design.shows_little:
            print(design.warning(), file=sys.stderr)
    priced = [c for c in open_cells if any(price_of(m.price) for m in c.models.values())]
    if yes or not priced:
        return
    import asyncio

    from rlm_eval.core.errors import ConfigError
    from rlm_eval.runner.planning.estimate import expected as estimate

    found = [asyncio.run(estimate(cell)) for cell in priced]
    expected, most = sum(e.priced for e in found), sum(e.priced * e.high for e in found)
    told = f"about ${expected:,.2f} expected (up to ${most:,.2f})"
    if unpriced := dict.fromkeys(slot for cell in open_cells for slot in cell.unpriced):
        told = f"at least ${expected:,.2f} expected; the price of {', '.join(unpriced)} is unknown"
    if expected <= above:
        if unpriced:
            print(told, file=sys.stderr)
        return
    told = f"{told} (`rlm-eval estimate` tells more), over ${above:g}"
    if not (ask and sys.stdin.isatty()):
        raise ConfigError(f"{told}: {'add --yes, or ' if ask else ''}raise confirm_above")
    try:
        answer = input(f"{told}. Go on? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was called")


def _run(overrides: list[str], redo: list[Outcome], *, yes: bool, report: bool) -> int:
    from rlm_eval.config.cell import build_cell
    from rlm_eval.config.grid import expand

    configs = expand(overrides)
    cells = [build_cell(config) for config in configs]
    return execute(configs[0], cells, redo, yes=yes, report=report)


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
    """Confirm, run or resume the cells, make records and report; returns the exit code.

    Raises `EndedBySignal` where Ctrl-C or SIGTERM left cells unfinished.

    `config` holds what concerns the whole run; `begin` is called with its folder before any call;
    `tests` is the number of comparisons that were named beforehand, where they were.
    """
    from rlm_eval.config.cell import run_folder, sweep_budget
    from rlm_eval.core.errors import EndedBySignal, RlmEvalError
    from rlm_eval.storage.cell_store import output_folder

    folder = output_folder(run_folder(config))
    confirm(folder, cells, float(config.confirm_above), yes=yes, tests=tests)
    begin(folder)

    from rlm_eval.runner.runner import Runner
    from rlm_eval.storage.shards import merge_done

    runner = Runner(folder, cells, sweep_budget(config), redo)
    summary = runner.run_now()
    try:
        for told in merge_done(folder, cells):
            print(told, file=sys.stderr)
        if any((folder / "cells").glob("*/manifest.json")):
            _tell(folder, cells, summary, report=report)
    except (OSError, RlmEvalError) as error:
        if not summary.unfinished:
            raise
        print(f"no records: {error}", file=sys.stderr)  # the cells have said what is wrong
    if not summary.unfinished:
        return 0
    then = "the same command resumes"
    if not (folder / "plan.json").exists():
        then = f"put {folder} back, then {then}"
    told = f"{len(summary.unfinished)} of {len(cells)} cells unfinished; {then}"
    if runner.stop.signal is not None:
        raise EndedBySignal(told, runner.stop.signal)
    print(told, file=sys.stderr)
    return 1


def _tell(folder: Path, cells: Sequence[Cell], summary: Summary, *, report: bool) -> None:
    """Make records and report, unless nothing was added; say what they say and where they are."""
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.config.trust import foreign
    from rlm_eval.core.errors import NoRecords
    from rlm_eval.records.build import write_records
    from rlm_eval.records.record import FILE
    from rlm_eval.suites.reporting import summary as told
    from rlm_eval.suites.reporting import write_report as make

    out = folder / "report"
    is_new = bool(summary.attempted or summary.rescored) or not (folder / FILE).exists()
    if is_new:
        write_records(folder)
    if report:
        fresh = is_new or not (out / "report.html").exists()
        try:
            known = {name for cell in cells for name in foreign(cell.resolved)}
            print(make([folder], out, ContextSource(known=known)) if fresh else told(out))
        except NoRecords:
            return  # what is unfinished, and why, is told next
    print(f"records: {folder / FILE}")


def _groups() -> str:
    """The config groups, what they are by their comments in run.yaml, and what is in them."""
    folder = Path(__file__).parent.parent.parent / "configs"
    if not folder.is_dir():
        return ""
    told = (folder / "run.yaml").read_text(encoding="utf-8")
    about = dict(re.findall(r"^  - (\w+)(?:@root)?: .*# (.*)", told, re.MULTILINE))
    lines = ["config groups (GROUP=NAME):"]
    for name, text in about.items():
        if names := sorted(path.stem for path in folder.glob(f"{name}/*.yaml")):
            lines.append(f"  {name:<10} {text}: {', '.join(names)}")
    return "\n".join(lines)
