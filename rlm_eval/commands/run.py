"""Run cells: any Hydra overrides, comma lists sweep; the same command again resumes.

rlm-eval run task=s_niah method=rlm,rag length=1k,4k n=20 model@root=coder-0.5b
rlm-eval run experiment=quickstart
rlm-eval run debug=scripted --cfg          (prints the composed configuration, runs nothing)
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
        "--cfg", action="store_true", help="print the cells' configuration, run none"
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="accepted: lists always sweep"
    )
    parser.add_argument(
        "--redo",
        metavar="all|outcome=NAME[,NAME]",
        help="do finished samples again: all (their code has changed), or those with these "
        "outcomes (truncated, limit:tokens, ...); what failed for reasons outside the method is "
        "always done again",
    )
    parser.add_argument("--yes", action="store_true", help="spend above `confirm_above` unasked")
    parser.add_argument("--no-report", action="store_true", help="write records, but no report")
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
