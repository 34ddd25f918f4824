"""How a sample ends: what counts as an answer, what as a cut answer, what as nothing at all.

And `Totals`: all that an imported row may say of what came before its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a sample ended. It describes the call that produced the answer."""

    OK = "ok"
    """An answer was given; whether it is right is the score's matter."""
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
    """The machine gave the sample no REPL; missing, redone."""
    PROVIDER_ERROR = "provider_error"
    """A model call failed for good after its retries; missing, redone."""
    SERVER_CUT = "server_cut"
    """The server cut a prompt without an error; missing, redone."""
    JUDGE_ERROR = "judge_error"
    """The judge gave no verdict; missing, redone."""
    CANCELLED = "cancelled"
    """The run was stopped while the sample was in flight; missing, redone."""
    UNKNOWN = "unknown"
    """Of an imported row: whether the answer was cut is not known, and there is reason to ask."""

    @property
    def is_missing(self) -> bool:
        """True where the sample says nothing about the method; it is redone, never scored."""
        return self in (
            Outcome.PROVIDER_ERROR,
            Outcome.SERVER_CUT,
            Outcome.REPL_UNAVAILABLE,
            Outcome.JUDGE_ERROR,
            Outcome.CANCELLED,
        )

    @property
    def scores_zero(self) -> bool:
        """True where the score is 0 whatever text is at hand."""
        return self in (Outcome.CONTEXT_OVERFLOW, Outcome.REPL_CRASH)

    @property
    def is_cut(self) -> bool:
        """True where a limit of ours or of the model ended the answer early."""
        return self is Outcome.TRUNCATED or self.value.startswith("limit:")

    @property
    def gives_bounds(self) -> bool:
        """True where the score is known only as bounds: the answer was cut, or may have been."""
        return self.is_cut or self is Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of an imported row that no list of calls backs; `None` = the log does not say.

    A trajectory with totals has columns of calls, tokens and times from here alone
    (`records.record_of`): what is not in here is unknown, whatever `Trajectory.calls` holds.
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
    """Key of the one price that holds for all tokens; `None` = several models, or unknown."""
