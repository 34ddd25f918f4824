"""Run one job of a submitted sweep; what `sbatch` scripts call (see docs/cluster.md).

rlm-eval job results/runs/scratch 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Run the job's cells, or what is missing of them; 1 where one did not finish."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval job",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("number", type=int, help="job number: a file of <run>/jobs/")
    arguments = parser.parse_args(argv)

    from rlm_eval.cluster.run_job import run_job
    from rlm_eval.core.messages import fail

    unfinished = run_job(arguments.run, arguments.number)
    if unfinished:  # each cell has said why
        count = f"{len(unfinished)} cells unfinished; the same command resumes"
        fail(unfinished.get("job", count))
    return 1 if unfinished else 0
