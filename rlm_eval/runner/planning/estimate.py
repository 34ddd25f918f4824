"""Cost estimate of a sweep, before any model call.

Methods whose prompts the harness writes (long context, RAG, summaries, fixed programs) are
rehearsed: one sample per cell is run with scripted models, so the requests are exact. The actions
of a root model's own code or search cannot be rehearsed: the estimate then uses known figures of
the same kind of method and task (`expectations`); a method without measurements gets a wide range
around the rehearsal. The hub is never contacted: without a local copy of the data set only the
known figures are used. Records of an earlier run, if given, replace all of these.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.budget.prices import cold_cost, why_unknown
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import MissingDependency, RlmEvalError
from rlm_eval.core.hub_client import closed
from rlm_eval.core.types import (
    Answer,
    Call,
    Context,
    Density,
    Role,
    Sample,
    Score,
    Usage,
    text_hash,
)
from rlm_eval.methods.retrieval.dense import SLOT
from rlm_eval.models import Model
from rlm_eval.models.scripted import CHARS_PER_TOKEN, ScriptedModel
from rlm_eval.repl import open_pool
from rlm_eval.runner.planning.expectations import Row, Speed, Used, family, rows, typical_context
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.prompt_slices import SourceIndex
from rlm_eval.tasks import JudgedTask, Task
from rlm_eval.tasks.base import GeneratedTask
from rlm_eval.tasks.hub import LoadedTask

if TYPE_CHECKING:
    import pandas as pd

_REPLY = {
    Density.CONSTANT: (50, 400, 4_000),
    Density.LINEAR: (50, 400, 4_000),
    Density.QUADRATIC: (200, 2_000, 30_000),
}
"""(fewest, expected, most) completion tokens of a call for a model without measurements."""
_PROMPT_RANGE = (0.75, 1.35)
"""Factors (low, high) for prompts that the harness writes: tokenizers differ."""
_UNKNOWN_RANGE = (0.3, 10.0)
"""Factors (low, high) for a method whose model decides the calls and that was not measured."""
_JUDGEMENT = Used(1, 1_500, 300)
"""Assumed usage of the judge's call if no sample is rehearsed."""
_FILLER = "filler"
"""Id of a placeholder sample."""
_LINE = "A line of some twenty words that stands for a record or a sentence of a text nobody has.\n"
_LONGEST_FILLER = 1_000_000
"""Longest placeholder, tokens: longer ones give the same estimate for methods that read it."""
_FIXED = (None, "long_context", "rag", "map", "summary")
"""Families whose requests the harness writes."""


@dataclass(frozen=True)
class Estimate:
    """Expected usage and cost of one cell."""

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
    """US dollars at list price; `None` = a price is unknown, or no provider bills the calls."""
    low: float
    """Factor for the low end."""
    high: float
    """Factor for the high end."""
    source: str
    """Source of the figures, in words."""
    unpriced: tuple[str, ...]
    """For each model without a price: the next step for the user."""
    priced: float = 0.0
    """US dollars of the models with a known price."""
    missing: str = ""
    """The task if its data are not available locally; else empty."""
    incomplete: str = ""
    """Why the rehearsal ended early, so that calls are not counted; else empty."""
    local: Mapping[str, float] = field(default_factory=dict)
    """Tokens of the models that the harness starts, by name."""


