"""Run one job of a submitted sweep; what `sbatch` scripts call (see docs/cluster.md).

rlm-eval job results/runs/scratch 3
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Run the job's cells, or what is missing of them; 1 where one did not finish."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("number", type=int, help="job number: a file of <run>/jobs/")
    arguments = parser.parse_args(argv)

    from rlm_eval.cluster.run_job import run_job
    from rlm_eval.core.terminal import printable

    unfinished = run_job(arguments.run, arguments.number)
    if unfinished:  # each cell has said why
        count = f"{len(unfinished)} cells unfinished; the same command resumes"
        print(printable(unfinished.get("job", count)), file=sys.stderr)
    return 1 if unfinished else 0
