"""Settings by which the logs of one task or method differ: rows under different ones are apart."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.importers.rows import Row

_LONGEST = 40
_UNSET = "unset"


def apart(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows with `task_variant` and `variant` completed by the settings that differ.

    A mean over two lengths, or over two temperatures, is the result of neither. Settings that are
    equal in all logs of a task (or method) are not named.
    """
    of_task = _differing(rows, lambda row: row.task, lambda row: row.task_settings)
    of_method = _differing(rows, _method, lambda row: row.method_settings)
    for words, found in (("task", of_task), ("method", of_method)):
        told += [
            f"{words} {key.splitlines()[0]}: its logs have different settings "
            f"({', '.join(names)}): they are separate variants"
            for key, names in found.items()
        ]
    done = []
    for row in rows:
        if names := of_task.get(row.task):
            row = replace(row, task_variant=joined(row.task_variant, row.task_settings, names))
        if names := of_method.get(_method(row)):
            row = replace(row, variant=joined(row.variant, row.method_settings, names))
        done.append(row)
    return done


def _method(row: Row) -> str:
    return f"{row.method} on {row.task}\n{row.root}"


def _differing(
    rows: Sequence[Row],
    key_of: Callable[[Row], str],
    settings_of: Callable[[Row], Mapping[str, Any] | None],
) -> dict[str, list[str]]:
    """Return key -> names of the settings that differ between its rows; none where all agree."""
    known: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        if (settings := settings_of(row)) is not None:
            known[key_of(row)][id(settings)] = settings  # rows of one log share one object
    found = {}
    for key, stated in known.items():
        if names := differing(list(stated.values())):
            found[key] = names
    return found


def differing(stated: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings that have several values."""
    names = sorted({name for one in stated for name in one})
    return [name for name in names if len({_told(one, name) for one in stated}) > 1]


def joined(before: str | None, settings: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """Return a variant completed by the values of these settings, in words."""
    words = [f"{name}={_told(settings or {}, name)}" for name in names]
    return ", ".join(filter(None, [before, *words]))


def _told(settings: Mapping[str, Any], name: str) -> str:
    """Return a value in words; two long values that start alike end on different hashes."""
    value = settings.get(name)
    if value is None:
        return _UNSET
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= _LONGEST else f"{text[:24]}...{short_hash(text)}"


def short_hash(value: Any) -> str:
    """Return 8 hexadecimal digits that stand for a value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
