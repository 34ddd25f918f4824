"""Assignment of a process's devices, and of shares of their memory, to its servers.

Servers that one cell uses at the same time are placed together: on separate devices where there are
enough, else on the same devices with shares of the memory that are computed from the models' sizes,
or configured (`engine.gpu_memory`). All devices of a process are reserved at once, when its first
server starts, so that two processes never wait for each other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.errors import ConfigError
from rlm_eval.models.servers import devices
from rlm_eval.models.servers.devices import Need, Visible
from rlm_eval.models.servers.gpu_memory import SHARE

SMALL = 0.5
"""A configured share up to this leaves the rest to others; above, the device is used whole."""
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

Key = tuple[str, str, int | None]
"""Engine, model and window: servers with equal keys are the same one."""
Windows = Mapping[Key, tuple[int, int]]
"""Of servers that start with less than their model's window: (window, the model's), tokens."""


@dataclass(frozen=True)
class Asked:
    """A server's requirements before it is placed."""

    who: str
    """Name for messages: `qwen3-8b`."""
    count: int
    """GPUs."""
    share: float | None = None
    """Configured share of each GPU's memory."""
    gib: float | None = None
    """GPU memory for weights and one request of the whole window, GiB; `None` = unknown."""
    strict: bool = True
    """True where it cannot run without a GPU."""


@dataclass(frozen=True)
class Place:
    """The devices and memory share of a server."""

    ids: tuple[str, ...]
    environment: dict[str, str]
    """Variables that expose only these devices to it."""
    share: float | None
    """Share of each device's memory that it takes; `None` = the engine's default."""
    sharing: int = 1
    """Servers of this process on the same devices."""


NOWHERE = Place((), {}, None)
"""For servers without a GPU, and where no device is visible: the engine decides."""


def key_of(engine: Any, model: str, window: int | None) -> Key:
    """Return the key of a server."""
    return repr(engine), model, window


def asked_of(engine: Any, name: str, window: int | None) -> Asked | None:
    """Return an engine's requirements; `None` if it has no GPU or configured devices."""
    if not engine.gpus or any(v in getattr(engine, "environment", {}) for v in _VARIABLES):
        return None
    if str(getattr(engine, "device", "")).startswith("cuda:"):
        return None
    measure = getattr(engine, "needed_gib", None)
    return Asked(
        name,
        engine.gpus,
        getattr(engine, "gpu_memory", None),
        None if measure is None else measure(window),
        strict=engine.label == "vllm",
    )


def spawned_of(models: Iterable[Any]) -> dict[Key, Asked]:
    """Return the servers that these models start, each once."""
    found: dict[Key, Asked] = {}
    for model in models:
        if getattr(model, "server", None) != "spawn":
            continue
        asked = asked_of(model.engine, model.name, model.window)
        if asked is not None:
            found.setdefault(key_of(model.engine, model.model, model.window), asked)
    return found


def needs_of(group: dict[Key, Asked], count: int, gpu_gib: float | None) -> dict[Key, Need]:
    """Return the need of each server of a group that runs at the same time on `count` devices.

    `gpu_gib` is the memory of the smallest. Raises `ConfigError` where they do not fit.
    """
    total = sum(asked.count for asked in group.values())
    small = {key: asked.share for key, asked in group.items() if (asked.share or 1.0) <= SMALL}
    if total <= count and len(small) < len(group):
        return {key: Need(asked.count) for key, asked in group.items()}
    names = ", ".join(f"{asked.who} {asked.count}" for asked in group.values())
    most = max(asked.count for asked in group.values())
    if most > count:
        raise ConfigError(
            f"too few GPUs: {names}; {count} can be seen; ask for {total} (cluster.gpus={total}), "
            "or lower engine.tensor_parallel"
        )
    shares = _stated(group) or _computed(group, gpu_gib, names, total, count)
    if (taken := sum(shares.values())) > 1:
        raise ConfigError(
            f"the shares of one GPU's memory add up to {taken:.2f} ({names}); lower "
            f"engine.gpu_memory so that they stay below 1, or ask for {total} GPUs"
        )
    return {key: Need(asked.count, shares[key]) for key, asked in group.items()}


def _stated(group: dict[Key, Asked]) -> dict[Key, float] | None:
    """Return configured shares; engines that take memory on demand divide the rest. `None` where an
    engine with a fixed share does not configure it."""
    shares = {key: asked.share for key, asked in group.items() if asked.share is not None}
    loose = [key for key, asked in group.items() if key not in shares and not asked.strict]
    if len(shares) + len(loose) < len(group):
        return None
    left = max(0.01, 1.0 - sum(shares.values()))
    return shares | {key: left / len(loose) for key in loose}


