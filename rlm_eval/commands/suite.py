"""List the named benchmarks, or run one: estimate, run or resume, report, compare.

rlm-eval suite                                        (the suites, and whether they were run)
rlm-eval suite smoke
rlm-eval suite length_sweep model@root=gpt-5 root.sampling.temperature=null \\
    root.sampling.max_output_tokens=16384 length=8k,32k n=50
rlm-eval suite length_sweep task=ledger method=rlm,rag ledger:n=10
rlm-eval suite smoke debug=scripted n=2               (a script in place of every model)

Overrides are those of `rlm-eval run`. `task=`, `method=` and `models=` choose among the suite's
ids; `ID:` in front of an override limits it to one part, task, method or set of models. The same
command again resumes; the run is in results/runs/NAME. What a suite sets for its own model (here
temperature and output cap) stays set for another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm_eval.commands import command_parser

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell


def main(argv: Sequence[str]) -> int:
    """Run a suite, or tell what there is."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("name", nargs="?", help="folder in ./benchmarks or in the package's")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, or ID:override")
    parser.add_argument("--estimate", action="store_true", help="tell the cost, call nothing")
    parser.add_argument("--cells", action="store_true", help="list the cells, call nothing")
    parser.add_argument("--yes", action="store_true", help="spend above `confirm_above` unasked")
    parser.add_argument("--redo", metavar="all|outcome=NAME[,NAME]", help="as for `rlm-eval run`")
    parser.add_argument("--no-report", action="store_true", help="write records, but no report")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="run nothing: write the small files of the finished cells to results/published/NAME; "
        "what was published there of other cells stays",
    )
    parser.add_argument(
        "--republish",
        action="store_true",
        help="run nothing: make tables and figures of results/published/NAME anew from its records",
    )
    arguments = parser.parse_intermixed_args(argv)
    if arguments.name is None:
        print(_list())
        return 0

    from rlm_eval.config.cell import run_folder
    from rlm_eval.suites.plan import cells_of, contrasts, write_record
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
    from rlm_eval.runner.execution import execute, outcomes
    from rlm_eval.storage.stale_code import code_of_cell, refuse

    redo = outcomes(arguments.redo)
    if not set(Outcome) <= set(redo):
        run = run_folder(configs[0])
        refuse(run, ((run / cell.folder, code_of_cell(cell)) for cell in cells), suite.name)
    return execute(
        configs[0],
        cells,
        redo,
        yes=arguments.yes,
        report=not arguments.no_report,
        begin=lambda folder: write_record(folder, suite, arguments.overrides, places),
        tests=tests,
    )


def _list() -> str:
    """One line per suite: its title, and what was run of it with a real model."""
    from rlm_eval.suites.publish import state
    from rlm_eval.suites.schema import load, names

    known = names()
    width = max(map(len, known), default=0)
    return "\n".join(f"{name:<{width}}  {load(name).title}  [{state(name)}]" for name in known)


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
