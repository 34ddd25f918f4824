"""Local servers as managed child processes: start, health check, sharing, stop.

One code path for llama.cpp, vLLM and transformers; an engine's file holds only its command line and
its specific queries. Servers listen on 127.0.0.1 on a free port with a random key. Equal
configurations share one server within the process; an open model keeps it running.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import ConfigError, EndpointUnusable
from rlm_eval.core.messages import say
from rlm_eval.core.reasoning import template_opens_thought
from rlm_eval.core.secrets import redact
from rlm_eval.core.types import text_hash
from rlm_eval.models import EndpointInfo
from rlm_eval.models.endpoint import Fetches, Meter, TellsCache
from rlm_eval.models.refcounted import refcounted
from rlm_eval.models.servers.placement import NOWHERE, PLACEMENT, Place, Placement, Windows, key_of
from rlm_eval.models.servers.processes import answers, free_port, kill_tree
from rlm_eval.models.servers.start_errors import quoted
from rlm_eval.models.waiting import INTERRUPT

CELL: ContextVar[str] = ContextVar("rlm_eval_cell", default="")
"""The running cell: a server that died is restarted once per cell."""

LOGS: ContextVar[Path | None] = ContextVar("rlm_eval_server_logs", default=None)
"""Folder of the run for the servers' logs; set by the runner."""

START_WINDOWS: ContextVar[Windows | None] = ContextVar("rlm_eval_start_windows", default=None)
"""Set by the runner (`job_window`)."""

LOOPBACK = "127.0.0.1"
STOP_S = 12.0
"""Seconds that a stop may take before the whole group is killed: more than the supervisor's own."""


@dataclass(frozen=True)
class Launch:
    """The command of a server."""

    command: tuple[str, ...]
    """Program and arguments; written to the manifest, so it never holds the key."""
    environment: dict[str, str]
    """Added to our environment; carries the key."""
    revision: str | None = None
    """Revision or hash of the weights."""


class Engine(Protocol):
    """A kind of server: a frozen dataclass, nested as `engine` in a model's YAML."""

    @property
    def label(self) -> str:
        """`llama.cpp`, `vllm`, `transformers`."""
        ...

    @property
    def startup_s(self) -> float:
        """Timeout of a start, seconds."""
        ...

    @property
    def gpus(self) -> int:
        """GPUs that the server uses; 0 on a CPU."""
        ...

    @property
    def cores(self) -> int:
        """CPU cores that it uses where it has no GPU."""
        ...

    def launch(self, model: str, window: int | None, port: int, key: str) -> Launch:
        """Return the command line; downloads weights where needed (blocking)."""
        ...

    def found(self, model: str) -> tuple[str | None, str | None]:
        """Return (chat template, commit) stored with the weights, read once the server is ready;
        `None` where it is not found, or where the server itself reports it."""
        ...

    def version(self) -> str | None:
        """Return the version of the engine's package; `None` where it is unknown."""
        ...


