"""External engines: third-party RLM code in its own process, metered by our session.

The engine gets a job file (question, context, address and key of a loopback endpoint) and writes a
result file (`contract`); every model call it makes is a call of our session (`proxy`). Its own
token counts are noted next to ours. The process has a scrubbed environment and its own folder, but
is not sandboxed by us. To add an engine: docs/external_engines.md.
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

from rlm_eval.core.clock import working_time
from rlm_eval.core.errors import (
    BadRequest,
    ConfigError,
    MissingDependency,
    ModelError,
    ProviderError,
    ReplCrash,
)
from rlm_eval.core.types import Answer, Outcome, Role, Sample
from rlm_eval.methods.external import contract
from rlm_eval.methods.external.environment import PACKAGES, lacks, python_of
from rlm_eval.methods.external.proxy import Proxy, open_proxy
from rlm_eval.protocols import Session

_HERE = Path(__file__).parent
_SUPERVISE = _HERE.parents[1] / "models" / "supervise.py"
_SIGNAL = 128  # exit codes from here on: a signal ended the engine (`models/supervise.py`)
_SETTLE_S = 0.05  # the proxy learns within it which connections an engine closed before its end
_LAST_WORDS = 600  # characters of the engine's log in an error message


@dataclass(frozen=True)
class External:
    """One engine. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    history: ClassVar[tuple[str, ...]] = ("system", "assistant", "user")
    VERSION: ClassVar[int] = 4  # 4: outcomes from the engine's own report of how it ended
    writes_plain_text: ClassVar[bool] = True
    RUNTIME: ClassVar[frozenset[str]] = frozenset({"python", "settings_for"})

    engine: str = "rlms"
    """Name in tables, and of the shipped runner (`rlms`: the official package)."""
    python: str | None = None
    """Interpreter of the environment with the engine; null = the environment that
    `scripts/engine_env.sh` made in the cache folder, otherwise the harness's own."""
    runner: str | None = None
    """The user's own runner script; null = the shipped one."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Passed to the engine (`rlms`: arguments of `RLM`, as `max_iterations`)."""
    seconds: float = 1800.0
    """Seconds after which the engine is killed, outages of the endpoint excluded."""
    release: str = "0.1.3"
    """Release of the engine: another release is another method. Not checked with a `runner`."""
    settings_for: str | None = None
    """The engine that a YAML's settings are for; another engine rejects them."""
    one_model: bool = False
    """True where the engine supports no separate sub-model; `model@sub` must then be `same`."""
    max_output_tokens: int = 8192
    """Maximum reply tokens where the model's own sampling has no cap. The engine's requested cap is
    ignored, so without any cap a small model may write to the end of its window."""

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
        """The root, and the sub-model unless the engine does not support one."""
        return ("root",) if self.one_model else ("root", "sub")

    @property
    def name(self) -> str:
        """`external_rlms`."""
        return f"external_{self.engine}"

    @property
    def prompt_id(self) -> str:
        """No prompt of ours: the engine has its own."""
        return f"{self.engine}@engine"

    def unready(self) -> str | None:
        """Why no sample can run here and what to do, in one line; `None` where one can."""
        if self.runner is not None:
            if python_of(self.engine, self.release, self.python) is None:
                return f"{self.name}: method.python={self.python}: no such interpreter"
            return None
        told = lacks(self.engine, self.release, self.python)
        return None if told is None else f"{self.name}: {told}"

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Run the engine once.

        Raises the error that ended the sample (a limit, a failed model call), `ReplCrash` where the
        engine itself failed, `MissingDependency` where its environment lacks it, `ConfigError`
        where its runner breaks the contract, `ProviderError` where the engine gave up a request
        before its reply, or where its time ended while a call waited to be sent again.
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
        if result is not None:
            self._note_result(session, result)
            if result.ended == "error" and result.fault == "engine":
                lost = proxy.given_up or proxy.unsent
                failure = self._failure(session, proxy, result.reason, lost)
                _note_requests(session, proxy)
                raise failure
        # The handlers have ended: the calls that were in flight at the end are recorded.
        lost = proxy.given_up or (proxy.unsent if result is None else None)
        if lost is not None:
            raise lost
        if result is None:
            return Answer(None, outcome=Outcome.LIMIT_TIME)
        return result.as_answer(session.calls)

    async def _run(
        self, sample: Sample, session: Session, proxy: Proxy, folder: Path
    ) -> contract.Result | None:
        """The result that the engine's runner wrote; `None` after a timeout."""
        value = await asyncio.to_thread(sample.context.value)
        written = folder / "result.json"
        job = {
            "question": sample.question,
            "context": value,
            "base_url": proxy.url,
            "api_key": proxy.key,
            "settings": self.settings,
            "result": str(written),
        }
        python = python_of(self.engine, self.release, self.python)
        if python is None:  # otherwise the supervisor's failure would look like an engine crash
            raise MissingDependency(
                f"{self.name}: method.python={self.python}: no such interpreter; make an "
                "environment for the engine (docs/external_engines.md)"
            )
        # By its path, with -P: its folder must not shadow modules of the standard library.
        supervise = (sys.executable, "-P", str(_SUPERVISE), str(folder), "--")
        command = (*supervise, python, "-P", str(self._runner))
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
        environment |= {"TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        with (folder / "log").open("wb") as output, _file_of(json.dumps(job), folder) as path:
            process = await asyncio.create_subprocess_exec(
                *command,
                path,
                stdin=asyncio.subprocess.PIPE,  # closing it terminates the whole process tree
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
                proxy.end()
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
        if code != 0 or not written.is_file():
            session.note("engine_reason", f"ended with code {code}")
            # A process that a signal ended gave up no request: its connections ended with it.
            lost = proxy.given_up if code < _SIGNAL else None
            raise self._failure(session, proxy, f"ended with code {code}: {words}", lost)
        return contract.read(written, self._runner.name)

    def _failure(
        self, session: Session, proxy: Proxy, told: str, lost: ProviderError | None
    ) -> Exception:
        """The exception for a failed engine: a failed model call is the most likely cause.

        `lost` is a request that got no reply: where no call failed, it is the cause.
        """
        cause: ModelError | None = proxy.failure or lost
        if cause is None:
            return ReplCrash(f"{self.name}: {told}")
        proxy.failed -= 1  # the engine stopped after this one
        if isinstance(cause, BadRequest):
            # The engine's own request, which would be rejected again. Where its turns are in
            # order, the cause may be the server's: `session.outage` makes the sample missing.
            session.note("engine_reason", "its request was refused")
            return ReplCrash(f"{self.name}: its request was refused: {cause}")
        return cause

    async def _watch(self, process: asyncio.subprocess.Process, proxy: Proxy) -> int | None:
        """Wait for the exit code; `None` after `seconds`, or once a limit is reached.

        An outage of the endpoint stops this clock, as it stops the sample's.
        """
        waiting = asyncio.ensure_future(process.wait())
        deadline = working_time() + self.seconds
        while proxy.stop is None and working_time() < deadline:
            done, _ = await asyncio.wait({waiting}, timeout=0.1)
            if done:
                await asyncio.sleep(_SETTLE_S)
                return waiting.result()
        waiting.cancel()
        return None

    def _note_result(self, session: Session, result: contract.Result) -> None:
        """Note how the engine ended, its release, and its own usage next to ours."""
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
    """Note the proxy's request counts, whatever the sample's outcome."""
    session.note("engine_peak_calls", proxy.peak)
    session.note("engine_failed_calls", proxy.failed)
    session.note("engine_input_chars_first", proxy.first_chars)


@contextmanager
def _file_of(text: str, folder: Path) -> Iterator[str]:
    """Yield a path at which an engine can read `text`.

    In memory where the system supports it, so that we write no data of a protected task to disk
    (an engine may: `rlms` does); otherwise in `folder`.
    """
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
    """Close the supervisor's stdin, and kill the supervisor if it does not exit."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), timeout=15)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
