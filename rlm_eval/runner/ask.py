"""One question over texts or files, by any method: an RLM as a drop-in for a model call.

    from rlm_eval.runner.ask import ask
    answer = ask("Who signed?", ["contract.txt"], "method=rlm", "model@root=coder-0.5b")
    print(answer.text, answer.calls, answer.cost)

The same code path as a benchmark run: what it leaves behind is an ordinary run directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.errors import ConfigError, EndedBySignal, RlmEvalError
from rlm_eval.core.types import Outcome


@dataclass(frozen=True)
class Asked:
    """What came of a question."""

    text: str | None
    """The answer; `None` where there is none."""
    outcome: Outcome
    """How it ended."""
    calls: int
    """Model calls."""
    input_tokens: int | None
    """Prompt tokens, cached ones included; `None` = unknown."""
    output_tokens: int | None
    """Completion tokens; `None` = unknown."""
    cost: float | None
    """US dollars at list price; `None` = no price known."""
    seconds: float
    """Wall time."""
    folder: Path
    """The run directory (`rlm-eval view` shows it)."""


def ask(
    question: str, files: Sequence[str | Path], *overrides: str, texts: Sequence[str] = ()
) -> Asked:
    """Answer `question` over `files` and `texts`; `overrides` as for `rlm-eval run`.

    The same question over the same texts with the same settings is answered from its journal.
    Raises `ConfigError`, `EndedBySignal`, and `RlmEvalError` where the models could not be asked.
    """
    from rlm_eval.config.cell import build_cell, merged, run_folder, sweep_budget
    from rlm_eval.config.grid import expand
    from rlm_eval.records.build import rows, write_records
    from rlm_eval.runner.runner import Runner
    from rlm_eval.storage.cell_store import CellStore

    configs = expand(list(overrides))
    if len(configs) != 1:
        raise ConfigError(f"ask answers one question by one method; these are {len(configs)} cells")
    task = {
        "_target_": "rlm_eval.tasks.files.Files",
        "question": question,
        "paths": [str(Path(file).expanduser().resolve()) for file in files],
        "documents": list(texts),
    }
    key = hashlib.sha256(json.dumps([task, list(overrides)]).encode()).hexdigest()[:8]
    named = any(override.startswith("name=") for override in overrides)
    name = configs[0].name if named else f"ask-{key}"
    config = merged(configs[0], {"task": task, "name": name, "n": 1})
    cell, folder = build_cell(config), run_folder(config)
    runner = Runner(folder, [cell], sweep_budget(config))
    summary = runner.run_now()
    if summary.unfinished:
        told = "; ".join(summary.unfinished.values())
        if runner.stop.signal is not None:
            raise EndedBySignal(told, runner.stop.signal)
        raise RlmEvalError(told)
    write_records(folder)
    place = folder / cell.folder
    ((_, attempt),) = CellStore(place).load()
    (row,) = rows(place)
    return Asked(
        text=attempt.trajectory.answer.text,
        outcome=attempt.trajectory.outcome,
        calls=row["n_calls"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost=row["cost_cold"],
        seconds=row["wall_seconds"],
        folder=folder,
    )
