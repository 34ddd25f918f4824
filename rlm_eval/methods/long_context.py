"""Plain long context: the whole context and the question in one message, one call.

The base model of the RLM paper (arXiv:2512.24601): no system prompt, and a context that does not
fit the window is a failure (`over_window: fail`). The order, the wording and the cutting policies
are ours, because the paper leaves them open; its "most recent tokens" variant is `tail`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.errors import ContextOverflow
from rlm_eval.methods.agent_text import load_parts
from rlm_eval.methods.fitting import (
    MARGIN,
    Span,
    chars_per_token,
    estimate_tokens,
    evidence_kept,
    refuse_overflow,
)
from rlm_eval.methods.prompts import fill
from rlm_eval.session import Session
from rlm_eval.types import Answer, Call, Message, Role, Sample

ORDERS = {"context_first": "cq", "question_first": "qc", "both": "qcq"}
POLICIES = ("fail", "head", "tail", "middle")
_NAMES = {"c": "context", "q": "question"}
_CUT = "\n[...]\n"  # stands where the middle was
_MOST_TRIES = 8  # a tokenizer that needs twice the estimated tokens still ends within these
_SHRINK = 0.9


@dataclass(frozen=True)
class LongContext:
    """Context and question in one message. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    slots: ClassVar[tuple[str, ...]] = ("root",)

    order: str = "context_first"
    """`context_first`, `question_first`, or `both` (the question before and after)."""
    over_window: str = "fail"
    """`fail`; `head` or `tail` keeps that end; `middle` keeps both ends and drops the middle."""
    reserve_tokens: int = 1024
    """Tokens of the window left free for the reply where the context is cut."""
    prompt: str = "long_context/plain"
    """Shipped prompt: part context with `{context}`, part question with `{question}`."""
    prompt_file: str | None = None
    """A prompt of your own in its place."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order}: one of {', '.join(ORDERS)}")
        if self.over_window not in POLICIES:
            raise ValueError(f"over_window={self.over_window}: one of {', '.join(POLICIES)}")
        if self.reserve_tokens < 0:
            raise ValueError(f"reserve_tokens={self.reserve_tokens}: 0 or more")
        if "CTX" not in self._message("CTX", ""):
            raise ValueError(f"prompt {self.prompt_id}: part context has no {{context}}")

    @property
    def name(self) -> str:
        """`long_context`, with the cutting policy where one is set."""
        cut = "" if self.over_window == "fail" else f"_{self.over_window}"
        return self.label or f"long_context{cut}"

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_parts(self.prompt, self.prompt_file, ("context", "question"))[0].id

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """One root call. Raises `ContextOverflow` where the context does not fit (`fail`)."""
        text = sample.context.text()
        window = session.window_of("root")
        framing = estimate_tokens(sample, len(self._message("", sample.question)))
        room = len(text)
        if window is not None and self.over_window == "fail":
            session.note("total_tokens", sample.context.tokens)
            chars = len(self._message(text, sample.question))
            refuse_overflow(sample, session.model_of("root"), window, chars)
        elif window is not None:
            usable = window * (1 - MARGIN) - self.reserve_tokens - framing
            room = max(0, min(room, int(usable * chars_per_token(sample))))
        call = await self._ask(sample, session, text, room)
        return Answer(text=call.reply, call=call.id)

    async def _ask(self, sample: Sample, session: Session, text: str, room: int) -> Call:
        """Ask about `room` characters; a cut that the server still refuses is cut further."""
        for attempt in range(_MOST_TRIES):
            kept = _kept(len(text), room, self.over_window)
            session.note("total_tokens", sample.context.tokens)
            tokens = estimate_tokens(sample, sum(e - s for s, e in kept))
            session.note("kept_tokens", min(tokens, sample.context.tokens))
            session.note("evidence_kept", evidence_kept(sample.evidence, kept))
            content = _CUT.join(text[start:end] for start, end in kept)
            message = Message("user", self._message(content, sample.question))
            try:
                return await session.call([message], role=Role.ROOT, position=f"t{attempt}")
            except ContextOverflow:
                last = attempt == _MOST_TRIES - 1
                if self.over_window == "fail" or session.window_of("root") is None or last:
                    raise
                room = int(min(room, len(text)) * _SHRINK)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _message(self, context: str, question: str) -> str:
        _, parts = load_parts(self.prompt, self.prompt_file, ("context", "question"))
        blocks = (parts[_NAMES[letter]] for letter in ORDERS[self.order])
        return fill("\n\n".join(blocks), context=context, question=question)


def _kept(length: int, room: int, policy: str) -> list[Span]:
    """The spans of a text of `length` characters that stay, `room` characters in all."""
    if room >= length or policy == "fail":
        return [(0, length)]
    if policy == "head":
        return [(0, room)]
    if policy == "tail":
        return [(length - room, length)]
    return [(0, room - room // 2), (length - room // 2, length)]
