"""First process inside a container: it confines one worker and relays to it.

Standard library and this package's `repl` modules only; `docker.py` sends them as source, so that
nothing of the host is mounted. Standard input carries records (`RECORD`): bytes for the worker, or
the number of a signal for it; standard output is the worker's output. When standard input ends,
however that happens, this process ends, and the kernel ends the container.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import struct
import sys
import sysconfig
import time
import traceback
from contextlib import suppress
from typing import Any

from rlm_eval.repl import confine, sandbox, syscalls, wire, worker, zygote

RECORD = struct.Struct("!i")
"""Length of the bytes that follow; below zero: minus the number of a signal."""
_CHUNK = 1 << 20
_BROKEN = 71  # same as of a worker that finds its channel closed
_PLACE_OF_PACKAGES = ("purelib", "platlib")


def main(settings: dict[str, Any]) -> None:
    """Start the worker, serve it to its end, exit with its exit code."""
    for name in list(sys.modules):  # the scaffold keeps its own copies of the modules it uses
        if name.split(".")[0] in zygote._OWN_COPIES:
            del sys.modules[name]
    gc.collect()
    gc.freeze()
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            ours.close()
            channel = theirs.detach()
            try:
                ready = _become_worker(settings, channel, parent)
            except BaseException as error:
                report = {"error": f"{type(error).__name__}: {error}"[: wire.SHORT]}
                frame = wire.pack(wire.Op.READY, 0, report)
                os.write(channel, b"".join(part for part in frame if isinstance(part, bytes)))
                raise
            ready.serve()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must end here, and say why
            traceback.print_exc()
        finally:
            os._exit(code)
    theirs.close()
    _relay(pid, ours)
    os._exit(_exit_code(pid))


def _exit_code(pid: int) -> int:
    """Return the exit code of a worker with a closed channel; `_BROKEN` if it still lives."""
    for _ in range(100):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        time.sleep(0.01)
    return _BROKEN


def _become_worker(settings: dict[str, Any], channel: int, parent: int) -> worker.Worker:
    """Confine this process; return a worker that is ready to serve."""
    confine.die_with_parent(parent)
    confine.drop_capabilities()
    with suppress(OSError):
        confine.oom_score(1000)  # where the container's memory runs out, the worker is killed first
    null = os.open("/dev/null", os.O_RDWR)
    scratch = settings["scratch"]
    os.chdir(scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    confine.limit(
        address_space=zygote._address_space() + settings["memory_bytes"] + worker.RESERVE_BYTES,
        file_bytes=settings["file_bytes"],
        open_files=settings["open_files"],
        processes=None,  # would count the user's threads in all containers; pids-limit does not
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
    ready = worker.Worker(channel, settings["worker"], [])
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    return ready


def _relay(pid: int, channel: socket.socket) -> None:
    """Relay bytes until the worker has closed its end; exit where the host has.

    Standard input is always read, even where the worker reads nothing: unread bytes would keep the
    end of the input, and interrupts, from arriving.
    """
    os.set_blocking(1, False)
    channel.setblocking(False)
    poll = select.poll()
    received, inward, outward = bytearray(), bytearray(), bytearray()
    left = 0  # bytes of the current record
    ended = False
    while not ended or outward:
        poll.register(0, select.POLLIN)
        poll.register(1, select.POLLOUT if outward else 0)
        reads = select.POLLIN if len(outward) < _CHUNK else 0
        if not ended:
            poll.register(channel, reads | (select.POLLOUT if inward else 0))
        events = dict(poll.poll())
        data = os.read(0, _CHUNK) if events.get(0, 0) & select.POLLIN else b""
        if events.get(0) and not data:
            os._exit(0)
        received += data
        while True:
            taken = min(left, len(received))
            inward += received[:taken]
            del received[:taken]
            left -= taken
            if left or len(received) < RECORD.size:
                break
            (left,) = RECORD.unpack_from(received)
            del received[: RECORD.size]
            if left < 0:
                with suppress(ProcessLookupError):
                    os.kill(pid, -left)
                left = 0
        if events.get(1, 0) & (select.POLLERR | select.POLLHUP):
            os._exit(0)
        with suppress(BlockingIOError):
            del outward[: os.write(1, outward)]
        if ended:
            continue
        try:
            del inward[: channel.send(inward)]
        except BlockingIOError:
            pass
        except OSError:  # its last frames may still be read
            inward.clear()
        with suppress(BlockingIOError, ConnectionResetError):
            if reads:
                data = channel.recv(_CHUNK)
                outward += data
                ended = not data
        if ended:
            poll.unregister(channel)


def boot() -> None:
    """Entry point: the settings are the last argument."""
    main(json.loads(sys.argv[-1]))
