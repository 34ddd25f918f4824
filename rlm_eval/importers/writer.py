"""Writes an import as a run directory: in a temporary folder, then moved into place atomically."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rlm_eval import __version__
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import text_hash
from rlm_eval.importers.assemble import VERSION, Assembled, Cell
from rlm_eval.records.record import SCHEMA_VERSION as RECORDS
from rlm_eval.storage.cell_store import (
    SCHEMA_VERSION,
    CellStore,
    RolloutResult,
    sample_line,
    write_json,
    write_whole,
)
from rlm_eval.storage.imported import ABOUT, CONTEXTS
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog, dumped


@contextmanager
def absent_on_error(out: Path) -> Iterator[None]:
    """Remove the run directory where what follows its writing fails: a run is whole or absent."""
    empty = out.is_dir()
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if empty:
            out.mkdir(exist_ok=True)
        raise


def check_place(out: Path) -> None:
    """Raise `RlmEvalError` if `out` is a file or not empty: an import does not add to a run."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RlmEvalError(f"{out}: already there; name a new folder with -o, or remove it first")


def write(
    out: Path,
    found: Assembled,
    kind: str,
    files: Sequence[Mapping[str, Any]],
    command: Sequence[str],
) -> None:
    """Write the run directory; leave nothing behind on an error.

    `files` has `name`, `sha256` and `rows` of each source. Raises `RlmEvalError` if the folder
    already exists.
    """
    check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".importing", dir=out.parent))
    try:
        for hashed, text in found.contexts.items():
            folder = aside / CONTEXTS
            folder.mkdir(exist_ok=True)
            write_whole(folder / f"{hashed}.txt", text.encode("utf-8", "surrogatepass"))
        about = {
            "kind": kind,
            "files": list(files),
            "importer": VERSION,
            "release": __version__,
            "records_schema": RECORDS,
            "told": found.told,
            "command": list(command),
        }
        for cell in found.cells:
            _write_cell(aside / "cells", cell, about)
        write_json(aside / ABOUT, about)
        aside.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, see `check_place`
        os.rename(aside, out)  # noqa: PTH104 - atomic
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write_cell(cells: Path, cell: Cell, about: Mapping[str, Any]) -> None:
    identity = _identity(cell, about)
    remarks = [cell.facts.get("remark"), *cell.remarks]
    facts = {**cell.facts, "remark": ". ".join(filter(None, remarks)) or None}
    name = _folder_name(cell, identity)
    folder = cells / name
    folder.mkdir(parents=True)
    # As `CellStore.begin`, plus the completion marker: an import is complete at once.
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "cell_id": name,
        "identity": identity,
        "facts": facts,
        "prices": {"root": cell.price},
        "command": about["command"],
        "imported": {k: about[k] for k in ("kind", "files", "importer", "release")},
    }
    write_json(folder / "manifest.json", manifest)
    lines = [dumped(sample_line(sample)) for sample in cell.samples.values()]
    write_whole(folder / "samples.jsonl", b"".join(lines))
    store = CellStore(folder)
    with (
        closing(JsonlLog(folder / "journal.jsonl")) as log,
        closing(JsonlLog(folder / "trajectories.jsonl")) as trajectories,
        closing(JsonlLog(folder / "scores.jsonl")) as scores,
    ):
        journal = Journal(log)
        for trajectory, verdicts in cell.results:
            context = cell.samples[trajectory.sample].context.hash
            number = journal.start(trajectory.sample, trajectory.epoch, context)
            for call in trajectory.calls:
                asked = "\n".join(str(part) for _, parts in call.prompt.messages for part in parts)
                journal.write(number, text_hash(asked), call)
            store.append(trajectories, scores, RolloutResult(number, trajectory, verdicts, 0, 0))


def _identity(cell: Cell, about: Mapping[str, Any]) -> str:
    """Hash the cell's contents: the files, the importer, and the key of its rows."""
    known = [about["kind"], VERSION, sorted(f["sha256"] for f in about["files"])]
    facts = {k: v for k, v in cell.facts.items() if k != "remark"}
    lengths = sorted({str(sample.length) for sample in cell.samples.values()})
    text = json.dumps([*known, facts, lengths], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _folder_name(cell: Cell, identity: str) -> str:
    facts, first = cell.facts, next(iter(cell.samples.values()))
    length = "unknown" if first.length is None else str(first.length)
    parts = [facts["task"], facts["task_variant"], length, facts["method"], facts["variant"]]
    parts += [facts["root"]]
    words = (re.sub(r"[^A-Za-z0-9._-]+", "_", str(part))[:40] for part in parts if part)
    return "-".join([*words, identity[:8]]).lstrip(".")
