"""Append-only logs of JSON lines that survive kills, full disks and lost machines.

Not a database: one writer (`lease`), readers at any time. A line survives `kill -9` once `append`
returned, and is on the disk once the group commit has run (`group_commit`). Lines of a protected
task are sealed, packed so that no search finds their text; readers handle both forms.

A process that lost its lease may write a line before it notices. So every line carries its writer's
token (`"w":"3.9f3a"`, the number of `Lease.claim`), and a writer that finds lines of others begins
with `{"k":"writer","w":"4.07be"}`: after it, lines of lower numbers are stale (`Fence`). Lines
without a token come from an older release, and count.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from rlm_eval.core.errors import NoStorage, RlmEvalError
from rlm_eval.core.paths import FULL, sync_folder
from rlm_eval.core.secrets import SECRETS
from rlm_eval.storage.group_commit import Sync

SYNC_SECONDS = 0.05
"""Longest delay until a line is on the disk, seconds."""
_HEADER = b'{"k":"writer"'
_TOKEN = re.compile(rb'"w": ?"(\d+\.[0-9a-f]+)"\}\s*$')


class LineLog(Protocol):
    """The log that a journal writes to."""

    path: Path
    """File with the lines of earlier processes; they are read once."""

    def check(self) -> None:
        """Raise `RlmEvalError` where nothing can be appended."""
        ...

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write lines, all or none. Raises `RlmEvalError`."""
        ...


@dataclass(frozen=True)
class Writer:
    """The identity of the appending process, by the lease that it holds."""

    token: str
    """`number.id`: of several writers of a file the one with the highest number is valid."""
    check: Callable[[], None]
    """Raises `RlmEvalError` where the lease is lost."""


