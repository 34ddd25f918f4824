"""Retrieve passages of a context: chunks, BM25, dense embeddings, and their fusion.

Every retrieving method inherits `Chunks`: chunking and scoring settings. An index is built once per
context and setting, and cached by content in this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlm_eval.core.spans import Span
from rlm_eval.core.types import Sample, canonical_text
from rlm_eval.methods.context_window import chars_per_token
from rlm_eval.methods.retrieval.bm25 import STEMMERS, Bm25, ranking
from rlm_eval.methods.retrieval.chunking import UNITS, check_unit, chunk_spans
from rlm_eval.protocols import Model

_KEPT_CHARS = 200_000_000  # total characters of cached texts: an index takes a few times that


@dataclass(frozen=True)
class Passages:
    """A context cut into chunks, with its word index."""

    text: str
    """The canonical text."""
    spans: list[Span]
    """The chunks, in order."""
    words: Bm25
    """BM25 index of the chunks."""

    def chunk(self, number: int) -> str:
        """The text of one chunk."""
        start, end = self.spans[number]
        return self.text[start:end]

    def search(self, query: str, most: int | None = None) -> list[int]:
        """Chunks that share a word with `query`, best first, at most `most`."""
        return ranking(self.words.scores(query), most=most)


@dataclass(frozen=True)
class Chunks:
    """Chunking and BM25 settings. The paper leaves all of them open."""

    chunk_by: str = "tokens"
    """`tokens`, `lines` or `documents`."""
    chunk_size: int = 200
    """Tokens or lines per chunk; a document is one chunk."""
    chunk_overlap: int = 0
    """Tokens or lines that a chunk repeats of the previous one."""
    k1: float = 1.5
    """BM25: saturation of repeated words."""
    b: float = 0.75
    """BM25: weight of the chunk's length, 0 to 1."""
    stemmer: str | None = None
    """BM25: `porter` compares English words by their stems; null compares the words unchanged."""

    def __post_init__(self) -> None:
        if self.chunk_by not in UNITS:
            raise ValueError(f"chunk_by={self.chunk_by}: one of {', '.join(UNITS)}")
        if not 0 <= self.chunk_overlap < self.chunk_size:
            raise ValueError(
                f"chunk_overlap={self.chunk_overlap}: 0 or more, less than chunk_size="
                f"{self.chunk_size}"
            )
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(f"k1={self.k1}, b={self.b}: k1 is 0 or more, b from 0 to 1")
        if self.stemmer is not None and self.stemmer not in STEMMERS:
            raise ValueError(f"stemmer={self.stemmer}: {', '.join(STEMMERS)} or null")

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:  # noqa: ARG002
        """Raise `ConfigError` where documents are requested and the context is one text."""
        if self.chunk_by == "documents":
            check_unit(sample.context.value(), self.chunk_by)

    def index_key(self, sample: Sample) -> Hashable:
        """Cache key: everything that an index of the sample's context depends on."""
        cut = (self.chunk_by, self.chunk_size, self.chunk_overlap)
        settings = (*cut, self.k1, self.b, self.stemmer)
        return (sample.context.hash, chars_per_token(sample), *settings)

    async def passages(self, sample: Sample) -> Passages:
        """Return the sample's context, chunked and indexed, from the cache where possible."""
        # In a thread: indexing 10M tokens would stall the calls of every other sample.
        passages: Passages = await asyncio.to_thread(
            CACHE.get, self.index_key(sample), sample.context.chars, lambda: self._build(sample)
        )
        return passages

    def _build(self, sample: Sample) -> Passages:
        value = sample.context.value()
        text = canonical_text(value)
        spans = chunk_spans(
            value, self.chunk_by, self.chunk_size, self.chunk_overlap, chars_per_token(sample)
        )
        words = Bm25([text[s:e] for s, e in spans], self.k1, self.b, self.stemmer)
        return Passages(text, spans, words)


@dataclass
class _Cache:
    """LRU cache of built objects by `Chunks.index_key`."""

    entries: OrderedDict[Hashable, tuple[int, Any]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    building: dict[Hashable, threading.Lock] = field(default_factory=dict)

    def get(self, key: Hashable, chars: int, build: Callable[[], Any]) -> Any:
        """Return what `build` makes of `chars` characters; concurrent requests build once."""
        with self.lock:
            own = self.building.setdefault(key, threading.Lock())
        with own:
            with self.lock:
                if key in self.entries:
                    self.entries.move_to_end(key)
                    return self.entries[key][1]
            made = build()
            with self.lock:
                self.entries[key] = (chars, made)
                while len(self.entries) > 1 and self._chars() > _KEPT_CHARS:
                    self.building.pop(self.entries.popitem(last=False)[0], None)
            return made

    def _chars(self) -> int:
        return sum(chars for chars, _ in self.entries.values())


CACHE = _Cache()
"""Cache of this process; the key is the content, so no entry can become stale."""


def within_budget(
    passages: Passages, ranked: Sequence[int], top_k: int | None, chars: int | None
) -> list[int]:
    """The first of `ranked`: at most `top_k` chunks and at most `chars` characters in total.

    Ends at the first chunk that does not fit, so it is empty where the best one is too long.
    """
    chosen: list[int] = []
    for number in ranked[:top_k]:
        start, end = passages.spans[number]
        if chars is not None:
            chars -= end - start
            if chars < 0:
                break
        chosen.append(number)
    return chosen
