"""Per-process server usage: device time, prefix-cache counters and preflight requests.

Every process that opens an endpoint writes one file in `<run>/endpoints/`, rewritten every few
seconds, so that a killed process loses little; readers add the files up. A cell's entry records how
a server was used while the cell ran, which gives its samples their shares
(`docs/run_directory.md`). Elsewhere: the cost of a sample's own calls (`records`), and the totals
of the journals (`spend`).
"""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.types import Usage
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.damage import read_mapping
from rlm_eval.storage.published import ACCOUNTS, RESTORE, is_published

if TYPE_CHECKING:
    from rlm_eval.models import Client, EndpointInfo, Model, ServerUsage

FOLDER = "endpoints"
_WAY_OUT = "restore it, or move it away: its device time and preflight requests are then unknown"
PERIOD_S = 15.0
"""Seconds between two writes of a process's file."""


class ServerUsageLog:
    """This process's file. Writes nothing where there is nothing to report."""

    def __init__(self, run: Path) -> None:
        """`run` is the run directory."""
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}.json"
        self._path = run / FOLDER / name
        self._clients: dict[str, Client] = {}
        self._checks: list[dict[str, Any]] = []
        self._servers: dict[str, dict[str, Any]] = {}
        self._cache: dict[str, dict[str, float]] = {}  # last counters seen, by server
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1)  # a cancelled write ends before the next

    async def opened(self, key: str, model: Model, client: Client, info: EndpointInfo) -> None:
        """Record a model opened under `key`, and its preflight request, which is in no sample."""
        if info.check_usage != Usage():
            usage = list(astuple(info.check_usage))
            self._checks.append({"model": model.name, "price": model.price, "usage": usage})
        self._clients[key] = client
        if (account := await client.account()) is not None:
            facts = {"engine": info.engine, "gpus": info.gpus, "cores": info.cores}
            server = self._servers.setdefault(account.server, {**facts, "models": [], "cells": {}})
            server["models"] = sorted({*server["models"], model.name})
        await self.write()

    async def closing(self, key: str) -> None:
        """Record that the model under `key` is about to be closed."""
        with suppress(OSError):  # the cells have reported a full disk
            await self.write()
        self._clients.pop(key, None)

    @asynccontextmanager
    async def cell(self, name: str, clients: Mapping[str, Client]) -> AsyncIterator[None]:
        """Count its servers' work for a cell while it runs; `clients` by slot."""
        before: dict[str, tuple[ServerUsage, list[str]]] = {}
        for slot, client in clients.items():
            account = await client.account()
            if account is not None and account.held_s is not None:
                before.setdefault(account.server, (account, []))[1].append(slot)
        task = asyncio.create_task(self._rewrite(name, before))
        try:
            yield
        finally:
            task.cancel()
            # A write that failed before is retried below: it costs the cell nothing.
            await asyncio.gather(task, return_exceptions=True)
            await self.write(name, before)

    async def _rewrite(
        self, name: str, before: Mapping[str, tuple[ServerUsage, list[str]]]
    ) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            await self.write(name, before)

    async def write(
        self, cell: str = "", before: Mapping[str, tuple[ServerUsage, list[str]]] | None = None
    ) -> None:
        """Write the present figures to the file; those of a running `cell` too."""
        async with self._lock:
            await self._write(cell, before or {})

    async def _write(self, cell: str, before: Mapping[str, tuple[ServerUsage, list[str]]]) -> None:
        for client in list(self._clients.values()):
            account = await client.account()
            if account is None or account.server not in self._servers:
                continue
            server = self._servers[account.server]
            server |= {
                "held_s": account.held_s,
                "prefix_cache": self._counted(server.get("prefix_cache"), account),
            }
            if account.server in before:
                began, slots = before[account.server]
                server["cells"][cell] = {
                    "slots": slots,
                    "busy_s": account.busy_s - began.busy_s,
                    "model_s": account.model_s - began.model_s,
                }
        if self._checks or self._servers:
            self._path.parent.mkdir(exist_ok=True)  # the run's folder exists, or was deleted
            content = {"checks": list(self._checks), "servers": copy.deepcopy(self._servers)}
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, write_json, self._path, content)

    def _counted(
        self, known: Mapping[str, float] | None, now: ServerUsage
    ) -> dict[str, float] | None:
        """Return the counters since the first read; a restarted server's begin again at 0."""
        last = self._cache.get(now.server)
        if not now.prefix_cache:
            return None if known is None else dict(known)
        self._cache[now.server] = now.prefix_cache
        if last is None:
            return dict.fromkeys(now.prefix_cache, 0.0)
        restarted = any(now.prefix_cache[name] < last.get(name, 0.0) for name in now.prefix_cache)
        return {
            name: (known or {}).get(name, 0.0) + value - (0.0 if restarted else last.get(name, 0.0))
            for name, value in now.prefix_cache.items()
        }


