"""The revision of the code that runs."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Any


@functools.cache  # constant in a process: it is the state of the imported code
def git_state() -> dict[str, Any]:
    """Return revision and dirty flag of the running code; `None` outside a git checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # else a repository around the environment would be reported
        return {"git": None, "dirty": None}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - fixed arguments
                # It must not refresh the index: a run that is killed would leave its lock.
                ["git", "--no-optional-locks", "-C", str(root), *arguments],  # noqa: S607
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"git": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}
