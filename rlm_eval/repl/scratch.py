"""Removal of a scratch folder that model-written code filled. Runs in the fork server."""

from __future__ import annotations

import itertools
import os
import random

_FEW = 64


def is_small(folder: str) -> bool:
    """Return true if removing it is fast: some files, no folder in it."""
    with os.scandir(folder) as found:
        entries = list(itertools.islice(found, _FEW + 1))
    return len(entries) <= _FEW and not any(e.is_dir(follow_symlinks=False) for e in entries)


def wipe(folder: str) -> None:
    """Remove a folder with any content: no recursion, no long paths, no symlink followed.

    Nested folders are moved up one level at a time, so a nest of any depth is removed.
    """
    moved = 0
    try:
        while entries := list(os.scandir(folder)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for inner in list(os.scandir(entry.path)):
                    if inner.is_dir(follow_symlinks=False):
                        moved += 1
                        os.chmod(inner.path, 0o700)
                        os.rename(inner.path, f"{folder}/.moved{moved}.{random.getrandbits(64)}")
                    else:
                        os.unlink(inner.path)
                os.rmdir(entry.path)
        os.rmdir(folder)
    except FileNotFoundError:
        return
