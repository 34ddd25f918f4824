"""Engines of others, in a process and a Python environment of their own, behind our meter.

The engine gets a job file (question, context, the address of a loopback endpoint, its key) and
writes a result file; every model call it makes is a call of our session (`proxy`). Its own account
of tokens is noted beside ours. Its code runs as it pleases: a process with a scrubbed environment
and a folder of its own, but no sandbox of ours. How to add one: docs/external_engines.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.errors import MissingDependency, ReplCrash
from rlm_eval.core.types import Answer, Outcome, Role, Sample
from rlm_eval.methods.external.proxy import Proxy, open_proxy
from rlm_eval.protocols import Session

_HERE = Path(__file__).parent
_SUPERVISE = _HERE.parents[1] / "models" / "supervise.py"
_LAST_WORDS = 600  # characters of the engine's log in an error


@dataclass(frozen=True)
class External:
    """One engine. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    history: ClassVar[tuple[str, ...]] = ("system", "assistant", "user")
    VERSION: ClassVar[int] = 3  # 3: the engine gets replies as the server sent them
    writes_plain_text: ClassVar[bool] = True
    slots: ClassVar[tuple[str, ...]] = ("root", "sub")
    RUNTIME: ClassVar[frozenset[str]] = frozenset({"python"})

    engine: str = "rlms"
    """Name in tables, and of the shipped runner (`rlms`: the official package, 0.1.3)."""
    python: str | None = None
    """Interpreter of the environment that has the engine; null = the harness's own."""
    runner: str | None = None
    """A runner script of your own; null = the shipped one."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Passed to the engine (`rlms`: arguments of `RLM`, as `max_iterations`)."""
    seconds: float = 1800.0
    """Wall seconds after which the engine is killed."""

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds}: more than 0")
        if not self._runner.is_file():
            shipped = ", ".join(p.stem.removeprefix("run_") for p in _HERE.glob("run_*.py"))
            raise ValueError(f"no runner {self._runner.name}; shipped engines: {shipped}")

    @property
    def _runner(self) -> Path:
        return Path(self.runner) if self.runner else _HERE / f"run_{self.engine}.py"

    @property
    def name(self) -> str:
        """`external_rlms`."""
        return f"external_{self.engine}"

    @property
    def prompt_id(self) -> str:
        """The engine brings its own prompts."""
        return f"{self.engine}@engine"

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Run the engine once.

        Raises what ended the sample (a limit, a model that failed), `ReplCrash` where the engine
        failed by itself, `MissingDependency` where its environment lacks it.
        """
        session.keeps_raw = True
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="rlm_eval_engine_"))
        try:
            async with open_proxy(session) as proxy:
                result = await self._run(sample, proxy, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        session.note("engine_version", result.get("version"))
        self._note_usage(session, result.get("usage"))
        if result.get("timed_out"):
            return Answer(None, outcome=Outcome.LIMIT_TIME)
        answer = result.get("answer")
        return Answer(None if answer is None else str(answer), provenance="program")

    async def _run(self, sample: Sample, proxy: Proxy, folder: Path) -> dict[str, Any]:
        value = await asyncio.to_thread(sample.context.value)
        job = {
            "question": sample.question,
            "context": value,
            "base_url": proxy.url,
            "api_key": proxy.key,
            "settings": self.settings,
            "result": str(folder / "result.json"),
        }
        python = shutil.which(self.python or sys.executable)
        if python is None:  # else the supervisor's failure would read as a crash of the engine
            raise MissingDependency(
                f"{self.name}: method.python={self.python}: no such interpreter; make an "
                "environment for the engine (docs/external_engines.md)"
            )
        # By its file, with -P: its folder must not hide modules of the standard library.
        supervise = (sys.executable, "-P", str(_SUPERVISE), str(folder), "--")
        command = (*supervise, python, "-P", str(self._runner))
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
        environment |= {"TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        with (folder / "log").open("wb") as output, _file_of(json.dumps(job), folder) as path:
            process = await asyncio.create_subprocess_exec(
                *command,
                path,
                stdin=asyncio.subprocess.PIPE,  # the leash: closing it ends the whole tree
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
            code: int | None = None
            try:
                code = await self._watch(process, proxy)
            finally:
                await _end(process)
        if proxy.stop is not None:
            raise proxy.stop
        if code is None:
            return {"timed_out": True}
        log = (folder / "log").read_text(errors="replace")[-_LAST_WORDS:].strip()
        words = " | ".join(log.splitlines()[-3:])
        if code == 3:
            raise MissingDependency(
                f"{self.name}: {python} lacks the engine; make an environment for it and set "
                f"method.python (docs/external_engines.md). It said: {words}"
            )
        if code != 0 or not (folder / "result.json").is_file():
            if proxy.failure is not None:
                raise proxy.failure  # most likely why it failed, and then no fault of the engine
            raise ReplCrash(f"{self.name}: ended with code {code}: {words}")
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
        return result

    async def _watch(self, process: asyncio.subprocess.Process, proxy: Proxy) -> int | None:
        """The exit code; `None` after `seconds`, or once a limit is reached."""
        waiting = asyncio.ensure_future(process.wait())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        while proxy.stop is None and loop.time() < deadline:
            done, _ = await asyncio.wait({waiting}, timeout=0.1)
            if done:
                return waiting.result()
        waiting.cancel()
        return None

    def _note_usage(self, session: Session, own: Any) -> None:
        """The engine's own account, and what it misses of ours."""
        ours = [call for call in session.calls if call.role in (Role.ROOT, Role.SUB)]
        told = own if isinstance(own, dict) else {}
        for name in ("calls", "input_tokens", "output_tokens"):
            session.note(f"engine_{name}", told.get(name))
        if isinstance(told.get("calls"), int):
            session.note("engine_missed_calls", len(ours) - told["calls"])
        known = [call.usage for call in ours]
        if isinstance(told.get("input_tokens"), int) and all(u.input is not None for u in known):
            tokens = sum((u.input or 0) + (u.output or 0) for u in known)
            missed = tokens - told["input_tokens"] - (told.get("output_tokens") or 0)
            session.note("engine_missed_tokens", missed)


@contextmanager
def _file_of(text: str, folder: Path) -> Iterator[str]:
    """A path that an engine can read `text` at: in memory where the system can, so that we put no
    data of a protected task on a disk (an engine may: `rlms` does); else in `folder`."""
    if not hasattr(os, "memfd_create"):
        path = folder / "job.json"
        path.write_text(text, "utf-8")
        yield str(path)
        return
    with os.fdopen(os.memfd_create("job"), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let go of the leash, and of the supervisor itself should it not follow."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), timeout=15)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
