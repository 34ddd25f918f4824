"""Send a sweep to a cluster as job arrays and return at once; the same overrides as `run`.

rlm-eval submit cluster=slurm cluster.partition=gpu experiment=length_sweep
rlm-eval submit cluster=slurm cluster.shards=16 task=s_niah method=rlm length=1M n=800
rlm-eval submit --serve --bind node cluster=slurm experiment=length_sweep model@root=qwen3-8b
rlm-eval submit --plan experiment=length_sweep      (job files for an sbatch script of your own)

With --serve, one more job holds the models' servers, and the others attach to them.
The same command again submits only what is neither done nor queued nor running.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Plan the cells, write the jobs' files, submit them, say how to follow."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument("--yes", action="store_true", help="spend above `confirm_above` unasked")
    parser.add_argument("--plan", action="store_true", help="write the jobs' files, submit none")
    parser.add_argument(
        "--serve", action="store_true", help="one job holds the models' servers for all others"
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS",
        help="with --serve: listen on this address, for jobs of other nodes (`--bind node`: that "
        "of the node's name); without it only jobs of the servers' node reach them",
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
