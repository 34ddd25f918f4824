"""What a sweep will cost, before anything is called.

Methods whose prompts the harness writes (long context, RAG, summaries, fixed programs) are
rehearsed: one sample per cell is really run, with a script in place of every model, so that the
requests are exact. What a root model's own code or search will do cannot be rehearsed: there the
known figures of the same kind of method and task count (`expectations`), and a method that nobody
measured gets a wide range around the script. Nothing asks the hub: for a data set that is not at
hand the known figures count alone. An earlier run's records, where given, replace all of these.
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
from rlm_eval.models import Model
from rlm_eval.models.http.embedding import EmbeddingModel
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
"""(fewest, expected, most) completion tokens of a call, where nothing is known of the model."""
_PROMPT_RANGE = (0.75, 1.35)
"""Of the prompts that the harness writes: tokenizers differ."""
_UNKNOWN_RANGE = (0.3, 10.0)
"""Of a method whose model decides what is called and that nobody measured."""
_JUDGEMENT = Used(1, 1_500, 300)
"""Taken for the judge's call where no sample is rehearsed."""
_FILLER = "filler"
"""Id of a stand-in for a sample."""
_LINE = "A line of some twenty words that stands for a record or a sentence of a text nobody has.\n"
_LONGEST_FILLER = 1_000_000
"""Tokens of a stand-in: longer ones say nothing else of the methods that read it."""
_FIXED = (None, "long_context", "rag", "map", "summary")
"""Families whose requests the harness writes."""


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
    """US dollars at list price; `None` = a price is unknown, or nobody sends a bill."""
    low: float
    """Factor for the low end."""
    high: float
    """Factor for the high end."""
    source: str
    """What it rests on."""
    unpriced: tuple[str, ...]
    """For each model without a price: what to do."""
    priced: float = 0.0
    """US dollars of the models with a known price."""
    missing: str = ""
    """The task, where its data are not at hand."""
    local: Mapping[str, float] = field(default_factory=dict)
    """Tokens of the models that the harness starts, by name."""


async def expected(cell: Cell, reply_tokens: int | None = None) -> Estimate:
    """What the cell will use. `reply_tokens`: completion tokens of a call, where the user knows."""
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
    # Without data, a stand-in tells the prompts of RAG and maps, whose replies depend on the model.
    counts = sample is None and (same_model or kind in ("long_context", "summary"))
    if known and (kind not in _FIXED or counts):
        whole = [_by_slot(cell, row) | judged for row in known]
        mean = {slot: used.times(1 / len(known)) for slot, used in _sum(whole).items()}
        low = min(_measure(cell, u) / row.spread for u, row in zip(whole, known, strict=True))
        high = max(_measure(cell, u) * row.spread for u, row in zip(whole, known, strict=True))
        return _estimate(cell, mean, low, high, _sources(known, same_model), missing)
    if sample is not None:
        judged = {}  # the rehearsal judges
    few, mean_reply, many = _replies(cell, known if same_model else [], reply_tokens)
    calls = await _rehearsed(cell, sample or _filler(cell, context))
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
    if kind == "summary":  # how much a model writes down decides how much is read again
        low = min([low, *(_measure(cell, _by_slot(cell, row)) / row.spread for row in known)])
        high = max([high, *(_measure(cell, _by_slot(cell, row)) * row.spread for row in known)])
    return _estimate(cell, middle, low, high, "rehearsal", missing)


def _written(call: Call, reply: float) -> float:
    """Completion tokens of a call: an embedder writes none."""
    return 0.0 if call.role is Role.EMBED else reply


def _sample(cell: Cell, kind: str | None) -> Sample | None:
    """The cell's first sample; `None` where it is not needed, or its data are not at hand."""
    if kind not in _FIXED and isinstance(cell.task, GeneratedTask):
        return None
    try:
        with closed():
            return next(iter(cell.task.samples()), None)
    except RlmEvalError as error:
        # A local file that cannot be read is the user's to mend; a hub is not asked.
        task, needs_hub = cell.task, isinstance(error, MissingDependency)
        if not isinstance(task, LoadedTask) or (task.path is not None and not needs_hub):
            raise
        return None


class _Unscored:
    """The task of a stand-in: there is nothing to score."""

    def score(self, _sample: Sample, _answer: Answer) -> tuple[Score, ...]:
        return ()


def _filler(cell: Cell, context: int) -> Sample:
    """A stand-in for a sample that is not at hand: lines of text, as long as its contexts are."""
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
    """Tokens of the cell's contexts."""
    if sample is not None:
        return max(1, sample.context.tokens)
    own: int | None = getattr(cell.task, "length", None)
    return own or typical_context(type(cell.task).__name__) or cell.length


def _by_slot(cell: Cell, row: Row) -> dict[str, Used]:
    """The row's figures under the cell's own slots: `sub` is the first one beside the root."""
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
    """(fewest, expected, most) completion tokens of a call."""
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
    """Dollars of the priced models; tokens where none has a price."""
    costs = _costs(cell, used)
    if any(cost is not None for cost in costs):
        return sum(cost for cost in costs if cost is not None)
    return sum(one.input + one.output for one in used.values())


def _costs(cell: Cell, used: Mapping[str, Used]) -> list[float | None]:
    """US dollars by slot; prices rise with the length of a call, so that a mean call is priced."""
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
    """`used`, `low` and `high` are of one sample."""
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
    """What an estimate from known figures rests on, in a reader's words."""
    sources = "; ".join(dict.fromkeys(row.source for row in known))
    return sources if same_model else f"{sources} (other models)"


def _overflows(cell: Cell, kind: str | None, context: int, at_this_length: bool) -> bool:
    """True where the context is in the prompt and the root's window cannot hold it.

    Contexts vary: a measured mean of the same model at this length knows how many fitted.
    """
    window = cell.models["root"].window if "root" in cell.models else None
    cut = getattr(cell.method, "over_window", "fail") != "fail"
    whole = kind in ("long_context", "codeact", "codeact_sub") and not cut
    return whole and window is not None and context > 2 * window and not at_this_length


async def _rehearsed(cell: Cell, sample: Sample) -> list[Call]:
    """The calls of a sample on a script."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = await stack.enter_async_context(
            JsonlLog(folder / "journal.jsonl", cell.task.protected)
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
        task = cell.task if sample.id != _FILLER else cast(Task, _Unscored())
        await run_rollout(task, cell.method, sample, session)
    return [
        replace(c, usage=Usage(input=round((c.usage.input or 0) / rate)))
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
    """Tokens a second that a run's records show for a model; `None` where it was not called."""
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
async def _scripted(model: Model, rate: float) -> AsyncIterator[Endpoint]:
    """A script in the place of `model`, with its name and a window of the same text."""
    if isinstance(model, EmbeddingModel):  # its window holds one text, not all of a call
        # Under another name: a run in this process must not find these vectors kept as the model's.
        stand_in = ScriptedModel(name=f"{model.name} (rehearsed)", program="vectors")
    else:
        window = None if model.window is None else round(model.window * rate)
        stand_in = ScriptedModel(name=model.name, window=window)
    async with stand_in.open() as client:
        yield Endpoint(stand_in.name, client, stand_in.sampling, model.window, lambda _: None)
