"""What a sweep will cost, before anything is called: a rehearsal on the scripted model.

One sample per cell is really run, with a script in place of every model: the requests of long
context, RAG and summaries are then exact. What a root model's own code will do cannot be known, so
that methods that run code get a wide range around the script's map over chunks. An earlier run's
records, where given, take the place of the rehearsal.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.attempt import attempt
from rlm_eval.cell import Cell
from rlm_eval.journal import Journal
from rlm_eval.limits import Budget, Limits
from rlm_eval.log import AppendLog
from rlm_eval.models import Model
from rlm_eval.models.scripted import CHARS_PER_TOKEN, ScriptedModel
from rlm_eval.prices import cold_cost, price_of, why_unknown
from rlm_eval.repl import open_pool
from rlm_eval.session import Endpoint, Session
from rlm_eval.slices import SourceIndex
from rlm_eval.types import Call, Usage

if TYPE_CHECKING:
    import pandas as pd

REPLY_TOKENS = 400
"""Completion tokens that a reply is taken to have: a script's own length means nothing."""
AGENT_RANGE = (0.3, 4.0)
"""Low and high factor for methods whose model decides what is called."""
FIXED_RANGE = (0.9, 1.2)
"""For the others: tokenizers differ."""


@dataclass(frozen=True)
class Estimate:
    """Expected spending of one cell."""

    cell: str
    """Cell id."""
    samples: int
    """Samples times epochs."""
    calls: float
    """Model calls."""
    input: float
    """Prompt tokens."""
    output: float
    """Completion tokens."""
    cost: float | None
    """US dollars at list price; `None` = no price known."""
    low: float
    """Factor for the low end."""
    high: float
    """Factor for the high end."""
    source: str
    """`rehearsal`, or the run whose records were used."""
    unpriced: tuple[str, ...]
    """For each model without a price: what to do."""


async def rehearse(cell: Cell, reply_tokens: int) -> Estimate:
    """Run the cell's first sample on a script and scale it up.

    `reply_tokens` is what a reply is taken to have: a script's own length means nothing.
    """
    calls = await _rehearsed(cell, reply_tokens)
    n = cell.n * cell.epochs
    low, high = AGENT_RANGE if cell.method.runs_code else FIXED_RANGE
    failed = any(call.error is not None for call in calls)
    cost = None if failed else _cost(cell, calls)
    return Estimate(
        cell=cell.id,
        samples=n,
        calls=n * len(calls),
        input=n * sum(c.usage.input or 0 for c in calls),
        output=n * reply_tokens * len(calls),
        cost=None if cost is None else n * cost,
        low=low,
        high=high,
        source="rehearsal",
        unpriced=_unpriced(cell),
    )


async def priced_part(cell: Cell, reply_tokens: int) -> float:
    """US dollars of what `rehearse` finds, calls without a known price left out."""
    calls = await _rehearsed(cell, reply_tokens)
    return cell.n * cell.epochs * sum(cost for cost in _costs(cell, calls) if cost is not None)


async def _rehearsed(cell: Cell, reply_tokens: int) -> list[Call]:
    """The calls of the cell's first sample on a script."""
    sample = next(iter(cell.task.samples()))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = await stack.enter_async_context(
            AppendLog(folder / "journal.jsonl", cell.task.protected)
        )
        pool = (
            await stack.enter_async_context(open_pool(cell.repl)) if cell.method.runs_code else None
        )
        # The script's tokens are of four characters: the windows are made to hold as much text.
        rate = sample.context.chars / max(1, sample.context.tokens) / CHARS_PER_TOKEN
        endpoints = {
            slot: await stack.enter_async_context(_scripted(model, rate))
            for slot, model in cell.models.items()
        }
        index = SourceIndex(sample.context.hash, sample.context.text())
        session = Session(sample, 0, endpoints, Journal(log), Budget(Limits()), pool, index)
        await attempt(cell.task, cell.method, sample, session)
    return [
        replace(c, usage=Usage(input=round((c.usage.input or 0) / rate), output=reply_tokens))
        for c in session.calls
        if not (c.error or "").startswith("ContextOverflow")  # refused: nothing is billed
    ]


def from_records(cell: Cell, records: pd.DataFrame, run: str) -> Estimate | None:
    """Scale the records of the same task, length and method; `None` where there are none."""
    same = records[
        (records["task"] == cell.task.name)
        & (records["length"] == cell.length)
        & (records["method"] == cell.method.name)
    ]
    tokens = same["input_tokens"].dropna()
    if tokens.empty:
        return None
    n, mean = cell.n * cell.epochs, float(tokens.mean())
    cost = _cost_of_records(cell, same)
    return Estimate(
        cell=cell.id,
        samples=n,
        calls=n * float(same["n_calls"].mean()),
        input=n * mean,
        output=n * float(same["output_tokens"].mean()),
        cost=None if cost is None else n * cost,
        low=float(tokens.quantile(0.25)) / mean,
        high=float(tokens.quantile(0.95)) / mean,
        source=run,
        unpriced=_unpriced(cell),
    )


def _cost_of_records(cell: Cell, same: pd.DataFrame) -> float | None:
    """Of a mean sample, by the cell's own prices: a call of mean length of each of its models.

    Prices rise with the length of a call, so that a sum over calls must not be priced as one.
    """
    means = same.mean(numeric_only=True)
    calls = {
        "root": means["n_root_calls"],
        "sub": means["n_sub_calls"] + means["n_child_calls"],
    }
    total = 0.0
    for slot, count in calls.items():
        if not count:
            continue
        tokens = [means[f"{slot}_{kind}_tokens"] for kind in ("input", "output")]
        usage = Usage(input=round(tokens[0] / count), output=round(tokens[1] / count))
        model = cell.models.get(slot)
        cost = None if model is None else cold_cost(model.price)(usage)
        if cost is None:
            return None
        total += float(count) * cost
    return total


def _unpriced(cell: Cell) -> tuple[str, ...]:
    models = [model for model in cell.models.values() if price_of(model.price) is None]
    return tuple(dict.fromkeys(why_unknown(model.name, model.price) for model in models))


@asynccontextmanager
async def _scripted(model: Model, rate: float) -> AsyncIterator[Endpoint]:
    """A script in the place of `model`, with its name and a window of the same text."""
    window = None if model.window is None else round(model.window * rate)
    stand_in = ScriptedModel(name=model.name, window=window)
    async with stand_in.open() as client:
        yield Endpoint(model.name, client, stand_in.sampling, model.window, lambda _: None)


def _cost(cell: Cell, calls: Sequence[Call]) -> float | None:
    costs = _costs(cell, calls)
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _costs(cell: Cell, calls: Sequence[Call]) -> list[float | None]:
    return [cold_cost(cell.models[call.slot].price)(call.usage) for call in calls]