class Server:
    """One running server. Only `spawned` makes these."""

    def __init__(
        self,
        engine: Engine,
        model: str,
        window: int | None,
        place: Place = NOWHERE,
        key: str | None = None,
        host: str = LOOPBACK,
    ) -> None:
        self.engine, self.model, self.window, self.place = engine, model, window, place
        self.host = host
        self._less = (START_WINDOWS.get() or {}).get(key_of(engine, model, window))
        self._is_widening = False
        self.key = key or secrets.token_hex(24)  # no leading dash: a command line may carry it
        self.meter = Meter()
        self._name = f"{engine.label}-{secrets.token_hex(4)}"
        self.info = EndpointInfo(model, engine=engine.label)
        self.base_url = ""
        self._ready_at: float | None = None
        self._held_before = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._lock = asyncio.Lock()
        self._restarted: set[str] = set()
        """Cells in which it died and was restarted."""

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor; its descendants are the server."""
        return self._process.pid if self._process else None

    @property
    def held(self) -> tuple[str, float]:
        """Return the server's id, and the seconds for which it was ready, restarts included."""
        now = 0.0 if self._ready_at is None else time.monotonic() - self._ready_at
        return self._name, self._held_before + now

    @property
    def _runs(self) -> bool:
        return self._process is not None and self._exit_code is None

    @property
    def _exit_code(self) -> str | None:
        """Return the exit code of the server, or of its supervisor if that was killed."""
        if self._process is None or self._folder is None:
            return None
        told = self._folder / "exit"
        if told.exists():
            return told.read_text()
        return None if self._process.returncode is None else str(self._process.returncode)

    def last_words(self, lines: int = 12) -> str | None:
        """Return why the server is gone, from its log; `None` while it runs."""
        code = self._exit_code
        if code is None or self._folder is None:
            return None
        told = f"exit code {code}; {quoted(self._log(), lines)}"
        kept = self._kept_log()
        return told if kept is None else f"{told}\n  whole log: {kept}"

    def _log(self) -> str:
        """Return its log so far, its key masked."""
        if self._folder is None:
            return ""
        try:
            text = (self._folder / "log").read_text("utf-8", "replace")
        except OSError:
            return ""
        return redact(text.replace(self.key, "[key]"))

    def _kept_log(self) -> Path | None:
        """Return the path of its log in the run."""
        folder = LOGS.get()
        return None if folder is None else folder / f"{self._name}.log"

    def _keep_log(self) -> None:
        """Append the log of this start to the run's file; a full disk loses the log alone."""
        path, text = self._kept_log(), self._log()
        if path is None or not text:
            return
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else text + "\n")

    async def ensure(self) -> None:
        """Start the server unless it runs already; one that died is restarted once per cell.

        Raises `EndpointUnusable` where it does not start, or died again.
        """
        if self._runs and not self._is_widening:
            return
        async with self._lock:
            if self._runs:
                return
            if (why := self.last_words()) is not None:
                cell = CELL.get()
                if cell in self._restarted:
                    raise EndpointUnusable(
                        f"{self.engine.label}: the server of {self.model} is gone again, {why}\n"
                        "it was started again once in this cell; with the cause out of the way the "
                        "same command resumes"
                    )
                self._restarted.add(cell)
                say(f"{self.engine.label}: the server is gone, {why}\nstarting it again")
            await self.stop()
            for last_try in (False, True):
                port = free_port(self.host)
                try:
                    await self._start(port)
                except EndpointUnusable:
                    await self.stop()
                    # Between choosing and binding, another program may have taken the port.
                    if last_try or not answers(self.host, port):
                        raise
                else:
                    return

    async def widen(self) -> None:
        """Restart the server with its model's window, where it was started with less. Replies in
        flight are awaited; new calls wait in `ensure`. Raises as `ensure` does."""
        self._is_widening = True
        try:
            async with self._lock:
                if self._less is None:
                    return
                say(
                    f"{self.engine.label}: a request needs more than the {self._less[0]:,} tokens "
                    f"with which {self.model} was started; starting it with its whole window"
                )
                await self.meter.idle()
                self._less = None
                await self.stop()
        finally:
            self._is_widening = False
        await self.ensure()

    async def _start(self, port: int) -> None:
        engine: Any = self.engine
        if self.place.share is not None and hasattr(engine, "gpu_memory"):
            engine = replace(engine, gpu_memory=self.place.share)
        if self.host != LOOPBACK:
            if not hasattr(engine, "host"):
                raise ConfigError(f"{engine.label} listens on {LOOPBACK} alone; use vLLM to serve")
            engine = replace(engine, host=self.host)
        if isinstance(engine, Fetches):
            await asyncio.to_thread(engine.fetch)
        window, whole = self._less or (self.window, self.window)
        launch = await asyncio.to_thread(engine.launch, self.model, window, port, self.key)
        self._folder = Path(tempfile.mkdtemp(prefix="rlm_eval_server_"))
        where = f", GPU {','.join(self.place.ids)}" if self.place.ids else ""
        say(f"{engine.label}: starting {self.model} on {self.host}:{port}{where}")
        supervise = (sys.executable, "-m", "rlm_eval.models.supervise", str(self._folder), "--")
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*supervise, *launch.command),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.place.environment, **launch.environment},
                start_new_session=True,
            )
        self.base_url = f"http://{self.host}:{port}/v1"
        began = awake_time()
        told = await self._healthy(began)
        template, commit = await asyncio.to_thread(engine.found, self.model)
        template = told or template
        self._ready_at = time.monotonic()
        tokens = engine.cache_tokens(self._log()) if isinstance(engine, TellsCache) else None
        held = "" if tokens is None else f"; the cache holds {tokens:,} tokens"
        if tokens is not None and window:
            held += f", {tokens / window:.1f} requests of its window of {window:,}"
        say(f"{engine.label}: ready after {awake_time() - began:.1f} s{held}")
        self.info = EndpointInfo(
            model=self.model,
            base_url=self.base_url,
            engine=engine.label,
            version=engine.version(),
            command=launch.command,
            revision=commit or launch.revision,
            chat_template_hash=text_hash(template) if template else None,
            template_opens_thought=template_opens_thought(template) if template else None,
            window=whole,
            started_window=None if window == whole else window,
            gpus=engine.gpus / self.place.sharing if self.place.sharing > 1 else engine.gpus,
            cores=None if engine.gpus else engine.cores,
            cache_tokens=tokens,
        )

    async def _healthy(self, began: float) -> str | None:
        """Wait until `/health` answers 200; return the chat template if the server reports it."""
        import aiohttp

        engine, told = self.engine, began
        root = self.base_url.removesuffix("/v1")
        headers = {"Authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                now = awake_time()
                if not self._runs:
                    raise EndpointUnusable(f"{engine.label} did not start: {self.last_words()}")
                if now - began > engine.startup_s:
                    raise EndpointUnusable(
                        f"{engine.label} was not ready after {engine.startup_s:.0f} s; give it "
                        f"more with engine.startup_s={2 * engine.startup_s:.0f}; "
                        + quoted(self._log(), 4)
                    )
                if now - told > 10:
                    told = now
                    say(f"{engine.label}: loading {self.model}, {now - began:.0f} s")
                try:
                    async with session.get(f"{root}/health") as response:
                        if response.status == 200:
                            break
                except (aiohttp.ClientError, TimeoutError):
                    pass  # not listening yet
                await INTERRUPT.get().sleep(0.2)
            try:
                async with session.get(f"{root}/props") as response:
                    return orjson.loads(await response.read()).get("chat_template") or None
            except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
                return None  # only llama.cpp reports it

    async def stop(self) -> None:
        """End the server and everything it started."""
        self._held_before, self._ready_at = self.held[1], None
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()  # the supervisor's stop signal
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                kill_tree(process.pid)
                await process.wait()
        if self._folder is not None:
            await asyncio.to_thread(self._keep_log)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def prepare_run(
    folder: Path, groups: Sequence[Sequence[Any]], windows: Windows | None = None
) -> None:
    """Keep the servers' logs in the run `folder`, and place servers that run together.

    `groups` are the models of each cell, `windows` those of `START_WINDOWS`.
    """
    LOGS.set(folder / "servers")
    START_WINDOWS.set(windows)
    PLACEMENT.set(Placement(groups))


@asynccontextmanager
async def spawned(
    engine: Engine,
    model: str,
    window: int | None,
    name: str = "",
    key: str | None = None,
    host: str = LOOPBACK,
) -> AsyncIterator[Server]:
    """Yield a running server for this configuration, shared within the process.

    `name` is the model's in messages, `key` the server's (`None` = a random one), `host` the
    address on which it listens. Raises `EndpointUnusable` with the cause from its log,
    `ConfigError` where it finds no GPU.
    """

    placement = PLACEMENT.get() or Placement()

    @asynccontextmanager
    async def hold() -> AsyncIterator[Server]:
        async with placement.hold(engine, name or model, key_of(engine, model, window)) as place:
            server = Server(engine, model, window, place, key, host)
            try:
                yield server
            finally:
                await asyncio.shield(server.stop())

    place: AbstractAsyncContextManager[Server] = refcounted(
        ("server", repr(engine), model, window), hold
    )
    async with place as server:
        await server.ensure()
        yield server


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
