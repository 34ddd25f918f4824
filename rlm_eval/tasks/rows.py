"""Rows of local files: JSON lines, JSON, Parquet, CSV, TSV; streamed and filtered.

The meaning of a row is defined elsewhere.
"""

from __future__ import annotations

import itertools
import mmap
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import orjson

from rlm_eval.core.errors import ConfigError

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
_PUSHED = ("==", "in", ">=", "<=")  # relations that Parquet readers support
_ORDERED = ("==", ">=", "<=")  # numeric relations; CSV cells are texts
_BATCH = 16  # rows decoded at once: a row may hold megabytes
_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet",
}
"""First bytes of formats that often have a wrong file suffix."""
_NO_TEXT = {
    "a zip archive or a spreadsheet": "unpack it, or save the sheet as CSV in UTF-8",
    "gzip": "unpack it with gunzip",
    "Parquet": "rename it to .parquet",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_BOM = b"\xef\xbb\xbf"


def file_rows(
    path: str | Path, where: Sequence[Condition] = (), columns: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a local file that meet the conditions, in file order.

    `.jsonl`, `.json` (a list of objects, or an object with one such list), `.parquet`, `.csv` and
    `.tsv` (with a header line); UTF-8, with or without a byte order mark. Only `columns` are read;
    none = all. Raises `ConfigError` naming the file, the row and the next step where it cannot be
    read or has no rows.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], Iterator[Any]]] = {
        ".jsonl": _json_lines, ".json": _json,
        ".parquet": lambda f: _parquet(f, where, columns),
        ".csv": lambda f: table_rows(f, ","), ".tsv": lambda f: table_rows(f, "\t"),
    }  # fmt: skip
    kind = file.suffix.lower()
    if kind not in readers:
        raise ConfigError(f"path={path}: the name must end in {', '.join(readers)}")
    if not file.is_file():
        raise ConfigError(f"path={path}: no such file")
    empty = kind != ".parquet"  # row groups without a match are skipped there
    for number, row in enumerate(readers[kind](file), 1):
        empty = False
        if not isinstance(row, dict):
            raise ConfigError(
                f"{path}, row {number}: a row must be an object with named columns, not a "
                f"{type(row).__name__}"
            )
        if holds(row, where):
            yield {name: row[name] for name in columns if name in row} if columns else row
    if empty:
        raise ConfigError(f"{path}: the file has no rows; give one row per question")


def holds(row: Mapping[str, Any], where: Sequence[Condition]) -> bool:
    """True where a row meets all conditions. Raises `ConfigError` for a missing column."""
    for column, relation, value in where:
        if column not in row:
            raise ConfigError(f"no column {column!r}; there are {', '.join(row)}")
        found = row[column]
        if isinstance(found, str) and relation in _ORDERED and isinstance(value, int | float):
            found = _number(found)
        if found is None or not _HOLDS[relation](found, value):
            return False
    return True


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def whole(value: Any) -> Any:
    """A number without a fraction as an integer: tables with holes write 3 as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def in_turns(rows: Sequence[tuple[str, _Row]]) -> Iterator[tuple[str, _Row]]:
    """Interleave the groups of (group, row): the first row of each, then the second of each, ..."""
    groups: dict[str, list[tuple[str, _Row]]] = {}
    for group, row in rows:
        groups.setdefault(group, []).append((group, row))
    for turn in itertools.zip_longest(*groups.values()):
        yield from (found for found in turn if found is not None)


def _encoding_error(
    file: Path, head: bytes, error: UnicodeDecodeError | None = None
) -> ConfigError:
    """Name the file's probable format, and how to convert it."""
    kind = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if kind is None and b"\0" in head:
        size = "UTF-32" if head.count(b"\0") > 2 else "UTF-16"
        kind = size + ("BE" if head[:1] == b"\0" else "LE")
    source = kind if kind and kind.startswith("UTF") else "WINDOWS-1252"
    seems = f"it looks like {kind}" if kind else "perhaps it is Windows-1252 or Latin-1"
    at = f" (byte {error.object[error.start]:#04x} at {error.start})" if error else ""
    if kind in _NO_TEXT:
        return ConfigError(f"{file}: not UTF-8 text; {seems}: {_NO_TEXT[kind]}")
    return ConfigError(
        f"{file}: not UTF-8 text{at}; {seems}. Convert it by "
        f"`iconv -f {source} -t UTF-8 {file.name} > utf8{file.suffix}`"
    )


