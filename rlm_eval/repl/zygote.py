"""The fork server: a small, warm, single-threaded interpreter whose children become workers.

It never runs the model's code. An error of one start (a full disk, no process or descriptor) fails
that start alone; the server continues. The host sends requests over a SOCK_SEQPACKET socket with
descriptors attached (worker socket, context file); each child confines itself and then serves. A
template is a child that has decoded a large context and serves forks in turn, so that REPLs on one
context share its memory. When the host's end closes, however that happens, everything started here
is killed and the scratch folder removed.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any, NoReturn

from rlm_eval.repl import confine, fitting, wire, worker
from rlm_eval.repl.scratch import is_small, wipe

_PLACEHOLDER = 0x7ABCDEF1  # replaces the worker's process id in the prepared seccomp filter
_OWN_COPIES = ("json", "traceback", "linecache", "struct", "rlm_eval")
_MESSAGE = 1 << 18
# Order of killing when memory runs out: a worker, then a template, the server last. Raising one's
# own score is always allowed; lowering it needs CAP_SYS_RESOURCE.
_OOM_SERVER, _OOM_TEMPLATE, _OOM_WORKER = -500, 500, 1000


class ForkServer:
    """Forks workers and templates on request, reaps them, cleans up after them."""

    def __init__(self, control: socket.socket, policy: dict[str, Any], context: list[Any]) -> None:
        self.control = control
        self.policy = policy
        self.context = context
        self.pid = os.getpid()
        self.children: dict[int, tuple[int, str | None]] = {}  # pid -> (request, scratch folder)
        self.rules: int | None = None
        self.filter = b""
        self.wake: tuple[int, int] = (-1, -1)
        self.address_space = 0

    def say(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send to the host; wait while it is too busy to read. Raises OSError where it is gone."""
        while True:
            try:
                socket.send_fds(self.control, [json.dumps(message).encode()], fds)
            except BlockingIOError:
                select.select([], [self.control], [])
            else:
                return

    def walls(self) -> None:
        """Prepare once the confinement that every worker applies."""
        policy = self.policy
        if policy["landlock"]:
            self.rules = confine.landlock_rules(
                policy["readable"], [policy["scratch"], "/dev/null"], policy["max_abi"]
            )
        if policy["seccomp"]:
            self.filter = confine.seccomp_program(_PLACEHOLDER, paths=policy["paths"])

    def serve(self) -> None:
        """Handle requests until the host is gone."""
        self.address_space = _address_space()
        self.wake = os.pipe()
        for end in self.wake:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake[0], select.POLLIN)
        self.control.setblocking(False)
        try:
            while True:
                for fd, _ in poll.poll():
                    if fd == self.wake[0]:
                        os.read(fd, 4096)
                self.reap()
                try:
                    data, fds, _, _ = socket.recv_fds(self.control, _MESSAGE, 4)
                except BlockingIOError:
                    continue
                if not data:
                    return
                self.handle(json.loads(data), fds)
        except OSError:
            return  # the host's end is gone
        finally:
            self.end()

    def reap(self) -> None:
        """Collect ended children, report them to the host, remove their folders."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            request, folder = self.children.pop(pid, (0, None))
            if folder:
                self.clean(folder)
            if request:
                self.say({"exit": request, "status": os.waitstatus_to_exitcode(status)})

    def clean(self, folder: str) -> None:
        """Remove a scratch folder; a large one in a child, so that the server keeps answering.

        What cannot be removed is removed with the whole scratch folder.
        """
        with suppress(OSError):
            if is_small(folder):
                wipe(folder)
            elif pid := os.fork():
                self.children[pid] = (0, None)
            else:
                try:
                    signal.set_wakeup_fd(-1)
                    confine.die_with_parent(self.pid)
                    wipe(folder)
                finally:
                    os._exit(0)

    def end(self) -> None:
        """Kill and collect all children."""
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid, (_, folder) in self.children.items():
            os.waitpid(pid, 0)
            if folder:
                with suppress(OSError):
                    wipe(folder)

    def handle(self, request: dict[str, Any], fds: list[int]) -> None:
        """Start the requested process, or report why it is unavailable."""
        try:
            self.start(request, fds)
        except (OSError, MemoryError) as error:
            self.say({"failed": request["id"], "error": str(error) or repr(error)})
        finally:
            for fd in fds:
                os.close(fd)

    def start(self, request: dict[str, Any], fds: list[int]) -> None:
        """Fork a worker or a template. Raises OSError; nothing of it is left then."""
        if len(fds) != request["fds"]:
            raise OSError(errno.EMFILE, "too many open files: its descriptors are lost")
        folder = None
        if request["op"] == "worker" and self.policy["scratch"]:
            folder = f"{self.policy['scratch']}/{request['id']}"
            os.mkdir(folder, 0o700)
        try:
            pid = os.fork()
        except OSError:
            if folder:
                os.rmdir(folder)
            raise
        if pid == 0:
            self.become(request, fds, folder)
        self.children[pid] = (request["id"], folder)
        try:
            handle = os.pidfd_open(pid)
            try:
                self.say({"started": request["id"]}, (handle,))
            finally:
                os.close(handle)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # `reap` removes its folder
            raise

    def become(self, request: dict[str, Any], fds: list[int], folder: str | None) -> NoReturn:
        """Run the child. An error that keeps it from serving is its first and only message."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self.control.detach(), *self.wake):
                os.close(end)
            ready: ForkServer | worker.Worker
            try:
                if request["op"] == "template":
                    ready = self.become_template(fds)
                else:
                    ready = self.become_worker(request, fds, folder)
            except BaseException as error:
                report = {"error": f"{type(error).__name__}: {error}"[: wire.SHORT]}
                frame = json.dumps({"ready": report}).encode()
                if request["op"] == "worker":
                    parts = wire.pack(wire.Op.READY, 0, report)
                    frame = b"".join(part for part in parts if isinstance(part, bytes))
                os.write(fds[0], frame)
                raise
            ready.serve()
            code = 0
        finally:
            os._exit(code)

    def become_template(self, fds: list[int]) -> ForkServer:
        """Decode the context; return a server that is ready to serve."""
        confine.die_with_parent(self.pid)
        with suppress(OSError):
            confine.oom_score(_OOM_TEMPLATE)
        control = socket.socket(fileno=fds[0])
        context = worker.read_context(fds[1])
        os.close(fds[1])
        gc.freeze()
        template = ForkServer(control, self.policy, [context])
        template.rules, template.filter = self.rules, self.filter
        template.say({"ready": {}})
        return template

    def become_worker(
        self, request: dict[str, Any], fds: list[int], folder: str | None
    ) -> worker.Worker:
        """Confine this process; return a worker that is ready to serve."""
        policy = self.policy
        os.setsid()
        with suppress(OSError):
            confine.oom_score(_OOM_WORKER)
        pid = os.getpid()
        null = os.open("/dev/null", os.O_RDWR)
        context = self.context
        address_space = self.address_space + policy["memory_bytes"] + worker.RESERVE_BYTES
        if len(fds) > 1:
            context = [worker.read_context(fds[1])]
            address_space += 8 * os.fstat(fds[1]).st_size
            os.close(fds[1])
        if policy["users"]:
            first, count = policy["users"]
            user = first + request["id"] % count
            if folder:
                os.chown(folder, user, user)
            confine.become(user, policy["keep_reading"])
        elif policy["seccomp"]:
            confine.drop_capabilities()
        confine.die_with_parent(self.pid)
        if folder:
            os.chdir(folder)
            os.environ["HOME"] = os.environ["TMPDIR"] = folder
        if policy["own_namespace"]:
            confine.own_user_namespace()
        confine.limit(
            address_space=address_space,
            file_bytes=policy["file_bytes"],
            open_files=policy["open_files"],
            processes=policy["processes"],
        )
        if self.rules is not None:
            confine.landlock(self.rules)
            os.close(self.rules)
            if folder:
                # A second layer: of the scratch folders only its own.
                roots = confine.landlock_rules(
                    policy["roots"], [folder, "/dev/null"], policy["max_abi"]
                )
                confine.landlock(roots)
                os.close(roots)
        if self.filter:
            confine.seccomp(
                self.filter.replace(struct.pack("I", _PLACEHOLDER), struct.pack("I", pid))
            )
        ready = worker.Worker(fds[0], {**policy["worker"], **request["settings"]}, context)
        for fd in (0, 1, 2):  # from here on an error cannot be printed
            os.dup2(null, fd)
        os.close(null)
        return ready


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _find_users(policy: dict[str, Any]) -> None:
    """Set a user per worker, as root, out of those that this user namespace has."""
    with open("/proc/self/uid_map") as file:
        rows = [[int(x) for x in line.split()] for line in file]
    inside, _, count = max(rows, key=lambda row: row[2])
    if count > 1 << 31:
        first, count = (1 << 30) + (os.getpid() & 0xFFFF) * 4096, 4096
    elif count > 4096:
        first, count = inside + count - 4096, 4096
    else:
        return
    library = os.path.dirname(os.__file__)
    for keep_reading in (False, True):

        def attempt(keep: bool = keep_reading) -> None:
            confine.become(first, keep)
            os.listdir(library)
            os.chdir(policy["scratch"])
            for path in policy["site"]:
                os.listdir(path)

        if confine.tried(attempt) is None:
            policy["users"], policy["keep_reading"] = [first, count], keep_reading
            return


