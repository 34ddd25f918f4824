"""One question over texts or files, by any method: an RLM as a drop-in for a model call.

    import rlm_eval as rl
    answer = await rl.ask("Who signed?", ["contract.txt"], method="rlm", root="coder-0.5b")
    print(answer.text, answer.calls, answer.paid)

The same code path as a benchmark run: the output is an ordinary run directory. File contents are
part of the question's identity: an edited file makes another cell, in another run directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlm_eval.config.cell import Cell, build_cell, merged, run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.amounts import known_sum
from rlm_eval.core.errors import ConfigError, EndedBySignal, RlmEvalError
from rlm_eval.core.types import Outcome
from rlm_eval.methods import Method
from rlm_eval.models import Model
from rlm_eval.records.build import rows
from rlm_eval.runner.execution import (
    check_cost,
    confirm_cost,
    confirmed_above,
    open_inputs,
    update_records,
)
from rlm_eval.runner.inputs import paths_of, question_of, texts_of
from rlm_eval.runner.objects import cells_of, described, user_path
from rlm_eval.runner.runner import Runner
from rlm_eval.runner.settings import ASK, check_question_overrides, models_of
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.spend import spent
from rlm_eval.tasks.files import Files

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rlm_eval.runner.signals import Signals
    from rlm_eval.tasks import Task


@dataclass(frozen=True)
class Asked:
    """Result of a question."""

    text: str | None
    """The answer of the first epoch; `None` if there is none."""
    outcome: Outcome
    """Outcome of the first epoch."""
    texts: tuple[str | None, ...]
    """The answer of each epoch."""
    calls: int
    """Model calls; this and the following fields are sums over epochs."""
    input_tokens: int | None
    """Prompt tokens, cached ones included; `None` = unknown."""
    output_tokens: int | None
    """Completion tokens; `None` = unknown."""
    cost: float | None
    """US dollars at list price; `None` = no price known."""
    seconds: float
    """Wall time."""
    is_billed: bool
    """False if no provider bills the calls: servers that the harness starts, and scripts."""
    is_new: bool
    """False if every reply was replayed from an earlier call's journal: nothing was paid now."""
    folder: Path
    """The run directory (`rlm-eval view` shows it)."""

    @property
    def paid(self) -> str:
        """Return tokens and cost, in words."""
        counts = (self.input_tokens, self.output_tokens)
        tokens = ["?" if count is None else f"{count:,}" for count in counts]
        money = "price unknown" if self.is_billed else "nothing billed"
        if self.cost is not None:
            money = f"${self.cost:.4f}"
        again = "" if self.is_new else "; from the journal, nothing paid now"
        return f"{tokens[0]} + {tokens[1]} tokens; {money}{again}"


async def ask(
    question: str,
    files: str | Path | Iterable[str | Path] = (),
    *,
    method: Method | str = "rlm",
    root: Model | str | None = None,
    sub: Model | str | None = None,
    models: Mapping[str, Model | str] | None = None,
    texts: str | Iterable[str] = (),
    folder: str | Path | None = None,
    **settings: Any,
) -> Asked:
    """Answer `question` over `files` and `texts`, by any method and models.

    A name in place of an object names a YAML file. `settings` are those of `configs/run.yaml` that
    apply to one question: `epochs`, `tokenizer`, `max_samples`, `limits`, `cell_budget`, `budget`,
    `repl`, `confirm_above`, and `results` in place of `folder`. The run directory is `folder`, by
    default `results/runs/ask-...`, named after the question; the same question is replayed from
    its journal.

    Raises `ConfigError` for bad input and for any other setting, or where the expected cost exceeds
    `confirm_above` (10) US dollars, before any model call; `RlmEvalError` if the models could not
    be called.
    """
    ASK.check(settings)
    if folder is not None and "results" in settings:
        raise ConfigError("ask: results: folder= names the whole run directory; give one of them")
    place = None if folder is None else user_path(folder)
    if "results" in settings:
        settings["results"] = str(user_path(settings["results"], "results"))
    slots = models_of(root, sub, models)
    paths = paths_of([files] if isinstance(files, str | Path) else files, "ask: files")
    documents = texts_of([texts] if isinstance(texts, str) else texts, "ask: texts")
    question = question_of(question, "ask")
    task = _task(question, paths, documents, str(settings.pop("tokenizer", Files.tokenizer)))
    unscored = cast("Task", task)  # it has no gold
    configs, cells = await asyncio.to_thread(cells_of, unscored, [method], slots, n=1, **settings)
    config, cell = configs[0], cells[0]
    place = place or _folder(config, cell)
    await asyncio.to_thread(open_inputs, place, cells)
    await check_cost(config, place, cells)
    return await _ask(config, cell, place)


