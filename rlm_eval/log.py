"""Append-only logs of JSON lines that survive kills, full disks and lost machines.

Not a database: one writer (`lease`), readers at any time. A line is on its way to the disk when
`append` returned (it survives `kill -9`), and on the disk once the group commit has run. Lines of a
protected task are sealed, packed so that no search finds their text; readers need not know.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from rlm_eval.errors import NoStorage
from rlm_eval.paths import FULL

SYNC_SECONDS = 0.05


class AppendLog:
    """An append-only file of JSON lines with group fsync. Use as an async context manager."""

    def __init__(self, path: Path, sealed: bool = False) -> None:
        """Opens `path` for appending, ending a torn last line first."""
        self.path = path
        self._sealed = sealed
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")
        if not size:
            sync_folder(path.parent)
        self._dirty = asyncio.Event()
        self._failed: OSError | None = None
        self._syncer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AppendLog:
        self._syncer = asyncio.create_task(self._sync_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._syncer is not None:
            self._syncer.cancel()
            await asyncio.gather(self._syncer, return_exceptions=True)
        os.fsync(self._fd)
        os.close(self._fd)

    async def sync(self) -> None:
        """Return once all that was appended so far is on the disk. Raises `NoStorage`."""
        try:
            await asyncio.to_thread(os.fsync, self._fd)
        except OSError as error:
            raise self._refused(error) from error

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write lines, all or none. Raises `NoStorage` where the disk takes no more."""
        self._check_place()
        lines = b"".join(dumped(record, self._sealed) for record in records)
        if self._failed is not None:
            raise self._refused(self._failed)
        try:
            written = os.write(self._fd, lines)
            if written != len(lines):  # the disk is full: take the torn line back
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError as error:
            raise self._refused(error) from error
        if written != len(lines):
            raise self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._dirty.set()

    def _check_place(self) -> None:
        """Raises `NoStorage` where the open file is no longer the one at `path`."""
        here = os.fstat(self._fd)
        try:
            named = os.stat(self.path)  # noqa: PTH116 - before every line: no object is built
        except OSError as error:
            raise self._refused(error) from error
        if (here.st_dev, here.st_ino) != (named.st_dev, named.st_ino):
            raise NoStorage(f"{self.path}: replaced by another file; nothing more is sent")

    def _refused(self, error: OSError) -> NoStorage:
        if error.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR):
            return NoStorage(
                f"{self.path}: gone ({error.strerror}), the run directory was deleted or moved; "
                "nothing more is sent"
            )
        out = "make room and run" if error.errno in FULL else "once it can be written, run"
        return NoStorage(
            f"{self.path}: cannot write ({error.strerror}); {out} the same command again: "
            "nothing finished is lost"
        )

    async def _sync_loop(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SYNC_SECONDS / 2)
            self._dirty.clear()
            try:
                await asyncio.to_thread(os.fsync, self._fd)
            except OSError as error:  # the next append tells: nothing more is paid for in vain
                self._failed = error


def sync_folder(folder: Path) -> None:
    """A file that was made or renamed in `folder` keeps its name if the machine disappears."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no such thing
            raise
    finally:
        os.close(number)


def dumped(record: Mapping[str, Any], sealed: bool = False) -> bytes:
    """A line of a log."""
    if sealed:
        packed = base64.b64encode(zlib.compress(dumped(record), 1)).decode()
        return dumped({"sealed": packed})
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # what a model's code made: a lone surrogate, an integer beyond 64 bits
        return json.dumps(record).encode() + b"\n"


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line of a log; `None` where it is torn or damaged."""
    value: Any
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(line)
        except ValueError:
            return None
    if isinstance(value, dict) and set(value) == {"sealed"}:
        try:
            return parsed(zlib.decompress(base64.b64decode(value["sealed"])))
        except (binascii.Error, zlib.error):
            return None
    return value if isinstance(value, dict) else None


def read_places(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(where it starts, the line or `None` where it is torn or damaged) of every line of a log."""
    if not path.exists():
        return
    at = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield at, parsed(line)
            at += len(line)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log; a torn or damaged one is skipped (`count_torn` tells)."""
    return (line for _, line in read_places(path) if line is not None)


def line_at(file: BinaryIO, place: int) -> dict[str, Any]:
    """The line that `read_places` found at `place`."""
    file.seek(place)
    line = parsed(file.readline())
    assert line is not None, "it was whole when its place was noted"
    return line


def count_torn(path: Path) -> int:
    """Lines of a log that are torn or damaged."""
    return sum(line is None for _, line in read_places(path))
