"""Write tables, figures and one self-contained page for one or more runs.

rlm-eval report results/runs/a results/runs/b -o results/report
rlm-eval report results/runs/a --published benchmarks/rlm_paper_table1/expected.csv
rlm-eval report results/runs/a --width column       # figures for one column of a paper
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser


def main(argv: Sequence[str]) -> int:
    """Rebuild the records, then write the report."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument(
        "-o", "--out", type=Path, help="output folder (default: report/ in the first run)"
    )
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="draw these published scores as hollow marks (columns as in a suite's expected.csv; "
        "the run of a suite draws its own without this option)",
    )
    parser.add_argument(
        "--width",
        choices=("page", "column"),
        default="page",
        help="width of the figures: 6.8 in, or 3.3 in with fewer panels beside each other",
    )
    parser.add_argument(
        "--caption",
        action="store_true",
        help="put each figure's caption into the picture too; it is always in NAME.caption.txt",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.records.build import write_records
    from rlm_eval.records.record import FILE
    from rlm_eval.report.figures.draw import Shape
    from rlm_eval.suites.reporting import write_report

    for run in arguments.runs:
        if (run / "cells").exists() or not (run / FILE).exists():
            write_records(run)  # else a published folder: it holds its records alone
    out = arguments.out or arguments.runs[0] / "report"
    contexts = ContextSource(trust=arguments.trust, runs=arguments.runs)
    shape = Shape(
        narrow=arguments.width == "column",
        captioned=arguments.caption,
        processes=min(4, len(os.sched_getaffinity(0))),
    )
    print(write_report(arguments.runs, out, contexts, arguments.published, shape))
    return 0
