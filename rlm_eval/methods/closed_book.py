"""Closed-book baseline: the question without its context. A score above chance indicates leakage.

Ours; not from a paper. The question is the sample's, unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.types import Answer, Message, Role, Sample
from rlm_eval.methods.prompts import fill, load_prompt
from rlm_eval.protocols import Session


@dataclass(frozen=True)
class ClosedBook:
    """One root call that never sees the context."""

    runs_code: ClassVar[bool] = False
    slots: ClassVar[tuple[str, ...]] = ("root",)

    prompt: str = "closed_book/guess"
    """Shipped prompt, with `{question}`; `closed_book/plain` is the question alone."""
    prompt_file: str | None = None
    """The user's own prompt file, replacing `prompt`."""
    label: str = "closed_book"
    """Name in tables."""

    @property
    def name(self) -> str:
        """`closed_book`."""
        return self.label

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_prompt(self.prompt, self.prompt_file).id

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Make one root call."""
        text = fill(load_prompt(self.prompt, self.prompt_file).text, question=sample.question)
        call = await session.call([Message("user", text)], role=Role.ROOT, position="t0")
        return Answer(text=call.reply, call=call.id)
