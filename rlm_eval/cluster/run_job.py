"""Runs one job of a sweep, or its servers; requeues it after a warning."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.cluster.jobs import WARNING, read_job
from rlm_eval.cluster.serve_job import run_servers
from rlm_eval.cluster.serving import WARNED
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.messages import say, warn
from rlm_eval.core.secrets import guard_output, redact
from rlm_eval.models.servers.devices import give_back as give_back_devices


@dataclass(frozen=True)
class Job:
    """The callable that submitit pickles: a run directory and a job number."""

    run: str
    """Absolute path."""
    number: int
    """Number of the job file."""

    def __call__(self) -> None:
        """Run the job. Raises `RlmEvalError` if a cell did not finish: the job counts as failed."""
        guard_output()
        give_back_devices()
        try:
            unfinished = run_job(Path(self.run), self.number)
        except Exception as error:  # submitit stores exceptions with their traceback
            told = "".join(traceback.format_exception(error))
            if (clean := redact(told)) != told:
                raise RlmEvalError(clean) from None
            raise
        if unfinished:
            raise RlmEvalError("; ".join(f"{name}: {why}" for name, why in unfinished.items()))

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """Requeue the same job: a warning may arrive before the run handles it."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    __submitit_checkpoint__ = checkpoint  # the name differs between releases


def run_job(run: Path, number: int) -> dict[str, str]:
    """Run a job's cells; return cell -> why it is unfinished. Requeues the job after a warning."""
    from omegaconf import OmegaConf

    from rlm_eval.config.cell import build_cell, sweep_budget
    from rlm_eval.models.servers.users import EXPECTED
    from rlm_eval.runner.runner import Runner
    from rlm_eval.runner.signals import Signals
    from rlm_eval.storage.shards import merge_done

    job = read_job(run, number)
    if job.get("serves"):
        return _hold_servers(run, job)
    EXPECTED.set(job.get("at_once", 1))
    configs = [OmegaConf.create(config) for config in job["configs"]]
    cells = [build_cell(config) for config in configs]
    if (found := [cell.plan_id for cell in cells]) != job["cells"]:
        first = next(pair for pair in zip(job["cells"], found, strict=True) if pair[0] != pair[1])
        raise RlmEvalError(
            f"{run / 'jobs' / str(number)}.json: cell {first[0]} is {first[1]} on this "
            "machine: the release differs, or an environment variable that its configuration reads "
            "(oc.env) has another value; set it as it was at `rlm-eval submit`, or submit again"
        )
    runner = Runner(run, cells, sweep_budget(configs[0]), (), Signals(WARNING, job["grace"]))
    try:
        unfinished = asyncio.run(runner.run()).unfinished
    except asyncio.CancelledError:
        unfinished = {"job": "stopped; submit it again"}
    if unfinished and runner.stop.warned:  # first: a failing merge must not prevent the requeue
        _requeue(job["requeues"])
    for told in merge_done(run, cells):
        say(told)
    return unfinished


def _hold_servers(run: Path, job: dict[str, Any]) -> dict[str, str]:
    """Run the servers of a `submit --serve` job; return an empty dict, since it has no cells.

    Requeues the job after a warning: the jobs that attach wait for its servers.
    """
    why = run_servers(run, job)
    print(f"serve: {why}", flush=True)
    if why == WARNED:
        _requeue(job["requeues"])
    return {}


def _requeue(most: int) -> None:
    """Requeue this Slurm job. Returns only if that is not possible."""
    job = os.environ.get("SLURM_JOB_ID")
    times = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if job is None or times >= most:
        why = "no Slurm job" if job is None else f"queued again {times} times already"
        warn(f"the job was not requeued ({why}); run `rlm-eval submit` again to resume")
        return
    say(f"requeueing job {job}")
    subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)  # noqa: S603, S607 - the site's
    time.sleep(120)  # Slurm ends this process; returning a result would end the job
    sys.exit(1)
