"""Runs a server so that nothing it starts outlives the harness: `... FOLDER -- COMMAND`.

The harness holds the other end of this process's stdin. When that end closes, because the harness
stopped the server, crashed or was killed, everything started here gets TERM, then KILL. On Linux,
processes that left the group (daemons, workers in separate sessions) are adopted and ended too, and
the server dies with this process if this one is killed.

Not covered: a server that was started elsewhere; a machine without POSIX signals.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

GRACE_S = 5.0
"""Seconds between TERM and KILL: an engine frees its GPUs meanwhile."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_tree(grace_s: float = GRACE_S) -> None:
    """Send TERM, wait, send KILL to every descendant of this process, until none is left, not even
    as a zombie: in a container the first process may never collect the processes it inherits."""
    deadline = time.monotonic() + grace_s
    asked: set[psutil.Process] = set()
    while not _all_collected():
        children = psutil.Process().children(recursive=True)
        late = time.monotonic() > deadline
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if late:
                    child.kill()
                elif child not in asked:
                    child.terminate()
        asked |= set(children)
        psutil.wait_procs(children, timeout=0.1)


def _all_collected() -> bool:
    """Collect ended children; return true if no child is left.

    A process whose first thread is gone looks like a zombie, but cannot be collected before its
    other threads have ended.
    """
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def main() -> int:
    """Run the command after `--`; return its exit code, or 0 where it was stopped on request.

    The folder before it holds the server's log, and gets its exit code in a file `exit`; it is
    removed here where the harness cannot.
    """
    folder, _, *command = sys.argv[1:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: None)  # the closed stdin is the only stop signal
    # A cluster's warning goes to every process of a job, but is meant for the harness. Inherited.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # The hook after the fork is safe: this process has no other thread.
    server = subprocess.Popen(  # noqa: S603 - the command is the user's own configuration
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )
    # A fork of the harness may hold the pipe open after it died; a new parent also shows its death.
    parent = os.getppid()
    while server.poll() is None and os.getppid() == parent:
        if select.select([0], [], [], 0.1)[0] and not os.read(0, 1024):
            break
    code = server.poll()
    if code is not None:
        # A signal is counted as shells do. Written at once: other processes may take long to end.
        code = code if code >= 0 else 128 - code
        Path(folder, "exit").write_text(str(code))
    with contextlib.suppress(psutil.NoSuchProcess):
        end_tree()
    if os.getppid() != parent:
        shutil.rmtree(folder, ignore_errors=True)
    return code or 0


if __name__ == "__main__":
    raise SystemExit(main())
