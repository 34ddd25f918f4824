"""Answers that are the error text of a client or a server, as `answer = str(error)` makes them.

The whole answer must have the form in which a client writes an error. Words such as `timeout` alone
say nothing: an answer may be about them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rlm_eval.core.types import Outcome
from rlm_eval.importers.rows import Row

NOTE = "answer_is_error"
"""Note of a row whose answer is an error text."""
_LONGEST = 20_000
_CLASS = (
    r"(?:RateLimit|APIConnection|APITimeout|APIStatus|API|InternalServer|BadRequest|NotFound"
    r"|Authentication|PermissionDenied|ServiceUnavailable|UnprocessableEntity|Overloaded"
    r"|APIResponseValidation|BadGateway|GatewayTimeout|HTTPStatus|ClientConnector"
    r"|ServerDisconnected|RemoteProtocol|MaxRetries?|Connection|HTTP)Error"
    r"|(?:Read|Connect|Pool)Timeout|ResourceExhausted|TooManyRequests"
)
_REASON = (
    r"(?:client error|server error|too many requests|internal server error|bad gateway"
    r"|service unavailable|gateway time-?out)"
)
_FORM = re.compile(
    r"(?:\W*(?:llm |api |model |request )?(?:error|exception|failed)\W+)?(?:"
    r"error code: [45]\d\d\b"  # the clients of OpenAI and Anthropic
    r"|(?:[a-z_]\w*\.)*(?:" + _CLASS + r")(?:\s*[:({]|\s*$)"
    r"|http(?: error| status| status code)?\W{1,2}(?:429|5\d\d)"
    r"(?:\s*[:,({-]|\W*$|\s+" + _REASON + r")"
    r"|(?:429|5\d\d) " + _REASON + r"\b"
    r"|connection error\.?\s*$|request timed out\.?\s*$"
    r"|\{\s*['\"]error['\"]\s*:\s*\{\s*['\"](?:message|code|type|status)['\"]\s*:"
    r")",
    re.IGNORECASE,
)
_TRACEBACK = "Traceback (most recent call last):"
_TOO_LONG = re.compile(
    r"context[ _](?:length|window)|maximum context|prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
"""Says that the prompt did not fit: a result of the method, which scores 0."""


def is_fault(answer: object) -> bool:
    """Return true for an answer that is the error text of a failed request, and nothing else.

    A traceback is one by its last line alone: code of a method may have raised it.
    """
    text = answer.strip() if isinstance(answer, str) else ""
    if not text or len(text) > _LONGEST:
        return False
    if text.startswith(_TRACEBACK):
        text = text.splitlines()[-1]
    return _FORM.match(text) is not None and not _TOO_LONG.search(text)


def fault_of(row: Row) -> str | None:
    """Return the answer of a row that is an error text and was not judged right, else `None`."""
    right = row.scores and row.scores[0].value
    of_ours = row.sample_id is not None  # our export states the outcome
    if row.outcome is not Outcome.OK or row.error or right or of_ours or not is_fault(row.answer):
        return None
    # A question about errors may have one as its gold.
    golds = row.gold if isinstance(row.gold, list | tuple) else [row.gold]
    return None if any(is_fault(str(gold)) for gold in golds) else row.answer


def as_fault(row: Row, outcome: Outcome) -> Row:
    """Return the row with its answer as the error of `outcome`; a missing one has no score."""
    notes = dict(row.notes) | {NOTE: True}
    if outcome.is_missing and row.scores and row.scores[0].value is not None:
        notes["their_score"] = row.scores[0].value
    scores = () if outcome.is_missing else row.scores
    return replace(row, outcome=outcome, error=row.answer, notes=notes, scores=scores)


def without_faults(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows with answers that are error texts as `provider_error`."""
    found = [
        row if fault_of(row) is None else as_fault(row, Outcome.PROVIDER_ERROR) for row in rows
    ]
    hit = [row for row in found if row.notes.get(NOTE)]
    if hit:
        outcomes = ", ".join(dict.fromkeys(row.outcome.value for row in hit))
        told.append(
            f"{len(hit)} of {len(rows)} answers are the error text of a client or a server, e.g. "
            f"{hit[0].answer!r:.80} ({hit[0].place}): their outcome is {outcomes}"
        )
    return found
