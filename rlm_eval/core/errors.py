"""Errors of the harness. Each message says what happened, where, and what to do next.

The runner maps them to outcomes (`core.types.Outcome`); nothing else turns an error into a result.
"""

from __future__ import annotations

import asyncio

from rlm_eval.core.secrets import redact
from rlm_eval.core.types import Call, Outcome, Usage


class RlmEvalError(Exception):
    """Base of every error that a user should read without a traceback. Its text holds no secret."""

    def __init__(self, *told: object) -> None:
        super().__init__(*(redact(text) if isinstance(text, str) else text for text in told))


class ConfigError(RlmEvalError):
    """The configuration is wrong; names the full key path."""


class NoSamples(ConfigError):
    """A task that gives no sample: there is nothing to run."""

    def __init__(self) -> None:
        super().__init__(
            "the task has no samples: its data have no rows, or no row meets its conditions; look "
            "at the file or data set that the task names"
        )


class MissingDependency(RlmEvalError):
    """An optional package, file or program is absent; names what to install."""


class NoStorage(RlmEvalError):
    """The run directory takes no more: full, read-only, deleted or moved. The run stops."""


class EndedBySignal(RlmEvalError):
    """A signal ended the run before its work was done: the exit code is `code` (130 = Ctrl-C)."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.code = 128 + signal


class NoRecords(RlmEvalError):
    """Runs in which no sample has ended: there is nothing to report."""


class ModelError(RlmEvalError):
    """A model call failed for good, retries included.

    `usage` is what the provider billed for the last attempt, where it said so, `failed` the same of
    each earlier one;
    `service_seconds` are those of the last one, where it was sent; `lost_attempts` as in
    `core.types.Call`.
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
    """Transient trouble (429, 5xx, timeouts, dropped connections) that outlasted the retries."""


class BadRequest(ModelError):
    """The provider refused the request as malformed; the same request would fail again."""


class ContextOverflow(ModelError):
    """The prompt does not fit the model's window."""

    outcome = Outcome.CONTEXT_OVERFLOW


class Refused(ModelError):
    """The provider's content filter refused."""

    outcome = Outcome.REFUSED


class CutShort(ModelError):
    """The server refused to answer because the output cap was used up before anything was said."""

    outcome = Outcome.TRUNCATED


class EndpointUnusable(ModelError):
    """Authentication failed or the model is unknown: no sample can succeed, the cell stops."""


class Suspended(EndpointUnusable):
    """No reply could be had for now. It says nothing about the sample, which is left for the next
    run; calls that are in flight are waited for."""


class EndpointGone(Suspended, ProviderError):
    """No connection was made, or no call got a reply, for as long as the configuration waits."""


class RunStopped(Suspended):
    """The run was asked to stop while this call waited to be sent."""


class CallCancelled(asyncio.CancelledError):
    """A model call was cancelled: a client raises it for `session`, which charges the call.

    `attempts` is how often it had been sent, 0 where it still waited for its turn; `failed` and
    `lost_attempts` as in `ModelError`, the attempt in flight counted as lost.
    """

    def __init__(self, failed: tuple[Usage, ...], attempts: int, lost_attempts: int) -> None:
        super().__init__()
        self.failed = failed
        self.attempts = attempts
        self.lost_attempts = lost_attempts


class LimitReached(RlmEvalError):
    """A limit would be exceeded by the next call.

    `scope` names whose: only the sample's own is an outcome; a sweep's budget ends the run.
    """

    def __init__(self, outcome: Outcome, message: str, scope: str = "sample") -> None:
        super().__init__(message)
        self.outcome = outcome
        self.scope = scope


class ReplCrash(RlmEvalError):
    """The sample's own code ended its REPL worker twice: its state cannot be restored."""


class ReplUnavailable(RlmEvalError):
    """The machine could not provide a REPL (no process, disk, memory or fork server).

    Says nothing about the sample: it is missing, and the same command runs it again.
    """


def error_of(call: Call) -> ModelError:
    """The error that a failed call ended with, as it was stored (`Call.error`)."""
    kind, _, message = (call.error or "").partition(": ")
    known: dict[str, type[ModelError]] = {c.__name__: c for c in ModelError.__subclasses__()}
    return known.get(kind, ModelError)(message, usage=call.usage, attempts=call.attempts)
