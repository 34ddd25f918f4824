"""Identity of the process that holds a lease, and whether it still runs.

A process is identified by its machine's boot id, its namespaces, its pid and its start in clock
ticks since boot: none of them changes when a clock is set. Where one of the first two differs, this
process cannot check the other one, and only time decides (`lease`).
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import orjson


@dataclass(frozen=True)
class Holder:
    """The process that writes a cell."""

    host: str
    """Machine name; empty where the lease could not be read."""
    pid: int
    """Process id, in its own PID namespace."""
    job: str | None
    """Slurm job id, `None` outside Slurm."""
    since: float
    """Start of the lease, seconds since 1970 by the holder's clock: shown, not compared."""
    boot: str = ""
    """Boot id of the kernel; empty where unknown (an older release, no Linux)."""
    spaces: str = ""
    """PID and time namespace: in another namespace, pids and start times denote other processes."""
    ticks: int | None = None
    """Start of the process, clock ticks since boot: a reused pid is another process."""
    id: str = ""
    """Random id: no two leases are equal."""
    task: str = ""
    """Step and rank within the Slurm job: `srun` starts several processes, on several nodes."""

    @classmethod
    def me(cls) -> Holder:
        """Return the holder record of this process."""
        pid, job = os.getpid(), os.environ.get("SLURM_JOB_ID")
        host, boot, spaces = _here()
        ticks = _running(pid) if boot else None
        id = secrets.token_hex(8)  # noqa: A001 - the field's name
        task = ".".join(os.environ.get(f"SLURM_{name}", "") for name in ("STEP_ID", "PROCID"))
        task = task.strip(".")
        return cls(host, pid, job, time.time(), boot, spaces, ticks, id, task)

    def is_requeued(self, other: Holder) -> bool:
        """Return whether this is the same task of the same Slurm job as `other`, started again."""
        return self.job is not None and (self.job, self.task) == (other.job, other.task)

    @classmethod
    def read(cls, stored: bytes, changed: float) -> Holder:
        """Parse a lease file that was `changed` at that time, seconds since 1970.

        A file that cannot be parsed still has an owner: it may be half-written.
        """
        try:
            found = orjson.loads(stored)
            return cls(**{f.name: found[f.name] for f in fields(cls) if f.name in found})
        except (orjson.JSONDecodeError, TypeError):
            return cls(host="", pid=0, job=None, since=changed)

    def stored(self) -> bytes:
        """Return the content of its lease file."""
        return orjson.dumps(asdict(self))

    def is_alive_here(self) -> bool | None:
        """Return whether the process still runs; `None` where this process cannot check."""
        if not self.boot or (self.host, self.boot, self.spaces) != _here():
            return None
        ticks = _running(self.pid)
        return None if ticks is None and _is_hidden(self.pid) else ticks == self.ticks

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.host else "an unreadable lease.json"


def _here() -> tuple[str, str, str]:
    """Return host, boot id and namespaces of this process; no boot id if `/proc` does not apply."""
    host, proc = socket.gethostname(), Path("/proc")
    try:
        if (proc / "self").readlink().name != str(os.getpid()):  # `/proc` of another PID namespace
            return host, "", ""
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        pids = (proc / "self/ns/pid").readlink()
    except OSError:
        return host, "", ""
    try:
        times = (proc / "self/ns/time").readlink()
    except OSError:  # an old kernel: it has no time namespaces
        return host, boot, str(pids)
    return host, boot, f"{pids} {times}"


def _running(pid: int) -> int | None:
    """Return a running process's start, clock ticks since boot; `None` where it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *numbers = stat.rpartition(b")")[2].split()
    return None if state in (b"Z", b"X") else int(numbers[18])


def _is_hidden(pid: int) -> bool:
    """Return whether another user's process runs that `/proc` (mounted with `hidepid`) may hide."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):  # it has ended, or the number does not exist
        pass
    return False
