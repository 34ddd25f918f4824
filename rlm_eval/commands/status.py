"""Show the state of each cell of a run (done, running, queued, failed, missing) and the cost.

rlm-eval status results/runs/scratch
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Print one line per planned cell; returns 1 unless every cell is done."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    run = parser.parse_args(argv).run

    from rlm_eval.cluster.run_status import print_status

    return print_status(run)
