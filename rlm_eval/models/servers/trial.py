"""Test a model as a run would use it: devices, memory, start, one reply, speed, stop."""

from __future__ import annotations

import time
from typing import Any

from rlm_eval.core.errors import ModelError
from rlm_eval.core.paths import cache_dir
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.servers import devices, gpu_memory
from rlm_eval.models.servers.managed import prepare_run

_ASK = "Count from 1 to 200, one number a line, and write nothing else."
_TOKENS = 256


async def check(model: Any) -> list[str]:
    """Open the model as a run does, call it once, close it; return lines with the results.

    Raises as opening a model does: `EndpointUnusable` with the cause of a failed start.
    """
    prepare_run(cache_dir() / "doctor", [[model]])
    lines = devices_lines(model)
    began = time.monotonic()
    async with model.open() as client:
        info = await client.check()
        lines.append(f"ready and answered after {time.monotonic() - began:.1f} s")
        lines += [f"  {name}: {value}" for name, value in _facts(info) if value is not None]
        asked = time.monotonic()
        try:
            reply = await client.complete(
                [Message("user", _ASK)], Sampling(max_output_tokens=_TOKENS)
            )
        except ModelError as error:
            lines.append(f"one reply: failed: {error}")
            return lines
        seconds = time.monotonic() - asked
        tokens = reply.usage.output
        speed = f", {tokens / seconds:.1f} tokens a second alone" if tokens else ""
        lines.append(f"one reply: {tokens or '?'} tokens in {seconds:.1f} s{speed}")
        lines.append(f"  it begins: {(reply.text or reply.reasoning)[:60]!r}")
    lines.append("stopped")
    return lines


def _facts(info: Any) -> list[tuple[str, Any]]:
    tokens, window = info.cache_tokens, info.window
    at_once = f"{tokens / window:.1f}" if tokens and window else None
    return [
        ("engine", " ".join(filter(None, (info.engine, info.version))) or None),
        ("address", info.base_url),
        ("GPUs", info.gpus),
        ("window, tokens", window),
        ("cache, tokens", None if tokens is None else f"{tokens:,}"),
        ("requests of the whole window at once", at_once),
        ("revision", info.revision),
    ]


def devices_lines(model: Any) -> list[str]:
    """Return the visible devices, and the memory that the model's server needs by formula."""
    engine: Any = getattr(model, "engine", None)
    if getattr(model, "server", None) != "spawn":
        return [f"{model.name}: a running endpoint at {getattr(model, 'base_url', None)}"]
    seen = devices.visible()
    memory = devices.memory_gib(seen.ids)
    size = "" if memory is None else f" of {memory:.0f} GiB"
    listed = f"{', '.join(seen.ids)}{size} ({seen.source})" if seen.ids else "none visible"
    lines = [f"{model.name}: {engine.label}, {engine.gpus} GPU(s); GPUs here: {listed}"]
    measure = getattr(engine, "shape", None)
    found = measure() if measure is not None and engine.gpus else None
    if found is not None:
        shape, layout = found
        window = model.window or shape.window or 0
        needed = gpu_memory.needed_gib(shape, layout, window)
        lines.append(f"  needs {needed:.1f} GiB a GPU by formula, for one request of {window:,}")
    return lines
