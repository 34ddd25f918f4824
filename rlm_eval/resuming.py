"""What a cell that was begun before takes over: its settings, its replies, its finished samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_eval.cell import Cell
from rlm_eval.errors import ConfigError
from rlm_eval.identity import changed_defaults
from rlm_eval.store import CellStore
from rlm_eval.types import Outcome


def first_that_counts(store: CellStore, who: tuple[str, int]) -> int:
    """The first trajectory of a sample whose replies are taken again.

    Of one whose prompt the server cut no reply is: earlier turns may have been cut by less.
    """
    first, done = store.since.get(who, 0), store.attempts.get(who)
    is_cut = done is not None and done.trajectory.outcome is Outcome.SERVER_CUT
    return max(first, done.number + 1) if done is not None and is_cut else first


def check_settings(cell: Cell, manifest: Mapping[str, Any]) -> None:
    """Raises `ConfigError` where a default has changed since the cell began."""
    changed = changed_defaults(manifest.get("settings", {}), cell.settings)
    if changed:
        raise ConfigError(
            f"{cell.id}: a default has changed since this cell began, its class's VERSION has not: "
            f"{'; '.join(changed)}. Set the old value, or raise VERSION for a new cell"
        )
