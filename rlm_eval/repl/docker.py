"""REPLs in Docker containers: one container per REPL, reached through standard input and output.

Set `repl.backend=rlm_eval.repl.docker.DockerPool` and `repl.image`. The same frames, limits and
confinement as tier B, within the engine's namespaces, cgroup and system call profile. The modules
that run in the container are sent as source on its command line: nothing of the host is mounted, so
the engine may be a remote one (`DOCKER_HOST`). Needs the `docker` program, and an image with Python
3.11 or newer as `python3`. Measured with Docker 20.10 of Debian 12.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import IO, Any

from rlm_eval.core.errors import ReplCrash, ReplUnavailable
from rlm_eval.repl import sandbox
from rlm_eval.repl.container import RECORD
from rlm_eval.repl.driver import WorkerRepl
from rlm_eval.repl.fork import OF_THE_JOB, deaf_to
from rlm_eval.repl.interface import (
    JSON,
    ContextValue,
    HostFunction,
    IsolationReport,
    Repl,
    ReplConfig,
    SandboxError,
)
from rlm_eval.repl.memory import held_bytes

_CHUNK = 1 << 18
_ENGINE_SECONDS = 60.0
_END_SECONDS = 3.0
_OF_THE_ENGINE = 125  # exit code of `docker run` where the error is not the container's
_OVERHEAD_BYTES = 128 << 20
"""For the two interpreters of a container, and the replies that its worker has not read."""
_SCRATCH = 4
"""Total size of the scratch folder's files, in units of `repl.file_mb`."""
_OF_THE_IMAGE = ("read /etc/passwd",)
"""Canaries that reach the container's own files, where its kernel has no Landlock."""
_BOOT = """
import sys, json, zlib, base64, types, importlib.util as u
class Sources:
    texts = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))
    def find_spec(self, name, path=None, target=None):
        return u.spec_from_loader(name, self) if name in self.texts else None
    def create_module(self, spec): return None
    def exec_module(self, module):
        module.__file__ = "/" + module.__name__
        exec(compile(self.texts[module.__name__], module.__name__, "exec"), module.__dict__)
for name in sorted({name.rpartition(".")[0] for name in Sources.texts}):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
sources = Sources()
sys.meta_path.insert(0, sources)
from rlm_eval.repl import container
sys.meta_path.remove(sources)
container.boot()
"""


def _sources() -> str:
    """Return `container.py` and its own imports as one command-line argument (128 KiB)."""
    texts: dict[str, str] = {}
    todo = ["rlm_eval.repl.container"]
    while todo:
        name = todo.pop()
        path = sandbox.HERE.parent.parent.joinpath(*name.split(".")).with_suffix(".py")
        if name in texts or not path.is_file():
            continue
        texts[name] = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(texts[name])):
            if isinstance(node, ast.ImportFrom) and node.module:
                todo += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
    return base64.b64encode(zlib.compress(json.dumps(texts).encode(), 9)).decode()


