"""Write tables, figures and one self-contained page about any set of runs.

rlm-eval report results/runs/a results/runs/b -o results/report
rlm-eval report results/runs/a --published benchmarks/rlm_paper_table1/expected.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser


def main(argv: Sequence[str]) -> int:
    """Re-make the records, then the report."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("-o", "--out", type=Path, help="folder; default: report/ in the first run")
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="draw these published scores as hollow marks (columns as in a suite's expected.csv; "
        "a suite's run shows its own)",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.records.build import write_records
    from rlm_eval.suites.reporting import write_report

    for run in arguments.runs:
        write_records(run)
    out = arguments.out or arguments.runs[0] / "report"
    contexts = ContextSource(trust=arguments.trust, runs=arguments.runs)
    print(write_report(arguments.runs, out, contexts, arguments.published))
    return 0
