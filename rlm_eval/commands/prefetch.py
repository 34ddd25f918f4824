"""Download the data sets, tokenizers and weights of cells before a run.

rlm-eval prefetch task=oolong_synth length=128k model@root=coder-0.5b
rlm-eval prefetch --suite rlm_paper_table1 task=oolong,pairs
rlm-eval prefetch --suite rlm_paper_table1 --dry-run       (prints the sizes, downloads nothing)

Overrides are those of `rlm-eval run`, with --suite those of `rlm-eval suite`. Sizes are printed
before a download starts; files that are present are skipped. A local file that a task names must
exist. Afterwards the run works with HF_HUB_OFFLINE=1. Files of the hub go to HF_HOME, everything
else to RLM_EVAL_CACHE; both may be copied to a machine without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm_eval.commands import command_parser

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell
    from rlm_eval.runner.planning.prefetch import Resource


def main(argv: Sequence[str]) -> int:
    """List the files with their sizes, download the missing ones; returns 1 where one failed."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("overrides", nargs="*", help="overrides as for `rlm-eval run`")
    parser.add_argument("--suite", metavar="NAME", help="take the cells of this suite")
    parser.add_argument("--dry-run", action="store_true", help="print the sizes, download nothing")
    arguments = parser.parse_intermixed_args(argv)

    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.core.hub_client import told_size
    from rlm_eval.core.messages import fail
    from rlm_eval.runner.planning.prefetch import resources

    wanted: list[tuple[Resource, int | None]] = []
    failed = 0
    for resource in resources(_cells(arguments.suite, arguments.overrides)):
        try:
            size = resource.measure()
        except RlmEvalError as error:
            failed += 1
            print(f"{'cannot be had':>16}  {resource.label}: {error}")
            continue
        told = "at hand" if size == 0 else told_size(size)
        if not resource.label.startswith("samples "):
            print(f"{told:>16}  {resource.label}", flush=True)
        wanted.append((resource, size))
    known = sum(size or 0 for _, size in wanted)
    more = ", and what has no known size" if any(size is None for _, size in wanted) else ""
    print(f"to fetch: {told_size(known)}{more}", flush=True)
    if arguments.dry_run:
        return 1 if failed else 0
    for resource, _ in wanted:
        try:
            resource.fetch()
        except RlmEvalError as error:
            failed += 1
            fail(f"not fetched: {resource.label}: {error}")
    print("everything is at hand" if not failed else f"{failed} of the above are not at hand")
    return 1 if failed else 0


def _cells(suite: str | None, overrides: Sequence[str]) -> list[Cell]:
    if suite is None:
        from rlm_eval.config.cell import build_cell
        from rlm_eval.config.grid import expand

        return [build_cell(config) for config in expand(list(overrides))]
    from rlm_eval.suites.plan import cells_of
    from rlm_eval.suites.schema import load

    return cells_of(load(suite), overrides)[1]
