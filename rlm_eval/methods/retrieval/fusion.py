"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_K = 60  # the paper's constant


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Merge several rankings into one by the sum of 1 / (60 + rank); ties by number."""
    score: dict[int, float] = defaultdict(float)
    for ranked in rankings:
        for rank, number in enumerate(ranked, start=1):
            score[number] += 1 / (_K + rank)
    return sorted(score, key=lambda number: (-score[number], number))
