"""Run one job of a submitted sweep; called by `sbatch` scripts (docs/cluster.md).

rlm-eval job results/runs/scratch 3
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Run the unfinished cells of the job; returns 1 where one did not finish."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("number", type=int, help="job number: the name of its file in RUN/jobs/")
    arguments = parser.parse_args(argv)

    from rlm_eval.cluster.run_job import run_job
    from rlm_eval.core.messages import fail

    unfinished = run_job(arguments.run, arguments.number)
    if unfinished:  # each cell has said why
        count = f"{len(unfinished)} cells unfinished; the same command runs them again"
        fail(unfinished.get("job", count))
    return 1 if unfinished else 0
