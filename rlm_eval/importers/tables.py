"""Rows of a file in any supported format: JSON list or object, JSON lines, CSV, TSV.

Numbers keep their JSON type; every CSV value is text, and an empty one is unknown.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from rlm_eval.core.whole_text import whole_text
from rlm_eval.importers.rows import BadLog, Source

Raw = Mapping[str, Any]
_HALF_PAIR = "\\ud"
"""JSON escape prefix of surrogates: halves, and every character beyond 16 bits."""


def raw_rows(source: Source, inside: str | None) -> Iterator[tuple[str, Raw, Raw]]:
    """Yield (place, row, header) per row; `inside` names the list of rows in an object.

    The header is the object around that list, without the list; else empty. Raises `BadLog`.
    """
    name = source.path.name.lower().removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        yield from _of_csv(source, "\t" if name.endswith(".tsv") else ",")
        return
    text = source.text()
    if not name.endswith((".jsonl", ".ndjson")):
        try:
            document = loads(text)
        except ValueError as error:
            if inside is not None or not _looks_like_lines(text):
                raise BadLog(
                    f"{source.path}: not JSON ({_where(error)}); half a file? Fetch it again"
                ) from error
        else:
            yield from _of_document(source, document, inside)
            return
    yield from _of_lines(source, text, inside)


def _of_document(
    source: Source, document: Any, inside: str | None
) -> Iterator[tuple[str, Raw, Raw]]:
    header: Raw = {}
    rows = document
    if inside is not None and isinstance(document, Mapping):
        rows = _inside(document, inside)
        if not isinstance(rows, list):
            known = ", ".join(list(map(str, document))[:8])
            raise BadLog(
                f"{source.path}: no list of rows under `{inside}` (the file has: {known}); is it "
                "of another kind?"
            )
        header = {k: v for k, v in document.items() if k != inside.partition(".")[0]}
    elif isinstance(document, Mapping):
        yield "the one row", document, header
        return
    if not isinstance(rows, list):
        raise BadLog(f"{source.path}: a JSON {type(rows).__name__}, not rows; another kind?")
    if not rows:
        raise BadLog(f"{source.path}: the list of rows is empty; there is nothing to import")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise BadLog(f"{source.path}, row {number}: {type(row).__name__}, not an object")
        yield f"row {number}", row, header


def _inside(document: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def _of_lines(source: Source, text: str, inside: str | None) -> Iterator[tuple[str, Raw, Raw]]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = loads(line)
        except ValueError as error:
            last = not "".join(lines[number:]).strip()
            torn = "the last line is torn: the file is not whole" if last else _where(error)
            raise BadLog(f"{source.path}, line {number}: not JSON ({torn})") from error
        if (
            inside is not None
            and isinstance(row, Mapping)
            and isinstance(_inside(row, inside), list)
        ):
            for place, inner, header in _of_document(source, row, inside):
                yield f"line {number}, {place}", inner, header
            continue
        if not isinstance(row, Mapping):
            raise BadLog(f"{source.path}, line {number}: {type(row).__name__}, not an object")
        yield f"line {number}", row, {}


def _of_csv(source: Source, delimiter: str) -> Iterator[tuple[str, Raw, Raw]]:
    reader = csv.reader(io.StringIO(source.text(), newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(1 << 30)
    names: list[str] | None = None
    try:
        for values in reader:
            if names is None:
                names = [name.strip() for name in values]
                if len(set(names)) != len(names):
                    raise BadLog(f"{source.path}: two columns have one name; rename one")
                continue
            if not values:
                continue
            if len(values) != len(names):
                raise BadLog(
                    f"{source.path}, line {reader.line_num}: {len(values)} values under "
                    f"{len(names)} columns; is a quote or a line missing?"
                )
            row = {k: (v if v != "" else None) for k, v in zip(names, values, strict=True)}
            yield f"line {reader.line_num}", row, {}
    except csv.Error as error:
        raise BadLog(f"{source.path}, line {reader.line_num}: not CSV ({error})") from error


def loads(text: str) -> Any:
    """Parse JSON; `NaN` and infinities, which Python writes, are unknown. Raises `ValueError`."""
    try:
        found = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return whole_text(found) if _HALF_PAIR in text.lower() else found
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _looks_like_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    return bool(rest.strip()) and first.rstrip().endswith("}") and first.startswith("{")


def _where(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return str(error)
