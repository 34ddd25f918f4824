"""The samples of a cell out of its own directory: what has ended needs no data set any more.

A sample's id is the hash of its question, context and gold, so that a stored sample is the one that
was asked. Only its context's text is elsewhere: it is made from the task when somebody reads it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson

from rlm_eval.cell import Cell
from rlm_eval.errors import RlmEvalError
from rlm_eval.log import read_lines
from rlm_eval.store import stored_sample
from rlm_eval.tasks import Task
from rlm_eval.types import Context, Sample


def stored_samples(folder: Path, task: Task) -> list[Sample]:
    """Every stored sample of a cell's directory; contexts are made by `task` on demand."""

    @functools.cache
    def contexts() -> dict[str, Context]:
        return {sample.context.hash: sample.context for sample in task.samples()}

    def loading(hashed: str) -> Callable[[], str | tuple[str, ...]]:
        def load() -> str | tuple[str, ...]:
            if hashed not in contexts():
                raise RlmEvalError(
                    f"{folder}: the task makes no context {hashed} any more: its data have changed "
                    "since; run the cell anew under another name"
                )
            return contexts()[hashed].value()

        return load

    found = [stored_sample(line) for line in read_lines(folder / "samples.jsonl")]
    return [
        replace(sample, context=replace(sample.context, load=loading(sample.context.hash)))
        for sample in found
    ]


def samples_of(cell: Cell, folder: Path) -> list[Sample]:
    """The cell's samples: the stored ones where it is done and its data are pinned on the hub.

    Such data give the same samples whenever they are asked, so that nothing has to be read. Local
    files and generators are asked again: they may have changed.
    """
    whole = folder  # of a shard, the samples are those of the merged cell
    if cell.shard is not None and (folder / "DONE").exists():
        whole = folder.parents[2] / "cells" / cell.id
    if getattr(cell.task, "pinned", False) and (whole / "DONE").exists():
        counts = orjson.loads((whole / "DONE").read_bytes())
        made = counts.get("samples", 0)
        asked = counts.get("n", made)
        # Fewer samples than were asked for: the data have no more, whatever n is.
        has_all = cell.n <= asked or made < asked
        if has_all and cell.epochs <= counts.get("epochs", 0):
            found = sorted(stored_samples(whole, cell.task), key=lambda sample: sample.index)
            return found[: min(cell.n, made)]
    return list(cell.task.samples())
