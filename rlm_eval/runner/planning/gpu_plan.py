"""GPU plan of a sweep, made before the run: GPU count, memory, concurrent requests.

The counts come from the models' configurations, the memory from `models.servers.gpu_memory`.
`estimate` prints them, `submit` requests them from the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlm_eval.config.cell import Cell
from rlm_eval.models.servers import gpu_memory
from rlm_eval.models.servers.placement import Asked, Key, key_of, spawned_of
from rlm_eval.models.servers.vllm import VLLM


def servers_of(cell: Cell) -> dict[Key, Asked]:
    """Return the GPU servers that run at the same time while the cell runs."""
    return spawned_of(cell.models.values())


def gpus_of(cells: Sequence[Cell]) -> int:
    """Return the GPUs of a process that runs these cells in sequence: the sum over the servers of
    the cell with the largest need."""
    return max(
        (sum(asked.count for asked in servers_of(cell).values()) for cell in cells), default=0
    )


def cores_for(gpus: int, servers: int) -> int:
    """Return the cores that a job keeps busy: vLLM needs one per GPU, one for its API and one for
    its engine; the harness needs two."""
    return 2 + gpus + 2 * servers


def table(cells: Iterable[Cell]) -> list[str]:
    """Return a line with the needs of each vLLM server of the cells; empty without a server."""
    servers: dict[Key, tuple[str, VLLM, int | None]] = {}
    for model in (model for cell in cells for model in cell.models.values()):
        engine = getattr(model, "engine", None)
        if getattr(model, "server", None) == "spawn" and isinstance(engine, VLLM):
            key = key_of(engine, str(getattr(model, "model", "")), model.window)
            servers.setdefault(key, (model.name, engine, model.window))
    lines = [line for name, engine, w in servers.values() if not engine.cpu
             for line in _of(name, engine, w)]  # fmt: skip
    if lines:
        lines.insert(
            0,
            f"GPU memory by formula (weights, cache, and {gpu_memory.OVERHEAD_GIB:g} GiB assumed "
            f"for the rest; vLLM takes {gpu_memory.SHARE:.0%} of a GPU):",
        )
    return lines


def _of(name: str, engine: VLLM, window: int | None) -> list[str]:
    head = f"  {name}: {engine.gpus} GPU(s)"
    found = engine.shape()
    if found is None:
        return [
            f"{head}, memory unknown: no config.json of {engine.source} here (rlm-eval prefetch)"
        ]
    shape, layout = found
    window = window or shape.window or 0
    weights = gpu_memory.weights_gib(shape, layout)
    one = window * gpu_memory.cache_bytes(shape, layout) / gpu_memory.GIB
    lines = [
        f"{head}; each: weights {weights:.1f} GiB, cache {one:.1f} GiB for one request of "
        f"{window:,} tokens; at least {gpu_memory.needed_gib(shape, layout, window):.1f} GiB"
    ]
    for card in gpu_memory.CARDS:
        share = engine.gpu_memory or gpu_memory.SHARE
        tokens = gpu_memory.cache_tokens(shape, layout, card, share) * engine.data_parallel
        if tokens < window:
            least = "the weights do not fit" if not tokens else f"{tokens:,} cache tokens"
            lines.append(f"    {card:>4} GB: too little for the window ({least})")
            continue
        at_once = tokens / window if window else 0.0
        lines.append(
            f"    {card:>4} GB: {tokens:,} cache tokens, {at_once:.1f} whole windows at once"
        )
    return lines
