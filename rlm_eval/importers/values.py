"""Values of a foreign row by the entries of a field map (`fieldmap` says what an entry may be)."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.core.amounts import known_sum


@dataclass(frozen=True)
class Place:
    """The source of a value: a row, the object around it, and its file."""

    row: Mapping[str, Any]
    """The row."""
    header: Mapping[str, Any]
    """The object around the rows."""
    file: Path
    """Its file."""


FILE_PARTS = ("file.name", "file.stem", "file.folder")
"""Entries that read the path of a row's file."""


def value_of(spec: Any, place: Place, unlisted: list[Any] | None = None) -> Any:
    """Evaluate a map's entry at a place; `None` = missing. Raises `ValueError`.

    A value that `values` does not list is missing, and is added to `unlisted`.
    """
    if spec is None or isinstance(spec, int | float):
        return spec
    if isinstance(spec, str):
        return _field(spec, place)
    if isinstance(spec, list):
        values = (value_of(one, place, unlisted) for one in spec)
        return next((value for value in values if value is not None), None)
    return _steps(spec, place, unlisted)


def _field(path: str, place: Place) -> Any:
    if path.startswith("="):
        return path[1:]
    if path in FILE_PARTS:
        name = place.file.name.removesuffix(".gz")
        return {"name": name, "stem": Path(name).stem, "folder": place.file.parent.name}[path[5:]]
    value: Any = place.row
    if path.startswith("$."):
        value, path = place.header, path[2:]
    if isinstance(value, Mapping) and path in value:
        return value[path]
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _steps(spec: Mapping[str, Any], place: Place, unlisted: list[Any] | None) -> Any:
    for name, wanted in (spec.get("when") or {}).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if not any(_is(_field(name, place), one) for one in allowed):
            return None
    if "add" in spec:
        value: Any = known_sum(number(value_of(one, place, unlisted)) for one in spec["add"])
    elif "text" in spec:  # several fields as one text: an identity
        parts = [value_of(one, place, unlisted) for one in spec["text"]]
        value = None if None in parts else json.dumps(parts, sort_keys=True, ensure_ascii=False)
    else:
        value = value_of(spec["from"], place, unlisted)
    if value is None:
        return None
    if "match" in spec:
        hit = re.search(str(spec["match"]), str(value))
        if hit is None:
            return None
        value = hit.group(1) if hit.re.groups else hit.group(0)
    if "split" in spec and isinstance(value, str):
        value = [part.strip() for part in value.split(str(spec["split"]))]
    if "values" in spec:
        table = spec["values"]
        key = next((name for name in _written(value) if name in table), "other")
        if key not in table and unlisted is not None:
            unlisted.append(value)
        value = table.get(key)
    value = _typed(value, spec.get("as"))
    if spec.get("zero") == "unknown" and number(value) == 0:
        return None
    for key, sign in (("subtract", -1), ("divide", 1)):
        if key in spec and value is not None:
            value = number(value)
            if value is not None:
                value = value + sign * spec[key] if key == "subtract" else value / spec[key]
    return value


def _written(value: Any) -> Iterator[str]:
    """Yield the forms in which a map may write a row's value, the row's own first.

    Python writes `True` for what JSON writes `true`, and 3.0 for a 3 of a column with holes.
    """
    text = str(value)
    yield text
    words: tuple[str, ...] = (text.lower(),) if text.lower() in ("true", "false") else ()
    if isinstance(value, bool):
        words = ("true", "yes", "on") if value else ("false", "no", "off")
    for word in words:
        yield from (word, word.capitalize(), word.upper())
    if isinstance(value, float) and value.is_integer():
        yield str(int(value))


def _is(value: Any, wanted: Any) -> bool:
    """Test for equality; a wanted text that starts with `~` is a regular expression to search.

    A table of texts has "1" where a map has 1.
    """
    if isinstance(wanted, str) and wanted.startswith("~"):
        return value is not None and re.search(wanted[1:], str(value)) is not None
    if value is None or wanted is None:
        return value is wanted
    return bool(value == wanted) or str(wanted) in _written(value)


def _typed(value: Any, kind: str | None) -> Any:
    if value is None or kind is None:
        return value
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if kind in ("int", "float"):
        found = number(value)
        return None if found is None else int(found) if kind == "int" else float(found)
    try:
        return ast.literal_eval(value) if kind == "literal" else json.loads(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"{str(value)[:60]!r} is no {kind}") from error


def number(value: Any) -> int | float | None:
    """Convert a number or text (CSV) to a finite number; `None` for a missing value.

    Raises `ValueError` for anything else: it is never treated as unknown.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:60]!r} is not a number") from error
    if not math.isfinite(found):
        return None
    return int(found) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) else found


def plain(value: Any) -> str:
    """Return an id as text; 3, 3.0 and "3.0" are one: a column with holes writes 3 as 3.0."""
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if whole else str(value)
    return re.sub(r"^([+-]?\d+)\.0$", r"\1", text)


def with_borrowed(places: Sequence[Place], borrow: Mapping[str, Mapping[str, Any]]) -> list[Place]:
    """Add fields from another row of the same group to the places."""
    found = list(places)
    for name, rule in borrow.items():
        group: dict[str, Any] = {}

        def key(place: Place, by: Sequence[str] = rule.get("by") or ()) -> str:
            return json.dumps([str(place.file), *(_field(one, place) for one in by)], default=str)

        for place in places:
            if all(_is(_field(n, place), v) for n, v in (rule.get("where") or {}).items()):
                group.setdefault(key(place), value_of(rule.get("take"), place))
        found = [
            Place({**place.row, name: group.get(key(place))}, place.header, place.file)
            for place in found
        ]
    return found