async def expected(cell: Cell, reply_tokens: int | None = None) -> Estimate:
    """Estimate the cell's usage. `reply_tokens`: completion tokens per call, given by the user."""
    kind = family(cell.method)
    if not cell.method.slots:
        return _estimate(cell, {}, 0.0, 0.0, "no model is called")
    sample = _sample(cell, kind)
    judged = {"judge": _JUDGEMENT} if isinstance(cell.task, JudgedTask) else {}
    context = _context(cell, sample)
    root = cell.models[cell.method.slots[0]].name
    known, same_model = rows(kind, cell.task.density, context, root)
    missing = cell.task.name if sample is None and isinstance(cell.task, LoadedTask) else ""
    here = same_model and min(row.octaves for row in known) < 0.5
    if _overflows(cell, kind, context, here):
        return _estimate(cell, {}, 0.0, 0.0, "no prompt fits the window of the root", missing)
    # Without data, a placeholder sample gives the prompts of RAG and maps; replies vary by model.
    counts = sample is None and (same_model or kind in ("long_context", "summary"))
    if known and (kind not in _FIXED or counts):
        whole = [_by_slot(cell, row) | judged for row in known]
        mean = {slot: used.times(1 / len(known)) for slot, used in _sum(whole).items()}
        low = min(_measure(cell, u) / row.spread for u, row in zip(whole, known, strict=True))
        high = max(_measure(cell, u) * row.spread for u, row in zip(whole, known, strict=True))
        return _estimate(cell, mean, low, high, _sources(known, same_model), missing)
    if sample is not None:
        judged = {}  # the rehearsal includes the judge's call
    few, mean_reply, many = _replies(cell, known if same_model else [], reply_tokens)
    calls, why = await _rehearsed(cell, sample or _filler(cell, context))
    if any(call.error is not None for call in calls):
        calls = [call for call in calls if call.error is None]
    least, middle, most = (
        _sum(
            [{c.slot: Used(1, share * (c.usage.input or 0), _written(c, reply))} for c in calls]
            + [judged]
        )
        for share, reply in ((_PROMPT_RANGE[0], few), (1.0, mean_reply), (_PROMPT_RANGE[1], many))
    )
    low, high = _measure(cell, least), _measure(cell, most)
    if cell.method.runs_code and kind is None:
        low, high = (factor * _measure(cell, middle) for factor in _UNKNOWN_RANGE)
    if kind == "summary":  # the length of the written summaries decides the length of later prompts
        low = min([low, *(_measure(cell, _by_slot(cell, row)) / row.spread for row in known)])
        high = max([high, *(_measure(cell, _by_slot(cell, row)) * row.spread for row in known)])
    return replace(_estimate(cell, middle, low, high, "rehearsal", missing), incomplete=why)


def _written(call: Call, reply: float) -> float:
    """Return the completion tokens of a call: 0 for an embedder."""
    return 0.0 if call.role is Role.EMBED else reply


def _sample(cell: Cell, kind: str | None) -> Sample | None:
    """Return the cell's first sample; `None` if not needed or its data are not available."""
    if kind not in _FIXED and isinstance(cell.task, GeneratedTask):
        return None
    try:
        with closed():
            return next(iter(cell.task.samples()), None)
    except RlmEvalError as error:
        # The user must repair an unreadable local file; the hub is never contacted.
        task, needs_hub = cell.task, isinstance(error, MissingDependency)
        if not isinstance(task, LoadedTask) or (task.path is not None and not needs_hub):
            raise
        return None


class _Unscored:
    """Task of a placeholder sample: nothing is scored."""

    def score(self, _sample: Sample, _answer: Answer) -> tuple[Score, ...]:
        return ()


