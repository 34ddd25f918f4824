"""Text form of the pool's isolation report: for the manifest and `doctor`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rlm_eval.repl.interface import IsolationReport


def describe(
    tier: str, found: dict[str, Any], canaries: dict[str, bool], troubles: dict[str, str]
) -> IsolationReport:
    """Return the report of a tier that started: its fork server's facts, its canaries' results."""
    abi = found["landlock_abi"]
    threads = found.get("threads_counted_by")
    layers = {
        "bubblewrap": "own process, network, IPC and mount namespaces; an almost empty file tree"
        if tier == "A"
        else troubles.get("A", "not used"),
        "landlock": f"ABI {abi}: every file but the standard library and the own scratch folder"
        + (", TCP" if abi >= 4 else "")
        + (", signals to others" if abi >= 6 else "")
        if tier in ("A", "B")
        else troubles.get("B", "not used"),
        "seccomp": "not used"
        if tier == "none"
        else "new processes, programs, sockets, tracing, other processes' memory, namespaces, "
        "file metadata" + (", every path" if tier == "C" else ""),
        "limits": "address space, file size, open files; threads counted by "
        + (threads or "the user as a whole, loosely"),
    }
    notes = [f"tier {name} was not used: {why}" for name, why in troubles.items()]
    if tier == "C":
        notes.append("model-written code has no files and can import only what is preloaded")
    if tier == "none":
        notes.append("no isolation: model-written code can do what the harness's user can")
    packages = {}
    for name in found["packages"]:
        try:
            packages[name.removesuffix(".py")] = version(name.removesuffix(".py"))
        except PackageNotFoundError:
            continue  # a module without a distribution
    return IsolationReport(
        tier=tier,
        layers=layers,
        canaries=canaries,
        kernel=f"{platform.release()} {platform.machine()}",
        python=found["python"],
        packages=packages,
        notes=tuple(notes),
    )
