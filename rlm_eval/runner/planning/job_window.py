"""Start windows of a job's servers, sized for the expected need of its longest cell.

A vLLM server that runs only short cells is started with less than its model's window (unless
`engine.window_of_job=false`): one request needs less memory, so smaller GPUs suffice. Outcomes do
not depend on it. The harness counts, truncates and refuses by the model's window; if the server
refuses a request as too long, it is restarted with the whole window (`servers.Server.widen`) and
the request is sent again. Does not apply to `rlm-eval serve`, whose later jobs may be longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rlm_eval.config.cell import Cell
from rlm_eval.models.servers.managed import prepare_run
from rlm_eval.models.servers.placement import Key, key_of
from rlm_eval.tasks import has_own_length

STEP = 4096
"""Windows are multiples of this many tokens."""
PROMPT = 4096
"""Tokens assumed for the text around a context: instructions, turns, tool output."""
DENSITY = 1.25
"""Tokens of the model per token of the length: tokenizers differ."""


def needed(length: int, cap: int) -> int:
    """Return the window, in tokens, for a context of `length` and a reply of at most `cap`."""
    least = int(length * DENSITY) + PROMPT + cap
    return -(-least // STEP) * STEP


def prepare(folder: Path, cells: Sequence[Cell]) -> None:
    """Call `servers.prepare_run` for a process that runs these cells in sequence."""
    prepare_run(folder, [list(cell.models.values()) for cell in cells], start_windows(cells))


def start_windows(cells: Iterable[Cell]) -> dict[Key, tuple[int, int]]:
    """Return (start window, model's window) in tokens for each server that the cells start with
    less than its model's window.

    Excluded: servers without `window_of_job`, models without an output cap (the engine then fills
    its window), tasks of unknown length, models with an unknown window.
    """
    needs: dict[Key, int | None] = {}
    whole: dict[Key, int] = {}
    for cell in cells:
        for model in cell.models.values():
            engine: Any = getattr(model, "engine", None)
            spawns = getattr(model, "server", None) == "spawn"
            if not spawns or not getattr(engine, "window_of_job", False):
                continue
            key = key_of(engine, str(getattr(model, "model", "")), model.window)
            full = model.window or _own_window(engine)
            cap = model.sampling.max_output_tokens
            if full is None or cap is None or has_own_length(cell.task):
                needs[key] = None
                continue
            whole[key] = full
            known = needs.get(key, 0)
            needs[key] = None if known is None else max(known, needed(cell.length, cap))
    return {
        key: (need, whole[key])
        for key, need in needs.items()
        if need is not None and need < whole[key]
    }


def _own_window(engine: Any) -> int | None:
    """Return the window in the weights' `config.json`; `None` if it is not available locally."""
    found = engine.shape()
    window: int | None = None if found is None else found[0].window
    return window
