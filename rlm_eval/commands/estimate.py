"""Estimate calls, tokens, money and hours of a run, without calling anything.

rlm-eval estimate experiment=length_sweep model@root=gpt-5 model@sub=gpt-5-mini
rlm-eval estimate method=rlm n=50 --from results/runs/pilot
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_eval.estimate import Estimate


def main(argv: Sequence[str]) -> int:
    """Print one line per cell and the sum: low, expected, high."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", help="as for `rlm-eval run`")
    parser.add_argument(
        "--from", dest="run", type=Path, help="use this run's records where they fit"
    )
    parser.add_argument(
        "--reply-tokens", type=int, default=400, help="completion tokens per call (default: 400)"
    )
    parser.add_argument(
        "--tokens-per-second", type=float, help="prompt and completion tokens served per second"
    )
    arguments = parser.parse_intermixed_args(argv)
    estimates = estimate(arguments.overrides, arguments.run, arguments.reply_tokens)
    print(table(estimates, arguments.tokens_per_second))
    return 0


def estimate(overrides: list[str], run: Path | None, reply_tokens: int) -> list[Estimate]:
    """One estimate per cell of the sweep."""
    import asyncio

    from rlm_eval.cell import build_cell
    from rlm_eval.estimate import from_records, rehearse
    from rlm_eval.grid import expand
    from rlm_eval.records import load_records

    records = None if run is None else load_records([run])
    found = []
    for cell in [build_cell(config) for config in expand(overrides)]:
        known = None if records is None else from_records(cell, records, str(run))
        found.append(known or asyncio.run(rehearse(cell, reply_tokens)))
    return found


def table(estimates: Sequence[Estimate], tokens_per_second: float | None) -> str:
    """The estimates as text, the assumptions below."""
    from rlm_eval.prices import snapshot_name

    lines = [f"{'cell':<64} {'samples':>7} {'calls':>8} {'input':>12} {'output':>10}  US dollars"]
    for one in estimates:
        money = "unknown" if one.cost is None else _range(one.cost, one)
        lines.append(
            f"{one.cell[:64]:<64} {one.samples:>7} {one.calls:>8,.0f} {one.input:>12,.0f} "
            f"{one.output:>10,.0f}  {money}"
        )
    tokens = sum(e.input + e.output for e in estimates)
    low = sum((e.input + e.output) * e.low for e in estimates)
    high = sum((e.input + e.output) * e.high for e in estimates)
    lines.append(f"tokens: {tokens:,.0f} expected, {low:,.0f} to {high:,.0f}")
    costs = [e.cost for e in estimates if e.cost is not None]
    if len(costs) == len(estimates):
        least = sum((e.cost or 0.0) * e.low for e in estimates)
        most = sum((e.cost or 0.0) * e.high for e in estimates)
        lines.append(f"money: ${sum(costs):,.2f} expected, ${least:,.2f} to ${most:,.2f}")
    else:
        lines.append("money: unknown for the cells that say so")
        lines += dict.fromkeys(f"  {why}" for e in estimates for why in e.unpriced)
    if tokens_per_second:
        lines.append(
            f"time: {tokens / tokens_per_second / 3600:.1f} h at {tokens_per_second:g} tok/s"
        )
    lines.append(
        "assumed: the first sample stands for all; where code is run, a scripted root that maps "
        "sub-calls over the context, and a wide range around it; list prices without cache hits "
        f"({snapshot_name()})"
    )
    return "\n".join(lines)


def _range(cost: float, one: Estimate) -> str:
    return f"{cost:,.2f} ({cost * one.low:,.2f} to {cost * one.high:,.2f})"
