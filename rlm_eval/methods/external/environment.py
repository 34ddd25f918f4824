"""Locate an engine's Python environment and check that it has the engine, before any call.

`scripts/engine_env.sh NAME` makes <cache>/engines/NAME-VERSION; the user's `method.python` takes
precedence.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

from rlm_eval.core.paths import cache_dir

PACKAGES = {
    "rlms": "rlms",
    "dspy": "dspy",
    "minrlm": "minrlm",
    "recursive_llm": "recursive-llm",
    "pyrlm": "pyrlm-runtime",
}
"""Shipped engine -> its distribution in the package index."""
_ASK = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
_PATIENCE_S = 60.0


def python_of(engine: str, version: str, given: str | None) -> str | None:
    """Path of the interpreter for `engine`; `None` where the one `given` does not exist.

    By default it is that of the engine's environment in the cache folder if there is one, otherwise
    the harness's own.
    """
    if given is not None:
        return shutil.which(given)
    folder = cache_dir() / "engines" / f"{engine}-{version}"
    # The script marks a complete environment.
    return str(folder / "bin" / "python") if (folder / "READY").is_file() else sys.executable


def lacks(engine: str, version: str, given: str | None) -> str | None:
    """Why a shipped engine cannot run here and what to do, in one line; `None` where it can.

    Starts the interpreter (0.1 s); makes no model call.
    """
    make = f"scripts/engine_env.sh {engine}"
    python = python_of(engine, version, given)
    if python is None:
        return f"method.python={given}: no such interpreter; {make} makes an environment"
    found = _release(python, PACKAGES[engine])
    if found is None:
        return f"{python} has no {PACKAGES[engine]} {version}; {make} makes an environment"
    if found != version:
        return (
            f"{python} has {PACKAGES[engine]} {found} and method.release={version}; set "
            f"method.release={found}, or {make} {version}"
        )
    return None


@functools.cache
def _release(python: str, package: str) -> str | None:
    """The release of `package` in an interpreter's environment; `None` = not installed."""
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the user configured
            [python, "-c", _ASK, package], capture_output=True, text=True, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
