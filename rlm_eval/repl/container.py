"""Inside a container: its first process, which confines one worker and relays to it.

Standard library and this package's `repl` modules only; `docker.py` sends them along as source, so
that nothing of the host is mounted. Standard input carries records (`RECORD`): bytes for the
worker, or the number of a signal for it. The worker answers on standard output itself. When
standard input ends, however that happens, this process ends, and the kernel ends the container.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import sysconfig
import traceback
from contextlib import suppress
from typing import Any

from rlm_eval.repl import confine, sandbox, syscalls, worker, zygote

RECORD = struct.Struct("!i")
"""Length of the bytes that follow; below zero: minus the number of a signal."""
_CHUNK = 1 << 20
_PLACE_OF_PACKAGES = ("purelib", "platlib")


def main(settings: dict[str, Any]) -> None:
    """Start the worker, serve it to its end, exit with its exit code."""
    for name in list(sys.modules):  # the scaffold keeps its own copies of what it uses
        if name.split(".")[0] in zygote._OWN_COPIES:
            del sys.modules[name]
    gc.collect()
    gc.freeze()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            ours.close()
            _become_worker(settings, theirs.detach())
            code = 0
        except BaseException:  # noqa: BLE001 - a child must end here, and say why
            traceback.print_exc()
        finally:
            os._exit(code)
    theirs.close()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)  # else the host would not see that the worker closed it
    _relay(pid, ours)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _become_worker(settings: dict[str, Any], channel: int) -> None:
    confine.die_with_parent()
    confine.drop_capabilities()
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where the container's memory runs out, the worker goes first
    out, null = os.dup(1), os.open("/dev/null", os.O_RDWR)
    scratch = settings["scratch"]
    os.chdir(scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    confine.limit(
        address_space=zygote._address_space() + settings["memory_bytes"],
        file_bytes=settings["file_bytes"],
        open_files=settings["open_files"],
        processes=None,  # would count the user's threads in all containers; pids-limit does
    )
    if confine.landlock_abi():
        readable, _ = sandbox.readable_paths()
        readable += [sysconfig.get_path(name) for name in _PLACE_OF_PACKAGES]
        readable += [path for path in sys.path if path.endswith("-packages")]
        rules = confine.landlock_rules(readable, [scratch, "/dev/null"])
        confine.landlock(rules)
        os.close(rules)
    if confine.MACHINE in syscalls.MACHINES:
        confine.seccomp(confine.seccomp_program(os.getpid(), paths=True))
    ready = worker.Worker(channel, settings["worker"], [], out)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    ready.serve()


def _relay(pid: int, channel: socket.socket) -> None:
    """Pass the records on until the worker has closed its end; exit where the host has."""
    channel.setblocking(False)
    poll = select.poll()
    received, todo = bytearray(), bytearray()
    left = 0  # bytes of the current record
    while True:
        poll.register(0, select.POLLIN if len(todo) < _CHUNK else 0)
        poll.register(channel, select.POLLOUT if todo else 0)
        events = dict(poll.poll())
        if events.get(0, 0) & select.POLLIN:
            data = os.read(0, _CHUNK)
            if not data:
                os._exit(0)
            received += data
        elif events.get(0):
            os._exit(0)
        if events.get(channel.fileno(), 0) & (select.POLLHUP | select.POLLERR):
            return
        while True:
            if left:
                todo += received[:left]
                taken = min(left, len(received))
                del received[:taken]
                left -= taken
            if left or len(received) < RECORD.size:
                break
            (left,) = RECORD.unpack_from(received)
            del received[: RECORD.size]
            if left < 0:
                os.kill(pid, -left)
                left = 0
        if todo:
            with suppress(BlockingIOError, BrokenPipeError):
                del todo[: channel.send(todo)]


def boot() -> None:
    """Entry: the settings are the last argument."""
    main(json.loads(sys.argv[-1]))
