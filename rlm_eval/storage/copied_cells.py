"""Cells that were copied by hand within their run: each cell counts once.

A cell's folder has its cell's name; a copy has another name and the same `cell_id` in its
manifest. A folder that was renamed, so that no other one has its cell, is the cell itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.storage.cell_store import read_manifest

_ENDS_IN_ITS_HASH = re.compile(r"-([0-9a-f]{8,16})$")


def started_cells(run: Path) -> list[Path]:
    """Return the folders of the started cells of a run, without copies, sorted by name."""
    folders = all_started(run)
    left_out = copies(folders)
    return [folder for folder in folders if folder not in left_out]


def all_started(run: Path) -> list[Path]:
    """Return the folders of the started cells of a run, with copies, sorted by name."""
    return sorted(path.parent for path in (run / "cells").glob("*/manifest.json"))


def copies(folders: Sequence[Path]) -> dict[Path, Path]:
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