class JsonlLog:
    """An append-only file of JSON lines with group fsync. Use as an async context manager."""

    def __init__(
        self,
        path: Path,
        sealed: bool = False,
        writer: Writer | None = None,
        sync: Sync | None = None,
        every: float = SYNC_SECONDS,
    ) -> None:
        """Open `path` for appending, ending a torn last line first; without a `writer` it is not
        shared. Its lines are on the disk after `every` seconds at most, in the group of
        `group_commit`. Raises `OSError`, and `RlmEvalError` where the disk takes no more.
        """
        self.path = path
        self.every = every
        self.failed: OSError | None = None
        self._sealed = sealed
        self._writer = writer
        self._sync = sync
        self._exits = AsyncExitStack()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._prepare()
        except BaseException:
            os.close(self._fd)
            raise

    def _prepare(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")
        if not size:
            sync_folder(self.path.parent)
        if self._writer is not None and (size or _number(self._writer.token) > 1):
            self._write(dumped({"k": "writer", "w": self._writer.token}))

    def fileno(self) -> int:
        """For `group_commit`."""
        return self._fd

    async def __aenter__(self) -> JsonlLog:
        if self._sync is None:
            self._sync = await self._exits.enter_async_context(Sync())
        self._sync.touched(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise `RlmEvalError` where written lines may not be on the disk."""
        try:
            await self.sync(at_once=True)
        except RlmEvalError:
            if kind is None:  # else there is an error to report
                raise
        finally:
            await self._exits.aclose()
            os.close(self._fd)

    def close(self) -> None:
        """Close without an event loop, in place of the context manager. Raises `RlmEvalError`."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(self._fd)

    async def sync(self, *, at_once: bool = False) -> None:
        """Return once all that was appended so far is on the disk. Raises `RlmEvalError`."""
        assert self._sync is not None, "entered"
        await self._sync.committed(self, at_once=at_once)
        if self.failed is not None:
            raise self._refused(self.failed)

    def check(self) -> None:
        """Raise `RlmEvalError` where nothing may or can be appended: nothing is paid for then."""
        if self._writer is not None:
            self._writer.check()
        if self.failed is not None:
            raise self._refused(self.failed)
        self._check_place()

    def append(self, *records: Mapping[str, Any]) -> None:
        """Write lines, all or none. Raises `RlmEvalError` where the disk takes no more, or where
        another process writes this file now.
        """
        self.check()
        if self._writer is not None:
            mark = {"w": self._writer.token}
            records = tuple({**record, **mark} for record in records)
        self._write(b"".join(dumped(record, self._sealed) for record in records))
        if self._sync is not None:
            self._sync.touched(self)

    def _write(self, lines: bytes) -> None:
        try:
            written = os.write(self._fd, lines)
            if written != len(lines):  # the disk is full: remove the torn line
                size = os.fstat(self._fd).st_size
                if os.pread(self._fd, written, size - written) == lines[:written]:
                    os.ftruncate(self._fd, size - written)
        except OSError as error:
            raise self._refused(error) from error
        if written != len(lines):
            raise self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _check_place(self) -> None:
        """Raise `NoStorage` where the open file is no longer the one at `path`."""
        try:
            here = os.fstat(self._fd)
            named = os.stat(self.path)  # noqa: PTH116 - before every line: no object is built
        except OSError as error:
            raise self._refused(error) from error
        if (here.st_dev, here.st_ino) != (named.st_dev, named.st_ino):
            raise NoStorage(
                f"{self.path}: another process replaced the file; no further request is sent"
            )

    def _refused(self, error: OSError) -> NoStorage:
        if error.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR):
            return NoStorage(
                f"{self.path}: {error.strerror}: the run directory was deleted or moved; "
                "no further request is sent"
            )
        out = "free some disk space and run" if error.errno in FULL else "make it writable and run"
        lost = "finished samples are kept"
        if self.failed is not None:
            lost = "calls that were not stored are sent again"
        return NoStorage(
            f"{self.path}: cannot write ({error.strerror}); {out} the same command again ({lost})"
        )


class Fence:
    """Identifies the lines of the valid writer, in the order of a file."""

    def __init__(self) -> None:
        self.token = ""
        """Token of the writer whose lines count now; empty before the first line that names one."""
        self.number = 0
        """Number of that token."""

    def admits(self, token: str | None, *, header: bool) -> bool:
        """Return whether a line with this token counts; a `header` is a writer's first line."""
        if token is None or token == self.token:
            return True
        number = _number(token)
        if number > self.number or (header and number == self.number):
            self.token, self.number = token, number
            return True
        return False

    def admits_raw(self, line: bytes) -> bool:
        """Return the same for a raw line of a file."""
        found = _TOKEN.search(line, max(0, len(line) - 64))
        token = found.group(1).decode() if found else None
        return self.admits(token, header=line.startswith(_HEADER))


def highest_number(path: Path) -> int:
    """Return the highest number of the tokens in a log; 0 where it has none."""
    fence = Fence()
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                fence.admits_raw(line)
    return fence.number


def _number(token: str) -> int:
    return int(token.partition(".")[0])


def dumped(record: Mapping[str, Any], sealed: bool = False) -> bytes:
    """Return a line of a log, without secrets."""
    if sealed:
        inner = {key: value for key, value in record.items() if key != "w"}
        packed = base64.b64encode(zlib.compress(dumped(inner), 1)).decode()
        return dumped({"sealed": packed} | ({"w": record["w"]} if "w" in record else {}))
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # made by a model's code: a lone surrogate, an integer beyond 64 bits
        line = json.dumps(record).encode() + b"\n"
    return SECRETS.json(line)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Parse a line of a log; `None` where it is torn or damaged."""
    value: Any
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(line)
        except ValueError:
            return None
    if isinstance(value, dict) and set(value) - {"w"} == {"sealed"}:
        try:
            inner = parsed(zlib.decompress(base64.b64decode(value["sealed"])))
        except (binascii.Error, zlib.error):
            return None
        return inner and {**inner, **({"w": value["w"]} if "w" in value else {})}
    return value if isinstance(value, dict) else None


def read_every(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, bool]]:
    """Yield (start, the line or `None` where it is torn or damaged, whether it counts) of every
    line of a log, its token under `w`; it does not count where its writer had lost the lease.
    Headers are left out.
    """
    if not path.exists():
        return
    at, fence = 0, Fence()
    with path.open("rb") as file:
        for raw in file:
            if raw.strip():
                line = parsed(raw)
                header = raw.startswith(_HEADER)
                counts = line is None or fence.admits(line.get("w"), header=header)
                if not header or line is None:
                    yield at, line, counts
            at += len(raw)


def read_raw(path: Path) -> Iterator[bytes]:
    """Yield the raw lines that count."""
    fence = Fence()
    with path.open("rb") as file:
        yield from filter(fence.admits_raw, file)


def read_places(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (start, the line or `None` where it is torn or damaged) of the lines that count,
    without their tokens.
    """
    for place, line, counts in read_every(path):
        if line is not None:
            line.pop("w", None)
        if counts:
            yield place, line


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines that count; torn or damaged ones are skipped (see `count_torn`)."""
    return (line for _, line in read_places(path) if line is not None)


def line_at(file: BinaryIO, place: int) -> dict[str, Any]:
    """Return the line that `read_places` found at `place`."""
    file.seek(place)
    line = parsed(file.readline())
    assert line is not None, "it was whole when its place was noted"
    line.pop("w", None)
    return line


def count_torn(path: Path) -> int:
    """Count the lines of a log that are torn or damaged."""
    return sum(line is None for _, line in read_places(path))


def count_stale(path: Path) -> int:
    """Count the lines of a log whose writer had lost the lease."""
    return sum(not counts for _, _, counts in read_every(path))


def stale_lines(folder: Path) -> int:
    """Count the lines of a cell that are ignored because their writers had lost its lease."""
    if len(list((folder / "writers").glob("*.json"))) < 2:
        return 0
    return sum(map(count_stale, folder.glob("*.jsonl")))
