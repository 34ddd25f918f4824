"""HOW a question is answered. A `Method` sees a session and a sample's context, never a task.

Its contract is in `rlm_eval.protocols`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_eval.core.lazy import lazy
from rlm_eval.protocols import Method as Method

if TYPE_CHECKING:
    from rlm_eval.methods.closed_book import ClosedBook as ClosedBook
    from rlm_eval.methods.codeact import CodeAct as CodeAct
    from rlm_eval.methods.external import External as External
    from rlm_eval.methods.floor import Floor as Floor
    from rlm_eval.methods.lambda_rlm import LambdaRlm as LambdaRlm
    from rlm_eval.methods.long_context import LongContext as LongContext
    from rlm_eval.methods.matched import MatchedProgram as MatchedProgram
    from rlm_eval.methods.program import Program as Program
    from rlm_eval.methods.rag import Rag as Rag
    from rlm_eval.methods.react import React as React
    from rlm_eval.methods.rlm import RLM as RLM
    from rlm_eval.methods.rlm.official import Official011 as Official011
    from rlm_eval.methods.rlm.official import OfficialLatest as OfficialLatest
    from rlm_eval.methods.rlm.official import PaperV1 as PaperV1
    from rlm_eval.methods.rlm.official import PaperV1Strict as PaperV1Strict
    from rlm_eval.methods.rlm.own import Own as Own
    from rlm_eval.methods.summary_agent import SummaryAgent as SummaryAgent


def history_of(method: Method) -> tuple[str, ...]:
    """Roles of the turns in the longest kind of request to the root, in order."""
    return tuple(getattr(method, "history", ("user",)))


_CLASSES = {
    "ClosedBook": "closed_book",
    "CodeAct": "codeact",
    "External": "external",
    "Floor": "floor",
    "LambdaRlm": "lambda_rlm",
    "LongContext": "long_context",
    "MatchedProgram": "matched",
    "Official011": "rlm.official",
    "OfficialLatest": "rlm.official",
    "Own": "rlm.own",
    "PaperV1": "rlm.official",
    "PaperV1Strict": "rlm.official",
    "Program": "program",
    "RLM": "rlm",
    "Rag": "rag",
    "React": "react",
    "SummaryAgent": "summary_agent",
}
"""The shipped methods and RLM protocols: class -> module, imported on first use."""

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _CLASSES, globals())
