"""How a sample ends: what counts as an answer, what as a cut answer, what as nothing at all."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a sample ended. It describes the call that produced the answer."""

    OK = "ok"
    TRUNCATED = "truncated"
    CONTEXT_OVERFLOW = "context_overflow"
    LIMIT_TOKENS = "limit:tokens"
    LIMIT_COST = "limit:cost"
    LIMIT_CALLS = "limit:calls"
    LIMIT_TIME = "limit:time"
    LIMIT_DEPTH = "limit:depth"
    LIMIT_TURNS = "limit:turns"
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    REPL_CRASH = "repl_crash"
    REPL_UNAVAILABLE = "repl_unavailable"
    PROVIDER_ERROR = "provider_error"
    SERVER_CUT = "server_cut"
    JUDGE_ERROR = "judge_error"
    CANCELLED = "cancelled"

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
