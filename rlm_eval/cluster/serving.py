"""One process that runs the servers of a run for its jobs: `rlm-eval serve`.

It starts the servers of a sweep's models, registers them in the run directory
(`models.servers.registry`), restarts a server that died, and ends when every planned cell is done
or no cell has run for a while. Jobs attach with `root.server=shared`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlm_eval.cluster.job_states import jobs_of
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ConfigError, EndpointUnusable, RlmEvalError
from rlm_eval.core.messages import say
from rlm_eval.models.servers import registry
from rlm_eval.models.servers.managed import CELL, LOGS, LOOPBACK, Server, spawned
from rlm_eval.models.servers.placement import PLACEMENT, Placement, key_of
from rlm_eval.models.servers.registry import Registration
from rlm_eval.storage.done import MARKER, covers
from rlm_eval.storage.lease import holder_of
from rlm_eval.storage.plan import planned

_DONE = "every planned cell is done"
WARNED = "warned by the cluster"
"""Reason returned by `serve` when the cluster is about to end its job (USR2)."""


def node_address(given: str) -> str:
    """Return the address to listen on: `given`, or this node's own. Raises `ConfigError`."""
    if given:
        return given
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise ConfigError(f"--bind: the node's address is not known ({error}); give it") from error
    if found.startswith("127."):
        raise ConfigError("--bind: the node's name is its loopback address; give --bind ADDRESS")
    return found


def models_of(cells: Sequence[Cell]) -> list[Any]:
    """Return the cells' models that need a server to be started, each server once.

    Raises `ConfigError` if there is none.
    """
    if not (found := served(cells)):
        raise ConfigError("serve: no model here has a server of its own (root.engine)")
    return found


def served(cells: Sequence[Cell]) -> list[Any]:
    """Return the result of `models_of`, or an empty list if there is none."""
    found: dict[Any, Any] = {}
    models: list[Any] = [model for cell in cells for model in cell.models.values()]
    for model in models:
        if getattr(model, "server", None) in ("spawn", "shared") and model.engine is not None:
            one = replace(model, server="spawn")
            found.setdefault(key_of(one.engine, one.model, one.window), one)
    return list(found.values())


def is_done(run: Path) -> bool:
    """Return whether every planned cell of the run is done; `False` without a plan.

    A cell is done with the samples and repeats that the last job with this cell requested: one that
    was finished with fewer keeps its marker until its job begins.
    """
    asked = {
        name: (int(config["n"]), int(config["epochs"]))
        for job in jobs_of(run)
        for name, config in zip(job["cells"], job["configs"], strict=False)  # servers: no cell
    }
    names = planned(run)
    return bool(names) and all(
        covers(folder, *asked[name]) if name in asked else (folder / MARKER).exists()
        for name in names
        for folder in [_folder(run, name)]
    )


def runs_now(run: Path) -> bool:
    """Return whether a process runs one of the run's cells."""
    return any(
        holder_of(folder) for name in planned(run) if (folder := _folder(run, name)).exists()
    )


def _folder(run: Path, name: str) -> Path:
    return run / ("shards" if "/" in name else "cells") / name


async def serve(
    run: Path, models: Sequence[Any], host: str = LOOPBACK, idle_s: float = 1800.0
) -> str:
    """Run the servers of `models` until the run is done or idle; return why it ended.

    Raises `EndpointUnusable` if a server does not start, or died twice within an hour.
    """
    folder = registry.place(run / "servers")
    key = registry.run_key(folder)
    LOGS.set(run / "servers")
    PLACEMENT.set(Placement([models]))
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    _listen(ended)
    names = [registry.name_of(key_of(one.engine, one.model, one.window)) for one in models]
    for name in names:
        registry.forget_failure(folder, name)
    registrations = [Registration(folder, name) for name in names]
    held: list[tuple[Server, Registration]] = []
    ready = asyncio.Event()
    starting = asyncio.create_task(_tell_of_start(registrations, held, ready))

    async def stop_telling() -> None:
        ready.set()
        await starting

    try:
        async with AsyncExitStack() as stack:
            for registration in registrations:
                stack.callback(registration.end)
            stack.push_async_callback(stop_telling)  # before deregistration, which it would undo
            for model, registration in zip(models, registrations, strict=True):
                server = await stack.enter_async_context(
                    spawned(model.engine, model.model, model.window, model.name, key=key, host=host)
                )
                stack.callback(registration.end)  # deregister first: no client finds a dead server
                held.append((server, registration))
                say(f"serve: {model.name} at {server.base_url}")
            await stop_telling()
            why = await _until_done(run, held, idle_s, ended)
    except RlmEvalError as error:
        for registration in registrations:
            registration.fail(str(error))
        raise
    if why == _DONE:  # a run directory may be copied and published
        (folder / "key").unlink(missing_ok=True)
    return why


async def _tell_of_start(
    registrations: Sequence[Registration],
    held: Sequence[tuple[Server, Registration]],
    ready: asyncio.Event,
) -> None:
    """Until all servers are `ready`, renew the registration files: without an address for servers
    that are starting, with it for those that run."""
    while not ready.is_set():
        for index, registration in enumerate(registrations):
            url = held[index][0].base_url if index < len(held) else ""
            with suppress(OSError):
                await asyncio.to_thread(registration.renew, url)
        with suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), registry.RENEW_S)


def _listen(ended: asyncio.Future[str]) -> None:
    """Install signal handlers that set the reason in `ended`."""

    def stop(why: str) -> None:
        if not ended.done():
            ended.set_result(why)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, "stopped by a signal")
    loop.add_signal_handler(signal.SIGUSR2, stop, WARNED)


async def _until_done(
    run: Path,
    held: Sequence[tuple[Server, Registration]],
    idle_s: float,
    ended: asyncio.Future[str],
) -> str:
    used = time.monotonic()
    while True:
        for server, registration in held:
            CELL.set(f"hour {int(time.monotonic() // 3600)}")  # one restart an hour
            await server.ensure()
            try:
                await asyncio.to_thread(registration.renew, server.base_url)
            except OSError as error:
                raise EndpointUnusable(f"{run}: cannot be written: {error}") from error
        await asyncio.wait([ended], timeout=registry.RENEW_S)
        if ended.done():
            return ended.result()
        if await asyncio.to_thread(is_done, run):
            return _DONE
        if await asyncio.to_thread(runs_now, run):
            used = time.monotonic()
        elif time.monotonic() - used > idle_s:
            return f"no cell has run for {idle_s / 60:.0f} minutes"
