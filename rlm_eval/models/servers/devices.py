"""The accelerators that this process may use, and their assignment to servers.

A list that the site or the user sets (`CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`,
`HIP_VISIBLE_DEVICES`; Slurm sets one for every job) is respected: servers get parts of it, by the
names used there (numbers, `GPU-...` and `MIG-...` identifiers). Without one the driver is queried.

Processes of one machine record the share of each device that they hold in one file under a lock
(`flock`), so that two runs, or the jobs of `cluster=local`, do not start on the same device. An
entry counts while its process lives. Not covered: devices that other programs use.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.messages import say
from rlm_eval.models.waiting import INTERRUPT

_NONE = {"", "-1", "NoDevFiles", "none", "void"}
"""Values of a list that name no device; Slurm writes `NoDevFiles` for a job without GPUs."""
_MIG = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)", re.MULTILINE)
_GPU = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", re.MULTILINE)
_FULL = 0.999
"""A share from which a device counts as fully used."""
_POLL_S = 2.0


@dataclass(frozen=True)
class Visible:
    """The devices that this process may use."""

    ids: tuple[str, ...]
    """Device ids, as a list of visible devices names them."""
    vendor: str = "cuda"
    """`cuda` or `hip`."""
    source: str = ""
    """Origin of the list, for messages."""

    def variables(self, ids: tuple[str, ...]) -> dict[str, str]:
        """Return the environment of a server that may use these of them."""
        chosen = ",".join(ids)
        if self.vendor == "hip":  # vLLM on ROCm refuses two lists that differ
            return {"HIP_VISIBLE_DEVICES": chosen, "CUDA_VISIBLE_DEVICES": chosen}
        return {"CUDA_VISIBLE_DEVICES": chosen}


def visible(environment: Mapping[str, str] | None = None) -> Visible:
    """Return this process's devices: from its environment (or the one given), else the driver's."""
    env = os.environ if environment is None else environment
    rocr = env.get("ROCR_VISIBLE_DEVICES")
    hip = env.get("HIP_VISIBLE_DEVICES")
    if rocr is not None or hip is not None:
        name = "HIP_VISIBLE_DEVICES" if hip is not None else "ROCR_VISIBLE_DEVICES"
        ids = _listed(hip if hip is not None else rocr or "")
        if hip is None:  # HIP numbers the devices that ROCR exposes from 0
            ids = tuple(map(str, range(len(ids))))
        return Visible(ids, "hip", name)
    if (cuda := env.get("CUDA_VISIBLE_DEVICES")) is not None:
        return Visible(_listed(cuda), "cuda", "CUDA_VISIBLE_DEVICES")
    if ids := _nvidia():
        return Visible(ids, "cuda", "nvidia-smi")
    return Visible(tuple(map(str, range(_kfd_count()))), "hip", "/sys/class/kfd")


_KEPT = "RLM_EVAL_VISIBLE_DEVICES"


def keep() -> None:
    """Keep the list of visible devices in the environment for jobs of this machine: submitit gives
    every local job the same devices, or none, and jobs divide them themselves (`reserved`)."""
    os.environ[_KEPT] = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")


def give_back() -> None:
    """Restore the kept list, in a job."""
    kept = os.environ.pop(_KEPT, None)
    if kept == "unset":
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    elif kept is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = kept


def _listed(value: str) -> tuple[str, ...]:
    """Return the devices of a list, up to the first that names none, where CUDA stops reading."""
    found: list[str] = []
    for word in map(str.strip, value.split(",")):
        if word in _NONE:
            break
        found.append(word)
    return tuple(found)


def _asked(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _nvidia() -> tuple[str, ...]:
    """Return NVIDIA devices; for a device in MIG mode its instances, each as a separate device."""
    found: list[str] = []
    blocks = re.split(r"^(?=GPU \d+:)", _asked("nvidia-smi", "-L"), flags=re.MULTILINE)
    for block in blocks:
        if device := _GPU.match(block):
            found += _MIG.findall(block) or [device[1]]
    return tuple(found)


def _kfd_count() -> int:
    """Count the AMD devices that the kernel driver reports."""
    nodes = Path("/sys/class/kfd/kfd/topology/nodes")
    count = 0
    for file in nodes.glob("*/properties") if nodes.is_dir() else ():
        try:
            words = file.read_text()
        except OSError:
            continue
        count += bool(re.search(r"^simd_count [1-9]", words, re.MULTILINE))
    return count


def memory_gib(ids: tuple[str, ...]) -> float | None:
    """Return the memory of the smallest of these devices, GiB, by nvidia-smi; `None` = unknown."""
    if not ids or any(one.startswith("MIG-") for one in ids):
        return None
    wanted = ("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
    sizes: dict[str, float] = {}
    for line in _asked(*wanted).splitlines():
        index, _, rest = line.partition(",")
        uuid, _, mib = rest.partition(",")
        if mib.strip().isdigit():
            sizes[index.strip()] = sizes[uuid.strip()] = int(mib) / 1024
    found = [sizes[one] for one in ids if one in sizes]
    return min(found) if len(found) == len(ids) else None


@dataclass(frozen=True)
class Need:
    """The device requirement of one server."""

    count: int
    """Devices."""
    share: float = 1.0
    """Share of each of them, above 0 and at most 1."""

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.share <= 1:
            raise ValueError("a need is 1 device or more, and a share above 0, at most 1")


def _notes_path() -> Path:
    """Return the file of shares. Slurm assigns a node's devices to jobs: each job has its own."""
    job = os.environ.get("SLURM_JOB_ID")
    scope = f"slurm-{job}" if job else socket.gethostname()
    common = Path("/dev/shm")  # noqa: S108 - the same for all processes, whatever their TMPDIR
    default = Path(tempfile.gettempdir()) if job or not common.is_dir() else common
    base = Path(os.environ.get("RLM_EVAL_DEVICES", default))
    folder = base / f"rlm_eval_devices_{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigError(f"{folder}: another user's; name a folder of yours in RLM_EVAL_DEVICES")
    return folder / f"{scope}.json"


