"""Score answers: pure functions from (gold, answer) to `Score`.

`official` scorers equal the reference implementation, its bugs included, and are the headline;
`lenient`, `fixed`, `strict` and `recommended` are reported with them. No scorer calls a model or
depends on a task; `command.py` runs them as `rlm-eval score-answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rlm_eval.core.reasoning import without_thoughts
from rlm_eval.core.types import Score
from rlm_eval.scoring.dates import IncompleteDate


def said(output: Any) -> Any:
    """Prepare `output` for a scorer: remove reasoning text (`reasoning`) from a text.

    Done before a reference scorer runs: the references would read reasoning as answers.
    """
    return without_thoughts(output) if isinstance(output, str) else output


# Version 1 of the reference scorers read reasoning as answers.
def reference_call(
    scorer: str, function: Callable[[], tuple[float, str | None]], version: str = "2"
) -> Score:
    """Run a reference scorer; if it raises, return a `Score` of `None` with a flag.

    `function` returns (value, parsed answer). Only the exceptions that malformed text can raise in
    the references are caught: the reference's crash is part of its behaviour. An incomplete date
    scores 0 with a flag, because the reference's value depends on the current date.
    """
    try:
        value, parsed = function()
    except IncompleteDate as date:
        flag = "incomplete date: the reference completes it with the day of scoring"
        return Score(scorer, 0.0, str(date), version, flag)
    except (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError) as e:
        flag = f"the reference raises {type(e).__name__}"
        return Score(scorer, None, None, version, flag)
    return Score(scorer, value, parsed, version)


def counted(score: Score) -> Score:
    """Convert `score` for a run: 0, with its flag, where the reference raises."""
    return replace(score, value=0.0) if score.value is None else score
