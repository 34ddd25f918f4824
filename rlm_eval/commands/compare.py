"""Compare two methods, models or runs on the samples that both answered.

rlm-eval compare long_context rlm --run results/runs/quickstart
rlm-eval compare rlm 56.5% --run results/runs/quickstart    (a published score)
rlm-eval compare --run results/runs/length_sweep    (the planned comparisons of its suite)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Print the paired difference, its interval and what may be concluded."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("a", nargs="?", help="a method, a model, or method:model")
    parser.add_argument("b", nargs="?", help="the other side, likewise; or a published score")
    parser.add_argument(
        "--run", dest="runs", action="append", type=Path, required=True, metavar="RUN",
        help="run directory; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--margin", type=float,
        help="non-inferiority margin between 0 and 1: A is at most this much below B (0.05 is 5 "
        "points)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)

    if arguments.a is None:
        if arguments.margin is not None:
            parser.error("--margin needs A and B; a planned comparison has that of its suite")
        from rlm_eval.suites.comparisons import family_text

        print("\n\n".join(family_text(run) for run in arguments.runs))
        return 0
    if arguments.b is None:
        parser.error("give A and B, or neither for the planned comparisons of a suite")
    from rlm_eval.report import compare

    print(compare(arguments.runs, arguments.a, arguments.b, margin=arguments.margin))
    return 0