@contextmanager
def _notes() -> Iterator[list[dict[str, Any]]]:
    """Yield the entries of live processes, under the lock; changes are written."""
    with _notes_path().open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            known = orjson.loads(file.read() or b"[]")
        except orjson.JSONDecodeError:  # a full disk cut it: the devices then appear free
            known = []
        notes = [note for note in known if _lives(note)]
        yield notes
        file.truncate(0)
        file.write(orjson.dumps(notes))
        file.flush()


def _lives(note: Mapping[str, Any]) -> bool:
    return note.get("began") is not None and _began(int(note["pid"])) == note["began"]


def _began(pid: int) -> float | None:
    """Return a process's start, to detect a reused number; `None` = gone."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def held_shares() -> dict[str, float]:
    """Return device -> share that servers of this user's processes use now."""
    with _notes() as notes:
        return _sums(notes)


def _sums(notes: list[dict[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for note in notes:
        sums[note["device"]] = sums.get(note["device"], 0.0) + float(note["share"])
    return sums


def choose(ids: tuple[str, ...], need: Need, sums: Mapping[str, float]) -> tuple[str, ...] | None:
    """Choose devices with room for `need`, the fullest that fit first; `None` if too few do.

    Servers that share devices are packed together, so that whole devices stay free for servers that
    need one.
    """
    fit = [one for one in ids if sums.get(one, 0.0) + need.share <= 1.0 + 1e-6]
    if need.share >= _FULL:
        fit = [one for one in fit if not sums.get(one, 0.0)]
    fit.sort(key=lambda one: -sums.get(one, 0.0))  # stable: otherwise in the order of the list
    return tuple(sorted(fit[: need.count], key=ids.index)) if len(fit) >= need.count else None


@asynccontextmanager
async def reserved(need: Need, who: str) -> AsyncIterator[tuple[str, ...]]:
    """Reserve devices for servers of this process; yields their ids.

    While other processes hold them it waits, reporting once a minute. `who` names the servers in
    messages. Raises `ConfigError` where they can never be had: fewer visible devices, several MIG
    instances for one server, or devices that this process itself holds.
    """
    seen = visible()
    if len(seen.ids) < need.count:
        raise ConfigError(
            f"{who}: needs {need.count} GPU(s), and {len(seen.ids)} can be seen here "
            f"({seen.source}={','.join(seen.ids)}); ask for more (cluster.gpus=N), or lower "
            "engine.tensor_parallel"
        )
    owner = secrets.token_hex(8)
    chosen = await _taken(seen.ids, need, who, owner)
    try:
        yield chosen
    finally:
        with _notes() as notes:
            notes[:] = [note for note in notes if note["owner"] != owner]


async def _taken(ids: tuple[str, ...], need: Need, who: str, owner: str) -> tuple[str, ...]:
    pid, waited = os.getpid(), 0.0
    while True:
        with _notes() as notes:
            chosen = choose(ids, need, _sums(notes))
            if chosen is not None:
                own = {"owner": owner, "pid": pid, "began": _began(pid), "share": need.share}
                notes += [{"device": one, **own} for one in chosen]
                return chosen
            others = sorted({note["pid"] for note in notes if note["pid"] != pid})
            mine = _sums([note for note in notes if note["pid"] == pid])
        if choose(ids, need, mine) is None:
            raise ConfigError(too_little(who, need, mine, len(ids)))
        if waited % 60 == 0:
            whose = ", ".join(map(str, others))
            say(f"{who}: waiting for {need.count} GPU(s) held by process {whose}; Ctrl-C stops")
        await INTERRUPT.get().sleep(_POLL_S)
        waited += _POLL_S


def too_little(who: str, need: Need, sums: Mapping[str, float], count: int) -> str:
    """Return the error text for servers of one process that do not fit on its `count` devices."""
    holds = ", ".join(f"GPU {device} ({share:.2f})" for device, share in sums.items())
    return (
        f"{who}: needs {need.count} GPU(s) (share {need.share:.2f}); this process holds {holds} of "
        f"{count} for its other servers; ask for more (cluster.gpus=N), or give each server a "
        "share with engine.gpu_memory=0.45"
    )
