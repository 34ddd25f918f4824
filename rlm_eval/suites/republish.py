"""Previously published cells that are not in a run: they stay published next to the run's cells.

A study may be run in parts on several machines, and results outlive a lost run directory. A
published folder has everything that a report needs of a finished cell except its trajectories:
manifest, records, server usage. The plan decides whether such a cell stays: the published plan
merged with the run's later selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.config.trust import stored_cell
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.storage import published
from rlm_eval.storage import server_usage as accounts
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.damage import read_mapping
from rlm_eval.storage.published import ACCOUNTS, MANIFESTS, RESTORE
from rlm_eval.suites.plan_file import SuitePlan, merged, read_record, write_plan


@dataclass(frozen=True)
class Earlier:
    """The kept part of a published folder."""

    record: SuitePlan
    """The merged plan: the published one and the run's."""
    manifests: dict[str, dict[str, Any]]
    """Manifests by cell folder name."""
    rows: list[dict[Any, Any]]
    """The cells' records."""
    accounts: dict[str, Any]
    """Server usage per process, by file name: for all published cells, since one server serves
    many."""

    def place(self, run: Path) -> None:
        """Add plan, manifests and accounts to a copy of the run, keeping the run's own files."""
        write_plan(run, self.record)
        for name, manifest in self.manifests.items():
            folder = run / "cells" / name
            folder.mkdir(parents=True)
            write_json(folder / "manifest.json", manifest)
            write_json(folder / "DONE", {})
        (run / accounts.FOLDER).mkdir(exist_ok=True)
        for name, held in self.accounts.items():
            if not (path := run / accounts.FOLDER / name).exists():
                write_json(path, held)


def earlier(folder: Path, run: SuitePlan, done: Mapping[str, Mapping[str, Any]]) -> Earlier | None:
    """Return the part of `folder` that stays published next to a run with this plan; or `None`.

    `done` has the manifests of the run's finished cells by identity: they replace published cells
    of the same identity. Raises `RlmEvalError` if a file of the folder is missing.
    """
    if (known := read_record(folder)) is None:
        return None
    before = manifests(folder)
    identities = {manifest["identity"] for manifest in before.values()}
    record = merged(known, run, identities.__contains__, lambda cell: _versions(done.get(cell)))
    staying = {place.cell for place in record.places} - set(done)
    kept = {n: m for n, m in before.items() if m["identity"] in staying}
    if not kept:
        return None
    records = load_records([folder])
    own = records[records["cell_id"].isin({m["identity"] for m in kept.values()})]
    held = _read(folder, ACCOUNTS)
    rows = own.astype(object).where(own.notna(), None).to_dict("records")
    return Earlier(record, kept, rows, held)


def _versions(manifest: Mapping[str, Any] | None) -> list[str]:
    """Return the identities of a finished cell under lower `VERSION`s; none if it is unknown."""
    if manifest is None:
        return []
    try:
        return stored_cell(manifest).earlier_identities()
    except RlmEvalError:  # a class of another package, or one that is gone
        return []


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the manifests of a published folder, by cell folder name."""
    with _needed(folder / MANIFESTS):
        return published.manifests(folder)


def _read(folder: Path, name: str) -> dict[str, Any]:
    with _needed(folder / name):
        return read_mapping(folder / name, RESTORE)


@contextmanager
def _needed(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise RlmEvalError(
            f"{path}: missing, so the cells published there cannot be kept; restore it, "
            "or move the folder away to publish without them"
        ) from error
