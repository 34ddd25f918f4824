"""Submit a sweep to a cluster as job arrays; takes the overrides of `run`.

rlm-eval submit cluster=slurm cluster.partition=gpu experiment=length_sweep
rlm-eval submit cluster=slurm cluster.shards=16 task=s_niah method=rlm length=1M n=800
rlm-eval submit --serve --bind node cluster=slurm experiment=length_sweep model@root=qwen3-8b
rlm-eval submit --plan experiment=length_sweep      (job files for your own sbatch script)

With --serve, one additional job holds the models' servers, and the others attach to them. The same
command again submits only cells that are not done, queued or running.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Plan the cells, write the job files, submit them, print how to follow them."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before spending more than `confirm_above`"
    )
    parser.add_argument("--plan", action="store_true", help="write the job files, submit nothing")
    parser.add_argument(
        "--serve", action="store_true", help="one job holds the models' servers for all others"
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS",
        help="with --serve: address to listen on, for jobs on other nodes (`--bind node`: the "
        "address of the node's name); without it only jobs on the servers' node reach them",
    )  # fmt: skip
    arguments = parser.parse_intermixed_args(argv)
    if arguments.bind and not arguments.serve:
        parser.error("--bind needs --serve")

    from rlm_eval.cluster.sending import send

    return send(
        arguments.overrides,
        yes=arguments.yes,
        plan_only=arguments.plan,
        serve=arguments.serve,
        bind=arguments.bind,
    )
