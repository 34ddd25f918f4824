"""Re-run stored trajectories offline from their journal, or with one thing changed (--set).

    rlm-eval replay results/runs/scratch --sample 3f2a91bc

Nothing is sent and the run is not changed. Each finished attempt gets its own replies and errors
again; a request that it did not make then is reported by its place. Generated samples are drawn
anew.

    rlm-eval replay results/runs/scratch --accept

With --accept, a cell of which every attempt came to the stored result by the same calls is recorded
as made by today's code: the proof of a refactoring. What models are sent over the wire and how
their servers' replies are read is not run again by a replay.

    rlm-eval replay results/runs/scratch --set model@sub=gpt-5-mini --estimate

With --set, each trajectory is run again with that changed, in a run of its own: replies are shared
up to the first divergence, everything behind it is new and paid for (docs/replay.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser
from rlm_eval.runner.counterfactual import command as counterfactual


def main(argv: Sequence[str]) -> int:
    """Print, per sample, whether the replay came to the stored result; 1 where one did not."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--sample", default="", help="only samples whose id starts so")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="record in the manifests of cells that came out the same that today's code made them",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    counterfactual.add_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.changes:
        if arguments.accept or arguments.sample:
            parser.error("--set goes with neither --accept nor --sample; --n takes fewer samples")
        return counterfactual.main(arguments)
    if arguments.estimate:
        parser.error("--estimate needs --set KEY=VALUE")

    from rlm_eval.records.build import cell_folders
    from rlm_eval.runner.replaying import accept, replay_cell

    if arguments.accept and arguments.sample:
        parser.error("--accept needs every sample: leave --sample out")
    same = seen = refused = 0
    for folder in cell_folders(arguments.run):
        counts = asyncio.run(replay_cell(folder, arguments.sample, arguments.trust, print))
        same, seen = same + counts[0], seen + counts[1]
        if arguments.accept:
            told = accept(folder, counts[2])
            refused += told is not None
            print(f"{folder.name}: {told or 'its code is recorded: today it gives the same'}")
    print(f"{same} of {seen} came to the stored result")
    return 0 if same == seen and not refused else 1
