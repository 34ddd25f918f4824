"""How an answer becomes a number: pure functions from (gold, answer) to `Score`.

`official` scorers equal the reference implementation, its bugs included, and are the headline;
`lenient`, `fixed`, `strict` and `recommended` stand beside them. No model is called here and no
task is known; `command.py` puts the functions behind `rlm-eval score-answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rlm_eval.types import Score


def reference_call(scorer: str, function: Callable[[], tuple[float, str | None]]) -> Score:
    """The `Score` of a reference scorer; one that raises gives `None` and says so.

    `function` returns (value, parsed answer). Only the exceptions that malformed text can raise
    in the references are caught: the reference's crash is part of its behaviour.
    """
    try:
        value, parsed = function()
    except (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError) as e:
        return Score(scorer, None, flag=f"the reference raises {type(e).__name__}")
    return Score(scorer, value, parsed)


def counted(score: Score) -> Score:
    """`score` as a run counts it: 0, still flagged, where the reference raises."""
    return replace(score, value=0.0) if score.value is None else score