class ContainerLink:
    """`host.Link` of one container: its input is cut into records, with signals between them."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self.sock, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._name = name
        self._process = process
        self._words = words
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._removal: subprocess.Popen[bytes] | None = None
        self._heard = False
        self._said: list[str] = []

    async def attach(self, pipe: socket.socket) -> None:
        """Start relaying; `pipe` is the other end of the program's input and output."""
        reader, self._writer = await asyncio.open_connection(sock=pipe, limit=_CHUNK)
        self._tasks = [
            asyncio.create_task(self._feed(self._writer)),
            asyncio.create_task(self._drain(reader)),
        ]

    async def _feed(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await loop.sock_recv(self._theirs, _CHUNK):
                writer.write(RECORD.pack(len(data)) + data)
                await writer.drain()
        self.signal(signal.SIGKILL)

    async def _drain(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._heard = True
                await loop.sock_sendall(self._theirs, data)
        with suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    def signal(self, number: int) -> None:
        """Signal in order with earlier bytes; SIGKILL closes the input, ending the container."""
        if self._writer is None or self._writer.is_closing():
            return
        if number != signal.SIGKILL:
            self._writer.write(RECORD.pack(-number))
        elif not self._writer.transport.is_closing():
            with suppress(OSError):
                self._writer.write_eof()

    def cpu_seconds(self) -> float | None:
        """Unknown from outside; the container has `block_cpu_seconds / block_seconds` cores."""
        return None

    async def ended(self) -> int | None:
        """See `host.Link`; `None` where the engine failed.

        Raises `ReplUnavailable` where the container did not start: no code of the model had run.
        """
        try:
            await self._gone()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._writer is not None:
                self._writer.close()
            self._theirs.close()
        if not self._words.closed:
            with self._words as file:
                file.seek(0)
                said = file.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
            self._said = ([line for line in said if line.startswith("docker:")] or said)[-1:]
        code = self._process.returncode
        if code and not self._heard:
            told = self._said[0] if self._said else f"exit code {code}"
            raise ReplUnavailable(f"docker run: {told}")
        if code == _OF_THE_ENGINE:
            return None
        return 128 - code if code > 128 else code

    async def _gone(self) -> None:
        """Wait for the `docker` program; remove the container where it does not end.

        It was paused, or the engine hangs. The removal continues if this wait is cancelled.
        """
        end = time.monotonic() + _END_SECONDS
        while self._process.poll() is None:
            if self._removal is None and time.monotonic() > end:
                self._removal = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
                    ["docker", "rm", "--force", self._name],  # noqa: S607
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            if self._removal is not None and self._removal.poll() is not None:
                self._process.kill()
            await asyncio.sleep(0.005)


async def _docker(*arguments: str) -> str:
    """Return the output of a `docker` command. Raises `SandboxError` with the engine's error."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, start_new_session=True
    )
    try:
        async with asyncio.timeout(_ENGINE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise SandboxError(f"docker {arguments[0]}: no answer in {_ENGINE_SECONDS:g} s") from None
    if process.returncode:
        said = (err.decode("utf-8", "replace").strip() or "no reason given").splitlines()[-1]
        raise SandboxError(f"docker {arguments[0]}: {said}")
    return out.decode("utf-8", "replace").strip()


class DockerPool:
    """`interface.ReplPool` over containers. `packages` are those of the image."""

    def __init__(self, config: ReplConfig) -> None:
        self._config = config
        self._report: IsolationReport | None = None
        self._sources = ""
        self._cpus = 1.0

    @property
    def report(self) -> IsolationReport:
        """See `interface.ReplPool`."""
        if self._report is None:
            raise RuntimeError("the pool is not open")
        return self._report

    async def __aenter__(self) -> DockerPool:
        if shutil.which("docker") is None:
            raise SandboxError("repl.backend: no docker program; install Docker or change it")
        config = self._config
        about = await _docker("info", "--format", "{{.ServerVersion}} {{.NCPU}} {{.KernelVersion}}")
        try:
            version, cores, kernel = about.split(" ", 2)
            wanted = config.block_cpu_seconds / config.block_seconds
            self._cpus = max(0.01, min(wanted, int(cores)))
        except ValueError:
            raise SandboxError(
                f"docker info: no engine answers ({about}); start Docker, or set DOCKER_HOST"
            ) from None
        try:
            image = await _docker("image", "inspect", "--format", "{{.Id}}", config.image)
        except SandboxError as error:
            raise SandboxError(
                f"repl.image={config.image}: {error}. Pull it (docker pull {config.image}), or "
                "make one: docs/isolation.md, `Docker`"
            ) from None
        self._sources = _sources()
        python, canaries, missing = await self._try()
        if missing:
            raise SandboxError(
                f"repl.packages: {', '.join(missing)} cannot be imported in {config.image}; add "
                "them to the image (docs/isolation.md, `Docker`)"
            )
        broken = [name for name, held in canaries.items() if not (held or name in _OF_THE_IMAGE)]
        if broken:
            raise SandboxError(f"docker: code in {config.image} could {'; '.join(broken)}")
        inner = all(canaries.values())
        layers = {
            "docker": f"engine {version}, image {config.image} ({image}); nothing of the host is "
            "mounted; no network, no capability, read-only but the scratch folder, user 65534",
            "landlock": "every file but Python's library and packages, and the scratch folder"
            if inner
            else "not to be had in the container",
            "seccomp": "as tier B, within the engine's own profile",
            "limits": f"cgroup: memory, processes, {self._cpus:g} cores; address space, file size",
        }
        notes = () if inner else ("model-written code can read the image's files and its /proc",)
        self._report = IsolationReport("docker", layers, canaries, kernel, python, {}, notes)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._report = None

    async def _try(self) -> tuple[str, dict[str, bool], list[str]]:
        """Return a worker's Python version, its canaries (true = blocked), missing packages."""
        with (
            tempfile.NamedTemporaryFile("w+") as secret,
            socket.create_server(("127.0.0.1", 0)) as server,
        ):
            places = {"secret": secret.name, "harness": str(sandbox.HERE), "pid": os.getpid()}
            places["port"] = server.getsockname()[1]
            held = {}
            try:
                async with self._repl({}, {}, {}) as repl:
                    found = await repl.run("import sys\nprint(sys.version.split()[0])")
                    for name, code in sandbox.CANARIES.items():
                        result = await repl.run(code.format(**places))
                        held[name] = result.error is not None and not result.restored
                    missing = [
                        package
                        for package in self._config.packages
                        if (await repl.run(f"import {package}")).error
                    ]
            except (ReplCrash, ReplUnavailable) as crash:
                raise SandboxError(f"docker run {self._config.image}: {crash}") from None
        return found.stdout.strip(), held, missing

    def open(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        *,
        variables: Mapping[str, JSON] | None = None,
        answer_dict: bool = False,
        seed: int = 0,
        key: str | None = None,  # noqa: ARG002 - contexts are not shared between containers
        echo: bool = False,
        hints: bool = True,
        scaffold: JSON = None,
        keep_names: bool = False,
    ) -> AbstractAsyncContextManager[Repl]:
        """See `interface.ReplPool.open`."""
        settings = {"functions": list(functions), "answer_dict": answer_dict, "seed": seed}
        settings |= {"echo": echo, "hints": hints, "scaffold": scaffold}
        settings["keep_names"] = keep_names
        known = {} if context is None else {"context": context}
        return self._repl(settings, functions, known | dict(variables or {}))

    @asynccontextmanager
    async def _repl(
        self,
        settings: dict[str, Any],
        functions: Mapping[str, HostFunction],
        variables: Mapping[str, JSON],
    ) -> AsyncIterator[Repl]:
        defaults = {"functions": [], "answer_dict": False, "seed": 0}
        command = self._command(defaults | settings, held_bytes(variables))

        async def launch() -> ContainerLink:
            return await self._run(command)

        repl = WorkerRepl(self._config, launch, functions, variables)
        try:
            await repl.start()
            yield repl
        finally:
            await repl.close()

    def _command(self, settings: dict[str, Any], context: int) -> list[str]:
        """Return `docker run` for a worker whose variables take `context` bytes at its start."""
        config = self._config
        policy = sandbox.policy(replace(config, packages=[]), "none", "")
        # While a text is received, its bytes (growing) and its characters are both in memory.
        address_space = policy["memory_bytes"] + 4 * context
        limits = {name: policy[name] for name in ("file_bytes", "open_files")}
        inside = limits | {"memory_bytes": address_space, "scratch": sandbox.SCRATCH}
        inside["worker"] = policy["worker"] | settings
        scratch = _SCRATCH * policy["file_bytes"]
        memory = address_space + scratch + _OVERHEAD_BYTES
        command = ["docker", "run", "--rm", "--interactive", "--sig-proxy=false", "--pull=never"]
        command += ["--network=none", "--read-only", "--cap-drop=ALL", "--user=65534:65534"]
        command += ["--security-opt=no-new-privileges", "--log-driver=none", "--stop-signal=KILL"]
        command += [f"--memory={memory}", f"--memory-swap={memory}", f"--cpus={self._cpus:g}"]
        command += [f"--pids-limit={config.threads + 1}", "--ulimit=core=0"]
        # As working directory the engine would make it first, with a mode that the mount keeps.
        command += [f"--tmpfs={sandbox.SCRATCH}:size={scratch},mode=1777", "--workdir=/"]
        for name, value in sandbox.ENVIRONMENT.items():
            if name != "PATH":  # the image provides its Python
                command.append(f"--env={name}={value}")
        python = ["python3", "-P", "-s", "-B", "-X", "utf8", "-c", _BOOT]
        return [*command, "--entrypoint=", config.image, *python, self._sources, json.dumps(inside)]

    async def _run(self, command: list[str]) -> ContainerLink:
        name = f"rlm-eval-{os.getpid()}-{secrets.token_hex(4)}"
        command = [*command[:2], f"--name={name}", *command[2:]]
        ours, theirs = socket.socketpair()
        words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the link
        with theirs, deaf_to(OF_THE_JOB):
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=words,
                start_new_session=True,
            )
        link = ContainerLink(name, process, words)
        await link.attach(ours)
        return link
