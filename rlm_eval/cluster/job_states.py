"""What a cluster's queue says about submitted jobs: one question for all of them.

Slurm is asked through `squeue`, which knows waiting and running jobs; a job it does not know has
ended. Local jobs are processes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import psutil

from rlm_eval.core.errors import RlmEvalError

_CLOCK_S = 60.0  # by which clocks may have been set meanwhile

JobState = str | None
"""In words while the job waits or runs; `None` once it has ended."""


def jobs_of(run: Path) -> list[dict[str, Any]]:
    """The files of a run's jobs, oldest first, with their `number`; not all were submitted."""
    paths = sorted((run / "jobs").glob("*.json"), key=lambda path: int(path.stem))
    return [{"number": int(path.stem), **orjson.loads(path.read_bytes())} for path in paths]


def job_states(jobs: list[dict[str, Any]]) -> dict[int, JobState]:
    """Job number -> its state, of those that were submitted.

    Raises `RlmEvalError` where Slurm does not answer: a job that nobody tells of has not ended, and
    neither it nor its share of a budget may be handed out again.
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
    """Cell -> (id of the last job that has it, that job's state)."""
    jobs = jobs_of(run)
    states = job_states(jobs)
    return {
        name: (job["submitted"]["id"], states[job["number"]])
        for job in jobs
        if job["number"] in states
        for name in job["cells"]
    }


def find_squeue() -> str:
    """Slurm's command that tells of its queue. Raises `RlmEvalError` where it is not at hand."""
    found = shutil.which("squeue")
    if found is None:
        raise RlmEvalError(
            "squeue is not on the PATH: the state of the submitted jobs is unknown, and they could "
            "be submitted twice; run this command on a machine with Slurm's commands"
        )
    return found


def _squeue() -> dict[str, str]:
    """Job id (`12` or `12_3`) -> state, of everything in Slurm's queue."""
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
    """`submitted` is when that was noted, seconds since 1970: a later process is another one."""
    try:
        process = psutil.Process(pid)
        is_it = process.create_time() < submitted + _CLOCK_S
        return "running" if is_it and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
