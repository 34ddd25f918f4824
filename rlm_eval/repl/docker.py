"""REPLs in Docker containers: the example of a remote backend. NOT RUN: no engine was at hand.

Written against the documented command line of Docker 24; its own half is tested over a stand-in
that starts the worker behind two pipes. Until an engine has run it, treat it as a template.

One container per REPL, the worker on its standard input and output, the same frames as the
built-in backend; what the container may do is Docker's business. Set
`repl.backend=rlm_eval.repl.docker.DockerPool`.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from rlm_eval.repl import sandbox
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

IMAGE = "python:3.12-slim"
_BOOT = """
import os, socket, sys, types, json
sys.path.insert(0, "/harness")
for name, path in (("rlm_eval", "/harness"), ("rlm_eval.repl", "/harness/repl")):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [path]
from rlm_eval.repl import worker
channel, out = os.dup(0), os.dup(1)  # in the container two pipes, outside one socket
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
worker.Worker(channel, json.loads(sys.argv[1]), [], out).serve()
"""


class ContainerLink:
    """`host.Link` of one container."""

    def __init__(self, name: str, sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.sock = sock
        self._name = name
        self._process = process

    def signal(self, number: int) -> None:
        """Through the engine; it answers in its own time."""
        command = ["docker", "kill", f"--signal={int(number)}", self._name]
        with suppress(OSError):
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603

    def cpu_seconds(self) -> float | None:
        """Not known from outside: only wall time is limited."""
        return None

    async def ended(self) -> int | None:
        """The exit code of `docker run`."""
        return await asyncio.to_thread(self._process.wait)


class DockerPool:
    """`interface.ReplPool` over containers. `packages` are those of the image."""

    def __init__(self, config: ReplConfig) -> None:
        self._config = config
        self._report: IsolationReport | None = None

    @property
    def report(self) -> IsolationReport:
        """See `interface.ReplPool`."""
        if self._report is None:
            raise RuntimeError("the pool is not open")
        return self._report

    async def __aenter__(self) -> DockerPool:
        if shutil.which("docker") is None:
            raise SandboxError("repl.backend: no docker program; install Docker or change it")
        layers = {"docker": f"image {IMAGE}, no network, read-only, no capabilities"}
        kernel = f"{platform.release()} {platform.machine()}"
        notes = ("the Docker backend has not been run by the authors",)
        self._report = IsolationReport("docker", layers, {}, kernel, IMAGE, {}, notes)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._report = None

    def open(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        *,
        variables: Mapping[str, JSON] | None = None,
        answer_dict: bool = False,
        seed: int = 0,
        key: str | None = None,  # noqa: ARG002 - contexts are not shared between containers
    ) -> AbstractAsyncContextManager[Repl]:
        """See `interface.ReplPool.open`."""
        settings = {"functions": list(functions), "answer_dict": answer_dict, "seed": seed}
        known = {} if context is None else {"context": context}
        return self._repl(settings, functions, known | dict(variables or {}))

    @asynccontextmanager
    async def _repl(
        self,
        settings: dict[str, Any],
        functions: Mapping[str, HostFunction],
        variables: Mapping[str, JSON],
    ) -> AsyncIterator[Repl]:
        async def launch() -> ContainerLink:
            return self._run(settings)

        repl = WorkerRepl(self._config, launch, functions, variables)
        try:
            await repl.start()
            yield repl
        finally:
            await repl.close()

    def _run(self, settings: dict[str, Any]) -> ContainerLink:
        config, name = self._config, f"rlm-eval-{os.getpid()}-{secrets.token_hex(4)}"
        worker = sandbox.policy(config, "none", "")["worker"] | settings
        command = ["docker", "run", "--rm", "-i", f"--name={name}", "--network=none", "--read-only"]
        command += ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534:65534"]
        command += [f"--memory={config.memory_mb}m", f"--pids-limit={config.threads}"]
        command += ["--tmpfs=/scratch:mode=1777", "--workdir=/scratch", "--env=PYTHONHASHSEED=0"]
        command += [f"--volume={sandbox.HERE}:/harness/repl:ro", IMAGE]
        command += ["python", "-P", "-s", "-B", "-c", _BOOT, json.dumps(worker)]
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            process = subprocess.Popen(command, stdin=fd, stdout=fd)  # noqa: S603
        return ContainerLink(name, ours, process)
