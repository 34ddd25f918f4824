"""The mapping `cluster.slurm`: options of `sbatch`, `srun` and the job's script, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_SCRIPT = ("srun_args", "teardown")
"""Keys whose values are lists of texts for the job's script."""
OF_SUBMITIT = ("use_srun", "stderr_to_stdout")
"""Keys that only submitit reads."""
FIELDS = {
    "partition": "partition", "account": "account", "qos": "qos", "time": "time_min",
    "timeout_min": "time_min", "cpus_per_task": "cpus", "cpus_per_gpu": "cpus_per_gpu",
    "mem": "mem_gb", "mem_gb": "mem_gb", "mem_per_gpu": "mem_per_gpu_gb", "num_gpus": "gpus",
    "setup": "setup", "python": "python", "signal": "warning_s", "signal_delay_s": "warning_s",
    "array": "at_once", "array_parallelism": "at_once",
}  # fmt: skip
"""Keys that are refused -> the field of `Cluster` that sets the same."""
ONE = ("nodes", "ntasks", "ntasks_per_node")
"""Counts that must be 1: each further task would run the same job at the same time."""
GPU_COUNTS = ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket")


def sbatch_options(slurm: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `sbatch` in `cluster.slurm` and its `additional_parameters`.

    Names have underscores; lists are joined with commas; `True` is a flag, `False` and `None`
    leave the option out. Raises `ValueError` or `TypeError` for what Slurm would misread.
    """
    extra = slurm.get("additional_parameters")
    if extra is not None and not isinstance(extra, Mapping):
        raise TypeError(
            f"slurm.additional_parameters={extra!r}: give a mapping, as {{reservation: name}}"
        )
    own = {k: v for k, v in slurm.items() if k not in (*OF_SCRIPT, *OF_SUBMITIT)}
    own.pop("additional_parameters", None)
    found = {}
    for key, value in (*own.items(), *(extra or {}).items()):
        name = str(key).replace("-", "_")
        if name in FIELDS:
            raise ValueError(f"slurm.{key}: set cluster.{FIELDS[name]} instead")
        if name in ONE and str(value) != "1":
            raise ValueError(f"slurm.{key}={value}: a job is one task on one node; leave it out")
        if isinstance(value, Mapping):
            raise TypeError(f"slurm.{key}: give a text, a number, true, false or a list")
        listed = isinstance(value, list | tuple)
        found[name] = ",".join(map(str, value)) if listed else value
    return found


def lines_of(slurm: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of texts in `cluster.slurm`. Raises `TypeError` if it is something else."""
    value = slurm.get(key)
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(line, str) for line in value):
        raise TypeError(f"slurm.{key}={value!r}: give a list of texts, as ['--mpi=none']")
    return list(value)


def is_off(value: Any) -> bool:
    """Return whether an option with this value is left out; the number 0 is not."""
    return value is None or value is False


def requests_gpus(options: Mapping[str, Any]) -> bool:
    """Return whether options of `sbatch` request GPUs."""
    return any(
        name in GPU_COUNTS
        or ((name == "gres" or name.startswith("tres_per_")) and "gpu" in str(of))
        for name, of in options.items()
        if not is_off(of)
    )


def flags(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in options.items()
        if not is_off(value)
    ]
