"""Cluster jobs of a sweep: the cells of each job, its resources, its requeueing.

A job is a file, `<run>/jobs/<number>.json`: cells with their configuration at submission.
`run_job` runs it, started by submitit (Slurm, or this machine) or by a plain `sbatch` script that
calls `rlm-eval job`. Jobs are idempotent: a preempted, killed or requeued job resumes from the
journals. Submission is in `submission`, the queue's states are in `job_states`.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.cluster import slurm_options
from rlm_eval.cluster.job_states import WAY_OUT
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.models.servers.placement import spawned_of
from rlm_eval.runner.planning.gpu_plan import cores_for, servers_of
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.damage import read_mapping

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell

EXECUTORS = ("slurm", "local")
WARNING = signal.SIGUSR2
"""Signal that the cluster sends before it ends a job; submitit's default."""
LEAST_S = 120
"""Minimum seconds of a job before its warning: Slurm may send it 60 s early."""


@dataclass(frozen=True)
class Cluster:
    """Cluster site, and the resources of each job. One YAML file per site in `configs/cluster/`."""

    executor: str = "slurm"
    """`slurm`, or `local`: processes on this machine, all at once."""
    pack: int = 1
    """Cells per job; 0 = all cells with the same models, so that a server is started once."""
    shards: int = 1
    """Jobs per cell: each runs its part of the samples."""
    partition: str | None = None
    """Slurm partition; `None` = the site's default."""
    account: str | None = None
    """Slurm account that is charged; `None` = the user's default."""
    qos: str | None = None
    """Slurm quality of service; `None` = the site's default."""
    time_min: int = 240
    """Time limit of a job in minutes; an unfinished job is requeued."""
    cpus: int = 4
    """Minimum CPUs per job."""
    cpus_per_gpu: int = 4
    """Minimum CPUs per GPU, if their sum is more than `cpus`; 0 = always `cpus`."""
    mem_gb: float = 16
    """Minimum memory per job, GiB."""
    mem_per_gpu_gb: float = 32
    """Minimum memory per GPU, GiB, if the sum is more than `mem_gb`; 0 = always `mem_gb`."""
    gpus: int | None = None
    """GPUs per job; `None` = the sum over the servers that it starts."""
    gpus_of: dict[str, int] = field(default_factory=dict)
    """Model name -> GPUs, if they differ from the GPUs of its server."""
    gpu_type: str | None = None
    """The site's name for the GPU type: `a100` requests `--gres=gpu:a100:N`."""
    gpu_gib: float | None = None
    """Memory of one GPU, GiB: used to check two models that share one."""
    scratch: str | None = None
    """Folder on the node's local disk for temporary files, e.g. `$TMPDIR/rlm_eval` or
    `/local/$SLURM_JOB_ID`; `None` = the site's TMPDIR."""
    at_once: int = 100
    """Maximum jobs of an array that run at the same time."""
    array_limit: int = 1000
    """Maximum jobs of one array (Slurm's MaxArraySize)."""
    warning_s: int = 120
    """Seconds before its time limit at which a job is warned; samples in flight get all but 30 s
    of them, at least half."""
    requeues: int = 50
    """Maximum requeues of one job."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before the job: modules, activation of an environment."""
    python: str | None = None
    """Python interpreter of the job; `None` = the submitting one."""
    serve: dict[str, Any] = field(default_factory=dict)
    """Overrides of these fields for the job of `submit --serve`, e.g. `{partition: gpu,
    time_min: 1440}`; the other jobs then start no server and request no GPU."""
    idle_min: float = 30.0
    """Minutes without a running cell after which the job of `submit --serve` ends."""
    slurm: dict[str, Any] = field(default_factory=dict)
    """Further options of `sbatch` (constraint, exclude, reservation, ...), and `srun_args` and
    `teardown`, lists of texts. Options that have a field here are refused."""

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor={self.executor}: one of {', '.join(EXECUTORS)}")
        for name in ("shards", "time_min", "cpus", "at_once", "array_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: 1 or more")
        if self.warning_s < 1:
            raise ValueError(f"warning_s={self.warning_s}: 1 or more")
        counts = ("pack", "requeues", "cpus_per_gpu", "mem_gb", "mem_per_gpu_gb", "idle_min")
        given = {name: getattr(self, name) for name in counts} | {"gpus": self.gpus or 0}
        given |= {f"gpus_of.{name}": count for name, count in self.gpus_of.items()}
        if wrong := [f"{name}={value}" for name, value in given.items() if value < 0]:
            raise ValueError(f"{', '.join(wrong)}: 0 or more")
        if self.gpu_type and re.search(r"[\s:,=]", self.gpu_type):
            raise ValueError(f"gpu_type={self.gpu_type}: only the type's name; its number is gpus")
        if 60 * self.time_min < (least := self.warning_s + LEAST_S):
            raise ValueError(
                f"time_min={self.time_min}: a job is warned warning_s={self.warning_s} s before "
                f"its time limit and needs {LEAST_S} s before that; raise time_min to "
                f"{math.ceil(least / 60)}, or lower warning_s"
            )
        for key in slurm_options.OF_SCRIPT:
            slurm_options.lines_of(self.slurm, key)
        slurm_options.sbatch_options(self.slurm)

    @property
    def asks_gpus_itself(self) -> bool:
        """Whether `slurm` requests GPUs with Slurm's own parameters."""
        return slurm_options.requests_gpus(slurm_options.sbatch_options(self.slurm))

    @property
    def grace(self) -> float:
        """Seconds for the samples in flight after the warning."""
        return max(self.warning_s - 30, self.warning_s / 2)

    def gpus_for(self, cells: Sequence[Cell]) -> int:
        """Return the GPUs of a job that runs these cells in sequence."""

        def of(cell: Cell) -> int:
            models = {model.name: model for model in cell.models.values()}
            named = [name for name in models if name in self.gpus_of]
            if self.gpus is not None and not named:
                return self.gpus
            known = sum(self.gpus_of[name] for name in named)
            servers = spawned_of(m for name, m in models.items() if name not in named)
            return known + sum(asked.count for asked in servers.values())

        return max(map(of, cells))

    def cpus_for(self, gpus: int, servers: int = 1) -> int:
        """Return the CPUs of a job with this many GPUs and servers."""
        if not gpus or not self.cpus_per_gpu:
            return self.cpus
        return max(self.cpus, gpus * self.cpus_per_gpu, cores_for(gpus, servers))

    def mem_gb_for(self, gpus: int) -> float:
        """Return the memory, in GiB, of a job with this many GPUs."""
        return max(self.mem_gb, gpus * self.mem_per_gpu_gb)


