"""Compare two methods, models or runs on the samples that both answered.

rlm-eval compare long_context rlm_own --run results/runs/quickstart
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Print the paired difference, its interval and what may be concluded."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", help="a method, a model, or method:model")
    parser.add_argument("b", help="what it is compared with")
    parser.add_argument("--run", dest="runs", action="append", type=Path, required=True)
    parser.add_argument("--margin", type=float, help="non-inferiority margin, in points of score")
    parser.add_argument("--planned-by", help="suite that named this comparison before the run")
    arguments = parser.parse_args(argv)

    from rlm_eval.report import compare

    print(
        compare(
            arguments.runs,
            arguments.a,
            arguments.b,
            margin=arguments.margin,
            planned_by=arguments.planned_by,
        )
    )
    return 0
