"""Check before the first model call that each cell's method suits its task's samples."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

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
        sample = known[0] if known else _readable(cell.task)
        if not known:
            first.append((cell.task, sample))
        if sample is None:
            continue
        try:
            cell.method.check_fit(replace(sample, target=None), cell.models)
        except ConfigError as error:
            wrong[cell.id] = str(error)
    if wrong:
        lines = [f"{cell}: {why}" for cell, why in wrong.items()]
        raise ConfigError("\n".join([*lines, "nothing was called"]))


def _readable(task: Task) -> Sample | None:
    with suppress(ConfigError):  # its cells report it
        return first_sample(task)
    return None


def first_sample(task: Task) -> Sample | None:
    """Draw the first sample of a task; `None` where it has none, or cannot be read.

    The cells of a task that cannot be read report the reason. Raises `ConfigError` for bad input.
    """
    try:
        found = next(iter(task.samples()), None)
    except ConfigError:
        raise
    except (Exception, SystemExit):  # noqa: BLE001 - a user's class, a hub that is not reached
        return None
    return found if isinstance(found, Sample) else None
