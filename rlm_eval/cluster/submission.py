"""Submission of jobs to a cluster: requested resources, checks, one record per array.

If the site refuses an array, earlier ones are not lost: the ids of each array are in the job files
before the next is sent, and the same `submit` command continues with the rest.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.cluster import slurm_options
from rlm_eval.cluster.jobs import WARNING, Cluster, read_job
from rlm_eval.cluster.run_job import Job
from rlm_eval.core.errors import ConfigError, MissingDependency, RlmEvalError
from rlm_eval.core.secrets import redact
from rlm_eval.models.servers import devices
from rlm_eval.models.servers.placement import needs_of
from rlm_eval.runner.planning.gpu_plan import servers_of
from rlm_eval.storage.cell_store import write_json

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell

_REFUSALS = (
    (r"QOSMaxSubmitJob|MaxSubmitJob|job submit limit",
     "the site limits how many jobs one user may have in the queue: submit again when some have "
     "ended, or put more cells into a job (cluster.pack=0)"),
    (r"Invalid (account|qos|partition)|account/partition|Invalid generic resource|gres",
     "ask the site what it takes: cluster.account, .qos, .partition, .gpu_type"),
    (r"time limit|TimeLimit", "lower cluster.time_min"),
    (r"Invalid job array|MaxArraySize", "lower cluster.array_limit"),
    (r"node configuration is not available|Memory|CPU count",
     "no node has so much: lower cluster.gpus, .cpus_per_gpu, .mem_per_gpu_gb"),
)  # fmt: skip


def check_gpus(jobs: Sequence[Sequence[Cell]], cluster: Cluster) -> None:
    """Raise `ConfigError` if a job requests fewer GPUs than its servers need."""
    if cluster.asks_gpus_itself:
        return
    for cells in jobs:
        given = cluster.gpus_for(cells)
        for cell in cells:
            group = servers_of(cell)
            if not group or all(asked.who in cluster.gpus_of for asked in group.values()):
                continue
            try:
                needs_of(group, given, cluster.gpu_gib)
            except ConfigError as error:
                raise ConfigError(f"{cell.plan_id}: {error}") from error


def check_start(models: Iterable[Any], cluster: Cluster, key: str = "cluster.time_min") -> None:
    """Raise `ConfigError` if a job may be warned before the start of its server has timed out: it
    would be requeued and start the server again, instead of failing. `key` sets its time limit."""
    for model in models:
        if getattr(model, "server", None) != "spawn":
            continue
        least = model.engine.startup_s + cluster.warning_s
        if 60 * cluster.time_min <= least:
            raise ConfigError(
                f"{model.name}: its server may take {model.engine.startup_s:.0f} s to start "
                f"(engine.startup_s), but {key}={cluster.time_min} warns the job after "
                f"{60 * cluster.time_min - cluster.warning_s} s; raise {key} to "
                f"{math.floor(least / 60) + 1} or more, or lower engine.startup_s"
            )


def check_engines(models: Iterable[Any], cluster: Cluster) -> list[str]:
    """Raise `MissingDependency` if an engine that a job starts is not installed; return notes for
    engines that cannot be checked from this machine."""
    notes: dict[str, None] = {}
    for model in {repr(model): model for model in models}.values():
        engine: Any = getattr(model, "engine", None)
        if getattr(model, "server", None) != "spawn" or engine.version() is not None:
            continue
        named = getattr(engine, "python", None)
        elsewhere = cluster.setup or getattr(engine, "wrapper", None)
        if (cluster.python and not named) or (elsewhere and not (named and Path(named).exists())):
            notes[
                f"{model.name}: {engine.label} is not seen from here; it must be on the nodes"
            ] = None
            continue
        where = named or "this environment"
        raise MissingDependency(
            f"{model.name}: {where} has no {engine.label}; install it there, or name the "
            "interpreter that has it (root.engine.python=/path/to/bin/python); nothing was sent"
        )
    return list(notes)


def max_array_size() -> int | None:
    """Return Slurm's MaxArraySize, the limit of array indices; `None` if it is unknown."""
    if (scontrol := shutil.which("scontrol")) is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the site's own
            [scontrol, "show", "config"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return int(found[1]) if found else None


def arrays_of(run: Path, numbers: Sequence[int], most: int) -> list[tuple[int, int, list[int]]]:
    """Return (GPUs, servers, job numbers) of each array: jobs with equal requests."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number in numbers:
        job = read_job(run, number)
        groups.setdefault((job["gpus"], job.get("servers", 1)), []).append(number)
    return [
        (gpus, servers, of[i : i + most])
        for (gpus, servers), of in groups.items()
        for i in range(0, len(of), most)
    ]


def options(cluster: Cluster, gpus: int, servers: int, after: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of `sbatch` for jobs with this many GPUs and servers: name -> value.

    Both the printed plan and submitit's script have these. `after` are ids of jobs that must have
    started before these start.
    """
    own = slurm_options.sbatch_options(cluster.slurm)
    found: dict[str, Any] = {
        "time": cluster.time_min,
        "cpus_per_task": cluster.cpus_for(gpus, servers),
        "mem": f"{int(cluster.mem_gb_for(gpus) * 1024)}M",
        "signal": f"{WARNING.name.removeprefix('SIG')}@{cluster.warning_s}",
        "requeue": True,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        **own,
    }
    if not slurm_options.is_off(own.get("mem_per_cpu")):  # sbatch takes one of the two
        del found["mem"]
    if gpus and not cluster.asks_gpus_itself:
        if cluster.gpu_type:
            asked = (own.get("gres"), f"gpu:{cluster.gpu_type}:{gpus}")
            found["gres"] = ",".join(str(of) for of in asked if not slurm_options.is_off(of))
        else:
            found["gpus_per_node"] = gpus
    if after:
        asked = (own.get("dependency"), "after:" + ":".join(after))
        found["dependency"] = ",".join(str(of) for of in asked if not slurm_options.is_off(of))
    return {name: value for name, value in found.items() if not slurm_options.is_off(value)}


def parameters(
    cluster: Cluster, gpus: int, servers: int, name: str, after: Sequence[str] = ()
) -> dict[str, Any]:
    """Return submitit's parameters; the local executor ignores those of Slurm."""
    asked = options(cluster, gpus, servers, after)
    chosen: dict[str, Any] = {
        "name": re.sub(r"\W+", "-", name),
        "timeout_min": cluster.time_min,
        "slurm_signal_delay_s": cluster.warning_s,
        "slurm_array_parallelism": cluster.at_once,
        "slurm_setup": setup_lines(cluster) or None,
        "slurm_teardown": slurm_options.lines_of(cluster.slurm, "teardown") or None,
        # Since Slurm 22.05 a step does not inherit the number of its job.
        "slurm_srun_args": [f"--cpus-per-task={asked['cpus_per_task']}", *_srun_args(cluster)],
        **{f"slurm_{key}": cluster.slurm.get(key) for key in slurm_options.OF_SUBMITIT},
        "slurm_additional_parameters": asked,
    }
    if gpus and not cluster.asks_gpus_itself and not cluster.gpu_type:
        chosen["gpus_per_node"] = gpus
    return {key: value for key, value in chosen.items() if value is not None}


def setup_lines(cluster: Cluster) -> list[str]:
    """Return the shell lines to run before the job."""
    if cluster.scratch is None:
        return list(cluster.setup)
    return [*cluster.setup, f'export TMPDIR="{cluster.scratch}"', 'mkdir -p "$TMPDIR"']


def _srun_args(cluster: Cluster) -> list[str]:
    return slurm_options.lines_of(cluster.slurm, "srun_args")


def planned_script(cluster: Cluster) -> list[str]:
    """Return what a user must write into `scripts/rlm_eval.sbatch`, one line each."""
    before = setup_lines(cluster)
    if cluster.python:
        before.append(f"export RLM_EVAL={shlex.quote(f'{cluster.python} -m rlm_eval')}")
    told = [f"before (put it into scripts/rlm_eval.sbatch): {line}" for line in before]
    if srun := _srun_args(cluster):
        told.append(f"options of srun (put them into scripts/rlm_eval.sbatch): {shlex.join(srun)}")
    after = slurm_options.lines_of(cluster.slurm, "teardown")
    return told + [
        f"after (put it into scripts/rlm_eval.sbatch, without `exec`): {line}" for line in after
    ]


def planned_commands(run: Path, numbers: Sequence[int], cluster: Cluster, name: str) -> list[str]:
    """Return one `sbatch` command per array, for manual submission.

    Indices count from 0 within each array, so that they stay below MaxArraySize for any number of
    jobs; the number of the first job is an argument of the script.
    """
    commands = []
    for gpus, servers, array in arrays_of(run, numbers, _most(cluster)):
        for first, last in _runs(array):
            array_option = f"--array=0-{last - first}%{min(last - first + 1, cluster.at_once)}"
            asked = shlex.join(slurm_options.flags(options(cluster, gpus, servers)))
            script = f"scripts/rlm_eval.sbatch {shlex.quote(name)}"
            commands.append(f"sbatch {array_option} {asked} {script} {first}")
    return commands


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return ranges of consecutive numbers as (first, last)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _most(cluster: Cluster) -> int:
    """Return the maximum jobs of one array: indices start at 0 and stay below MaxArraySize."""
    site = max_array_size() if cluster.executor == "slurm" else None
    return min(cluster.array_limit, site or cluster.array_limit)


def submit(
    run: Path, numbers: Sequence[int], cluster: Cluster, after: Sequence[str] = ()
) -> dict[int, str]:
    """Submit jobs to the cluster and return at once: job number -> the cluster's id.

    `after` are ids of jobs that must have started before these start (honoured by Slurm only).
    The ids of an array are in the job files before the next array is sent. Raises `ConfigError`
    if a script of the cluster would contain a secret, `RlmEvalError` if the site refuses an array:
    the message gives the number of jobs already submitted.
    """
    own = slurm_options.flags(slurm_options.sbatch_options(cluster.slurm))
    script = [
        line
        for key in slurm_options.OF_SCRIPT
        for line in slurm_options.lines_of(cluster.slurm, key)
    ]
    for line in (*cluster.setup, *own, *script):
        if "=" in line and (shown := redact(line)) != line:
            raise ConfigError(
                f"cluster: {shown}: a secret would be written into the job's script; export the "
                "variable where the job runs (Slurm passes on the environment of `submit`)"
            )
    try:
        import submitit
    except ImportError as error:
        raise MissingDependency(
            "submitting needs submitit: pip install -e '.[cluster]'; "
            "or use scripts/rlm_eval.sbatch with the files of `rlm-eval submit --plan`"
        ) from error
    ids: dict[int, str] = {}
    before = dict(os.environ)
    if cluster.executor == "local":
        devices.keep()
    try:
        for gpus, servers, array in arrays_of(run, numbers, _most(cluster)):
            try:
                log = run.resolve() / "jobs" / "log"
                executor = submitit.AutoExecutor(
                    log, cluster=cluster.executor, slurm_python=cluster.python
                )
                executor.update_parameters(**parameters(cluster, gpus, servers, run.name, after))
                jobs = executor.submit_array([Job(str(run.resolve()), n) for n in array])
            except (RuntimeError, NameError, subprocess.SubprocessError) as error:
                raise RlmEvalError(_refusal(error, cluster, len(ids), len(numbers))) from error
            sent = {number: job.job_id for number, job in zip(array, jobs, strict=True)}
            for number, job_id in sent.items():
                told = {"id": job_id, "executor": cluster.executor, "at": time.time()}
                path = run / "jobs" / f"{number}.json"
                write_json(path, read_job(run, number) | {"submitted": told})
            ids |= sent
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
    return ids


def _refusal(error: Exception, cluster: Cluster, sent: int, of: int) -> str:
    """Return the error text for a refused array, with the next step."""
    text = str(error).strip()
    words = [line for line in text.splitlines() if "error:" in line.lower()] or text.splitlines()
    why = " ".join(" ".join(words[-2:]).split()) or type(error).__name__
    step = next((s for pattern, s in _REFUSALS if re.search(pattern, text, re.IGNORECASE)), None)
    kept = f"; {sent} of {of} jobs were sent before and are recorded" if sent else ""
    again = "; the same command sends the rest" if sent else ""
    return f"not submitted ({cluster.executor}): {why}{kept}{again}" + (f"; {step}" if step else "")
