"""Hostile surroundings for real processes: failing system calls, suspension, other namespaces."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from runs import ROOT

CLI = (
    "import sys; from rlm_eval.storage import lease\n"
    "lease.RENEW_SECONDS, lease.STALE_SECONDS = map(float, sys.argv[1:3])\n"
    "from rlm_eval.cli import main; sys.exit(main(sys.argv[3:]))"
)
HOLD = (
    "import asyncio, sys; from pathlib import Path; from rlm_eval.storage.lease import *\n"
    "async def main():\n"
    "    renew, stale, seconds = map(float, sys.argv[2:5])\n"
    "    async with Lease(Path(sys.argv[1]), renew, stale):\n"
    "        print('held', flush=True)\n"
    "        await asyncio.sleep(seconds)\n"
    "try:\n"
    "    asyncio.run(main())\n"
    "except RlmEvalError as error:\n"
    "    sys.exit(f'{type(error).__name__}: {error}')\n"
)
OTHER_PIDS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""A command in a PID namespace of its own, as in a container."""
FOREIGN_PROC = ("unshare", "--pid", "--fork", "--kill-child")
"""The same, with the `/proc` of the namespace outside."""
OTHER_BOOT_TIME = ("unshare", "--time", "--boottime", "100000", "--fork", "--kill-child")
"""A machine that seems to run for longer: start times of processes are others."""


def process(
    code: str, *arguments: object, within: Sequence[str] = (), env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Python code as a process of its own."""
    return subprocess.Popen(
        [*within, sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def needs(within: Sequence[str]) -> None:
    """Skip where this machine has no such namespace for us."""
    done = subprocess.run([*within, "true"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{' '.join(within)}: {done.stderr.strip()}")


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Faults:
    """System calls of a process that fail."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("cc") is None:
            pytest.skip("needs a C compiler")
        self._table = folder / "faults"
        library = folder / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.env = {"LD_PRELOAD": str(library), "FAULTS": str(self._table)}
        self.set()

    def set(self, *faults: tuple[str, int, str]) -> None:
        """From now on these (call, error number, part of the path) fail, and no others."""
        text = "".join(f"{call} {number} {part}\n" for call, number, part in faults)
        draft = self._table.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(self._table)


ESTALE, EIO, ENOSPC = errno.ESTALE, errno.EIO, errno.ENOSPC
EPERM, ENOTSUP, EEXIST = errno.EPERM, errno.ENOTSUP, errno.EEXIST
