"""The windows with which a job's servers are started: as its longest cell is expected to need.

A server with `engine.window_of_job` that runs short cells alone is started with less than its
model's window: it needs less memory for one request, so that smaller GPUs hold it. No outcome
follows from it. What is counted, cut and refused here goes by the model's window; a request that
the server refuses as too long makes it start again with the whole window (`servers.Server.widen`)
and is sent again. Not here: servers of `rlm-eval serve`, whose jobs may be longer than is known.
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
"""Windows are multiples of so many tokens."""
PROMPT = 4096
"""Tokens assumed for what stands around a context: instructions, turns, tool output."""
DENSITY = 1.25
"""Tokens of the model per token of the length: tokenizers differ."""


def needed(length: int, cap: int) -> int:
    """Tokens of a window for a context of `length` tokens and a reply of at most `cap`."""
    least = int(length * DENSITY) + PROMPT + cap
    return -(-least // STEP) * STEP


def prepare(folder: Path, cells: Sequence[Cell]) -> None:
    """`servers.prepare_run` for a process that runs these cells one after the other."""
    prepare_run(folder, [list(cell.models.values()) for cell in cells], start_windows(cells))


def start_windows(cells: Iterable[Cell]) -> dict[Key, tuple[int, int]]:
    """Of each server that the cells start with less than its model's window: (window, that of the
    model), tokens.

    Left out: servers without `window_of_job`, models without a cap on their replies (an engine then
    fills its window), tasks whose length is not known, models whose window is not known.
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
    """The window of the weights' own `config.json`, where it is at hand."""
    found = engine.shape()
    window: int | None = None if found is None else found[0].window
    return window
