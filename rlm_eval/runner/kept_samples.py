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

from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ConfigError, MissingDependency, RlmEvalError
from rlm_eval.core.types import Context, Sample
from rlm_eval.storage.cell_store import stored_sample
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.tasks import Task


def stored_samples(folder: Path, task: Task) -> list[Sample]:
    """Every stored sample of a cell's directory; contexts are made by `task` on demand."""

    @functools.cache
    def contexts() -> dict[str, Context]:
        return {sample.context.hash: sample.context for sample in task.samples()}

    def loading(hashed: str) -> Callable[[], str | tuple[str, ...]]:
        def load() -> str | tuple[str, ...]:
            if hashed not in contexts():
                raise RlmEvalError(
                    f"{folder}: the task no longer makes the context {hashed}: its data have "
                    "changed; run the cell again under another name"
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
    files, branches of the hub and generators are asked again: they may have changed. Where the hub
    cannot be asked, what is done stays done.
    """
    stored = _done_samples(cell, folder)
    if stored is not None and getattr(cell.task, "pinned", False):
        return stored
    try:
        found = list(cell.task.samples())
    except MissingDependency:
        if stored is None:
            raise
        return stored
    if other := [sample for sample in found if not isinstance(sample, Sample)]:
        cls = type(cell.task)
        raise ConfigError(
            f"{cls.__module__}.{cls.__qualname__}.samples gave {other[0]!r:.80}, not a `Sample`"
        )
    return found


def _done_samples(cell: Cell, folder: Path) -> list[Sample] | None:
    """The samples that the cell asks for, where all of them are done; else `None`."""
    whole = folder  # of a shard, the samples are those of the merged cell
    if cell.shard is not None and (folder / "DONE").exists():
        whole = folder.parents[2] / "cells" / cell.id
    if not (whole / "DONE").exists():
        return None
    counts = orjson.loads((whole / "DONE").read_bytes())
    made = counts.get("samples", 0)
    asked = counts.get("n", made)
    # Fewer samples than were asked for: the data have no more, whatever n is.
    has_all = cell.n <= asked or made < asked
    if not has_all or cell.epochs > counts.get("epochs", 0):
        return None
    found = sorted(stored_samples(whole, cell.task), key=lambda sample: sample.index)
    return found[: min(cell.n, made)]
