"""How an answer becomes a number: pure functions from (gold, answer) to `Score`.

`official` scorers equal the reference implementation, its bugs included, and are the headline;
`lenient`, `fixed`, `strict` and `recommended` stand beside them. No model is called here and no
task is known; `command.py` puts the functions behind `rlm-eval score-answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rlm_eval.core.reasoning import without_thoughts
from rlm_eval.core.types import Score
from rlm_eval.scoring.dates import IncompleteDate


def said(output: Any) -> Any:
    """`output` as every scorer reads it: without thoughts (`reasoning`), where it is a text.

    Done before a reference scorer runs: the references know no thoughts and take them as answers.
    """
    return without_thoughts(output) if isinstance(output, str) else output


# Version 1 of the reference scorers read thoughts as answers.
def reference_call(
    scorer: str, function: Callable[[], tuple[float, str | None]], version: str = "2"
) -> Score:
    """The `Score` of a reference scorer; one that raises gives `None` and says so.

    `function` returns (value, parsed answer). Only the exceptions that malformed text can raise
    in the references are caught: the reference's crash is part of its behaviour. An incomplete
    date scores 0 with a flag: the reference's value depends on the day on which it runs.
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
    """`score` as a run counts it: 0, still flagged, where the reference raises."""
    return replace(score, value=0.0) if score.value is None else score
