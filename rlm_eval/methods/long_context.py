"""Long-context baseline: the whole context and the question in one message, one call.

The base model of the RLM paper (arXiv:2512.24601): no system prompt, and a context that exceeds the
window is a failure (`over_window: fail`). The order, the wording and the truncation policies are
ours, because the paper leaves them open; its "most recent tokens" variant is `tail`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.errors import ConfigError, ContextOverflow
from rlm_eval.core.spans import Span, share_within
from rlm_eval.core.types import Answer, Call, Message, Role, Sample
from rlm_eval.methods.agent_text import load_parts
from rlm_eval.methods.context_window import (
    CAREFUL,
    CERTAIN,
    FRAME,
    chars_per_token,
    estimate_tokens,
    largest_fit,
    refuse_overflow,
)
from rlm_eval.methods.prompts import fill
from rlm_eval.protocols import Model, Session

ORDERS = {"context_first": "cq", "question_first": "qc", "both": "qcq"}
POLICIES = ("fail", "head", "tail", "middle")
_NAMES = {"c": "context", "q": "question"}
_CUT = "\n[...]\n"  # replaces the omitted middle
_SHRINK = 0.8
_PIECE = 1 << 20  # characters per token count


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
    """Tokens of the window left free where the context is truncated; at least the reply's cap."""
    prompt: str = "long_context/plain"
    """Shipped prompt: part context with `{context}`, part question with `{question}`."""
    prompt_file: str | None = None
    """The user's own prompt file, replacing `prompt`."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order}: one of {', '.join(ORDERS)}")
        if self.over_window not in POLICIES:
            raise ValueError(f"over_window={self.over_window}: one of {', '.join(POLICIES)}")
        if self.reserve_tokens < 0:
            raise ValueError(f"reserve_tokens={self.reserve_tokens}: 0 or more")
        if "CTX" not in self.message("CTX", "").content:
            raise ValueError(f"prompt {self.prompt_id}: part context has no {{context}}")

    @property
    def name(self) -> str:
        """`long_context`, with the truncation policy where one is set."""
        cut = "" if self.over_window == "fail" else f"_{self.over_window}"
        return self.label or f"long_context{cut}"

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_parts(self.prompt, self.prompt_file, ("context", "question"))[0].id

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:
        """Raise `ConfigError` where a truncated context certainly keeps no text."""
        root = models["root"]
        cap = root.sampling.max_output_tokens or 0
        if self.over_window == "fail" or root.window is None or not sample.context.chars:
            return
        room = self.room(root.window, cap)
        rate, bare = chars_per_token(sample), len(self.message("", sample.question).content)
        # A question may have fewer tokens than estimated: the server's count decides in doubt.
        if room > 0 and bare < room * rate * CERTAIN:
            return
        raise ConfigError(
            f"{self.name}: root.window={root.window} leaves no room for any context: a reply takes "
            f"root.sampling.max_output_tokens={cap or 'null'} or method.reserve_tokens="
            f"{self.reserve_tokens}, whichever is larger, a chat template {FRAME}, the question "
            f"about {int(bare / rate)}; lower the first two, or correct the window"
        )

    def room(self, window: int, cap: int) -> int:
        """Tokens of the window left for context and question; `cap` is a reply's, 0 = none."""
        return window - max(self.reserve_tokens, cap) - FRAME

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Make one root call.

        Raises `ContextOverflow` where the context does not fit (`fail`), or no part of it does.
        """
        text = sample.context.text()
        session.note("total_tokens", sample.context.tokens)
        session.note("tokens_by", sample.context.tokenizer)
        if self.over_window == "fail" or session.window_of("root") is None:
            whole = self.message(text, sample.question)
            await refuse_overflow(sample, session, "root", [whole])
            self.note_kept(sample, session, [(0, len(text))], sample.context.tokens)
            call = await session.call([whole], role=Role.ROOT, position="t0")
        else:
            call = await _Cut(self, sample, session, text).ask()
        return Answer(text=call.reply, call=call.id)

    def message(self, context: str, question: str) -> Message:
        """Build the one message."""
        _, parts = load_parts(self.prompt, self.prompt_file, ("context", "question"))
        blocks = (parts[_NAMES[letter]] for letter in ORDERS[self.order])
        return Message("user", fill("\n\n".join(blocks), context=context, question=question))

    def note_kept(
        self, sample: Sample, session: Session, kept: Sequence[Span], tokens: int | None
    ) -> None:
        """Note the kept spans; `None` tokens are unknown."""
        session.note("kept_tokens", tokens)
        session.note("evidence_kept", share_within(sample.evidence, kept))


class _Cut:
    """One context that may have to be truncated to the root's window."""

    def __init__(self, method: LongContext, sample: Sample, session: Session, text: str) -> None:
        self.method, self.sample, self.session, self.text = method, sample, session, text
        self.counts = False
        """True where the model's own tokenizer is available."""

    async def ask(self) -> Call:
        """Send as much as fits; truncate further after each refusal.

        Raises `ContextOverflow` where no text of the context is left to send: an answer to the
        question alone would be a closed-book answer under this method's name.
        """
        room, tries = await self._room(), 0
        if self.text and room == 0:
            raise ContextOverflow(
                f"the question and the reply leave no room for any context in the window of "
                f"{self.session.model_of('root')}, {self.session.window_of('root')} tokens: "
                "nothing was sent"
            )
        total = await self._total() if self.counts else self.sample.context.tokens
        self.session.note("total_tokens", total)
        while True:
            kept = _kept(len(self.text), room, self.method.over_window)
            message = self._prompt(room)
            tokens = total if room == len(self.text) else await self._tokens(message, kept)
            self.method.note_kept(self.sample, self.session, kept, tokens)
            try:
                return await self.session.call([message], role=Role.ROOT, position=f"t{tries}")
            except ContextOverflow:
                tries += 1
                room = int(room * _SHRINK**tries)
                if room == 0:
                    raise

    async def _room(self) -> int:
        """Characters of the context that fit with the question and a reply."""
        session, length, rate = self.session, len(self.text), chars_per_token(self.sample)
        window = session.window_of("root") or 0
        most = self.method.room(window, session.reply_cap_of("root"))
        guess = int(most * rate) - len(self._prompt(0).content)
        if length * CERTAIN <= guess:
            return length

        async def count(room: int) -> int | None:
            return await self._count(self._prompt(room))

        room = await largest_fit(count, length, rate, most)
        self.counts = room is not None
        session.note("tokens_by", session.counter_of("root") if self.counts else "estimate")
        if room is not None:
            return room
        return length if length <= guess else max(0, int(guess * CAREFUL))

    def _prompt(self, room: int) -> Message:
        kept = _kept(len(self.text), room, self.method.over_window)
        content = _CUT.join(self.text[start:end] for start, end in kept)
        return self.method.message(content, self.sample.question)

    async def _count(self, message: Message) -> int | None:
        return await self.session.count_tokens([message])

    async def _tokens(self, message: Message, kept: Sequence[Span]) -> int | None:
        """Tokens that the kept text adds to the prompt; `None` where a count is refused."""
        if self.counts:
            bare, whole = await self._count(self._prompt(0)), await self._count(message)
            return None if bare is None or whole is None else whole - bare
        tokens = estimate_tokens(self.sample, sum(end - start for start, end in kept))
        return min(tokens, self.sample.context.tokens)

    async def _total(self) -> int | None:
        """Tokens of the whole context, counted in pieces: it may be many windows long.

        `None` where a count is refused.
        """
        # Count a one-letter message (one token): some servers refuse an empty one.
        texts = ["a", *(self.text[i : i + _PIECE] for i in range(0, len(self.text), _PIECE))]
        found = [await self._count(Message("user", text)) for text in texts]
        known = [tokens for tokens in found if tokens is not None]
        if len(known) < len(found):
            return None
        frame = known[0] - 1
        return sum(known[1:]) - frame * (len(known) - 1)


def _kept(length: int, room: int, policy: str) -> list[Span]:
    """Spans of a text of `length` characters to keep, `room` characters in total."""
    if room >= length or policy == "fail":
        return [(0, length)]
    if policy == "head":
        return [(0, room)]
    if policy == "tail":
        return [(length - room, length)]
    return [(0, room - room // 2), (length - room // 2, length)]
