"""States of submitted jobs from the cluster's queue: one query for all of them.

Slurm is queried with `squeue`, which lists waiting and running jobs; a job that is not listed has
ended. Local jobs are processes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.storage.damage import read_mapping

WAY_OUT = "move it away and submit again"
"""For a damaged job file."""
_CLOCK_S = 60.0  # tolerance for clock changes in the meantime

JobState = str | None
"""State in words while the job waits or runs; `None` once it has ended."""


def jobs_of(run: Path) -> list[dict[str, Any]]:
    """Read a run's job files, oldest first, with their `number`; not all were submitted."""
    paths = [path for path in (run / "jobs").glob("*.json") if path.stem.isdecimal()]
    paths.sort(key=lambda path: int(path.stem))
    return [{"number": int(path.stem), **read_mapping(path, WAY_OUT)} for path in paths]


def job_states(jobs: list[dict[str, Any]]) -> dict[int, JobState]:
    """Return job number -> state for the submitted jobs.

    Raises `RlmEvalError` if Slurm does not answer: a job of unknown state has not ended, and
    neither its cells nor its share of a budget may be assigned again.
    """
    jobs = [job for job in jobs if "submitted" in job]
    slurm = _squeue() if any(j["submitted"]["executor"] == "slurm" for j in jobs) else {}
    return {
        job["number"]: slurm.get(job["submitted"]["id"])
        if job["submitted"]["executor"] == "slurm"
        else _process(int(job["submitted"]["id"]), job["submitted"]["at"])
        for job in jobs
    }


def cell_jobs(run: Path) -> dict[str, tuple[str, JobState]]:
    """Return cell -> (id of the last job that runs it, that job's state)."""
    jobs = jobs_of(run)
    states = job_states(jobs)
    return {
        name: (job["submitted"]["id"], states[job["number"]])
        for job in jobs
        if job["number"] in states
        for name in job["cells"]
    }


def find_squeue() -> str:
    """Locate `squeue`. Raises `RlmEvalError` if it is not installed."""
    found = shutil.which("squeue")
    if found is None:
        raise RlmEvalError(
            "squeue is not on the PATH: the state of the submitted jobs is unknown, and they could "
            "be submitted twice; run this command on a machine with Slurm's commands"
        )
    return found


def _squeue() -> dict[str, str]:
    """Return job id (`12` or `12_3`) -> state for everything in Slurm's queue."""
    squeue = find_squeue()
    try:
        done = subprocess.run(  # noqa: S603 - the site's own
            [squeue, "--noheader", "--array", "--format=%i|%T|%r"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired as error:
        raise RlmEvalError("squeue did not answer within 60 s; try again") from error
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip() or f"exit code {error.returncode}"
        raise RlmEvalError(f"squeue: {why}; try again once Slurm answers") from error
    states = {}
    for line in done.stdout.splitlines():
        job, state, reason = line.strip().split("|", 2)
        told = state.lower()
        states[job] = told if reason in ("None", "") else f"{told} ({reason})"
    return states


def _process(pid: int, submitted: float) -> JobState:
    """Return a local job's state; `submitted` is its Unix time: a later process is another one."""
    try:
        process = psutil.Process(pid)
        is_it = process.create_time() < submitted + _CLOCK_S
        return "running" if is_it and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
