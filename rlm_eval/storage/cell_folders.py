"""Folders of a run's cells: which were started, which are copies, which layout they have.

A cell that was copied by hand within its run counts once. A cell's folder has its cell's name; a
copy has another name and the same `cell_id` in its manifest. A folder that was renamed, so that no
other one has its cell, is the cell itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rlm_eval.storage.cell_store import read_manifest

_ENDS_IN_ITS_HASH = re.compile(r"-([0-9a-f]{8,16})$")


def started_cells(run: Path) -> list[Path]:
    """Return the folders of the started cells of a run, without copies, sorted by name."""
    folders = all_started(run)
    left_out = copies_of(folders)
    return [folder for folder in folders if folder not in left_out]


def all_started(run: Path) -> list[Path]:
    """Return the folders of the started cells of a run, with copies, sorted by name."""
    return sorted(path.parent for path in (run / "cells").glob("*/manifest.json"))


def copies_of(folders: Sequence[Path]) -> dict[Path, Path]:
    """Return the folders that are copies of another one of `folders`, with that one.

    Manifests are read only if a name is not that of a cell. Raises `RlmEvalError` where one
    cannot be read.
    """
    hashes = [_ENDS_IN_ITS_HASH.search(folder.name) for folder in folders]
    if all(hashes) and len({found[1] for found in hashes if found}) == len(folders):
        return {}
    cells = defaultdict(list)
    for folder in folders:
        cells[str(read_manifest(folder).get("cell_id", folder.name))].append(folder)
    kept = {name: min(same, key=lambda f: (f.name != name, f)) for name, same in cells.items()}
    return {
        folder: kept[name]
        for name, same in cells.items()
        for folder in same
        if folder != kept[name]
    }


def check_cells(folders: Iterable[Path]) -> None:
    """Raise `RlmEvalError` where one of these cells or shards was stored in another layout."""
    for folder in folders:
        if (folder / "manifest.json").exists():
            read_manifest(folder)


def check_run(run: Path) -> None:
    """Check all cells of a run, for readers. A job checks its own cells, or n jobs read n²."""
    for pattern in ("cells/*/manifest.json", "shards/*/*/manifest.json"):
        check_cells(path.parent for path in sorted(run.glob(pattern)))
