"""Where downloaded and generated files are kept: one named folder outside the repository."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with where there is no room: with more room the same command goes on."""
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""What a write fails with where it is not allowed: another place is needed."""


def cache_dir() -> Path:
    """`$RLM_EVAL_CACHE`, else `~/.cache/rlm_eval`. Safe to delete: everything in it is remade."""
    given = os.environ.get("RLM_EVAL_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "rlm_eval"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: readers and a second writer never see half of it.

    For what can be made again; what must survive the machine is `store.write_whole`'s.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
