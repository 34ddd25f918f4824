"""Profile how models recursed: fan-out, depth, coverage, cost by depth, strategies.

    rlm-eval profile results/runs/a results/runs/b -o results/profile
    rlm-eval profile --labels benchmarks/strategy_labels

Prints the recursion profile and writes it as Markdown, CSV and LaTeX, with a figure per root model
(strategy by length). Values that a log does not hold are printed as unknown. Definitions are in
docs/profile.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Measure the stored trajectories of the runs, write and print the profile."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories")
    parser.add_argument(
        "-o", "--out", type=Path, help="output folder (default: profile/ in the first run)"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FOLDER",
        help="manual labels instead of runs: print their agreement and the classifier's confusion",
    )
    arguments = parser.parse_args(argv)
    if (arguments.labels is None) == (not arguments.runs):
        parser.error("give run directories, or --labels FOLDER")
    if arguments.labels is not None:
        from rlm_eval.report.profile.agreement import read
        from rlm_eval.report.profile.agreement import told as agreement

        print(agreement(read(arguments.labels)))
        return 0

    from rlm_eval.core.terminal import printable
    from rlm_eval.records.build import cell_folders
    from rlm_eval.report.profile.table import told

    for run in arguments.runs:
        cell_folders(run)
    print(printable(told(arguments.runs, arguments.out or arguments.runs[0] / "profile")))
    return 0
