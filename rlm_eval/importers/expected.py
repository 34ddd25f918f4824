"""How many rows a log should hold, by its own header or the configuration beside it.

A log of an evaluation that ended early, or whose failed episodes were dropped, looks whole: its
missing samples are in no row.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MISSING = "the others are missing"
"""End of the sentence about a log that lacks rows."""
_BESIDE = ("metadata.json", "config.toml", "configs/eval.json")
_TASKS = ("num_examples", "num_tasks")
_ROLLOUTS = ("rollouts_per_example", "num_rollouts")


def of_inspect(header: Mapping[str, Any], name: str, found: int) -> str | None:
    """Return what an Inspect log lacks, in words; `None` = nothing.

    `found` is the number of its samples times epochs, `name` that of its file.
    """
    about, status = _table(header, "eval"), str(header.get("status") or "success")
    data, config = _table(about, "dataset"), _table(about, "config")
    asked, epochs = data.get("sample_ids"), config.get("epochs") or 1
    count = len(asked) if isinstance(asked, list) and asked else data.get("samples")
    limit = config.get("limit")
    if isinstance(count, int) and isinstance(limit, int) and not asked:
        count = min(count, limit)
    whole = count * epochs if isinstance(count, int) and isinstance(epochs, int) else None
    state = "" if status == "success" else f"its status is {status}; "
    if whole is not None and found < whole:
        return f"{name}: {state}{found} of {whole} samples are in the log, {MISSING}"
    if state and whole is None:
        return f"{name}: {state}{found} samples are in the log, and others may be missing"
    return None


def of_verifiers(path: Path, found: int) -> str | None:
    """Return what a file of verifiers lacks by the configuration beside it; `None` = nothing."""
    about = beside(path)
    tasks, rollouts = _number(about, _TASKS), _number(about, _ROLLOUTS)
    if tasks is None or rollouts is None or found >= tasks * rollouts:
        return None
    return f"{path.name}: {found} of {tasks * rollouts} episodes are in the log, {MISSING}"


def of_header(name: str, stated: Any, found: int) -> str | None:
    """Return what a file of rows lacks by the number that its header states; `None` = nothing."""
    if type(stated) is not int or found >= stated:
        return None
    return f"{name}: {found} of {stated} rows are in the log, {MISSING}"


def beside(path: Path) -> dict[str, Any]:
    """Return the configuration in the folder of a log; empty where none can be read.

    Empty, too, where other logs stand in that folder: it may be the configuration of all of them.
    """
    if len(list(path.parent.glob("*.jsonl*"))) > 1:
        return {}
    for name in _BESIDE:
        file = path.parent / name
        try:
            text = file.read_text(encoding="utf-8")
            found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _table(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = about.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(about: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the first of these counts, in the configuration or in one of its tables."""
    tables = [about, *(value for value in about.values() if isinstance(value, Mapping))]
    values = (table.get(name) for table in tables for name in names)
    # -1 stands for all, of which the number is not known.
    return next((v for v in values if type(v) is int and v > 0), None)
