"""`rlm-eval replay RUN --set ...`: plan, estimate, run or resume, compare with the original."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.messages import warn

if TYPE_CHECKING:
    from rlm_eval.runner.counterfactual.change import Counterfactual
    from rlm_eval.runner.counterfactual.forecast import Forecast


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a counterfactual."""
    group = parser.add_argument_group("counterfactual: run again with one thing changed")
    group.add_argument(
        "--set",
        dest="changes",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="the change: model@sub=NAME, method.SETTING=V, limits.NAME=V, recursion=off, "
        "temperature=T, protocol=METHOD, records=N, keyed=on|off; may be repeated for a model "
        "and its settings, and for budget.*, max_samples, results",
    )
    group.add_argument(
        "--estimate",
        action="store_true",
        help="print what is shared and what it costs; run nothing",
    )
    group.add_argument("--name", help="name of the new run (default: RUN-cf-CHANGE)")
    group.add_argument("--n", type=int, help="only the first N samples of each cell")
    group.add_argument("--cell", default="", help="only cells whose name contains this")
    group.add_argument("--together", action="store_true", help="allow changes of several things")
    group.add_argument(
        "--effect", metavar="RUN", help="also print the share of the effect of this run"
    )
    group.add_argument("--effect-cell", default="", help="cell of that run, by a part of its name")
    group.add_argument(
        "--yes", action="store_true", help="do not ask before spending more than `confirm_above`"
    )


def main(arguments: argparse.Namespace) -> int:
    """Estimate or run the counterfactual; return 1 if it is unfinished."""
    from pathlib import Path

    from rlm_eval.config.cell import run_folder
    from rlm_eval.records.build import write_records
    from rlm_eval.runner.counterfactual import effect
    from rlm_eval.runner.counterfactual.change import planned
    from rlm_eval.runner.execution import confirmed_above, execute
    from rlm_eval.storage.done import covers

    plan, left = planned(
        arguments.run, arguments.changes, name=arguments.name, n=arguments.n,
        only=arguments.cell, together=arguments.together, trust=arguments.trust,
    )  # fmt: skip
    for cell, why in left.items():
        warn(f"{cell}: excluded: {why}")
    whole = Path(arguments.effect) if arguments.effect else None
    folder = run_folder(plan[0].config)
    if folder.resolve() == arguments.run.resolve():
        raise ConfigError("--name: this is the original run; give the counterfactual another name")
    cells = [one.cell for one in plan]
    is_open = not all(covers(folder / cell.folder, cell.n, cell.epochs) for cell in cells)
    if arguments.estimate or is_open:
        total = _forecast(plan)
        if arguments.estimate:
            return 0
        _confirm(total, confirmed_above(plan[0].config), yes=arguments.yes)
    code = execute(plan[0].config, cells, yes=True, report=False)
    write_records(arguments.run)
    print(effect.told(arguments.run, folder, plan, whole, arguments.effect_cell))
    return code


def _forecast(plan: list[Counterfactual]) -> Forecast:
    from rlm_eval.runner.counterfactual.forecast import Forecast, forecast

    total = Forecast()
    for one in plan:
        found = asyncio.run(forecast(one))
        print(f"{one.folder.name}: {found}")
        total.add(found)
    if len(plan) > 1:
        print(f"all: {total}")
    return total


def _confirm(total: Forecast, above: float, *, yes: bool) -> None:
    """Ask before spending more than `above` US dollars. Raises `ConfigError` if not confirmed."""
    if yes or total.cost <= above:
        return
    told = f"about ${total.cost:,.2f} expected, over ${above:g}"
    if not sys.stdin.isatty():
        raise ConfigError(f"{told}: add --yes, or --set confirm_above=N")
    if input(f"{told}. Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ConfigError("no model was called")
