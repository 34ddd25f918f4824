"""Read and check a runner's result for one sample: docs/external_engines.md.

The contract centres on `ended`. Engines return a text as the answer in every case: the dump of
their variables when the turns run out, or the text of their own error. A runner therefore reports
how the engine ended, and only an answer that the model gave is scored as one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import ConfigError, CutShort
from rlm_eval.core.types import Answer, Call, Outcome
from rlm_eval.methods.steps import answering

ENDS = ("answer", "forced", "turns", "error")
"""`answer`: the model finished. `forced`: turns ran out, an answer was requested. `turns`: turns
ran out without an answer. `error`: no answer, for the given `reason`."""
FAULTS = ("protocol", "engine")
"""Source of an `error`: a reply that the engine's protocol cannot use, or the engine itself."""
_LONGEST_REASON = 120
"""Maximum characters of a reason in the records: a kind of failure, never a reply."""


@dataclass(frozen=True)
class Result:
    """One result file."""

    answer: str | None
    """The answer as text; `None` where there is none."""
    ended: str
    """One of `ENDS`."""
    reason: str = ""
    """Short reason why there is no answer."""
    fault: str = "protocol"
    """One of `FAULTS`; read where `ended` is `error`."""
    usage: dict[str, Any] = field(default_factory=dict)
    """The engine's own usage: `calls`, `input_tokens`, `output_tokens`, each where available."""
    version: str | None = None
    """Release of the engine."""

    def as_answer(self, calls: Sequence[Call]) -> Answer:
        """Convert to an `Answer` with the outcome for `ended` (an engine's fault has none).

        `calls` are the sample's calls, in the order in which they ended. The answer names the one
        that produced it: where that reply was cut, the sample is `truncated`, not wrong. So is one
        without an answer because the engine's protocol cannot use a cut reply.
        """
        if self.ended == "turns":
            return Answer(None, provenance="program", outcome=Outcome.LIMIT_TURNS)
        text = None if self.ended == "error" else self.answer
        made = answering(None if self.ended == "forced" else text, calls)
        outcome = None
        if made is not None and (made.error or "").startswith(f"{CutShort.__name__}:"):
            outcome = Outcome.TRUNCATED  # the cap was used up before any text
        elif self.ended == "error" and not (made and made.is_cut):
            outcome = Outcome.NO_ANSWER
        return Answer(text, call=made.id if made else None, provenance="program", outcome=outcome)


def read(path: Path, runner: str) -> Result:
    """Read the result at `path`, which the script `runner` wrote.

    Raises `ConfigError` for a result that breaks the contract: without `ended` the text in `answer`
    may not be an answer and must not be scored.
    """
    where = f"the result of {runner}"
    try:
        told = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{where} is no JSON: {error}") from error
    told = told if isinstance(told, dict) else {}
    ended, reason, fault = told.get("ended"), told.get("reason"), told.get("fault", "protocol")
    if ended not in ENDS:
        raise ConfigError(
            f"{where} says ended={ended!r}; it must say how the engine ended: {', '.join(ENDS)} "
            "(docs/external_engines.md)"
        )
    if ended == "error" and not reason:
        raise ConfigError(f"{where} says ended='error' without a reason; add one in a few words")
    if fault not in FAULTS:
        raise ConfigError(f"{where} says fault={fault!r}; it is one of {', '.join(FAULTS)}")
    answer, usage = told.get("answer"), told.get("usage")
    return Result(
        answer=None if answer is None else str(answer),
        ended=ended,
        reason=" ".join(str(reason or "").split())[:_LONGEST_REASON],
        fault=fault,
        usage=usage if isinstance(usage, dict) else {},
        version=None if told.get("version") is None else str(told["version"]),
    )
