"""Run or resume cells from Hydra overrides; comma lists sweep.

rlm-eval run task=s_niah method=rlm,rag length=1k,4k n=20 model@root=coder-0.5b
rlm-eval run experiment=quickstart
rlm-eval run debug=scripted --cfg          (prints the composed configuration, runs nothing)

The same command again resumes: finished samples are kept, failed ones are run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm_eval.commands import command_parser
from rlm_eval.config.files import group_help

if TYPE_CHECKING:
    from rlm_eval.core.types import Outcome


def main(argv: Sequence[str]) -> int:
    """Expand the overrides, run every cell, write the records and the report."""
    parser = command_parser(__name__, __doc__, group_help())
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument(
        "--cfg", action="store_true", help="print the configuration of each cell, run nothing"
    )
    parser.add_argument(
        "-m",
        "--multirun",
        action="store_true",
        help="accepted for compatibility with Hydra; lists always sweep",
    )
    parser.add_argument(
        "--redo",
        metavar="all|outcome=NAME[,NAME]",
        help="run finished samples again: all (after a change of code), or those with these "
        "outcomes (truncated, limit:tokens, ...); samples that failed for reasons outside the "
        "method are always run again",
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before spending more than `confirm_above`"
    )
    parser.add_argument(
        "--no-report", action="store_true", help="write the records only, no report"
    )
    arguments = parser.parse_intermixed_args(argv)
    if arguments.cfg:
        return _print_configs(arguments.overrides)
    from rlm_eval.runner.execution import outcomes

    redo = outcomes(arguments.redo)
    return _run(arguments.overrides, redo, yes=arguments.yes, report=not arguments.no_report)


def _print_configs(overrides: list[str]) -> int:
    from omegaconf import OmegaConf

    from rlm_eval.config.grid import expand

    print("---\n".join(OmegaConf.to_yaml(config) for config in expand(overrides)), end="")
    return 0


def _run(overrides: list[str], redo: list[Outcome], *, yes: bool, report: bool) -> int:
    from rlm_eval.config.cell import build_cell
    from rlm_eval.config.grid import expand
    from rlm_eval.runner.execution import execute

    configs = expand(overrides)
    cells = [build_cell(config) for config in configs]
    return execute(configs[0], cells, redo, yes=yes, report=report)
