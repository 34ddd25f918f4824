"""The built-in backend: one fork server, its templates, and the REPLs they serve.

`SandboxPool` finds the strongest tier allowed, runs escape attempts in a real worker (canaries),
and refuses where `repl.isolation` is not met. One asyncio loop multiplexes all workers.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.errors import ReplCrash, ReplUnavailable
from rlm_eval.repl import sandbox
from rlm_eval.repl.driver import WorkerRepl
from rlm_eval.repl.fork import (
    ForkClient,
    ProcessLink,
    context_file,
    large_buffer,
    of_the_machine,
)
from rlm_eval.repl.interface import (
    JSON,
    ContextValue,
    HostFunction,
    IsolationReport,
    Repl,
    ReplConfig,
    SandboxError,
)
from rlm_eval.repl.memory import WORKER_BYTES, Memory, entered, held_bytes, left
from rlm_eval.repl.report import describe
from rlm_eval.repl.server import Server

TEMPLATE_BYTES = 4 << 20
"""Contexts at least this large are decoded once and shared by the REPLs open on them."""
FAILURES = (SandboxError, ReplCrash, ReplUnavailable, OSError)
"""Errors that make a tier unavailable."""
_END_SECONDS = 10.0
_READY_SECONDS = 120.0


@dataclass
class _Template:
    """A process that holds a decoded context, ready to fork workers that share it."""

    client: ForkClient
    handle: int
    ended: asyncio.Future[int | None]

    async def close(self) -> None:
        """End it and its workers; where it is stopped or stuck, by force."""
        self.client.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.shield(self.ended)
        except TimeoutError:
            _kill(self.handle)
            await self.ended
        finally:
            os.close(self.handle)


def _kill(handle: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def _check_decoded(found: Mapping[str, Any]) -> None:
    if "error" in found:
        raise ReplUnavailable(f"a shared context cannot be decoded: {found['error']}")


def _content_key(context: ContextValue) -> str | None:
    """Return the key for sharing a context of texts where the caller has no hash of it."""
    if isinstance(context, list) and {*map(type, context)} == {str}:
        return f"list:{hash(tuple(context))}:{len(context)}"
    return f"str:{hash(context)}:{len(context)}" if isinstance(context, str) else None


class SandboxPool:
    """`interface.ReplPool`: sandboxed processes on this machine (Linux)."""

    def __init__(
        self,
        config: ReplConfig,
        tier: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """`tier` and entries of the policy force a level; for tests and `doctor`."""
        self._config = config
        self._tiers = (tier,) if tier else sandbox.TIERS[config.isolation]
        self._overrides = dict(overrides or {})
        self._report: IsolationReport | None = None
        self._next = 0
        self._templates: dict[str, asyncio.Task[_Template]] = {}
        self._users: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # equal texts may differ in size: one caches its UTF-8
        self._memory = Memory(0)
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
        self._memory = Memory()
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
        """Try the tiers allowed, strongest first, until one starts and blocks its canaries."""
        troubles: dict[str, str] = {}
        for tier in self._tiers:
            async with AsyncExitStack() as attempt:
                try:
                    found = await self._start_server(tier, attempt)
                    # Without confinement an attempt would succeed (tracing stops a process).
                    canaries = await self._canaries() if tier != "none" else {}
                except FAILURES as error:
                    troubles[tier] = str(error)
                    continue
                broken = [name for name, held in canaries.items() if not held]
                if broken:
                    troubles[tier] = f"a worker could {'; '.join(broken)}"
                    continue
                self._report = describe(tier, found, canaries, troubles)
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
        self._server = Server(self._config, tier, self._overrides)
        stack.push_async_callback(self._server.close)
        return await self._server.start()

    @property
    def _client(self) -> ForkClient:
        return self._server.client

    async def _canaries(self) -> dict[str, bool]:
        """Return the escape attempts of a real worker, and whether each was blocked."""
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
            async with self._repl(None, {}, {}, {"answer_dict": False, "seed": 0}, None) as repl:
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
        echo: bool = False,
        hints: bool = True,
        scaffold: JSON = None,
        keep_names: bool = False,
    ) -> AbstractAsyncContextManager[Repl]:
        """See `interface.ReplPool.open`."""
        if self._report is None:
            raise RuntimeError("the pool is not open: use it with `async with`")
        settings = {"answer_dict": answer_dict, "seed": seed, "echo": echo, "hints": hints}
        settings |= {"scaffold": scaffold, "keep_names": keep_names}
        return self._repl(context, functions, variables or {}, settings, key)

    @asynccontextmanager
    async def _repl(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        variables: Mapping[str, JSON],
        settings: dict[str, Any],
        key: str | None,
    ) -> AsyncIterator[Repl]:
        settings = settings | {"functions": list(functions)}
        async with AsyncExitStack() as stack:
            template: ForkClient | None = None
            file, shared = -1, ""
            size = held_bytes(context)
            if context and size >= TEMPLATE_BYTES:
                known = f"{key}:{type(context).__name__}:{len(context)}" if key else None
                shared = known or _content_key(context) or f"of {id(stack)} alone"

            def more() -> int:
                return WORKER_BYTES + (size if shared and shared not in self._templates else 0)

            await self._memory.wait(more)
            self._memory.take(WORKER_BYTES)
            stack.callback(self._memory.give, WORKER_BYTES)
            entered()
            stack.callback(left)
            if context is not None and not shared:
                with of_the_machine():
                    file = context_file(context)
                stack.callback(os.close, file)

            async def launch() -> ProcessLink:
                nonlocal template
                if shared and (template is None or template.lost):  # lost with all its workers
                    made = self._template(shared, context, size)
                    template = await stack.enter_async_context(made)
                return await self._launch(template, settings, file)

            repl = WorkerRepl(self._config, launch, functions, variables)
            stack.push_async_callback(repl.close)
            await repl.start()
            yield repl

    async def _launch(
        self, template: ForkClient | None, settings: dict[str, Any], file: int
    ) -> ProcessLink:
        client = template or await self._server.live()
        self._next += 1
        request = {"op": "worker", "id": self._next, "settings": settings}
        with of_the_machine():
            ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            large_buffer(end)
        with theirs:
            fds = [theirs.fileno()] + ([file] if file >= 0 else [])
            try:
                handle, ended = await client.start(request, fds)
            except BaseException:
                ours.close()
                raise
        return ProcessLink(ours, handle, ended)

    @asynccontextmanager
    async def _template(
        self, key: str, context: ContextValue, size: int
    ) -> AsyncIterator[ForkClient]:
        """Yield the fork server of a large context, shared by the REPLs on it."""
        made = self._templates.get(key)
        if made and made.done() and (made.exception() or made.result().client.lost):
            del self._templates[key]
            if not made.exception():
                os.close(made.result().handle)
        if key not in self._templates:
            self._templates[key] = asyncio.create_task(self._make_template(context))
            if key not in self._sizes:
                self._sizes[key] = size
                self._memory.take(size)
        self._users[key] = self._users.get(key, 0) + 1
        try:
            template = await asyncio.shield(self._templates[key])
            yield template.client
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                task = self._templates.pop(key)
                self._memory.give(self._sizes.pop(key))
                with suppress(ReplUnavailable):
                    await (await task).close()

    async def _make_template(self, context: ContextValue) -> _Template:
        with of_the_machine():
            file = await asyncio.to_thread(context_file, context)
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            except OSError:
                os.close(file)
                raise
        self._next += 1
        try:
            request = {"op": "template", "id": self._next}
            client = await self._server.live()
            handle, ended = await client.start(request, [theirs.fileno(), file])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(file)
        client = ForkClient(ours)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                _check_decoded(await client.ready)
        except BaseException as error:
            client.close()
            _kill(handle)
            os.close(handle)
            if isinstance(error, TimeoutError):
                raise ReplUnavailable("a shared context could not be decoded in time") from None
            raise
        return _Template(client, handle, ended)


async def probe(
    config: ReplConfig, tier: str, overrides: Mapping[str, Any]
) -> dict[str, bool] | str:
    """Return which canaries a level blocks, or why it is unavailable. For `doctor`."""
    pool = SandboxPool(config, tier, overrides)
    async with AsyncExitStack() as stack:
        try:
            await pool._start_server(tier, stack)
            return await pool._canaries()
        except FAILURES as error:
            return str(error)
