"""Engines of others, in a process and a Python environment of their own, behind our meter.

The engine gets a job file (question, context, the address of a loopback endpoint, its key) and
writes a result file (`contract`); every model call it makes is a call of our session (`proxy`). Its
own account of tokens is noted beside ours. Its code runs as it pleases: a process with a scrubbed
environment and a folder of its own, but no sandbox of ours. How to add one:
docs/external_engines.md.
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

from rlm_eval.core.errors import BadRequest, ConfigError, MissingDependency, ReplCrash
from rlm_eval.core.types import Answer, Outcome, Role, Sample
from rlm_eval.methods.external import contract
from rlm_eval.methods.external.environment import PACKAGES, lacks, python_of
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
    VERSION: ClassVar[int] = 4  # 4: outcomes by how the engine says that it ended
    writes_plain_text: ClassVar[bool] = True
    RUNTIME: ClassVar[frozenset[str]] = frozenset({"python", "settings_for"})

    engine: str = "rlms"
    """Name in tables, and of the shipped runner (`rlms`: the official package)."""
    python: str | None = None
    """Interpreter of the environment that has the engine; null = what `scripts/engine_env.sh` made
    in the cache folder, else the harness's own."""
    runner: str | None = None
    """A runner script of your own; null = the shipped one."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Passed to the engine (`rlms`: arguments of `RLM`, as `max_iterations`)."""
    seconds: float = 1800.0
    """Wall seconds after which the engine is killed."""
    release: str = "0.1.3"
    """Release of the engine: another one is another method. Not checked with a `runner`."""
    settings_for: str | None = None
    """The engine whose settings a YAML holds: they must not reach another one."""
    one_model: bool = False
    """True where the engine cannot use a sub-model of its own; then `model@sub` must be `same`."""
    max_output_tokens: int = 8192
    """Most tokens of a reply where the model's own sampling names no cap. What an engine asks for
    is ignored, so without any cap a small model may write to the end of its window."""

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"seconds={self.seconds}: more than 0")
        if self.max_output_tokens < 1:
            raise ValueError(f"max_output_tokens={self.max_output_tokens}: at least 1")
        if self.runner is None and self.engine not in PACKAGES:
            shipped = ", ".join(PACKAGES)
            raise ValueError(f"no runner {self._runner.name}; shipped engines: {shipped}")
        if not self._runner.is_file():
            raise ValueError(f"runner={self.runner}: no such file")
        if self.settings and self.settings_for not in (None, self.engine):
            near = f"external_{self.engine}" if self.engine in PACKAGES else "external"
            raise ValueError(
                f"engine={self.engine} with the settings of {self.settings_for}; take "
                f"method={near}, which has none of them"
            )

    @property
    def _runner(self) -> Path:
        return Path(self.runner) if self.runner else _HERE / f"run_{self.engine}.py"

    @property
    def slots(self) -> tuple[str, ...]:
        """The root, and the sub-model unless the engine has no use for one."""
        return ("root",) if self.one_model else ("root", "sub")

    @property
    def name(self) -> str:
        """`external_rlms`."""
        return f"external_{self.engine}"

    @property
    def prompt_id(self) -> str:
        """The engine brings its own prompts."""
        return f"{self.engine}@engine"

    def unready(self) -> str | None:
        """Why no sample can run on this machine and what to do, in a line; `None` where one can."""
        if self.runner is not None:
            if python_of(self.engine, self.release, self.python) is None:
                return f"{self.name}: method.python={self.python}: no such interpreter"
            return None
        told = lacks(self.engine, self.release, self.python)
        return None if told is None else f"{self.name}: {told}"

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Run the engine once.

        Raises what ended the sample (a limit, a model that failed), `ReplCrash` where the engine
        failed by itself, `MissingDependency` where its environment lacks it, `ConfigError` where
        its runner breaks the contract.
        """
        session.keeps_raw = True
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="rlm_eval_engine_"))
        try:
            async with open_proxy(session, self.max_output_tokens) as proxy:
                try:
                    result = await self._run(sample, session, proxy, folder)
                finally:
                    _note_requests(session, proxy)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
        if result is None:
            return Answer(None, outcome=Outcome.LIMIT_TIME)
        self._note_result(session, result)
        if result.ended == "error" and result.fault == "engine":
            failure = self._failure(session, proxy, result.reason)
            _note_requests(session, proxy)
            raise failure
        return result.as_answer()

    async def _run(
        self, sample: Sample, session: Session, proxy: Proxy, folder: Path
    ) -> contract.Result | None:
        """What the engine's runner wrote; `None` where its time was up."""
        value = await asyncio.to_thread(sample.context.value)
        job = {
            "question": sample.question,
            "context": value,
            "base_url": proxy.url,
            "api_key": proxy.key,
            "settings": self.settings,
            "result": str(folder / "result.json"),
        }
        python = python_of(self.engine, self.release, self.python)
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
            return None
        log = (folder / "log").read_text(errors="replace")[-_LAST_WORDS:].strip()
        words = " | ".join(log.splitlines()[-3:])
        if code == 3:
            raise MissingDependency(
                f"{self.name}: {python} lacks the engine; make an environment for it and set "
                f"method.python (docs/external_engines.md). It said: {words}"
            )
        if code != 0 or not (folder / "result.json").is_file():
            session.note("engine_reason", f"ended with code {code}")
            raise self._failure(session, proxy, f"ended with code {code}: {words}")
        return contract.read(folder / "result.json", self._runner.name)

    def _failure(self, session: Session, proxy: Proxy, told: str) -> Exception:
        """What to raise where the engine failed: a model call that failed is most likely why."""
        if proxy.failure is None:
            return ReplCrash(f"{self.name}: {told}")
        proxy.failed -= 1  # the engine did not go on after this one
        if isinstance(proxy.failure, BadRequest):
            # The engine's own request, which would be refused again: as a failure of the provider
            # the sample would be redone for ever, and never count.
            session.note("engine_reason", "its request was refused")
            return ReplCrash(f"{self.name}: its request was refused: {proxy.failure}")
        return proxy.failure

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

    def _note_result(self, session: Session, result: contract.Result) -> None:
        """How it ended, by which release, and its own account beside ours."""
        if self.runner is None and result.version != self.release:
            raise ConfigError(
                f"{self.name}: release {result.version} answered and method.release="
                f"{self.release}; set method.release={result.version}"
            )
        session.note("engine_version", result.version)
        session.note("engine_ended", result.ended)
        session.note("engine_forced", result.ended == "forced")
        if result.reason:
            session.note("engine_reason", result.reason)
        ours = [call for call in session.calls if call.role in (Role.ROOT, Role.SUB)]
        told = result.usage
        for name in ("calls", "input_tokens", "output_tokens"):
            session.note(f"engine_{name}", told.get(name))
        if isinstance(told.get("calls"), int):
            session.note("engine_missed_calls", len(ours) - told["calls"])
        known = [call.usage for call in ours]
        if isinstance(told.get("input_tokens"), int) and all(u.input is not None for u in known):
            tokens = sum((u.input or 0) + (u.output or 0) for u in known)
            missed = tokens - told["input_tokens"] - (told.get("output_tokens") or 0)
            session.note("engine_missed_tokens", missed)


def _note_requests(session: Session, proxy: Proxy) -> None:
    """What the proxy saw, however the sample ended."""
    session.note("engine_peak_calls", proxy.peak)
    session.note("engine_failed_calls", proxy.failed)
    session.note("engine_input_chars_first", proxy.first_chars)


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