def _computed(
    group: dict[Key, Asked], gpu_gib: float | None, names: str, total: int, count: int
) -> dict[Key, float]:
    """Return shares by size: weights and one request each, the rest divided evenly."""
    sizes = {key: asked.gib for key, asked in group.items() if asked.gib is not None}
    if gpu_gib is None or len(sizes) < len(group):
        unknown = [asked.who for asked in group.values() if asked.gib is None]
        what = f"the size of {', '.join(unknown)}" if unknown else "the memory of the GPU"
        raise ConfigError(
            f"{names} GPU(s), {count} can be seen: they must share, and {what} is not known; ask "
            f"for {total} GPUs (cluster.gpus={total}), or state the shares: "
            "root.engine.gpu_memory=0.45 sub.engine.gpu_memory=0.45"
        )
    room = gpu_gib * SHARE
    if (needed := sum(sizes.values())) > room:
        told = ", ".join(f"{group[key].who} {gib:.1f}" for key, gib in sizes.items())
        raise ConfigError(
            f"too little GPU memory: {told} GiB for weights and one request of the window; a GPU "
            f"of {gpu_gib:.0f} GiB has {room:.1f} for them; ask for {total} GPUs "
            f"(cluster.gpus={total}), or lower the windows (root.window=N, sub.window=N)"
        )
    spare = (room - needed) / len(group)
    return {key: round((gib + spare) / gpu_gib - 0.0005, 3) for key, gib in sizes.items()}


class Placement:
    """The devices of one process: reserved once for all its servers, then assigned."""

    def __init__(self, groups: Sequence[Sequence[Any]] = ()) -> None:
        """`groups` are the models that are open at the same time: those of one cell each."""
        self._groups = [found for models in groups if (found := spawned_of(models))]
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._ids: tuple[str, ...] = ()
        self._needs: dict[Key, Need] = {}
        self._held: dict[Key, tuple[tuple[str, ...], Need]] = {}

    @asynccontextmanager
    async def hold(self, engine: Any, name: str, key: Key) -> AsyncIterator[Place]:
        """Hold the place of a server while it runs. Raises `ConfigError` where there is none."""
        asked = asked_of(engine, name, key[2])
        if asked is None:
            yield NOWHERE
            return
        async with self._lock:
            place = await self._placed(asked, key)
        try:
            yield place
        finally:
            async with self._lock:
                self._held.pop(key, None)
                if not self._held:
                    self._needs, self._ids = {}, ()
                    await self._stack.aclose()

    async def _placed(self, asked: Asked, key: Key) -> Place:
        seen = await asyncio.to_thread(devices.visible)
        if not seen.ids and (not asked.strict or not seen.source.endswith("_DEVICES")):
            return NOWHERE  # no list, no driver that we support: the engine decides
        if not self._ids:
            await self._reserve(asked, key, seen)
        need = self._needs.get(key) or Need(asked.count, asked.share or 1.0)
        sums: dict[str, float] = {}
        for ids, of in self._held.values():
            for one in ids:
                sums[one] = sums.get(one, 0.0) + of.share
        chosen = devices.choose(self._ids, need, sums)
        if chosen is None:
            raise ConfigError(devices.too_little(asked.who, need, sums, len(self._ids)))
        if need.count > 1 and any(one.startswith("MIG-") for one in chosen):
            raise ConfigError(
                f"{asked.who}: needs {need.count} GPUs, and a process sees one MIG instance; set "
                "engine.tensor_parallel=1"
            )
        self._held[key] = (chosen, need)
        if need.share >= 1:
            return Place(chosen, seen.variables(chosen), asked.share)
        sharing = sum(one.share < 1 for one in self._needs.values())
        return Place(chosen, seen.variables(chosen), need.share, max(1, sharing))

    async def _reserve(self, asked: Asked, key: Key, seen: Visible) -> None:
        """Reserve the devices of the group with the largest need."""
        groups = self._groups if any(key in group for group in self._groups) else [{key: asked}]
        gib = await asyncio.to_thread(devices.memory_gib, seen.ids)
        most = Need(1, 0.001)
        for group in groups:
            needs = needs_of(group, len(seen.ids), gib)
            if any(need.share >= 1 for need in needs.values()):
                whole = Need(sum(need.count for need in needs.values()))
            else:
                whole = Need(
                    max(need.count for need in needs.values()),
                    min(1.0, sum(need.share for need in needs.values())),
                )
            most = max(most, whole, key=lambda need: (need.count, need.share))
            for of, need in needs.items():  # a server of two groups takes the smaller share
                known = self._needs.get(of)
                self._needs[of] = need if known is None or need.share < known.share else known
        who = ", ".join(dict.fromkeys(a.who for group in groups for a in group.values()))
        self._ids = await self._stack.enter_async_context(devices.reserved(most, who))


PLACEMENT: ContextVar[Placement | None] = ContextVar("rlm_eval_placement", default=None)
"""The placement of this run; set by the runner. Without one, each server is placed separately."""
