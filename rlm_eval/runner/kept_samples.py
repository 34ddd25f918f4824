"""A cell's samples, loaded from its own directory: a finished cell needs no data set.

A sample's id is the hash of its question, context and gold, so a stored sample is the one that was
run. Only the context's text is not stored: the task rebuilds it on first access.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import MissingDependency, RlmEvalError
from rlm_eval.core.types import Context, Sample
from rlm_eval.storage.cell_store import stored_sample
from rlm_eval.storage.damage import read_mapping
from rlm_eval.storage.done import MARKER, covers
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.tasks import Task
from rlm_eval.tasks.checked import checked_samples


def stored_samples(folder: Path, task: Task) -> list[Sample]:
    """Return every stored sample of a cell's directory; `task` builds contexts on demand."""

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

    found = [stored_sample(line, folder) for line in read_lines(folder / "samples.jsonl")]
    return [
        replace(sample, context=replace(sample.context, load=loading(sample.context.hash)))
        for sample in found
    ]


def samples_of(cell: Cell, folder: Path) -> list[Sample]:
    """Return the cell's samples: the stored ones if it is done and its data are pinned on the hub.

    Pinned data always give the same samples, so nothing has to be read. Local files, hub branches
    and generators are read again: they may have changed. If the hub cannot be reached, finished
    samples stay finished.
    """
    stored = _done_samples(cell, folder)
    if stored is not None and getattr(cell.task, "pinned", False):
        return stored
    try:
        return checked_samples(cell.task, cell.task.samples())
    except MissingDependency:
        if stored is None:
            raise
        return stored


def _done_samples(cell: Cell, folder: Path) -> list[Sample] | None:
    """Return the samples that the cell needs if all of them are done; else `None`."""
    whole = folder  # a shard's samples are those of the merged cell
    if cell.shard is not None and (folder / MARKER).exists():
        whole = folder.parents[2] / "cells" / cell.id
    if not (whole / MARKER).exists():
        return None
    read_mapping(whole / MARKER, "delete it: the same command writes it again")
    if not covers(whole, cell.n, cell.epochs):
        return None
    found = sorted(stored_samples(whole, cell.task), key=lambda sample: sample.index)
    return found[: cell.n]
