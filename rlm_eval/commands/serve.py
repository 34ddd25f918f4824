"""Start and hold the model servers of a sweep for its jobs; takes the overrides of `run`.

rlm-eval serve experiment=length_sweep model@root=qwen3-8b
rlm-eval submit cluster=slurm experiment=length_sweep model@root=qwen3-8b root.server=shared

Jobs find the servers through the run directory. Without --bind, only processes on this node reach
them. The command ends when every planned cell is done, after --idle-min without a running cell, or
on a signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Start, register, hold. See `rlm_eval.cluster.serving`."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument(
        "--bind", metavar="ADDRESS",
        help="address to listen on, for jobs on other nodes (`--bind node`: the address of the "
        "node's name)",
    )  # fmt: skip
    parser.add_argument(
        "--idle-min",
        type=float,
        default=30.0,
        help="minutes without a running cell after which the command ends",
    )
    arguments = parser.parse_intermixed_args(argv)

    from rlm_eval.cluster import serving
    from rlm_eval.config.cell import build_cell, run_folder
    from rlm_eval.config.grid import expand
    from rlm_eval.models.servers.managed import LOOPBACK
    from rlm_eval.storage.cell_store import output_folder

    configs = expand(arguments.overrides)
    models = serving.models_of([build_cell(config) for config in configs])
    run = run_folder(configs[0])
    output_folder(run)
    host = LOOPBACK
    if arguments.bind:
        host = serving.node_address("" if arguments.bind == "node" else arguments.bind)
    print(f"serve: {asyncio.run(serving.serve(run, models, host, arguments.idle_min * 60))}")
    return 0
