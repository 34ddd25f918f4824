"""Errors of the harness. Each message says what happened, where, and what to do next.

The runner maps them to outcomes (`core.types.Outcome`); nothing else turns an error into a result.
"""

from __future__ import annotations

import asyncio

from rlm_eval.core.secrets import redact
from rlm_eval.core.types import Call, Outcome, Usage


class RlmEvalError(Exception):
    """Base class of errors to be read without a traceback. Its text holds no secret."""

    def __init__(self, *told: object) -> None:
        super().__init__(*(redact(text) if isinstance(text, str) else text for text in told))


class ConfigError(RlmEvalError):
    """Raised for a wrong configuration; names the full key path."""


class NoSamples(ConfigError):
    """Raised where a task gives no sample: there is nothing to run."""

    def __init__(self) -> None:
        super().__init__(
            "the task has no samples: its data have no rows, or no row meets its conditions; look "
            "at the file or data set that the task names"
        )


class MissingDependency(RlmEvalError):
    """Raised where an optional package, file or program is absent; names what to install."""


class NoStorage(RlmEvalError):
    """Raised where the run directory is full, read-only, deleted or moved. The run stops."""


class EndedBySignal(RlmEvalError):
    """Raised where a signal ended the run early: the exit code is `code` (130 = Ctrl-C)."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.code = 128 + signal


class NoRecords(RlmEvalError):
    """Raised for runs in which no sample has ended: there is nothing to report."""


class ModelError(RlmEvalError):
    """Raised where a model call failed for good, retries included.

    `usage` is what the provider billed for the last attempt, where it reported it; `failed` the
    same for each earlier attempt; `service_seconds` are those of the last attempt, where it was
    sent; `lost_attempts` as in `core.types.Call`.
    """

    outcome: Outcome = Outcome.PROVIDER_ERROR

    def __init__(self, message: str, *, usage: Usage | None = None, attempts: int = 1) -> None:
        super().__init__(message)
        self.usage = usage or Usage()
        self.attempts = attempts
        self.failed: tuple[Usage, ...] = ()
        self.service_seconds: float | None = None
        self.lost_attempts = 0

    @property
    def kind(self) -> str:
        """Stable short name for records: the class name."""
        return type(self).__name__


class ProviderError(ModelError):
    """Raised for a transient failure (429, 5xx, timeout, lost connection) after all retries."""


class BadRequest(ModelError):
    """Raised where the provider rejected a malformed request; it would fail again."""


class ContextOverflow(ModelError):
    """Raised where the prompt does not fit the model's window."""

    outcome = Outcome.CONTEXT_OVERFLOW


class Refused(ModelError):
    """Raised where the provider's content filter refused."""

    outcome = Outcome.REFUSED


class CutShort(ModelError):
    """Raised where the output cap was used up before any visible text."""

    outcome = Outcome.TRUNCATED


class EndpointUnusable(ModelError):
    """Raised for failed authentication or an unknown model: the cell stops."""


class Suspended(EndpointUnusable):
    """Raised where no reply can be had for now. It is independent of the sample, which stays open
    for the next run; calls in flight are awaited."""


class EndpointGone(Suspended, ProviderError):
    """Raised where no connection was made, or no call got a reply, for as long as configured."""


class RunStopped(Suspended):
    """Raised where the run was asked to stop while this call waited to be sent."""


class CallCancelled(asyncio.CancelledError):
    """Raised when a model call is cancelled; carries the usage that `session` must still charge.

    `attempts` is the number of requests sent, 0 where the call still waited in the queue; `failed`
    and `lost_attempts` as in `ModelError`, the attempt in flight counted as lost.
    """

    def __init__(self, failed: tuple[Usage, ...], attempts: int, lost_attempts: int) -> None:
        super().__init__()
        self.failed = failed
        self.attempts = attempts
        self.lost_attempts = lost_attempts


class LimitReached(RlmEvalError):
    """Raised where the next call would exceed a limit.

    `scope` names the owner of the limit: only the sample's own limit is an outcome; a sweep's
    budget ends the run.
    """

    def __init__(self, outcome: Outcome, message: str, scope: str = "sample") -> None:
        super().__init__(message)
        self.outcome = outcome
        self.scope = scope


class ReplCrash(RlmEvalError):
    """Raised where the sample's own code ended its REPL worker twice: its state is lost."""


class ReplUnavailable(RlmEvalError):
    """Raised where the machine could not provide a REPL (no process, disk, memory or fork server).

    Independent of the sample, which is missing; the same command runs it again.
    """


def error_of(call: Call) -> ModelError:
    """Rebuild the error that a failed call ended with from its stored text (`Call.error`)."""
    kind, _, message = (call.error or "").partition(": ")
    known: dict[str, type[ModelError]] = {c.__name__: c for c in ModelError.__subclasses__()}
    return known.get(kind, ModelError)(message, usage=call.usage, attempts=call.attempts)
