"""An Inspect log as JSON objects, read from its ZIP file; `kinds.inspect` interprets them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from rlm_eval.importers.rows import BadLog, Source
from rlm_eval.importers.tables import loads

_ZSTD = 93  # the ZIP format's number of the method
_LARGEST = 500_000_000  # bytes of one unpacked member


def opened(source: Source) -> tuple[Mapping[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    """Return (header, list of (name, sample)) from a ZIP or JSON file.

    Raises `BadLog` for another kind of file, a truncated one, and one without samples.
    """
    if source.data[:2] == b"PK":
        return _of_zip(source)
    try:
        tree = loads(source.text())
    except ValueError as error:
        raise BadLog(
            f"{source.path}: neither a ZIP nor JSON: not an Inspect log, or half a file"
        ) from error
    if not isinstance(tree, Mapping) or "eval" not in tree:
        raise BadLog(f"{source.path}: JSON without `eval`: not an Inspect log")
    samples = tree.get("samples") or []
    if not samples:
        raise BadLog(f"{source.path}: holds no samples (status {tree.get('status')})")
    if not isinstance(samples, list) or not all(isinstance(s, Mapping) for s in samples):
        raise BadLog(f"{source.path}: `samples` is not a list of objects: not an Inspect log")
    return tree, [(f"sample {s.get('id')}", s) for s in samples]


def _of_zip(source: Source) -> tuple[Mapping[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(source.data))
        names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise BadLog(f"{source.path}: half a ZIP file ({error}); fetch it again") from error
    if "header.json" not in names:
        why = " (the evaluation did not end)" if "_journal/start.json" in names else ""
        raise BadLog(f"{source.path}: no header.json inside{why}; not a whole Inspect log")
    header = _member(source, archive, "header.json")
    inside = sorted(n for n in names if n.startswith("samples/") and n.endswith(".json"))
    if not inside:
        raise BadLog(f"{source.path}: holds no samples (status {header.get('status')})")
    found = [(name, _member(source, archive, name)) for name in inside]
    # Our export records the order of samples; otherwise they are sorted by name.
    return header, sorted(found, key=lambda pair: _index(pair[1]))


def _index(sample: Mapping[str, Any]) -> int:
    number = (sample.get("metadata") or {}).get("index")
    return number if isinstance(number, int) else 0


def _member(source: Source, archive: zipfile.ZipFile, name: str) -> Mapping[str, Any]:
    info = archive.getinfo(name)
    if info.file_size > _LARGEST:
        raise BadLog(f"{source.path}, {name}: {info.file_size:,} bytes unpacked; too large to read")
    try:
        packed = info.compress_type == _ZSTD
        data = _unpacked(source.data, info) if packed else archive.read(name)
        found = loads(data.decode("utf-8"))
    except NotImplementedError as error:
        raise BadLog(
            f"{source.path}, {name}: packed by method {info.compress_type}, which is neither "
            "deflate nor zstd; write the log again with `inspect log convert`"
        ) from error
    except (ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadLog(f"{source.path}, {name}: damaged ({error}); fetch it again") from error
    if not isinstance(found, Mapping):
        raise BadLog(f"{source.path}, {name}: a JSON {type(found).__name__}, not an object")
    return found


def _unpacked(data: bytes, info: zipfile.ZipInfo) -> bytes:
    """Unpack a member compressed with zstd, which Python's zipfile reads from 3.14 on.

    Raises `ValueError` if the bytes do not match the ZIP directory.
    """
    import pyarrow as pa

    name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
    start = info.header_offset + 30 + name + extra
    raw = data[start : start + info.compress_size]
    try:
        text = bytes(pa.decompress(raw, info.file_size, codec="zstd", asbytes=True))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(str(error)) from error
    if zlib.crc32(text) != info.CRC:
        raise ValueError("its checksum is another")
    return text