def ask_now(
    question: str,
    files: Sequence[str | Path],
    overrides: Sequence[str],
    signals: Signals | None,
    *,
    yes: bool = False,
) -> Asked:
    """Run `ask` with the overrides of `rlm-eval run`, in a new event loop.

    Asks first where the expected cost exceeds `confirm_above`, unless `yes`; raises `ConfigError`
    where nobody can answer, and for an override without an effect. Also raises `EndedBySignal`.
    """
    check_question_overrides(overrides)
    configs = expand(list(overrides))
    if len(configs) != 1:
        raise ConfigError(f"ask answers one question by one method; these are {len(configs)} cells")
    task = _task(question, files, (), str(configs[0].tokenizer))
    config = merged(configs[0], {"task": described(task), "n": 1})
    is_named = any(override.startswith("name=") for override in overrides)
    cell = build_cell(config, {"task": task})
    place = run_folder(config) if is_named else _folder(config, cell)
    open_inputs(place, [cell])
    confirm_cost(place, [cell], confirmed_above(config), yes=yes, details="")
    return asyncio.run(_ask(config, cell, place, signals))


def _folder(config: DictConfig, cell: Cell) -> Path:
    """Return the run directory of a question without a name of its own."""
    return Path(config.results) / f"ask-{cell.identity[:8]}"


def _task(
    question: str, files: Sequence[str | Path], texts: Sequence[str], tokenizer: str
) -> Files:
    paths = [str(Path(file).expanduser().resolve()) for file in files]
    try:
        task = Files(question, paths, tokenizer=tokenizer, documents=list(texts))
    except ValueError as error:
        raise ConfigError(f"ask: {error}") from error
    return replace(task, digest=task.current_digest())


async def _ask(
    config: DictConfig, cell: Cell, folder: Path, signals: Signals | None = None
) -> Asked:
    runner = Runner(folder, [cell], sweep_budget(config), signals=signals)
    try:
        ended = await asyncio.create_task(runner.run())
    except asyncio.CancelledError:
        if runner.stop.signal is None:
            raise
        raise EndedBySignal("stopped; the same command resumes", runner.stop.signal) from None
    place = folder / cell.folder
    if ended.unfinished:
        told = f"{'; '.join(ended.unfinished.values())}; paid so far: {spent(place)}"
        if runner.stop.signal is not None:
            raise EndedBySignal(told, runner.stop.signal)
        raise RlmEvalError(told)
    await asyncio.to_thread(update_records, folder, ended)
    attempts = _attempts(place, cell)
    found = [row for row in rows(place) if row["epoch"] < cell.epochs]
    return Asked(
        text=attempts[0].trajectory.answer.text,
        outcome=attempts[0].trajectory.outcome,
        texts=tuple(attempt.trajectory.answer.text for attempt in attempts),
        calls=sum(row["n_calls"] for row in found),
        input_tokens=known_sum(row["input_tokens"] for row in found),
        output_tokens=known_sum(row["output_tokens"] for row in found),
        cost=known_sum(row["cost_cold"] for row in found),
        seconds=sum(row["wall_seconds"] for row in found),
        is_billed=bool(cell.unpriced),
        is_new=ended.attempted > 0,
        folder=folder,
    )


def _attempts(place: Path, cell: Cell) -> list[RolloutResult]:
    """Return the attempts of all epochs, in order."""
    by_epoch = {who[1]: attempt for who, attempt in CellStore(place).attempts.items()}
    return [by_epoch[epoch] for epoch in range(cell.epochs)]
