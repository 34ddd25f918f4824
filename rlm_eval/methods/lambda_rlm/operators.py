"""The combinators of a λ-RLM: typed, pure except `map_each`; a plan uses nothing else.

SPLIT, PEEK, MAP, FILTER, REDUCE and CROSS of arXiv:2603.20105; its CONCAT is a merge of `kinds`.
Pieces are spans of the text, never copies, so the record of what was read is exact.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import reduce
from itertools import combinations
from typing import TypeVar

from rlm_eval.core.spans import Span
from rlm_eval.methods.concurrent import all_of

A = TypeVar("A")
B = TypeVar("B")

_BORDERS = ("\n\n", "\n", " ")  # between documents or paragraphs, lines, words


def split(text: str, span: Span, k: int, most: int) -> list[Span]:
    """Split `span` into at most `k` pieces of at most `most` characters each that cover it.

    A piece ends at the end of a document or paragraph, otherwise of a line, otherwise of a word,
    and inside a word only as a last resort. Raises `ValueError` where `k` pieces cannot hold the
    span.
    """
    start, end = span
    if end - start > k * most:
        raise ValueError(f"{k} pieces of {most} characters do not hold {end - start}")
    pieces = []
    for left in range(k, 1, -1):
        if end - start <= 1:
            break
        # The following pieces must be able to hold the rest.
        least, highest = max(start + 1, end - (left - 1) * most), min(start + most, end)
        at = _border(text, least, highest, start + -(-(end - start) // left))
        pieces.append((start, at))
        start = at
    return [*pieces, (start, end)] if start < end else pieces


def _border(text: str, least: int, most: int, ideal: int) -> int:
    """Place in [least, most] for a cut: the nearest to `ideal` among the best available kind."""
    for mark in _BORDERS:
        before = text.rfind(mark, max(0, least - len(mark)), min(ideal, most))
        after = text.find(mark, max(0, ideal - len(mark)), most)
        places = [at + len(mark) for at in (before, after) if at >= 0]
        places = [at for at in places if least <= at <= most]
        if places:
            return min(places, key=lambda at: abs(at - ideal))
    return min(max(ideal, least), most)


def peek(text: str, span: Span, chars: int) -> str:
    """The first `chars` characters of a piece."""
    return text[span[0] : min(span[1], span[0] + chars)]


async def map_each(work: Callable[[A], Awaitable[B]], items: Sequence[A]) -> list[B]:
    """MAP: run `work` on every item concurrently, results in order. Raises the first failure."""

    async def one(item: A) -> B:
        return await work(item)

    return await all_of([one(item) for item in items])


def kept(items: Sequence[A], keep: Sequence[bool]) -> list[A]:
    """FILTER: the items to keep; all of them where none would be kept."""
    return [item for item, yes in zip(items, keep, strict=True) if yes] or list(items)


def fold(merge: Callable[[A, A], A], items: Iterable[A], empty: A) -> A:
    """REDUCE by an associative `merge`; no items give `empty`."""
    return reduce(merge, items, empty)


def cross(items: Sequence[A]) -> list[tuple[A, A]]:
    """CROSS: every pair of different items, each once, in order."""
    return list(combinations(items, 2))