def _check_head(file: Path) -> None:
    with file.open("rb") as opened:
        head = opened.read(4)
    # Only UTF-16 text has a zero byte first or after the first letter.
    if any(head.startswith(mark) for mark in _MARKS) or b"\0" in head[:2]:
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


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}]', re.DOTALL)
"""A whole string, or a brace outside strings."""
_BETWEEN = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*|\s*,\s*")
"""What precedes a row: the start of the list, or a comma."""
_CLOSE = re.compile(rb"\s*\]\s*")


def _json(file: Path) -> Iterator[Any]:
    """Yield the rows of a list, decoded one by one: a 465 MB file would need gigabytes at once.

    Anything else is decoded whole: a list in an object, or an invalid file.
    """
    _check_head(file)
    if not file.stat().st_size:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if re.match(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{", data):
            yield from _objects(file, data)
            return
        whole = bytes(data).removeprefix(_BOM)
    if whole.strip():
        yield from _unwrapped(file, whole)


def _objects(file: Path, data: mmap.mmap) -> Iterator[Any]:
    start = depth = last = 0
    for token in _TOKEN.finditer(data):
        mark = data[token.start()]
        if depth == 0 and not _BETWEEN.fullmatch(data, last, token.start()):
            break
        if mark == ord("{"):
            if depth == 0:
                start = token.start()
            depth += 1
        elif mark == ord("}"):
            depth -= 1
            if depth == 0:
                last = token.end()
                yield _loaded(file, data[start:last], f"{file}, byte {start}")
    if depth or data[-(1 << 12) :].rstrip()[-1:] != b"]":
        raise ConfigError(f"{file}: the list of rows has no end: a part of a file?")
    if not _CLOSE.fullmatch(data, last):
        raise ConfigError(
            f"{file}, byte {last}: {data[last : last + 20]!r} is not the next row of the list; a "
            "row must be an object with named columns, after a comma"
        )


def _unwrapped(file: Path, data: bytes) -> Iterator[Any]:
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


def _opened(file: Path) -> Any:
    """The Parquet file. Raises `ConfigError` where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise ConfigError(f"path={file}: no such file")
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{file}: not a Parquet file ({error})") from error


def _parquet(
    file: Path, where: Sequence[Condition], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    opened = _opened(file)
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
    """Names for a Parquet column of class numbers, from the file's `datasets` metadata."""
    if file.suffix.lower() != ".parquet":
        return None
    kept = (_opened(file).schema_arrow.metadata or {}).get(b"huggingface")
    found: Any = None
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(kept or b"null")
    for key in ("info", "features", column, "names"):  # other writers, other shapes
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, list) else None


def matching_groups(metadata: Any, where: Sequence[Condition]) -> list[int]:
    """Indices of the row groups whose statistics allow a matching row."""
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


def _header(file: Path, names: Sequence[str], delimiter: str) -> list[str]:
    """Column names of a table. Raises `ConfigError` for duplicates and wrong separators."""
    found = [name.strip() for name in names]
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise ConfigError(f"{file}: two columns named {', '.join(twice)}; rename one of them")
    if len(found) == 1:
        for mark, called in _SEPARATORS.items():
            if mark != delimiter and mark in found[0]:
                wanted = _SEPARATORS[delimiter]
                raise ConfigError(
                    f"{file}: its cells seem to be separated by {called}, where {file.suffix} has "
                    f"{wanted}; save it with {wanted}"
                    + (", or rename it to .tsv" if mark == "\t" else "")
                    + (", or rename it to .csv" if mark == "," else "")
                )
    return found


def table_rows(
    file: Path, delimiter: str, names: Sequence[str] | None = None, quoted: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a separated table, streamed.

    `names` are those of the columns where the first line is a row; `quoted`: quotes enclose cells.
    Raises `ConfigError` naming the file, the row and the next step.
    """
    import csv
    import sys

    if not file.is_file():
        raise ConfigError(f"path={file}: no such file")
    _check_head(file)
    csv.field_size_limit(sys.maxsize)  # a cell may hold a context of megabytes
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            form: dict[str, Any] = {} if quoted else {"quoting": csv.QUOTE_NONE}
            reader = csv.DictReader(lines, names, delimiter=delimiter, strict=True, **form)
            reader.fieldnames = _header(file, reader.fieldnames or (), delimiter)
            for number, row in enumerate(reader, 1):
                if None in row:
                    raise ConfigError(
                        f"{file}, row {number}: more cells than the header has columns; quote "
                        "cells that hold the separator"
                        if quoted
                        else f"{file}, row {number}: more cells than the header has columns"
                    )
                yield row
    except UnicodeDecodeError as error:
        raise _encoding_error(file, b"", error) from error
    except csv.Error as error:
        raise ConfigError(f"{file}: {error}; quote cells and double the quotes in them") from error
