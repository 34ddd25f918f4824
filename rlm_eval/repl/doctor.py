"""The isolation that this machine offers the REPL, tested layer by layer."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from dataclasses import replace

from rlm_eval.repl import ReplConfig, SandboxError, open_pool, sandbox
from rlm_eval.repl.pool import probe

_OFF = {"landlock": False, "seccomp": False}
LEVELS = {
    "bubblewrap": ("A", _OFF),
    "Landlock": ("B", {"seccomp": False}),
    "seccomp": ("B", {"landlock": False}),
    "tier A": ("A", {}),
    "tier B": ("B", {}),
    "tier C": ("C", {}),
}
"""Column -> (tier, layers switched off): single layers first, then the tiers made of them."""

DOCKER = "rlm_eval.repl.docker.DockerPool"


async def isolation(config: ReplConfig | None = None) -> str:
    """Describe the isolation found, what each layer blocks here, and how to get a stronger one."""
    config = config or ReplConfig()
    lines = [
        f"REPL isolation on {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}, "
        + ("root" if os.geteuid() == 0 else f"user {os.geteuid()}"),
        "",
    ]
    if sys.platform == "linux":
        lines += await _table(config)
    for wanted in ("strict", "best"):
        try:
            async with open_pool(replace(config, isolation=wanted)) as pool:
                report = pool.report
        except SandboxError as error:
            lines.append(f"repl.isolation={wanted}: refused. {error}")
            continue
        lines.append(f"repl.isolation={wanted} uses tier {report.tier}")
        lines += [f"  {layer}: {what}" for layer, what in report.layers.items()]
        lines += [f"  note: {note}" for note in report.notes]
        break
    lines += [
        "repl.isolation=none runs model-written code with the rights of this user; every result "
        "is stamped",
        "",
        _advice(),
        "",
        f"repl.backend={DOCKER} {await _docker(config)}",
    ]
    return "\n".join(lines)


async def _docker(config: ReplConfig) -> str:
    """Describe the Docker backend's isolation here, or why it is refused."""
    try:
        async with open_pool(replace(config, backend=DOCKER)) as pool:
            return f"works: {pool.report.layers['docker']}"
    except SandboxError as error:
        return f"is refused. {error}"


async def _table(config: ReplConfig) -> list[str]:
    columns = {}
    for name, (tier, off) in LEVELS.items():
        columns[name] = await probe(config, tier, off)
    width = max(map(len, sandbox.CANARIES)) + 2
    lines = ["attempt".ljust(width) + "".join(f"{name:>12}" for name in columns)]
    for attempt in sandbox.CANARIES:
        marks = [
            "-" if isinstance(found, str) else "held" if found[attempt] else "WORKS"
            for found in columns.values()
        ]
        lines.append(attempt.ljust(width) + "".join(f"{mark:>12}" for mark in marks))
    lines += [f"- {name}: {found}" for name, found in columns.items() if isinstance(found, str)]
    return [*lines, ""]


def _advice() -> str:
    trouble = sandbox.bubblewrap_trouble(sandbox.bubblewrap()) if sys.platform == "linux" else ""
    if trouble is None:
        return "The strongest tier is to be had here."
    if sys.platform != "linux":
        return "For isolation, use a Linux machine, virtual machine or container."
    return (
        f"For tier A: bubblewrap {trouble}. Where it is installed but refused, user namespaces are "
        "switched off (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, or "
        "AppArmor's restriction); tier B does not need them."
    )


def doctor() -> str:
    """Return the whole check as text. Starts and ends a few sandboxed processes."""
    return asyncio.run(isolation())
