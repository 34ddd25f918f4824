"""Compute the samples that a difference needs, or the difference that a plan can detect.

rlm-eval power --n 50
rlm-eval power --n 100 --clusters 20 --tests 18
rlm-eval power --difference 0.1
rlm-eval power task=oolong_gen method=rlm,rag,long_context length=4k,16k     (the plan of a run)
"""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Print the table for paired right/wrong scores, or one line per task and length of a run."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument(
        "overrides", nargs="*", help="overrides as for `rlm-eval run`: the plan of that run"
    )
    parser.add_argument("--n", type=int, help="paired samples")
    parser.add_argument(
        "--difference", type=float, help="difference of mean scores, 0 to 1: 0.1 is 10 points"
    )
    parser.add_argument("--clusters", type=int, help="number of contexts that the n samples share")
    parser.add_argument(
        "--tests", type=int, default=1, help="number of comparisons, for Holm's adjustment"
    )
    arguments = parser.parse_intermixed_args(argv)
    chosen = [arguments.n is not None, arguments.difference is not None, bool(arguments.overrides)]
    if sum(chosen) != 1:
        parser.error("give exactly one of --n, --difference, or the overrides of a run")
    if arguments.tests < 1 or (arguments.n is not None and arguments.n < 1):
        parser.error("--n and --tests must be 1 or more")
    if arguments.clusters is not None and not 1 <= arguments.clusters <= (arguments.n or 0):
        parser.error("--clusters needs --n, and must be between 1 and n")

    if arguments.overrides:
        from rlm_eval.config.cell import build_cell
        from rlm_eval.config.grid import expand
        from rlm_eval.runner.planning.power import designs_of

        cells = [build_cell(config) for config in expand(arguments.overrides)]
        print("\n".join(design.line() for design in designs_of(cells)))
        return 0

    from rlm_eval.report import power

    print(
        power(
            difference=arguments.difference,
            n=arguments.n,
            clusters=arguments.clusters,
            tests=arguments.tests,
        )
    )
    return 0
