"""Rows of local files: JSON lines, JSON, Parquet, CSV; read one at a time, filtered as they come.

Nothing is decided here about what a row means.
"""

from __future__ import annotations

import itertools
import mmap
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from rlm_eval.errors import ConfigError

_Row = TypeVar("_Row")

Condition = tuple[str, str, Any]
"""(column, relation, value): `==`, `in`, `>=`, `<=`, or `chars<=` for the length of a text."""
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "in": lambda found, wanted: found in wanted,
    ">=": operator.ge,
    "<=": operator.le,
    "chars<=": lambda found, wanted: len(found) <= wanted,
}
_PUSHED = ("==", "in", ">=", "<=")  # relations that Parquet readers know
_BATCH = 16  # rows that are decoded at once: a row may hold megabytes


def file_rows(
    path: str | Path, where: Sequence[Condition] = (), columns: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of a local `.jsonl`, `.json` (a list), `.parquet` or `.csv` file, in its order.

    `columns` are read; none = all. Raises `ConfigError` where the file cannot be read.
    """
    file = Path(path)
    readers = {".jsonl": _json_lines, ".json": _json, ".csv": _csv}
    if file.suffix not in (*readers, ".parquet"):
        raise ConfigError(f"path={path}: the name must end in {', '.join([*readers, '.parquet'])}")
    if not file.is_file():
        raise ConfigError(f"path={path}: no such file")
    rows = (
        _parquet(file, where, columns) if file.suffix == ".parquet" else readers[file.suffix](file)
    )
    for row in rows:
        if holds(row, where):
            yield {name: row[name] for name in columns if name in row} if columns else row


def holds(row: Mapping[str, Any], where: Sequence[Condition]) -> bool:
    """Whether a row meets all conditions. Raises `ConfigError` for a column that it lacks."""
    for column, relation, value in where:
        if column not in row:
            raise ConfigError(f"no column {column!r}; there are {', '.join(row)}")
        if not _HOLDS[relation](row[column], value):
            return False
    return True


def in_turns(rows: Sequence[tuple[str, _Row]]) -> Iterator[tuple[str, _Row]]:
    """(group, row) with the groups in turns: the first of each, then the second of each, ..."""
    groups: dict[str, list[tuple[str, _Row]]] = {}
    for group, row in rows:
        groups.setdefault(group, []).append((group, row))
    for turn in itertools.zip_longest(*groups.values()):
        yield from (found for found in turn if found is not None)


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise ConfigError(f"{file}, line {number}: {error}") from error


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}]', re.DOTALL)
"""A whole string, or a brace outside strings."""


def _json(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a list, decoded one at a time: a file of 465 MB would need gigabytes whole."""
    if not file.stat().st_size:
        raise ConfigError(f"{file}: empty")
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: 1 << 12].lstrip()[:1] != b"[":
            raise ConfigError(f"{file}: no list of rows")
        start = depth = 0
        for token in _TOKEN.finditer(data):
            mark = data[token.start()]
            if mark == ord("{"):
                if depth == 0:
                    start = token.start()
                depth += 1
            elif mark == ord("}"):
                depth -= 1
                if depth == 0:
                    try:
                        yield orjson.loads(data[start : token.end()])
                    except orjson.JSONDecodeError as error:
                        raise ConfigError(f"{file}, byte {start}: {error}") from error
        if depth or data[-(1 << 12) :].rstrip()[-1:] != b"]":
            raise ConfigError(f"{file}: the list of rows has no end: a part of a file?")


def _parquet(
    file: Path, where: Sequence[Condition], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file)
    groups = matching_groups(opened.metadata, where)
    wanted = list(dict.fromkeys([*columns, *(name for name, _, _ in where)])) if columns else None
    if wanted and (lacking := set(wanted) - set(opened.schema_arrow.names)):
        raise ConfigError(
            f"{file.name}: no column {', '.join(sorted(lacking))}; there are "
            f"{', '.join(opened.schema_arrow.names)}"
        )
    for batch in opened.iter_batches(batch_size=_BATCH, row_groups=groups, columns=wanted):
        yield from batch.to_pylist()


def class_names(file: Path, column: str) -> list[str] | None:
    """Names behind a Parquet column of class numbers, from the file's `datasets` metadata."""
    if file.suffix != ".parquet":
        return None
    import pyarrow.parquet as pq

    kept = (pq.read_schema(file).metadata or {}).get(b"huggingface")
    features = orjson.loads(kept)["info"]["features"] if kept else {}
    names: list[str] | None = features.get(column, {}).get("names")
    return names


def matching_groups(metadata: Any, where: Sequence[Condition]) -> list[int]:
    """Numbers of the row groups whose statistics allow a row that meets the conditions."""
    return [
        number
        for number in range(metadata.num_row_groups)
        if _may_match(metadata.row_group(number), where)
    ]


def _may_match(group: Any, where: Sequence[Condition]) -> bool:
    columns = [group.column(number) for number in range(group.num_columns)]
    known = {column.path_in_schema: column.statistics for column in columns}
    for name, relation, value in where:
        found = known.get(name)
        if relation not in _PUSHED or found is None or not found.has_min_max:
            continue
        values = value if relation == "in" else [value]
        too_low = relation != "<=" and all(wanted > found.max for wanted in values)
        too_high = relation != ">=" and all(wanted < found.min for wanted in values)
        if too_low or too_high:
            return False
    return True


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    import csv
    import sys

    csv.field_size_limit(sys.maxsize)  # a cell may hold a context of megabytes
    with file.open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)
