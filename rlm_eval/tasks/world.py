"""Names in an invented world: people, institutes, works and towns. No facts about them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.haystack import Permutation


def _all_names(kind: str) -> Iterator[str]:
    words, world = data("words.json"), data("world.json")
    half = len(words["nouns"]) // 2
    if kind == "person":
        return (f"{a} {b}" for a, b in itertools.product(words["first_names"], _last_names()))
    if kind == "town":
        parts = itertools.product(world["stems"], world["middles"], world["endings"])
        return map("".join, parts)
    nouns = words["nouns"][:half] if kind == "work" else words["nouns"][half:]
    pairs = [f"{a} {b}".title() for a, b in itertools.product(words["adjectives"], nouns)]
    if kind == "work":
        return (f"The {pair}" for pair in pairs)
    forms = world["kinds"]
    return (f"{pair} {forms[i % len(forms)]}" for i, pair in enumerate(pairs))


@functools.cache
def _last_names() -> list[str]:
    words, world = data("words.json"), data("world.json")
    return [*words["last_names"], *(f"{a}{b}" for a in world["stems"] for b in world["sons"])]


@functools.lru_cache(maxsize=8)
def names(seed: str, kind: str) -> list[str]:
    """All names of a kind, in the world's own order."""
    ordered = list(dict.fromkeys(_all_names(kind)))
    permute = Permutation(len(ordered), rng("names", kind, seed))
    return [ordered[i] for i in permute(np.arange(len(ordered), dtype=np.uint64)).tolist()]


@functools.cache
def _parts(kind: str) -> tuple[list[str], ...]:
    """The word lists that form a long name of a kind, in order."""
    words = data("words.json")
    if kind == "person":
        first = words["first_names"]
        # First and second names come from disjoint lists, so that no person has one twice.
        return first[::2], first[1::2], _last_names()
    title = [word.title() for word in words["adjectives"]], [w.title() for w in words["nouns"]]
    return *title, data("world.json")["kinds"]


def long_names(kind: str) -> int:
    """Number of distinct names in `long_names_of`: 790 000 people, 361 000 institutes."""
    sizes = [len(part) for part in _parts(kind)]
    return int(np.prod(sizes))


def long_names_of(seed: str, kind: str, first: int, count: int) -> Sequence[str]:
    """`count` names from number `first` in the world's order, of three words; for large worlds.

    Only for the kinds `person` and `institute`. Raises `ValueError` beyond the last name.
    """
    parts = _parts(kind)
    if first + count > long_names(kind):
        raise ValueError(f"{kind}: {first + count} names asked for, {long_names(kind)} there are")
    permute = Permutation(long_names(kind), rng("long names", kind, seed))
    found = []
    for number in permute(np.arange(first, first + count, dtype=np.uint64)).tolist():
        words = []
        for part in reversed(parts):
            number, place = divmod(number, len(part))
            words.append(part[place])
        found.append(" ".join(reversed(words)))
    return found
