"""List the suites, or run one: estimate, run or resume, report, compare.

rlm-eval suite                                        (the suites, and whether they were run)
rlm-eval suite smoke
rlm-eval suite length_sweep model@root=gpt-5 root.sampling.temperature=null \\
    root.sampling.max_output_tokens=16384 length=8k,32k n=50
rlm-eval suite length_sweep task=ledger method=rlm,rag ledger:n=10
rlm-eval suite smoke debug=scripted n=2               (scripted replies instead of models)

Overrides are those of `rlm-eval run`. `task=`, `method=` and `models=` choose among the suite's
ids; the prefix `ID:` limits an override to one part, task, method or set of models. The same
command again resumes; the run is in results/runs/NAME. Settings of a suite for its own model
(above: temperature and output cap) also apply to another model.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rlm_eval.commands import command_parser

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell
    from rlm_eval.core.errors import MissingDependency
    from rlm_eval.suites.plan import Place


def main(argv: Sequence[str]) -> int:
    """Run a suite, or list the suites."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("name", nargs="?", help="folder in ./benchmarks or in the package")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, or ID:override")
    parser.add_argument(
        "--estimate", action="store_true", help="print calls, tokens and cost; call no model"
    )
    parser.add_argument("--cells", action="store_true", help="list the cells; call no model")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before spending more than `confirm_above`"
    )
    parser.add_argument("--redo", metavar="all|outcome=NAME[,NAME]", help="as for `rlm-eval run`")
    parser.add_argument(
        "--no-report", action="store_true", help="write the records only, no report"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="run nothing: write the small files of the finished cells to results/published/NAME, "
        "beside other cells that were published there",
    )
    parser.add_argument(
        "--republish",
        action="store_true",
        help="run nothing: rebuild tables and figures of results/published/NAME from its records",
    )
    arguments = parser.parse_intermixed_args(argv)
    if arguments.name is None:
        print(_list())
        return 0

    from rlm_eval.config.cell import run_folder
    from rlm_eval.suites.plan import cells_of, contrasts
    from rlm_eval.suites.plan_file import write_record
    from rlm_eval.suites.schema import load

    suite = load(arguments.name)
    if arguments.republish:
        from rlm_eval.suites.publish import republish

        print("\n".join(str(path) for path in republish(suite)))
        return 0
    configs, cells, places = cells_of(suite, arguments.overrides)
    tests = len(contrasts(places, suite.comparisons, suite))
    if arguments.cells:
        print("\n".join(f"{cell.id}  n={cell.n}" for cell in cells))
        return 0
    if arguments.estimate:
        print(_estimate(cells, tests))
        return 0
    if arguments.publish:
        from rlm_eval.suites.publish import publish

        print("\n".join(str(path) for path in publish(run_folder(configs[0]), suite)))
        return 0

    from rlm_eval.core.types import Outcome
    from rlm_eval.runner.execution import execute, outcomes, unready
    from rlm_eval.storage.stale_code import code_of_cell, refuse

    redo, run = outcomes(arguments.redo), run_folder(configs[0])
    if lacking := unready(run, cells):
        raise _without(lacking, places, f"rlm-eval suite {suite.name}", arguments.overrides)
    if not set(Outcome) <= set(redo):
        refuse(run, ((run / cell.folder, code_of_cell(cell)) for cell in cells), suite.name)
    return execute(
        configs[0],
        cells,
        redo,
        yes=arguments.yes,
        report=not arguments.no_report,
        begin=lambda folder: write_record(folder, suite, arguments.overrides, places, cells),
        tests=tests,
    )


def _list() -> str:
    """One line per suite: its title, and what was run of it with a real model."""
    from rlm_eval.suites.publish import state
    from rlm_eval.suites.schema import load, names

    known = names()
    width = max(map(len, known), default=0)
    return "\n".join(f"{name:<{width}}  {load(name).title}  [{state(name)}]" for name in known)


def _without(
    lacking: Mapping[str, str], places: Sequence[Place], command: str, given: Sequence[str]
) -> MissingDependency:
    """What this machine lacks, a line each, and the command that runs the other methods."""
    from rlm_eval.core.errors import MissingDependency

    lines = dict.fromkeys(lacking.values())
    here = [place for place in places if place.cell]
    rest = dict.fromkeys(p.method for p in here if p.cell not in lacking)
    told = "nothing was called"
    if rest:
        kept = [word for word in given if not word.startswith("method=")]
        told += f"; the others: {shlex.join([*command.split(), *kept])} method={','.join(rest)}"
    return MissingDependency("\n".join([*lines, told]))


def _estimate(cells: Sequence[Cell], tests: int) -> str:
    """The table of `rlm-eval estimate`; what cannot be estimated is named below it."""
    import asyncio

    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.runner.planning.estimate_table import estimates_of, table
    from rlm_eval.runner.planning.power import designs_of

    found, without = [], {}
    for cell in cells:
        try:
            found += asyncio.run(estimates_of([cell]))
        except RlmEvalError as error:
            without[f"{cell.task.name}, {cell.method.name}"] = str(error)
    lines = [table(found)] if found else []
    lines += [design.line() for design in designs_of(cells, tests)]
    return "\n".join([*lines, *(f"not estimated: {what}: {why}" for what, why in without.items())])
