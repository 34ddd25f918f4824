"""Resuming a cell: its settings, stored replies and finished samples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlm_eval.config.cell import Cell
from rlm_eval.config.identity import changed_defaults
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Outcome, Sample
from rlm_eval.storage.cell_logs import CellLogs
from rlm_eval.storage.cell_store import CellStore


def waiting(
    store: CellStore, samples: Sequence[Sample], epochs: int, redo: Collection[Outcome]
) -> list[tuple[Sample, int]]:
    """Return the (sample, epoch) to run: without a result, or with an outcome in `redo`.

    Results that an interrupted redo of the same outcomes has replaced are not run once more.
    """
    places = [(sample, epoch) for epoch in range(epochs) for sample in samples]
    everyone = [(sample.id, epoch) for sample, epoch in places]
    begun = [who for who in everyone if redo and store.redone.get(who) == _named(redo)]
    replaced = {who for who in begun if not store.needs_run(who)}
    if len(replaced) == len(begun):  # that redo has ended: this is another one
        replaced = set()

    def is_redone(who: tuple[str, int]) -> bool:
        done = store.attempts.get(who)
        return done is not None and done.trajectory.outcome in redo and who not in replaced

    return [
        place
        for place, who in zip(places, everyone, strict=True)
        if store.needs_run(who) or is_redone(who)
    ]


def _named(redo: Collection[Outcome]) -> str:
    return ",".join(sorted(redo))


async def invalidate(
    store: CellStore,
    logs: CellLogs,
    todo: Iterable[tuple[Sample, int]],
    redo: Collection[Outcome],
) -> None:
    """Mark the finished attempts of `todo` as not done; `redo`: the outcomes to run again."""
    if done := [who for s, epoch in todo if not store.needs_run(who := (s.id, epoch))]:
        for who in done:
            store.invalidate(logs.trajectories, who, _named(redo))
        await logs.trajectories.sync()


def first_that_counts(store: CellStore, who: tuple[str, int]) -> int:
    """Return the number of a sample's first trajectory whose replies may be replayed.

    Replies of a trajectory whose prompt the server truncated are not: its earlier turns may have
    been truncated by less.
    """
    first, done = store.since.get(who, 0), store.attempts.get(who)
    is_cut = done is not None and done.trajectory.outcome is Outcome.SERVER_CUT
    return max(first, done.number + 1) if done is not None and is_cut else first


def check_settings(cell: Cell, manifest: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a default has changed since the cell started."""
    began = manifest.get("settings")
    if began and (changed := changed_defaults(began, cell.settings)):
        raise ConfigError(
            f"{cell.id}: a default has changed since this cell began, but not its class's VERSION: "
            f"{'; '.join(changed)}. Set the old value, or raise VERSION for a new cell"
        )


def replaced_cells(run: Path, cell: Cell) -> list[str]:
    """Return the cells of a run that earlier releases made from the same configuration."""
    kinds = [run / kind for kind in ("cells", "shards")]
    return [i for i in cell.earlier_ids() if any((kind / i).exists() for kind in kinds)]