def packed(cells: Sequence[Cell], pack: int) -> list[list[Cell]]:
    """Group cells into jobs, in grid order: only cells with the same set of models share one."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        models = {repr(model) for model in cell.models.values()}
        groups.setdefault(repr(sorted(models)), []).append(cell)
    size = pack or len(cells)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]


def at_the_same_time(jobs: int, cluster: Cluster) -> int:
    """Return the jobs of one submission that may call a running endpoint at the same time."""
    return min(jobs, cluster.at_once) if cluster.executor == "slurm" else jobs


def write_jobs(
    run: Path,
    jobs: Sequence[Sequence[Cell]],
    cluster: Cluster,
) -> list[int]:
    """Write the job files, numbered after the run's existing ones.

    One process at a time: the caller must hold the lease of `run`.
    """
    folder = run / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    first = max((int(p.stem) for p in folder.glob("*.json")), default=-1) + 1
    for number, cells in enumerate(jobs, first):
        content = {
            "cells": [cell.plan_id for cell in cells],
            "configs": [cell.resolved for cell in cells],
            "gpus": cluster.gpus_for(cells),
            "servers": max(len(servers_of(cell)) for cell in cells),
            "at_once": at_the_same_time(len(jobs), cluster),
            "grace": cluster.grace,
            "requeues": cluster.requeues,
        }
        write_json(folder / f"{number}.json", content)
    return list(range(first, first + len(jobs)))


def read_job(run: Path, number: int) -> dict[str, Any]:
    """Read a job file. Raises `RlmEvalError` if there is none."""
    path = run / "jobs" / f"{number}.json"
    try:
        return read_mapping(path, WAY_OUT)
    except FileNotFoundError as error:
        raise RlmEvalError(f"{path}: no such job; `rlm-eval submit` writes them") from error
