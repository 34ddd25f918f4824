"""Outcomes of a sample: answered, cut, or without an answer.

Also `Totals`: the totals of an imported row that has no list of calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a sample. It describes the call that produced the answer."""

    OK = "ok"
    """An answer was given; the score decides whether it is right."""
    TRUNCATED = "truncated"
    """A model's output cap or window cut the reply that gave the answer."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The prompt did not fit the model's window; the score is 0."""
    LIMIT_TOKENS = "limit:tokens"
    """`limits.tokens` of the sample ended the trajectory."""
    LIMIT_COST = "limit:cost"
    """`limits.cost` of the sample ended the trajectory."""
    LIMIT_CALLS = "limit:calls"
    """`limits.calls` of the sample ended the trajectory."""
    LIMIT_TIME = "limit:time"
    """`limits.seconds` of the sample ended the trajectory."""
    LIMIT_DEPTH = "limit:depth"
    """A limit of recursion depth ended the trajectory. No method of this package ends so."""
    LIMIT_TURNS = "limit:turns"
    """The method's limit of turns ended the trajectory."""
    NO_ANSWER = "no_answer"
    """The method ended without an answer."""
    REFUSED = "refused"
    """The provider's content filter refused or blocked the request."""
    REPL_CRASH = "repl_crash"
    """The sample's own code ended its REPL worker twice; the score is 0."""
    REPL_UNAVAILABLE = "repl_unavailable"
    """The machine could not provide a REPL; missing, redone."""
    PROVIDER_ERROR = "provider_error"
    """A model call failed for good after its retries; missing, redone."""
    SERVER_CUT = "server_cut"
    """The server cut a prompt without an error; missing, redone."""
    JUDGE_ERROR = "judge_error"
    """The judge gave no verdict; missing, redone."""
    CANCELLED = "cancelled"
    """The run was stopped while the sample was in flight; missing, redone."""
    UNKNOWN = "unknown"
    """Of an imported row: whether the answer was cut is unknown, and it may have been."""

    @property
    def is_missing(self) -> bool:
        """True where the outcome does not depend on the method; such a sample is redone."""
        return self in (
            Outcome.PROVIDER_ERROR,
            Outcome.SERVER_CUT,
            Outcome.REPL_UNAVAILABLE,
            Outcome.JUDGE_ERROR,
            Outcome.CANCELLED,
        )

    @property
    def scores_zero(self) -> bool:
        """True where the score is 0 whatever text was produced."""
        return self in (Outcome.CONTEXT_OVERFLOW, Outcome.REPL_CRASH)

    @property
    def is_cut(self) -> bool:
        """True where a limit of the harness or of the model ended the answer early."""
        return self is Outcome.TRUNCATED or self.value.startswith("limit:")

    @property
    def gives_bounds(self) -> bool:
        """True where the score is known only as bounds: the answer was cut, or may have been."""
        return self.is_cut or self is Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of an imported row without a list of calls; `None` = not in the log.

    A trajectory with totals takes its columns of calls, tokens and times from here alone
    (`records.record_of`): what is absent here is unknown, whatever `Trajectory.calls` holds.
    """

    input: int | None = None
    """Prompt tokens over all calls, cached ones included."""
    cached: int | None = None
    """Prompt tokens read from the provider's cache."""
    output: int | None = None
    """Completion tokens over all calls, reasoning included."""
    reasoning: int | None = None
    """Completion tokens spent on reasoning."""
    calls: int | None = None
    """Model calls at every depth."""
    turns: int | None = None
    """Turns of the root."""
    sub_calls: int | None = None
    """Sub-calls and calls of child trajectories."""
    max_depth: int | None = None
    """Deepest call."""
    steps: int | None = None
    """Executed code blocks."""
    price: str | None = None
    """Key of the one price that applies to all tokens; `None` = several models, or unknown."""
