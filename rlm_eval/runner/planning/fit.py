"""Check before the first model call that each cell's method suits its task's samples."""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Sample
from rlm_eval.protocols import FittedMethod
from rlm_eval.tasks import Task


def check_fit(cells: Sequence[Cell]) -> None:
    """Raise `ConfigError` naming each cell whose method suits no sample of its task.

    Reads one sample per task; makes no model call. A task without a readable sample passes: its
    own cells report the reason and stop no other cell.
    """
    first: list[tuple[Task, Sample | None]] = []
    wrong: dict[str, str] = {}
    for cell in cells:
        if not isinstance(cell.method, FittedMethod):
            continue
        known = [sample for task, sample in first if task == cell.task]
        sample = known[0] if known else _first(cell.task)
        if not known:
            first.append((cell.task, sample))
        if sample is not None and (why := misfit(cell, sample)) is not None:
            wrong[cell.id] = why
    if wrong:
        lines = [f"{cell}: {why}" for cell, why in wrong.items()]
        raise ConfigError("\n".join([*lines, "nothing was called"]))


def misfit(cell: Cell, sample: Sample) -> str | None:
    """Return why the cell's method cannot answer such samples with its settings, else `None`."""
    if not isinstance(cell.method, FittedMethod):
        return None
    try:
        cell.method.check_fit(sample, cell.models)
    except ConfigError as error:
        return str(error)
    return None


def _first(task: Task) -> Sample | None:
    try:
        found = next(iter(task.samples()), None)
    except (Exception, SystemExit):  # noqa: BLE001 - its cells report it, with a traceback
        return None
    return found if isinstance(found, Sample) else None