@dataclass(frozen=True)
class DeviceRate:
    """Cost of one second of a model's service time on servers that we started."""

    gpu_s: float | None
    """GPU-seconds; `None` where the server holds no GPU."""
    core_s: float | None
    """Core-seconds; `None` where it computes on GPUs."""
    gpu_usd: float | None
    """US dollars of the GPU-seconds; `None` where no price per GPU-hour is given."""


def read(run: Path) -> dict[str, dict[str, Any]]:
    """Read the files of the run's processes, by file name, in the order in which they began.

    A published folder has them in one file.
    """
    if is_published(run) and (run / ACCOUNTS).exists():
        return read_mapping(run / ACCOUNTS, RESTORE)
    paths = sorted((run / FOLDER).glob("*.json"))
    return {path.name: read_mapping(path, _WAY_OUT) for path in paths}


def checks(run: Path) -> list[tuple[str, str | None, Usage]]:
    """Return (model, price key, tokens) of every preflight request."""
    return [
        (check["model"], check["price"], Usage(*check["usage"]))
        for process in read(run).values()
        for check in process["checks"]
    ]


def servers(run: Path) -> list[dict[str, Any]]:
    """Return every server used by the run: ours, and others that report their cache."""
    return [server for process in read(run).values() for server in process["servers"].values()]


def shares(
    known: Iterable[Mapping[str, Any]], cell: str, gpu_hour_usd: Mapping[str, float | None]
) -> dict[str, DeviceRate]:
    """Return by slot the device rates of the cell's calls on our servers, its shards included.

    `gpu_hour_usd` are prices by slot. A call's share of a server is its own seconds x devices /
    mean calls in flight, so that the shares of a cell add up to its busy device-seconds; several
    processes are added up.
    """
    parts: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for server in known:
        for name, part in server["cells"].items():
            if name.partition("/")[0] == cell:
                for slot in part["slots"]:
                    parts.setdefault(slot, []).append((server, part))
    found = {}
    for slot, pairs in parts.items():
        seconds = sum(part["model_s"] for _, part in pairs)
        gpus = sum(part["busy_s"] * (server["gpus"] or 0) for server, part in pairs)
        cores = sum(part["busy_s"] * (server["cores"] or 0) for server, part in pairs)
        price = gpu_hour_usd.get(slot)
        if seconds:
            found[slot] = DeviceRate(
                gpu_s=gpus / seconds if gpus else None,
                core_s=cores / seconds if cores else None,
                gpu_usd=gpus / seconds * price / 3600 if gpus and price is not None else None,
            )
    return found


def device_seconds(known: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return `GPU` and `core` -> (seconds from ready to stop, seconds of these without a sample's
    call), of our servers."""
    found: dict[str, tuple[float, float]] = {}
    for server in known:
        if server["held_s"] is None:
            continue
        kind = "GPU" if server["gpus"] else "core"
        devices = server["gpus"] or server["cores"] or 0
        busy = sum(part["busy_s"] for part in server["cells"].values())
        held, idle = found.get(kind, (0.0, 0.0))
        unused = max(0.0, server["held_s"] - busy)
        found[kind] = (held + devices * server["held_s"], idle + devices * unused)
    return found
