"""Estimate calls, tokens, cost and hours of a run, without any model call.

rlm-eval estimate experiment=length_sweep model@root=gpt-5 model@sub=gpt-5-mini
rlm-eval estimate method=rlm n=50 --from results/runs/pilot
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Print one line per cell, the sums (low, expected, high), and what the design can show."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("overrides", nargs="*", help="overrides as for `rlm-eval run`")
    parser.add_argument(
        "--from",
        dest="run",
        type=Path,
        help="estimate from the records of this run where they fit the cells",
    )
    parser.add_argument(
        "--reply-tokens",
        type=int,
        help="completion tokens per call (default: from records, else an assumption per task)",
    )
    parser.add_argument(
        "--tokens-per-second", type=float, help="prompt and completion tokens served per second"
    )
    arguments = parser.parse_intermixed_args(argv)

    from rlm_eval.config.cell import build_cell, run_folder
    from rlm_eval.config.grid import expand
    from rlm_eval.records.record import FILE, load_records
    from rlm_eval.runner.planning import gpu_plan
    from rlm_eval.runner.planning.estimate_table import estimates_of, table
    from rlm_eval.runner.planning.power import designs_of

    configs = expand(arguments.overrides)
    cells = [build_cell(config) for config in configs]
    records = None if arguments.run is None else load_records([arguments.run])
    run, reply = str(arguments.run), arguments.reply_tokens
    estimates = asyncio.run(estimates_of(cells, records, run, reply))
    own = run_folder(configs[0])
    if records is None and (own / FILE).exists():
        records = load_records([own])
    print(table(estimates, arguments.tokens_per_second, records))
    print("\n".join(gpu_plan.table(cells) + [design.line() for design in designs_of(cells)]))
    return 0
