"""The built-in backend: one fork server, its templates, and the REPLs they serve.

`SandboxPool` finds the strongest tier allowed, has a real worker try to get out (canaries), and
refuses where `repl.isolation` is not met. One asyncio loop multiplexes all workers.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import Any

from rlm_eval.errors import ReplCrash
from rlm_eval.repl import sandbox, wire
from rlm_eval.repl.driver import WorkerRepl
from rlm_eval.repl.interface import (
    JSON,
    ContextValue,
    HostFunction,
    IsolationReport,
    Repl,
    ReplConfig,
    SandboxError,
)

TEMPLATE_BYTES = 4 << 20
"""Contexts at least this large are decoded once and shared by the REPLs open on them."""
_FORKS_AT_ONCE = 16
_START_SECONDS = 60.0
_OF_THE_JOB = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


class ProcessLink:
    """A worker started by the fork server, known by a descriptor that no other process inherits."""

    def __init__(self, sock: socket.socket, handle: int, ended: asyncio.Future[int]) -> None:
        self.sock = sock
        self._handle = handle
        self._ended = ended
        self._clock: int | None = None
        with open(f"/proc/self/fdinfo/{handle}") as file:
            found = re.search(r"^Pid:\s*(\d+)", file.read(), re.MULTILINE)
        self.pid = int(found.group(1)) if found else None
        if self.pid:
            self._clock = (~self.pid << 3) | 2  # clock_getcpuclockid(3): the process's own clock

    def signal(self, number: int) -> None:
        """See `host.Link`."""
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def cpu_seconds(self) -> float | None:
        """See `host.Link`."""
        if self._clock is None or self._ended.done():
            return None
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            return None

    async def ended(self) -> int | None:
        """See `host.Link`."""
        try:
            return await asyncio.shield(self._ended)
        finally:
            handle, self._handle = self._handle, -1
            if handle >= 0:
                os.close(handle)


class ForkClient:
    """The host's end of a fork server's control socket."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._slots = asyncio.Semaphore(_FORKS_AT_ONCE)
        self.ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self.lost = False
        self._loop.add_reader(control.fileno(), self._read)

    async def start(
        self, request: dict[str, Any], fds: list[int]
    ) -> tuple[int, asyncio.Future[int]]:
        """Fork: (process descriptor, the future exit code). Raises `ReplCrash`."""
        number = request["id"]
        async with self._slots:
            if self.lost:
                raise ReplCrash("the fork server has ended")
            self._started[number] = started = self._loop.create_future()
            self._ended[number] = ended = self._loop.create_future()
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], fds)
                async with asyncio.timeout(_START_SECONDS):
                    return await started, ended
            except (OSError, TimeoutError) as error:
                raise ReplCrash(f"the fork server cannot be reached: {error}") from error
            finally:
                self._started.pop(number, None)

    def _read(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, 1 << 18, 4)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            message = json.loads(data)
            if "ready" in message:
                self.ready.set_result(message["ready"])
            elif "started" in message:
                waiting = self._started.get(message["started"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(fds[0])
                else:  # whoever asked is gone: nobody else will end it
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fds[0], signal.SIGKILL)
                    os.close(fds[0])
            elif "exit" in message:
                ended = self._ended.pop(message["exit"], None)
                if ended is not None and not ended.done():
                    ended.set_result(message["status"])

    def close(self) -> None:
        """Close the socket: the fork server ends, with all it started."""
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        error = ReplCrash("the fork server has ended")
        if not self.ready.done():
            self.ready.set_exception(error)
        for started in self._started.values():
            if not started.done():
                started.set_exception(error)
        for ended in self._ended.values():
            if not ended.done():
                ended.set_result(-signal.SIGKILL)
        self._ended.clear()


@dataclass
class _Template:
    """A process that holds a decoded context, ready to fork workers that share it."""

    client: ForkClient
    handle: int
    ended: asyncio.Future[int]


class SandboxPool:
    """`interface.ReplPool`: sandboxed processes on this machine (Linux)."""

    def __init__(self, config: ReplConfig, tier: str | None = None, max_abi: int = 99) -> None:
        """`tier` and `max_abi` force a level instead of the strongest; for tests and `doctor`."""
        self._config = config
        self._tiers = (tier,) if tier else sandbox.TIERS[config.isolation]
        self._max_abi = max_abi
        self._report: IsolationReport | None = None
        self._next = 0
        self._templates: dict[str, asyncio.Task[_Template]] = {}
        self._users: dict[str, int] = {}
        self._stack = AsyncExitStack()

    @property
    def report(self) -> IsolationReport:
        """See `interface.ReplPool`."""
        if self._report is None:
            raise RuntimeError("the pool is not open")
        return self._report

    async def __aenter__(self) -> SandboxPool:
        if sys.platform != "linux":
            raise SandboxError(
                f"repl: the built-in sandbox needs Linux (this is {sys.platform}): run in a Linux "
                "machine or container, or set repl.backend=rlm_eval.repl.docker.DockerPool"
            )
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two descriptors per worker
        self._stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        try:
            await self._establish()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._report = None
        await self._stack.aclose()

    async def _establish(self) -> None:
        """Try the tiers allowed, strongest first, until one starts and holds its canaries."""
        troubles: dict[str, str] = {}
        for tier in self._tiers:
            async with AsyncExitStack() as attempt:
                try:
                    found = await self._start_server(tier, attempt)
                    # Without walls an attempt would do what it tries (tracing stops a process).
                    canaries = await self._canaries() if tier != "none" else {}
                except (SandboxError, ReplCrash) as error:
                    troubles[tier] = str(error)
                    continue
                broken = [name for name, held in canaries.items() if not held]
                if broken:
                    troubles[tier] = f"a worker could {'; '.join(broken)}"
                    continue
                self._report = _describe(tier, found, canaries, troubles)
                self._stack.push_async_callback(attempt.pop_all().aclose)
                return
        tried = "; ".join(f"tier {tier}: {why}" for tier, why in troubles.items())
        raise SandboxError(
            f"repl.isolation={self._config.isolation}: no tier allowed works here ({tried}). "
            "Install bubblewrap, or run on a kernel >= 5.13 with Landlock enabled (lsm=landlock); "
            "or accept less: repl.isolation=best (no files for the code), or repl.isolation=none "
            "(no isolation, stamped on every result). `rlm-eval doctor` shows what is missing."
        )

    async def _start_server(self, tier: str, stack: AsyncExitStack) -> dict[str, Any]:
        program = sandbox.bubblewrap() if tier == "A" else None
        if tier == "A" and (trouble := sandbox.bubblewrap_trouble(program)):
            raise SandboxError(f"bubblewrap {trouble}")
        scratch = tempfile.mkdtemp(prefix="rlm-eval-repl-")
        os.chmod(scratch, 0o711)  # noqa: S103 - workers of other users pass through, none lists it
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        try:
            policy = sandbox.policy(self._config, tier, scratch) | {"max_abi": self._max_abi}
        except ValueError as error:
            raise SandboxError(str(error)) from error
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = sandbox.command(theirs.fileno())
            if program:
                command = sandbox.bubblewrap_command(program, self._config, scratch) + command
            with _deaf_to(_OF_THE_JOB):
                process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
                    command,
                    pass_fds=[theirs.fileno()],
                    env=sandbox.ENVIRONMENT,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
        stack.push_async_callback(_end_process, process)
        self._client = ForkClient(ours)
        stack.callback(self._client.close)
        ours.send(json.dumps(policy).encode())
        try:
            async with asyncio.timeout(_START_SECONDS):
                found = await self._client.ready
        except TimeoutError:
            raise SandboxError(f"the fork server did not start in {_START_SECONDS:g} s") from None
        if "error" in found:
            raise SandboxError(found["error"])
        if found["missing"]:
            raise SandboxError(f"repl.packages cannot be imported: {found['missing']}")
        return found

    async def _canaries(self) -> dict[str, bool]:
        """What a real worker tried, and whether it was held."""
        with (
            tempfile.NamedTemporaryFile("w+", prefix="rlm-eval-canary-") as secret,
            socket.socket() as server,
        ):
            secret.write("secret")
            secret.flush()
            os.chmod(secret.name, 0o666)  # noqa: S103 - only the sandbox may be what refuses
            server.bind(("127.0.0.1", 0))
            server.listen()
            places = {
                "secret": secret.name,
                "harness": str(sandbox.HERE),
                "pid": os.getpid(),
                "port": server.getsockname()[1],
            }
            held = {}
            async with self._repl(None, {}, {}, False, 0, None) as repl:
                for name, code in sandbox.CANARIES.items():
                    result = await repl.run(code.format(**places))
                    held[name] = result.error is not None and not result.restored
            return held

    def open(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        *,
        variables: Mapping[str, JSON] | None = None,
        answer_dict: bool = False,
        seed: int = 0,
        key: str | None = None,
    ) -> AbstractAsyncContextManager[Repl]:
        """See `interface.ReplPool.open`."""
        if self._report is None:
            raise RuntimeError("the pool is not open: use it with `async with`")
        return self._repl(context, functions, variables or {}, answer_dict, seed, key)

    @asynccontextmanager
    async def _repl(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        variables: Mapping[str, JSON],
        answer_dict: bool,
        seed: int,
        key: str | None,
    ) -> AsyncIterator[Repl]:
        settings = {"functions": list(functions), "answer_dict": answer_dict, "seed": seed}
        async with AsyncExitStack() as stack:
            client, file = self._client, -1
            shared = f"{key}:{type(context).__name__}:{len(context)}" if key and context else None
            if shared in self._templates:
                client = await stack.enter_async_context(self._template(shared, []))
            elif context is not None:
                frame = wire.pack(0, 0, context)
                if wire.size(frame) >= TEMPLATE_BYTES:
                    shared = shared or f"{hash(tuple(frame))}:{wire.size(frame)}"
                    client = await stack.enter_async_context(self._template(shared, frame))
                else:
                    file = _context_file(frame)
                    stack.callback(os.close, file)
                del frame

            async def launch() -> ProcessLink:
                return await self._launch(client, settings, file)

            repl = WorkerRepl(self._config, launch, functions, variables)
            stack.push_async_callback(repl.close)
            await repl.start()
            yield repl

    async def _launch(self, client: ForkClient, settings: dict[str, Any], file: int) -> ProcessLink:
        self._next += 1
        request = {"op": "worker", "id": self._next, "settings": settings}
        ours, theirs = socket.socketpair()
        with theirs:
            fds = [theirs.fileno()] + ([file] if file >= 0 else [])
            try:
                handle, ended = await client.start(request, fds)
            except BaseException:
                ours.close()
                raise
        return ProcessLink(ours, handle, ended)

    @asynccontextmanager
    async def _template(self, key: str, frame: list[bytes | str]) -> AsyncIterator[ForkClient]:
        """The fork server of a large context, shared by those who have it open."""
        if key not in self._templates:
            self._templates[key] = asyncio.create_task(self._make_template(frame))
        self._users[key] = self._users.get(key, 0) + 1
        try:
            template = await asyncio.shield(self._templates[key])
            yield template.client
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                task = self._templates.pop(key)
                with suppress(ReplCrash):
                    template = await task
                    template.client.close()
                    await template.ended
                    os.close(template.handle)

    async def _make_template(self, frame: list[bytes | str]) -> _Template:
        self._next += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        file = await asyncio.to_thread(_context_file, frame)
        try:
            request = {"op": "template", "id": self._next}
            handle, ended = await self._client.start(request, [theirs.fileno(), file])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(file)
        client = ForkClient(ours)
        await client.ready
        return _Template(client, handle, ended)


def _context_file(frame: list[bytes | str]) -> int:
    """A context as an anonymous file: it never goes through a pipe or a command line."""
    fd = os.memfd_create("context")
    outbox = wire.Outbox()
    outbox.add(frame)
    while outbox:
        outbox.wrote(os.writev(fd, outbox.buffers()))
    return fd


@contextmanager
def _deaf_to(signals: set[signal.Signals]) -> Iterator[None]:
    """Children started here never see these signals, nor do theirs: the mask is inherited.

    A cluster signals every process of a job. What ends a worker must not look like a crash of the
    model's code while the harness finishes the samples in flight.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _end_process(process: subprocess.Popen[bytes]) -> None:
    """The fork server ends by itself when its socket closes; else it is killed."""
    for _ in range(1000):
        if process.poll() is not None:
            return
        await asyncio.sleep(0.005)
    process.kill()
    process.wait()


def _describe(
    tier: str, found: dict[str, Any], canaries: dict[str, bool], troubles: dict[str, str]
) -> IsolationReport:
    from importlib.metadata import PackageNotFoundError, version

    abi = found["landlock_abi"]
    threads = found.get("threads_counted_by")
    layers = {
        "bubblewrap": "own process, network, IPC and mount namespaces; an almost empty file tree"
        if tier == "A"
        else troubles.get("A", "not used"),
        "landlock": f"ABI {abi}: every file but the standard library and the own scratch folder"
        + (", TCP" if abi >= 4 else "")
        + (", signals to others" if abi >= 6 else "")
        if tier in ("A", "B")
        else troubles.get("B", "not used"),
        "seccomp": "not used"
        if tier == "none"
        else "new processes, programs, sockets, tracing, other processes' memory, namespaces, "
        "file metadata" + (", every path" if tier == "C" else ""),
        "limits": "address space, file size, open files; threads counted by "
        + (threads or "the user as a whole, loosely"),
    }
    notes = [f"tier {name} was not used: {why}" for name, why in troubles.items()]
    if tier == "C":
        notes.append("model-written code has no files and can import only what is preloaded")
    if tier == "none":
        notes.append("no isolation: model-written code can do what the harness's user can")
    packages = {}
    for name in found["packages"]:
        try:
            packages[name.removesuffix(".py")] = version(name.removesuffix(".py"))
        except PackageNotFoundError:
            continue  # a module that is no distribution of its own
    return IsolationReport(
        tier=tier,
        layers=layers,
        canaries=canaries,
        kernel=f"{platform.release()} {platform.machine()}",
        python=found["python"],
        packages=packages,
        notes=tuple(notes),
    )
