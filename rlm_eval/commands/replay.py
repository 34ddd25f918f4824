"""Re-run stored trajectories offline from their journal, or with one thing changed (--set).

    rlm-eval replay results/runs/scratch --sample 3f2a91bc

Nothing is sent and the run is not changed. Each finished attempt receives its stored replies and
errors again; a request that is not in the journal is reported with its position. Generated samples
are drawn again.

    rlm-eval replay results/runs/scratch --accept

With --accept, a cell whose attempts all reproduce the stored result by the same calls is recorded
as made by the current code: this proves a refactoring. A replay does not cover the wire format,
that is, how requests are sent and replies are parsed.

    rlm-eval replay results/runs/scratch --set model@sub=gpt-5-mini --estimate

With --set, each trajectory is run again with that change, in a new run: replies are shared up to
the first divergence, and every later call is new and paid for (docs/replay.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser
from rlm_eval.core.errors import ConfigError
from rlm_eval.runner.counterfactual import command as counterfactual


def main(argv: Sequence[str]) -> int:
    """Print, per sample, whether the replay reproduced the stored result; 1 where one did not."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument(
        "--sample", default="", help="replay only samples whose id begins with this"
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="record the current code in the manifests of cells that were reproduced",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    counterfactual.add_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.changes:
        if arguments.accept or arguments.sample:
            parser.error(
                "--set cannot be combined with --accept or --sample; --n limits the samples"
            )
        return counterfactual.main(arguments)
    if arguments.estimate:
        parser.error("--estimate needs --set KEY=VALUE")

    from rlm_eval.records.build import cell_folders
    from rlm_eval.runner.replaying import accept, replay_cell

    if arguments.accept and arguments.sample:
        parser.error("--accept needs every sample; remove --sample")
    same = seen = refused = 0
    for folder in cell_folders(arguments.run):
        counts = asyncio.run(replay_cell(folder, arguments.sample, arguments.trust, print))
        same, seen = same + counts[0], seen + counts[1]
        if arguments.accept:
            told = accept(folder, counts[2])
            refused += told is not None
            print(f"{folder.name}: {told or 'its code is recorded: today it gives the same'}")
    if not seen:
        why = f"--sample {arguments.sample}: no finished sample has an id that begins with this"
        raise ConfigError(why if arguments.sample else f"{arguments.run}: nothing is finished")
    print(f"{same} of {seen} came to the stored result")
    return 0 if same == seen and not refused else 1