def _filler(cell: Cell, context: int) -> Sample:
    """Build a placeholder for an unavailable sample: lines of text of the contexts' length."""
    tokens = min(context, _LONGEST_FILLER)
    text = (_LINE * (tokens * CHARS_PER_TOKEN // len(_LINE) + 1))[: tokens * CHARS_PER_TOKEN]
    held = Context(text_hash(text), len(text), tokens, "approx4", lambda: text)
    return Sample(
        id=_FILLER,
        task=cell.task.name,
        index=0,
        question=_LINE,
        context=held,
        target="",
        length=cell.length,
        cluster="filler",
        item="filler",
    )


def _context(cell: Cell, sample: Sample | None) -> int:
    """Return the tokens of the cell's contexts."""
    if sample is not None:
        return max(1, sample.context.tokens)
    own: int | None = getattr(cell.task, "length", None)
    return own or typical_context(type(cell.task).__name__) or cell.length


def _by_slot(cell: Cell, row: Row) -> dict[str, Used]:
    """Map the row's figures to the cell's own slots: `sub` is the first one besides the root."""
    slots = list(cell.method.slots)
    others = [slot for slot in slots if slot not in ("root", "embed")] or ["root"]
    place = {"root": "root" if "root" in slots else slots[0], "sub": others[0]}
    return _sum([{place[name]: used} for name, used in row.used.items()])


def _sum(parts: Sequence[Mapping[str, Used]]) -> dict[str, Used]:
    found: dict[str, Used] = {}
    for part in parts:
        for slot, used in part.items():
            found[slot] = found[slot].plus(used) if slot in found else used
    return found


def _replies(cell: Cell, known: Sequence[Row], given: int | None) -> tuple[float, float, float]:
    """Return (fewest, expected, most) completion tokens of a call."""
    if given is not None:
        return given / 2, given, given * 2
    each = []
    for row in known:
        calls = sum(used.calls for used in row.used.values())
        each.append(sum(used.output for used in row.used.values()) / calls)
    if not each:
        return _REPLY[cell.task.density]
    spreads = [row.spread for row in known]
    return min(each) / max(spreads), sum(each) / len(each), max(each) * max(spreads)


def _measure(cell: Cell, used: Mapping[str, Used]) -> float:
    """Return the US dollars of the priced models; tokens if none has a price."""
    costs = _costs(cell, used)
    if any(cost is not None for cost in costs):
        return sum(cost for cost in costs if cost is not None)
    return sum(one.input + one.output for one in used.values())


def _costs(cell: Cell, used: Mapping[str, Used]) -> list[float | None]:
    """Return US dollars by slot, from the price of a mean call: prices rise with call length."""
    found: list[float | None] = []
    for slot, one in used.items():
        calls = max(one.calls, 1e-9)
        call = Usage(input=round(one.input / calls), output=round(one.output / calls))
        cost = cold_cost(cell.models[slot].price)(call)
        found.append(None if cost is None else calls * cost)
    return found


def _estimate(
    cell: Cell, used: Mapping[str, Used], low: float, high: float, source: str, missing: str = ""
) -> Estimate:
    """Scale `used`, `low` and `high` of one sample to the cell."""
    n = cell.n * cell.epochs
    whole = {slot: one.times(n) for slot, one in used.items()}
    costs = [None if cost is None else n * cost for cost in _costs(cell, used)]
    priced = sum(cost for cost in costs if cost is not None)
    middle = _measure(cell, used) or 1.0
    local: dict[str, float] = {}
    for slot, one in whole.items():
        model = cell.models[slot]
        if getattr(model, "server", None) in ("spawn", "shared"):
            local[model.name] = local.get(model.name, 0.0) + one.input + one.output
    return Estimate(
        cell=cell.id,
        samples=n,
        calls=sum(one.calls for one in whole.values()),
        input=sum(one.input for one in whole.values()),
        output=sum(one.output for one in whole.values()),
        cost=None if cell.unpriced or (costs and not any(costs)) else priced,
        low=min(1.0, low / middle),
        high=max(1.0, high / middle),
        source=source,
        missing=missing,
        unpriced=_unpriced(cell),
        priced=priced,
        local=local,
    )


def _sources(known: Sequence[Row], same_model: bool) -> str:
    """Describe the sources of an estimate made from known figures."""
    sources = "; ".join(dict.fromkeys(row.source for row in known))
    return sources if same_model else f"{sources} (other models)"


def _overflows(cell: Cell, kind: str | None, context: int, at_this_length: bool) -> bool:
    """Return whether the context is in the prompt and exceeds the root's window.

    Contexts vary: a measured mean of the same model at this length already reflects overflows.
    """
    window = cell.models["root"].window if "root" in cell.models else None
    cut = getattr(cell.method, "over_window", "fail") != "fail"
    whole = kind in ("long_context", "codeact", "codeact_sub") and not cut
    return whole and window is not None and context > 2 * window and not at_this_length


async def _rehearsed(cell: Cell, sample: Sample) -> tuple[list[Call], str]:
    """Run a sample with scripted models; return its calls, and why later ones are unknown."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = await stack.enter_async_context(
            JsonlLog(folder / "journal.jsonl", cell.task.protected)
        )
        pool = (
            await stack.enter_async_context(open_pool(cell.repl)) if cell.method.runs_code else None
        )
        # A script's token is four characters: scale the windows to hold the same amount of text.
        rate = sample.context.chars / max(1, sample.context.tokens) / CHARS_PER_TOKEN
        endpoints = {
            slot: await stack.enter_async_context(_scripted(slot, model, rate))
            for slot, model in cell.models.items()
        }
        index = SourceIndex(sample.context.hash, sample.context.text())
        session = Session(sample, 0, endpoints, Journal(log), Budget(Limits()), pool, index)
        task = cell.task if sample.id != _FILLER else cast(Task, _Unscored())
        ended, _ = await run_rollout(task, cell.method, sample, session)
    why = (ended.error or ended.outcome.value) if ended.outcome.is_missing else ""
    calls = [
        replace(c, usage=Usage(input=round((c.usage.input or 0) / rate)))
        for c in session.calls
        if not (c.error or "").startswith("ContextOverflow")  # refused: nothing is billed
    ]
    return calls, why


def from_records(cell: Cell, records: pd.DataFrame, run: str) -> Estimate | None:
    """Scale the records of the same task, length and method; `None` if there are none."""
    same = records[
        (records["task"] == cell.task.name)
        & (records["length"] == cell.length)
        & (records["method"] == cell.method.name)
    ]
    tokens = same["input_tokens"].dropna()
    if tokens.empty:
        return None
    means = same.mean(numeric_only=True)
    mean = float(tokens.mean())
    judge = Used(means["n_judge_calls"], means["judge_input_tokens"], means["judge_output_tokens"])
    root = Used(means["n_root_calls"], means["root_input_tokens"], means["root_output_tokens"])
    rest = Used(
        means["n_calls"] - root.calls, mean - root.input, means["output_tokens"] - root.output
    )
    used = _by_slot(cell, Row({"root": root, "sub": rest}, 1.0, run))
    used |= {"judge": judge} if judge.calls and "judge" in cell.models else {}
    used = {slot: one for slot, one in used.items() if one.calls > 0}
    found = _estimate(cell, used, 0.0, 0.0, run)
    return replace(
        found,
        low=float(tokens.quantile(0.25)) / mean,
        high=max(1.0, float(tokens.quantile(0.95)) / mean),
    )


def speed_in(records: pd.DataFrame, model: str) -> Speed | None:
    """Return a model's tokens per second in a run's records; `None` if it was not called."""
    own = records[(records["root"] == model) | (records["sub"] == model)]
    seconds = float((own["wall_seconds"] / own["concurrency"].clip(lower=1)).sum())
    tokens = float(own["input_tokens"].sum() + own["output_tokens"].sum())
    if not seconds or not tokens:
        return None
    found = tokens / seconds
    return Speed(found, found / 1.5, found * 1.5, "measured in an earlier run")


def _unpriced(cell: Cell) -> tuple[str, ...]:
    models = [cell.models[slot] for slot in cell.unpriced]
    return tuple(dict.fromkeys(why_unknown(model.name, model.price) for model in models))


@asynccontextmanager
async def _scripted(slot: str, model: Model, rate: float) -> AsyncIterator[Endpoint]:
    """Open a script in place of `model`, with its name and a window for the same text."""
    # An embedder, whatever its class: its window holds one text, not all texts of a call.
    if slot == SLOT:
        # A different name: a run in this process must not reuse these vectors as the model's.
        stand_in = ScriptedModel(name=f"{model.name} (rehearsed)", program="vectors")
    else:
        window = None if model.window is None else round(model.window * rate)
        stand_in = ScriptedModel(name=model.name, window=window)
    async with stand_in.open() as client:
        yield Endpoint(stand_in.name, client, stand_in.sampling, model.window, lambda _: None)
