"""Estimates of a sweep's cells, and their printed table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rlm_eval.budget.prices import snapshot_name
from rlm_eval.runner.planning.estimate import expected, from_records, speed_in
from rlm_eval.runner.planning.expectations import speed_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from rlm_eval.config.cell import Cell
    from rlm_eval.runner.planning.estimate import Estimate


async def estimates_of(
    cells: Sequence[Cell],
    records: DataFrame | None = None,
    run: str = "",
    reply_tokens: int | None = None,
) -> list[Estimate]:
    """Return one estimate per cell; matching `records` of `run` take precedence."""
    found = []
    for cell in cells:
        known = None if records is None else from_records(cell, records, run)
        found.append(known or await expected(cell, reply_tokens))
    return found


def table(
    estimates: Sequence[Estimate],
    tokens_per_second: float | None = None,
    records: DataFrame | None = None,
) -> str:
    """Format the estimates and their sources; `records` give the speed of local models."""
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
        "assumptions: prompts that the harness writes are counted on the first sample, other costs "
        f"scaled from measured runs; list prices without cache hits ({snapshot_name()}). Based on:"
    )
    lines += dict.fromkeys(f"  {one.source}" for one in estimates)
    if missing := dict.fromkeys(one.missing for one in estimates if one.missing):
        lines.append(f"data not downloaded, typical sizes used: {', '.join(missing)}")
    for one in estimates:
        if one.incomplete:
            lines.append(f"incomplete: {one.cell}: the rehearsal failed: {one.incomplete}")
    return "\n".join(lines)


_FACTORS: tuple[Callable[[Estimate], float], ...] = (
    lambda one: one.low,
    lambda _: 1.0,
    lambda one: one.high,
)


def _range(cost: float, one: Estimate) -> str:
    return f"{cost:,.2f} ({cost * one.low:,.2f} to {cost * one.high:,.2f})"


def _hours(estimates: Sequence[Estimate], records: DataFrame | None) -> list[str]:
    """Return a line per model that the harness starts: hours, or the missing setting."""
    lines = []
    for model in dict.fromkeys(name for one in estimates for name in one.local):
        speed = (None if records is None else speed_in(records, model)) or speed_of(model)
        if speed is None:
            lines.append(
                f"time: unknown, no measured speed of {model}: give --tokens-per-second, or --from "
                "a run of it"
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
