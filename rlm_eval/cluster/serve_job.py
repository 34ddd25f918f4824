"""A job that runs the servers of a sweep for its other jobs: `rlm-eval submit --serve`.

Its file is in the same folder as the other jobs' (`<run>/jobs/<number>.json`). It has no cells; it
lists the names under which its servers register (`models.servers.registry`). The other jobs attach
with `server=shared`, and Slurm starts them after it. `serving` runs the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from rlm_eval.cluster import serving
from rlm_eval.cluster.job_states import job_states, jobs_of
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.models.servers.managed import LOOPBACK
from rlm_eval.models.servers.placement import key_of, needs_of, spawned_of
from rlm_eval.models.servers.registry import Registration, forget_failure, name_of, place
from rlm_eval.storage.cell_store import write_json

if TYPE_CHECKING:
    from rlm_eval.cluster.jobs import Cluster
    from rlm_eval.config.cell import Cell


def attached(config: DictConfig) -> DictConfig:
    """Return `config` with `server=shared` for every model that would start its own server."""
    found = config.copy()
    for _, node in found.items_ex(resolve=False):
        if isinstance(node, DictConfig) and node.get("engine") and node.get("server") == "spawn":
            node.server = "shared"
    return found


def for_cells(cluster: Cluster) -> Cluster:
    """Return the resources of a job that attaches: no GPU, since it starts no server."""
    return replace(cluster, gpus=None, gpus_of={})


def for_servers(cluster: Cluster) -> Cluster:
    """Return the server job's resources: `cluster` with the overrides in `cluster.serve`.

    Raises `ConfigError` for an unknown field.
    """
    try:
        return replace(cluster, serve={}, **{str(k): v for k, v in cluster.serve.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cluster.serve: {error}") from error


def registered_name(model: Any) -> str:
    """Return the name under which a model's server registers."""
    return name_of(key_of(model.engine, model.model, model.window))


def gpus_of(models: Sequence[Any], cluster: Cluster) -> int:
    """Return the GPUs of a job that runs the servers of these models, each started once.

    `cluster` is that of the job (`for_servers`). Raises `ConfigError` if they do not fit on the
    GPUs that it declares.
    """
    group = spawned_of(models)
    named = [model for model in models if model.name in cluster.gpus_of]
    if named:
        others = spawned_of(model for model in models if model.name not in cluster.gpus_of)
        own = sum(asked.count for asked in others.values())
        return own + sum(cluster.gpus_of[model.name] for model in named)
    total = sum(asked.count for asked in group.values())
    given = total if cluster.gpus is None else cluster.gpus
    if group and not cluster.asks_gpus_itself:
        needs_of(group, given, cluster.gpu_gib)
    return given


def holders(run: Path) -> list[dict[str, Any]]:
    """Return the waiting and running server jobs, each with the cluster's `state` of it."""
    jobs = [job for job in jobs_of(run) if job.get("serves")]
    states = job_states(jobs)
    return [
        {**job, "state": state} for job in jobs if (state := states.get(job["number"])) is not None
    ]


def without_server(run: Path, models: Sequence[Any]) -> list[Any]:
    """Return the `models` whose server is in no waiting or running job of the run."""
    held = {name for job in holders(run) for name in job["serves"]}
    return [model for model in models if registered_name(model) not in held]


def write(
    run: Path, cells: Sequence[Cell], models: Sequence[Any], cluster: Cluster, bind: str | None
) -> int:
    """Write the file of a job that runs the servers of `models`; return its number.

    `bind` is the address on which they listen (`node`: that of the node's name; `None`: 127.0.0.1).
    One process at a time: the caller must hold the lease of `run`.
    """
    folder = run / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.stem) for path in folder.glob("*.json")), default=-1) + 1
    names = [registered_name(model) for model in models]
    for name in names:
        forget_failure(place(run / "servers"), name)
    left, configs = set(names), []
    for cell in cells:  # the fewest configurations from which the models can be rebuilt
        own = {registered_name(m) for m in serving.served([cell])} & left
        if own:
            left -= own
            configs.append(cell.resolved)
    content = {
        "cells": [],
        "configs": configs,
        "serves": names,
        "models": [model.name for model in models],
        "bind": bind,
        "idle_min": cluster.idle_min,
        "gpus": gpus_of(models, cluster),
        "servers": len(models),
        "requeues": cluster.requeues,
    }
    write_json(folder / f"{number}.json", content)
    return number


def run_servers(run: Path, job: dict[str, Any]) -> str:
    """Run the servers of a job file until the run is done or idle; return why it ended.

    Raises `RlmEvalError` if its models differ from those at submission. Any error is forwarded to
    the jobs that wait for its servers.
    """
    try:
        return _hold(run, job)
    except Exception as error:
        for name in job["serves"]:
            Registration(place(run / "servers"), name).fail(str(error))
        raise


def _hold(run: Path, job: dict[str, Any]) -> str:
    from rlm_eval.config.cell import build_cell

    cells = [build_cell(OmegaConf.create(config)) for config in job["configs"]]
    wanted = job["serves"]
    models = [model for model in serving.models_of(cells) if registered_name(model) in wanted]
    if len(models) < len(wanted):
        raise RlmEvalError(
            f"{run}: the servers of this job differ from those that were submitted: the release "
            "differs, or an environment variable that their configuration reads (oc.env) has "
            "another value; submit again"
        )
    host = LOOPBACK
    if job["bind"]:
        host = serving.node_address("" if job["bind"] == "node" else job["bind"])
    return asyncio.run(serving.serve(run, models, host, job["idle_min"] * 60))
