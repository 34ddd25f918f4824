"""Summary agent: summarise the context piece by piece, then answer the question.

The summary (compaction) agent of the RLM paper (arXiv:2512.24601): inputs are added until the
window is full, then the content relevant to the question is summarised, and reading continues; an
input larger than the window is split. The paper does not give its sizes and prompts: these are
ours, in the prompt file and the fields below. Sizes are estimates, so a piece that a model's window
still rejects is halved, and no outcome depends on them. `map_reduce` (summaries of independent
pieces, then merges) is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.errors import ConfigError, ContextOverflow
from rlm_eval.core.spans import Span
from rlm_eval.core.types import Answer, Call, Message, Role, Sample, canonical_text
from rlm_eval.methods.agent_text import load_parts
from rlm_eval.methods.concurrent import all_of
from rlm_eval.methods.context_window import MARGIN, chars_per_token
from rlm_eval.methods.evidence_retention import Survival
from rlm_eval.methods.prompts import fill
from rlm_eval.methods.retrieval.chunking import chunk_spans, halves
from rlm_eval.protocols import Model, Session

MODES = ("iterative", "map_reduce")
SLOTS = ("sub", "root", "summary")
_PARTS = ("fold", "map", "merge", "answer", "tail")
_WORDS_PER_TOKEN = 0.7
_EMPTY = "(none yet)"


@dataclass(frozen=True)
class SummaryAgent:
    """Summarise, then answer. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    plans_its_calls: ClassVar[bool] = True  # a prompt that the server cut spoils the answer

    mode: str = "iterative"
    """`iterative` (one running summary) or `map_reduce`."""
    summariser: str = "sub"
    """Slot of the summarising model: `sub`, `root`, or `summary` (the paper: a smaller model)."""
    piece_tokens: int | None = None
    """Tokens of context per summary; null = as many as fit both models' windows."""
    reserve_tokens: int = 8192
    """Tokens of the window reserved for the reply and the rest of the prompt."""
    summary_tokens: int = 4096
    """Maximum tokens of a summary: stated in the prompt, and longer ones are truncated."""
    overlap_tokens: int = 0
    """Tokens that a piece repeats of the previous one."""
    keep_tail: bool = True
    """`iterative`: the last piece is passed to the root verbatim instead of being summarised."""
    prompt: str = "summary/plain"
    """Shipped prompt: parts fold, map, merge, answer, tail."""
    prompt_file: str | None = None
    """The user's own prompt file, replacing `prompt`."""
    label: str = ""
    """Name in tables; empty = derived."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode}: one of {', '.join(MODES)}")
        if self.summariser not in SLOTS:
            raise ValueError(f"summariser={self.summariser}: one of {', '.join(SLOTS)}")
        if min(self.summary_tokens, self.piece_tokens or 1) < 1 or self.reserve_tokens < 0:
            raise ValueError("summary_tokens and piece_tokens: 1 or more; reserve_tokens: not < 0")
        if self.overlap_tokens < 0 or self.overlap_tokens >= (self.piece_tokens or 1 << 40):
            raise ValueError(f"overlap_tokens={self.overlap_tokens}: less than a piece")
        load_parts(self.prompt, self.prompt_file, _PARTS)

    @property
    def name(self) -> str:
        """`summary_agent` or `summary_map_reduce`."""
        return self.label or ("summary_agent" if self.mode == "iterative" else "summary_map_reduce")

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return tuple(dict.fromkeys(("root", self.summariser)))

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_parts(self.prompt, self.prompt_file, _PARTS)[0].id

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:
        """Raise `ConfigError` where no size of a piece follows from the models' windows."""
        self._piece_tokens(sample, [models[slot].window for slot in self.slots])

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Make the summarising calls, then one root call.

        Raises `ConfigError` where neither `piece_tokens` nor the model's window is known.
        """
        value = sample.context.value()
        text = canonical_text(value)
        # In a thread: finding the evidence's marks in 10M tokens takes seconds.
        reading = await asyncio.to_thread(_Reading, self, sample, session, text)
        size = self._piece_tokens(sample, map(session.window_of, self.slots))
        spans = chunk_spans(value, "tokens", size, self.overlap_tokens, chars_per_token(sample))
        if self.mode == "iterative":
            tail = spans.pop() if spans and self.keep_tail else None
            summary = await reading.fold(spans)
        else:
            tail = None
            summary = await reading.map_reduce(spans, int(size * chars_per_token(sample)))
        call = await reading.answer(summary, tail)
        return Answer(text=call.reply, call=call.id)

    def _piece_tokens(self, sample: Sample, windows: Iterable[int | None]) -> int:
        if self.piece_tokens is not None:
            return self.piece_tokens
        known = [window for window in windows if window is not None]
        if not known:
            raise ConfigError(
                f"{self.name}: the models' windows are unknown; set method.piece_tokens, or window "
                "in a model's configuration"
            )
        window = min(known)
        question = len(sample.question) / chars_per_token(sample)
        room = window * (1 - MARGIN) - self.reserve_tokens - self.summary_tokens - question
        if room < self.overlap_tokens + 1:
            raise ConfigError(
                f"{self.name}: a window of {window} tokens leaves no room for a piece; lower "
                "method.reserve_tokens and method.summary_tokens, or set method.piece_tokens"
            )
        return int(room)


class _Reading:
    """State of reading one sample."""

    def __init__(self, method: SummaryAgent, sample: Sample, session: Session, text: str) -> None:
        self.method = method
        self.sample = sample
        self.session = session
        self.text = text
        _, self.parts = load_parts(method.prompt, method.prompt_file, _PARTS)
        self.limit = int(method.summary_tokens * chars_per_token(sample))
        self.survival = Survival(sample, text)
        self.clipped = self.split = self.turns = 0

    async def fold(self, spans: list[Span], summary: str = "") -> str:
        """Keep one running summary over the pieces. Halve a piece that a model's window rejects."""
        waiting = spans[::-1]
        while waiting:
            start, end = waiting.pop()
            turn, piece = self.turns, self.text[start:end]
            try:
                summary = await self._summarise("fold", f"p{turn}", turn, piece, summary)
            except ContextOverflow as error:
                waiting += self._halves((start, end), error)[::-1]
                continue
            self.turns += 1
            self.survival.seen(summary, end)
        return summary

    def _halves(self, span: Span, error: ContextOverflow) -> list[Span]:
        """Split the piece in two; raise `error` where its size cannot be the cause."""
        parts = halves(self.text, span)
        if len(parts) == 1:
            raise error
        self.split += 1
        return parts

    async def _map(self, span: Span, position: str, turn: int) -> list[str]:
        """Summarise one piece, or its halves."""
        try:
            return [await self._summarise("map", position, turn, self.text[slice(*span)])]
        except ContextOverflow as error:
            parts = self._halves(span, error)
        first, second = [await self._map(part, position, turn) for part in parts]
        return first + second

    async def map_reduce(self, spans: list[Span], room: int) -> str:
        """Summarise each piece, then merge groups of `room` characters until one is left."""
        jobs = [self._map(span, f"m0.p{i}", i) for i, span in enumerate(spans)]
        summaries = [summary for found in await all_of(jobs) for summary in found]
        level = 0
        self.survival.seen("\n\n".join(summaries), len(self.text))
        while len(summaries) > 1:
            level += 1
            groups = _groups(summaries, room)
            jobs = [self._merge(group, f"m{level}.p{i}", i) for i, group in enumerate(groups)]
            summaries = [summary for found in await all_of(jobs) for summary in found]
            self.survival.seen("\n\n".join(summaries), len(self.text))
        return summaries[0] if summaries else ""

    async def _merge(self, group: list[str], position: str, turn: int) -> list[str]:
        """Merge summaries into one; into two, each of a part, where they do not fit together."""
        if len(group) == 1:
            return group
        try:
            return [await self._summarise("merge", position, turn, "\n\n".join(group))]
        except ContextOverflow:
            if len(group) == 2:
                raise
        half = len(group) // 2
        parts = group[:half], group[half:]
        first, second = [await self._merge(part, position, turn) for part in parts]
        return first + second

    async def _summarise(
        self, part: str, position: str, turn: int, piece: str, summary: str = ""
    ) -> str:
        words = max(1, int(self.method.summary_tokens * _WORDS_PER_TOKEN))
        text = fill(
            self.parts[part],
            question=self.sample.question,
            summary=summary or _EMPTY,
            piece=piece,
            words=str(words),
        )
        call = await self.session.call(
            [Message("user", text)],
            role=Role.SUMMARY,
            position=position,
            model=self.method.summariser,
            turn=turn,
        )
        self.clipped += len(call.reply) > self.limit
        return call.reply[: self.limit].strip()

    async def answer(self, summary: str, tail: Span | None) -> Call:
        """Request the root's answer from the summary and the verbatim end.

        Where these do not fit the root's window, the end is summarised too, by halves.
        """
        while True:
            self._note(summary, tail)
            try:
                return await self._ask(summary, tail)
            except ContextOverflow:
                if tail is None:
                    raise
            first, *rest = halves(self.text, tail)
            self.split += bool(rest)
            summary = await self.fold([first], summary)
            tail = rest[0] if rest else None

    async def _ask(self, summary: str, tail: Span | None) -> Call:
        end = ""
        if tail is not None:
            end = fill("\n" + self.parts["tail"] + "\n", piece=self.text[slice(*tail)])
        text = fill(
            self.parts["answer"],
            summary=summary or _EMPTY,
            tail=end,
            question=self.sample.question,
        )
        return await self.session.call([Message("user", text)], role=Role.ROOT, position="answer")

    def _note(self, summary: str, tail: Span | None) -> None:
        """Note how much evidence survived the summaries."""
        made = [c for c in self.session.calls if c.role is Role.SUMMARY and c.error is None]
        self.session.note("summaries", len(made))
        self.session.note("clipped_summaries", self.clipped)
        self.session.note("split_pieces", self.split)
        self.session.note("evidence_by_summary", self.survival.log)
        self.session.note("evidence_kept", self.survival.share(summary, len(self.text), tail))


def _groups(summaries: list[str], room: int) -> list[list[str]]:
    """Group neighbours, `room` characters a group but at least two, so that each level halves."""
    groups: list[list[str]] = [[]]
    for summary in summaries:
        taken = sum(map(len, groups[-1]))
        if len(groups[-1]) >= 2 and taken + len(summary) > room:
            groups.append([])
        groups[-1].append(summary)
    if len(groups) > 1 and len(groups[-1]) == 1:
        last = groups.pop()
        groups[-1] += last
    return groups