def _preload(policy: dict[str, Any]) -> dict[str, Any]:
    """Import modules for workers; the scaffold keeps its own copies of the modules it uses."""
    for name in list(sys.modules):
        if name.split(".")[0] in _OWN_COPIES:
            del sys.modules[name]
    missing = {}
    for name in policy["preload"]:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # not every build has every optional module (sqlite3, lzma)
    if policy["seccomp"]:
        fitting.fit()
    sys.path += policy["site"]
    n_own = len(sys.path) - len(policy["site"])
    for name in policy["packages"]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing[name] = str(error)
    # Their own modules are found through them; any other module there counts as not installed.
    del sys.path[n_own:]
    found = {}
    for site in policy["site"]:
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None) or ""
            if path.startswith(site + "/"):
                top = path[len(site) + 1 :].split("/")[0]
                found[top] = f"{site}/{top}"
    policy["readable"] += found.values()
    policy["readable"] += [f"{path}.libs" for path in found.values()]
    policy["roots"] += policy["site"]
    return {"packages": sorted(found), "missing": missing}


def main() -> None:
    """Entry point: the control socket's number is the last argument, its first message a policy."""
    control = socket.socket(fileno=int(sys.argv[-1]))
    policy = json.loads(control.recv(_MESSAGE))
    with suppress(OSError):
        confine.oom_score(_OOM_SERVER)
    found = {
        "landlock_abi": min(confine.landlock_abi(), policy["max_abi"]),
        "seccomp": confine.tried(
            lambda: confine.seccomp(confine.seccomp_program(os.getpid(), paths=True))
        ),
        "user_namespaces": confine.tried(confine.own_user_namespace),
        "python": sys.version.split()[0],
    }
    policy |= {"users": None, "keep_reading": False, "own_namespace": False}
    if policy["seccomp"]:
        if os.geteuid() == 0:
            _find_users(policy)
        if policy["users"]:
            threads = "a user of its own"
        elif policy["user_namespaces"] and found["user_namespaces"] is None:
            threads = "a user namespace of its own"
            policy["own_namespace"] = True
        else:
            threads = ""
            soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
            policy["processes"] = 32768 if soft == resource.RLIM_INFINITY else soft // 2
        found["threads_counted_by"] = threads
    else:
        policy["processes"] = None
    found |= _preload(policy)
    server = ForkServer(control, policy, [])
    if policy["seccomp"] and found["seccomp"]:
        found["error"] = f"seccomp: {found['seccomp']}"
    elif policy["landlock"] and not found["landlock_abi"]:
        found["error"] = "Landlock is not available"
    else:
        server.walls()
    gc.collect()
    gc.freeze()
    with suppress(OSError):  # the host is gone already
        server.say({"ready": found})
        server.serve()
    if policy["scratch"]:
        with suppress(OSError):  # the root of a mount is removed with its namespace
            wipe(policy["scratch"])
