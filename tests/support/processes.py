"""Finds processes of a test by their command line."""

from collections.abc import Iterable

import psutil


def command(process: psutil.Process) -> list[str]:
    """Its command line; empty for one that has ended, whether or not its parent has collected it.

    psutil raises for both. A list of children may hold one: the server of an earlier test, or a
    process that has ended since the list was made.
    """
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a zombie's error is of this class too
        return []


def running(processes: Iterable[psutil.Process], words: str) -> psutil.Process:
    """The first whose command line has these words.

    Raises:
        LookupError: no process has; it names those that were looked at.
    """
    looked = [(process, " ".join(command(process))) for process in processes]
    for process, line in looked:
        if words in line:
            return process
    raise LookupError(f"no process with {words!r} among {[line[:80] for _, line in looked]}")
