"""Estimate calls, tokens, money and hours of a run, without calling anything.

rlm-eval estimate experiment=length_sweep model@root=gpt-5 model@sub=gpt-5-mini
rlm-eval estimate method=rlm n=50 --from results/runs/pilot
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from rlm_eval.config.cell import Cell
    from rlm_eval.runner.planning.estimate import Estimate


def main(argv: Sequence[str]) -> int:
    """Print one line per cell, the sums (low, expected, high), and what the design can show."""
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
        "--reply-tokens", type=int, help="completion tokens per call (default: what is known)"
    )
    parser.add_argument(
        "--tokens-per-second", type=float, help="prompt and completion tokens served per second"
    )
    arguments = parser.parse_intermixed_args(argv)

    from rlm_eval.config.cell import build_cell, run_folder
    from rlm_eval.config.grid import expand
    from rlm_eval.records.record import FILE, load_records
    from rlm_eval.runner.planning import gpu_plan
    from rlm_eval.runner.planning.power import designs_of

    configs = expand(arguments.overrides)
    cells = [build_cell(config) for config in configs]
    records = None if arguments.run is None else load_records([arguments.run])
    estimates = estimate(cells, records, str(arguments.run), arguments.reply_tokens)
    own = run_folder(configs[0])
    if records is None and (own / FILE).exists():
        records = load_records([own])
    print(table(estimates, arguments.tokens_per_second, records))
    print("\n".join(gpu_plan.table(cells) + [design.line() for design in designs_of(cells)]))
    return 0


def estimate(
    cells: Sequence[Cell],
    records: DataFrame | None = None,
    run: str = "",
    reply_tokens: int | None = None,
) -> list[Estimate]:
    """One estimate per cell; `records` of `run` count where they fit."""
    import asyncio

    from rlm_eval.runner.planning.estimate import expected, from_records

    found = []
    for cell in cells:
        known = None if records is None else from_records(cell, records, run)
        found.append(known or asyncio.run(expected(cell, reply_tokens)))
    return found


def table(
    estimates: Sequence[Estimate],
    tokens_per_second: float | None = None,
    records: DataFrame | None = None,
) -> str:
    """The estimates as text, what they rest on below; `records` tell the speed of local models."""
    from rlm_eval.budget.prices import snapshot_name

    lines = [f"{'cell':<64} {'samples':>7} {'calls':>8} {'input':>12} {'output':>10}  US dollars"]
    for one in estimates:
        billed = "unknown" if one.unpriced else "none billed"
        money = billed if one.cost is None else _range(one.cost, one)
        lines.append(
            f"{one.cell[:64]:<64} {one.samples:>7} {one.calls:>8,.0f} {one.input:>12,.0f} "
            f"{one.output:>10,.0f}  {money}"
        )
    tokens = sum(e.input + e.output for e in estimates)
    low = sum((e.input + e.output) * e.low for e in estimates)
    high = sum((e.input + e.output) * e.high for e in estimates)
    lines.append(f"tokens: {tokens:,.0f} expected, {low:,.0f} to {high:,.0f}")
    if any(e.unpriced for e in estimates):
        known = sum(e.priced for e in estimates)
        lines.append("money: unknown for the cells that say so")
        lines[-1] += f"; ${known:,.2f} expected for the models with a price" if known else ""
        lines += dict.fromkeys(f"  {why}" for e in estimates for why in e.unpriced)
    elif priced := [e for e in estimates if e.cost is not None]:
        least, middle, most = (
            sum((e.cost or 0.0) * factor(e) for e in priced) for factor in _FACTORS
        )
        lines.append(f"money: ${middle:,.2f} expected, ${least:,.2f} to ${most:,.2f}")
    if tokens_per_second:
        lines.append(
            f"time: {tokens / tokens_per_second / 3600:.1f} h at {tokens_per_second:g} tok/s"
        )
    else:
        lines += _hours(estimates, records)
    lines.append(
        "assumed: where the harness writes the prompts, the first sample stands for all; else "
        f"known figures, scaled; list prices without cache hits ({snapshot_name()}). Rests on:"
    )
    lines += dict.fromkeys(f"  {one.source}" for one in estimates)
    if missing := dict.fromkeys(one.missing for one in estimates if one.missing):
        lines.append(f"not at hand (typical sizes counted): {', '.join(missing)}")
    return "\n".join(lines)


_FACTORS: tuple[Callable[[Estimate], float], ...] = (
    lambda one: one.low,
    lambda _: 1.0,
    lambda one: one.high,
)


def _range(cost: float, one: Estimate) -> str:
    return f"{cost:,.2f} ({cost * one.low:,.2f} to {cost * one.high:,.2f})"


def _hours(estimates: Sequence[Estimate], records: DataFrame | None) -> list[str]:
    """One line per model that the harness starts: hours at its known speed, or what to give."""
    from rlm_eval.runner.planning.estimate import speed_in
    from rlm_eval.runner.planning.expectations import speed_of

    lines = []
    for model in dict.fromkeys(name for one in estimates for name in one.local):
        speed = (None if records is None else speed_in(records, model)) or speed_of(model)
        if speed is None:
            lines.append(
                f"time: unknown, nobody measured {model}: give --tokens-per-second, or --from a "
                "run of it"
            )
            continue
        low, middle, high = (
            sum(one.local.get(model, 0.0) * factor(one) for one in estimates) / rate / 3600
            for factor, rate in zip(
                _FACTORS, (speed.fastest, speed.expected, speed.slowest), strict=True
            )
        )
        lines.append(
            f"time: {middle:.1f} h of {model} at {speed.expected:.0f} tok/s, {low:.1f} to "
            f"{high:.1f} h ({speed.source})"
        )
    return lines
