"""Where downloaded and generated files are kept: one named folder outside the repository."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with where there is no room: with more room the same command goes on."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""What a write fails with where it is not allowed: another place is needed."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What `fsync` of a folder fails with on network file systems that know no such thing."""


def cache_dir() -> Path:
    """`$RLM_EVAL_CACHE`, else `~/.cache/rlm_eval`. Safe to delete: everything in it is remade."""
    given = os.environ.get("RLM_EVAL_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "rlm_eval"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that can be made again, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)


def replace_file(path: Path, data: bytes | Path, *, durable: bool = False) -> None:
    """Write a whole file or nothing: readers and other writers never see half of it.

    `data` may be a file to copy, `path` itself too: what others have open is then no longer it.
    Several writers may meet: each has a draft of its own, and the last rename stands. `durable`
    puts the file and its name on the disk before this returns. Raises `OSError`.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    try:
        with draft.open("xb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                with data.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        try:
            draft.replace(path)
        except FileNotFoundError:  # NFS: the rename was done, and its lost answer asked for again
            if isinstance(data, Path) or path.read_bytes() != data:
                raise
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A file that was made or renamed in `folder` keeps its name if the machine disappears."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(number)
