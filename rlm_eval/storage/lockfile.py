"""A file that only one process can make, also on network file systems, and its content."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.storage.lease_holder import Holder


@dataclass(frozen=True)
class Seen:
    """A lease file as it was read."""

    content: bytes
    changed: float
    """Its time of change, seconds since 1970 by the clock of the file system."""

    @property
    def holder(self) -> Holder:
        """Parse the holder that wrote it."""
        return Holder.read(self.content, self.changed)


def read(path: Path) -> Seen | None:
    """Read a lock file; `None` where there is none."""
    try:
        with path.open("rb") as file:  # opened, so that a network file system asks its server
            return Seen(file.read(), os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None


def clock_of(folder: Path) -> float:
    """Return the time by the clock of the folder's file system: two machines' clocks may differ."""
    probe = folder / f".clock.{secrets.token_hex(8)}"
    try:
        with probe.open("xb") as file:
            file.write(b".")
        return probe.stat().st_mtime
    except OSError:  # a reader may be forbidden to write
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def create_once(path: Path, content: bytes) -> bool:
    """Make a file with this unique content; return `False` where it is another process's."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    try:
        draft.write_bytes(content)
        try:
            os.link(draft, path)  # by one process only, also on network file systems
        except FileExistsError:
            pass
        except OSError:  # no hard links here; the next attempt raises any other error itself
            with suppress(FileExistsError):
                _write_new(path, content)
                return True
        else:
            return True
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    # NFS: the file may exist, its reply lost and the request sent again.
    seen = read(path)
    return seen is not None and seen.content == content


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink()  # a full disk: an empty one would look like another's
            raise
