"""Import data in a run directory next to its cells: its origin, and given contexts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rlm_eval.storage.damage import damaged, read_mapping
from rlm_eval.storage.jsonl import read_lines

ABOUT = "imported.json"
"""File in the run directory: what was imported, from which files, and the warnings printed."""
_WAY_OUT = "import the logs again into a new run directory"
CONTEXTS = "contexts"
"""Folder of the contexts that the logs hold, one text file a hash."""


def about_import(run: Path) -> dict[str, Any]:
    """Read `ABOUT`. Raises `RlmEvalError` where it is damaged, `FileNotFoundError` without it."""
    found = read_mapping(run / ABOUT, _WAY_OUT)
    with damaged(run / ABOUT, _WAY_OUT):
        return {**found, "kind": found["kind"], "files": list(found["files"]),
                "told": list(found["told"])}  # fmt: skip


def context_text(run: Path, cell_id: str, sample: str) -> str | None:
    """Return the text of an imported sample's context; `None` where its log held none."""
    for line in read_lines(run / "cells" / cell_id / "samples.jsonl"):
        if line["id"] == sample:
            path = run / CONTEXTS / f"{line['context']['hash']}.txt"
            if not re.fullmatch(r"[0-9a-f]{32}", str(line["context"]["hash"])):
                return None
            return path.read_bytes().decode("utf-8", "surrogatepass") if path.exists() else None
    return None
