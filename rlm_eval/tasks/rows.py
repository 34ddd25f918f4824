"""Rows of a local file: JSON lines, a JSON list, Parquet, CSV or TSV; one clear error otherwise.

Nothing is decided here about what a row means.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.errors import ConfigError

Condition = tuple[str, str, Any]
"""(column, `==`, `in`, `>=` or `<=`, value), as pyarrow's filters have it."""
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "in": lambda found, wanted: found in wanted,
    ">=": operator.ge,
    "<=": operator.le,
}
_MARKS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet: rename it to .parquet",
}
"""First bytes of files that are often given a wrong name."""
_BOM = b"\xef\xbb\xbf"


def file_rows(path: str, where: Sequence[Condition] = ()) -> Iterator[dict[str, Any]]:
    """Rows of a local file that meet the conditions, in its order.

    `.jsonl`, `.json` (a list of objects, or an object with one such list), `.parquet`, `.csv` and
    `.tsv` (a header line first); UTF-8, with or without a byte order mark. Raises `ConfigError`
    naming the file, the row and the next step where it cannot be read or has no rows.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], Iterator[Any]]] = {
        ".jsonl": _json_lines, ".json": _json, ".parquet": _parquet,
        ".csv": lambda f: _table(f, ","), ".tsv": lambda f: _table(f, "\t"),
    }  # fmt: skip
    if file.suffix.lower() not in readers:
        raise ConfigError(f"path={path}: the name must end in {', '.join(readers)}")
    if not file.is_file():
        raise ConfigError(f"path={path}: no such file")
    empty = True
    for number, row in enumerate(readers[file.suffix.lower()](file), 1):
        empty = False
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise ConfigError(
                f"{path}, row {number}: a row must be an object with named columns, not a {kind}"
            )
        if holds(row, where):
            yield row
    if empty:
        raise ConfigError(f"{path}: the file has no rows; give one row per question")


def holds(row: Mapping[str, Any], where: Sequence[Condition]) -> bool:
    """True where the row meets every condition. Raises `ConfigError` for a missing column."""
    for column, relation, value in where:
        if column not in row:
            raise ConfigError(f"no column {column!r}; there are {', '.join(row)}")
        if not _HOLDS[relation](row[column], value):
            return False
    return True


def _encoding_error(
    file: Path, head: bytes, error: UnicodeDecodeError | None = None
) -> ConfigError:
    """What the file seems to be, and how to convert it."""
    kind = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    source = "UTF-16" if kind == "UTF-16" else "WINDOWS-1252"
    seems = f"it looks like {kind}" if kind else "perhaps it is Windows-1252 or Latin-1"
    at = f" (byte {error.object[error.start]:#04x} at {error.start})" if error else ""
    return ConfigError(
        f"{file}: not UTF-8 text{at}; {seems}. Convert it, for text by "
        f"`iconv -f {source} -t UTF-8 {file.name} > utf8{file.suffix}`"
    )


def _check_head(file: Path) -> None:
    with file.open("rb") as opened:
        head = opened.read(4)
    if any(head.startswith(mark) for mark in _MARKS):
        raise _encoding_error(file, head)


def _loaded(file: Path, data: bytes, place: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise _encoding_error(file, data[:4], wrong) from error
        raise ConfigError(f"{place}: {error}") from error


def _json_lines(file: Path) -> Iterator[Any]:
    _check_head(file)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(_BOM) if number == 1 else line
            if text.strip():
                if number == 1 and text.strip() in (b"[", b"{"):
                    raise ConfigError(
                        f"{file}, line 1: one JSON value over many lines; rename it to .json"
                    )
                yield _loaded(file, text, f"{file}, line {number}")


def _json(file: Path) -> Iterator[Any]:
    _check_head(file)
    data = file.read_bytes().removeprefix(_BOM)
    if not data.strip():
        return
    lines = data.strip().split(b"\n")
    if len(lines) > 1 and all(line.strip().startswith(b"{") for line in lines if line.strip()):
        raise ConfigError(f"{file}: one JSON object a line; rename it to .jsonl")
    found = _loaded(file, data, str(file))
    if isinstance(found, dict):
        lists = [k for k, v in found.items() if isinstance(v, list) and v]
        if len(lists) != 1:
            raise ConfigError(
                f"{file}: an object with {', '.join(found) or 'nothing'}, not a list of rows; "
                "keep the list of rows alone"
            )
        found = found[lists[0]]
    if not isinstance(found, list):
        raise ConfigError(f"{file}: a {type(found).__name__}, not a list of rows")
    yield from found


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{file}: not a Parquet file ({error})") from error
    for batch in opened.iter_batches(batch_size=16):
        yield from batch.to_pylist()


def _table(file: Path, delimiter: str) -> Iterator[Any]:
    import csv
    import sys

    _check_head(file)
    csv.field_size_limit(sys.maxsize)  # a cell may hold a context of megabytes
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
            for number, row in enumerate(reader, 1):
                if None in row:
                    raise ConfigError(
                        f"{file}, row {number}: more cells than the header has columns; quote "
                        "cells that hold the separator"
                    )
                yield row
    except UnicodeDecodeError as error:
        raise _encoding_error(file, b"", error) from error
    except csv.Error as error:
        raise ConfigError(f"{file}: {error}; quote cells and double the quotes in them") from error
