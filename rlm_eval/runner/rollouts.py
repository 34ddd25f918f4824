"""One sample, one method, nothing on disk: the smallest unit of work of the harness.

No run directory, no journal, no preflight request: only the sample's own calls are sent. For runs
that can be resumed or reported, use `api.evaluate`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from rlm_eval.budget.limits import Budget
from rlm_eval.budget.prices import call_cost
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.tokens import DEFAULT, get_tokenizer
from rlm_eval.core.types import (
    Answer,
    Context,
    Density,
    Outcome,
    Sample,
    Score,
    Trajectory,
    canonical_text,
    text_hash,
)
from rlm_eval.methods import Method
from rlm_eval.models import Model
from rlm_eval.records.record import record_of
from rlm_eval.repl import open_pool
from rlm_eval.runner.inputs import question_of, texts_of
from rlm_eval.runner.objects import cells_of
from rlm_eval.runner.resources import endpoint
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.runner.settings import SOLVE, models_of
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.prompt_slices import SourceIndex
from rlm_eval.tasks import Floor, Task
from rlm_eval.tasks.base import Draft, make_sample


@dataclass(frozen=True)
class Rollout:
    """Result of one sample."""

    answer: str | None
    """The answer; `None` if there is none."""
    outcome: Outcome
    """Outcome of the sample."""
    error: str | None
    """Message of the failure that ended it."""
    scores: tuple[Score, ...]
    """The task's verdicts, the headline first; empty without a task or for a missing outcome."""
    calls: int
    """Model calls, judge calls excluded."""
    input_tokens: int | None
    """Prompt tokens, cached ones included; `None` = unknown."""
    output_tokens: int | None
    """Completion tokens; `None` = unknown."""
    cost: float | None
    """US dollars at list price, without cache discounts; `None` = no price known."""
    seconds: float | None
    """Wall time."""
    trajectory: Trajectory
    """Every call and every executed block."""


def sample(
    question: str,
    context: str | Iterable[str],
    target: Any = None,
    *,
    task: str = "own",
    tokenizer: str = DEFAULT,
) -> Sample:
    """Build a custom sample: a question over a text, or over documents. It is kept in memory.

    `target` is the gold answer for a task that scores it; `tokenizer` measures the length.

    Raises `ConfigError` for a question or a context that is not a text, such as a data frame.
    """
    question = question_of(question, "sample")
    value = context if isinstance(context, str) else texts_of(context, "sample: context")
    if not isinstance(value, str) and not value:
        raise ConfigError("sample: context: no documents; give '' for a question without a text")
    text = canonical_text(value)
    counter = get_tokenizer(tokenizer)
    made = Context(text_hash(text), len(text), counter.count(text), counter.name, lambda: value)
    draft = Draft(question, value, target, cluster=made.hash, item=made.hash)
    return make_sample(task, 0, made.tokens, draft, made, None)


async def solve(
    method: Method | str,
    sample: Sample,
    *,
    root: Model | str | None = None,
    sub: Model | str | None = None,
    models: Mapping[str, Model | str] | None = None,
    task: Task | None = None,
    **settings: Any,
) -> Rollout:
    """Run `method` on one sample; with its `task` the answer is scored. Nothing is written.

    A name in place of an object names a YAML file. `sub` defaults to the root model; `models` fills
    further slots. `settings` are those of `configs/run.yaml` that apply to a sample:
    `limits={"calls": 50}`, `repl={"isolation": "best"}`. No cost is estimated: `limits` bounds it.

    Failures of the sample become its outcome. Raises `ConfigError` for bad input and for any other
    setting, such as `budget`; `EndpointUnusable` if a model cannot answer at all.
    """
    if not isinstance(sample, Sample):
        raise ConfigError(f"sample: {sample!r:.80} is not a `Sample`; rl.sample() makes one")
    SOLVE.check(settings)
    slots = models_of(root, sub, models)
    _, (cell,) = await asyncio.to_thread(
        cells_of, task or cast(Task, Unscored()), [method], slots, **settings
    )
    # A separate asyncio task: context variables set inside do not leak into the caller.
    return await asyncio.create_task(_rollout(cell, sample))


async def _rollout(cell: Cell, sample: Sample) -> Rollout:
    async with AsyncExitStack() as stack:
        opened: dict[str, Endpoint] = {}
        for slot, model in cell.models.items():
            known = [name for name in opened if cell.models[name] is model]
            if known:
                opened[slot] = opened[known[0]]
            else:
                opened[slot] = endpoint(model, await stack.enter_async_context(model.open()))
        runs_code = cell.method.runs_code
        pool = await stack.enter_async_context(open_pool(cell.repl)) if runs_code else None
        session = Session(
            sample,
            0,
            opened,
            Journal(_NoLog()),
            Budget(cell.limits),
            pool,
            SourceIndex(sample.context.hash, sample.context.text()),
        )
        trajectory, scores = await run_rollout(cell.task, cell.method, sample, session)
    prices = call_cost({slot: model.price for slot, model in cell.models.items()})
    row = record_of({}, sample, trajectory, scores, prices)
    return Rollout(
        answer=trajectory.answer.text,
        outcome=trajectory.outcome,
        error=trajectory.error,
        scores=scores,
        calls=row["n_calls"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost=row["cost_cold"],
        seconds=trajectory.wall_seconds,
        trajectory=trajectory,
    )


class _NoLog:
    """Log that discards its records."""

    path = Path(os.devnull)

    def check(self) -> None:
        """Do nothing: it cannot fail."""

    def append(self, *records: Mapping[str, Any]) -> None:
        """Discard the records."""


@dataclass(frozen=True)
class Unscored:
    """Placeholder task for a sample without one: nothing is scored."""

    name: str = "unscored"

    own_length: ClassVar[bool] = True
    density: ClassVar[Density] = Density.CONSTANT
    generated: ClassVar[bool] = False
    protected: ClassVar[bool] = False

    def samples(self) -> Iterator[Sample]:
        """Yield nothing: the caller provides the sample."""
        return iter(())

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:  # noqa: ARG002 the role's
        """Return no scores."""
        return ()

    def floors(self) -> Mapping[str, Floor]:
        """Return no floors."""
        return {}
