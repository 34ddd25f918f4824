"""Folders of downloaded and generated files: one named folder outside the repository."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write that lacks disk space: with more space the same command resumes."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""Errors of a write that is not allowed: another folder is needed."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of `fsync` of a folder on network file systems that do not support it."""


def cache_dir() -> Path:
    """Return `$RLM_EVAL_CACHE`, else `~/.cache/rlm_eval`. Safe to delete: its files are remade."""
    given = os.environ.get("RLM_EVAL_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "rlm_eval"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a reproducible file, whole or not at all; creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)


def replace_file(path: Path, data: bytes | Path, *, durable: bool = False) -> None:
    """Replace a file, whole or not at all: readers and other writers never see half of it.

    `data` may be a file to copy, also `path` itself: processes that have the old file open then no
    longer share it. Concurrent writers each use a separate draft, and the last rename wins.
    `durable` puts the file and its name on the disk before this returns. Raises `OSError`.
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
        except FileNotFoundError:  # NFS: the rename was done, its reply lost, and it was resent
            if isinstance(data, Path) or path.read_bytes() != data:
                raise
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a write: says only why
            error.filename = os.fspath(path)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the name of a file that was made or renamed in `folder` on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(number)
