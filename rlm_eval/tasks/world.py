"""An invented world of people, institutes, works and towns, and questions over paths through it.

A world consists of closed communities of equal structure. Every entity of a community has two
traits, one relation to an entity of the next kind, and is the object of one relation. A question
describes an entity of the first community in other words than the documents use and follows its
relations. Every entity could as well have been asked for, so that no count, title or position tells
the answer from the rest. That a question has exactly one answer is checked by brute force. No
document is written here.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.haystack import Permutation

CYCLES = (("person", "institute", "town"), ("work", "person", "town"))
"""Kinds of a world's entities; each is related to the next one, the last to the first."""
TRAITS = {
    "person": ("trade", "habit"),
    "institute": ("field", "building"),
    "work": ("genre", "motif"),
    "town": ("terrain", "craft"),
}
FIRST_TRAITS = 3  # values of the first trait in a community; each stands with each of the second
LEAST, MOST = 12, 18  # entities per kind of a community
MOST_COMMUNITIES = 1000  # beyond, the names of towns run out


@dataclass(frozen=True)
class Entity:
    """One thing of the world."""

    kind: str
    """One of the world's kinds."""
    name: str
    """Unique; no name contains another one as whole words."""
    traits: tuple[int, int]
    """Numbers into the two trait lists of the kind."""
    other: str
    """Name of the entity it is related to."""

    def agrees(self, wanted: Entity) -> bool:
        """True where it satisfies the description of `wanted`: its kind and both traits."""
        return (self.kind, self.traits) == (wanted.kind, wanted.traits)

    def asked(self) -> dict[str, str]:
        """The traits in a question's words, as `t1` and `t2`."""
        lists = (data("world.json")[self.kind][trait] for trait in TRAITS[self.kind])
        pairs = zip(("t1", "t2"), lists, self.traits, strict=True)
        return {slot: table[number][1] for slot, table, number in pairs}


def cycle(seed: str) -> tuple[str, str, str]:
    """The kinds of a world."""
    return rng("cycle", seed).choice(CYCLES)


def following(kinds: Sequence[str], kind: str) -> str:
    """The kind that entities of `kind` are related to."""
    return kinds[(kinds.index(kind) + 1) % len(kinds)]


def _all_names(kind: str) -> Iterator[str]:
    words, world = data("words.json"), data("world.json")
    half = len(words["nouns"]) // 2
    if kind == "person":
        lasts = words["last_names"] + [f"{a}{b}" for a in world["stems"] for b in world["sons"]]
        return (f"{a} {b}" for a, b in itertools.product(words["first_names"], lasts))
    if kind == "town":
        parts = itertools.product(world["stems"], world["middles"], world["endings"])
        return map("".join, parts)
    nouns = words["nouns"][:half] if kind == "work" else words["nouns"][half:]
    pairs = [f"{a} {b}".title() for a, b in itertools.product(words["adjectives"], nouns)]
    if kind == "work":
        return (f"The {pair}" for pair in pairs)
    forms = world["kinds"]
    return (f"{pair} {forms[i % len(forms)]}" for i, pair in enumerate(pairs))


@functools.lru_cache(maxsize=8)
def names(seed: str, kind: str) -> list[str]:
    """All names of a kind, in the world's own order."""
    ordered = list(dict.fromkeys(_all_names(kind)))
    permute = Permutation(len(ordered), rng("names", kind, seed))
    return [ordered[i] for i in permute(np.arange(len(ordered), dtype=np.uint64)).tolist()]


@functools.lru_cache(maxsize=64)
def _pools(seed: str, number: int, size: int) -> dict[str, tuple[list[int], list[int]]]:
    """The trait values of a community by kind; none with a pair of values of the first one."""
    world, source = data("world.json"), rng("traits", seed, number)
    pools = {}
    for kind in cycle(seed):
        counts = [len(world[kind][trait]) for trait in TRAITS[kind]]
        taken = _pools(seed, 0, size)[kind] if number else ([], [])
        while True:
            first = source.sample(range(counts[0]), FIRST_TRAITS)
            second = source.sample(range(counts[1]), size // FIRST_TRAITS)
            if not (set(first) & set(taken[0]) and set(second) & set(taken[1])):
                break
        pools[kind] = (first, second)
    return pools


@functools.lru_cache(maxsize=256)
def community(seed: str, number: int, size: int) -> tuple[Entity, ...]:
    """Community `number` of a world: `size` entities of each of its kinds.

    Each value of the first trait stands with each of the second, so that every description has
    hard negatives that miss one of its two constraints. Each entity is related to one other, and
    one other is related to it; nobody comes back to where they began.
    """
    kinds, source = cycle(seed), rng("community", seed, number)
    called = {k: names(seed, k)[number * size : (number + 1) * size] for k in kinds}
    while True:
        steps = [source.sample(range(size), size) for _ in kinds]
        ends = list(range(size))
        for step in steps:
            ends = [step[i] for i in ends]
        if all(i != end for i, end in enumerate(ends)):
            break
    entities = []
    for kind, step in zip(kinds, steps, strict=True):
        pairs = list(itertools.product(*_pools(seed, number, size)[kind]))
        source.shuffle(pairs)
        others = called[following(kinds, kind)]
        made = zip(called[kind], pairs, step, strict=True)
        entities += [Entity(kind, name, pair, others[i]) for name, pair, i in made]
    return tuple(entities)


@dataclass(frozen=True)
class Puzzle:
    """A question and the path that answers it."""

    question: str
    answer: str
    path: tuple[Entity, ...]
    """All entities but the last, whose name is the answer."""

    def answers(self, entities: Sequence[Entity]) -> list[str]:
        """Every name that answers the question over `entities`: brute force."""
        by_name = {entity.name: entity for entity in entities}
        ends = []
        for start in entities:
            if not start.agrees(self.path[0]):
                continue
            entity: Entity | None = start
            for _ in self.path[1:]:
                entity = by_name.get(entity.other) if entity else None
            if entity is not None:
                ends.append(entity.other)
        return ends

    @property
    def content_words(self) -> list[str]:
        """The question's words after stop words, each once."""
        words = re.findall(r"[a-z0-9]+", self.question.lower())
        stop = data("world.json")["stop"]
        return [word for word in dict.fromkeys(words) if word not in stop]


def puzzle(seed: str, number: int, hops: int, size: int) -> Puzzle:
    """Question `number` of a world, over a path of `hops` entities (2 to 4)."""
    entities = community(seed, 0, size)
    by_name = {entity.name: entity for entity in entities}
    path = [rng("puzzle", seed).sample(entities, len(entities))[number]]
    while len(path) < hops - 1:
        path.append(by_name[path[-1].other])
    return Puzzle(_question(cycle(seed), path), path[-1].other, tuple(path))


def _question(kinds: Sequence[str], path: Sequence[Entity]) -> str:
    world = data("world.json")
    description, subject = world["ask"][path[0].kind]
    parts = [f"Consider {description.format(**path[0].asked())}."]
    for entity in path:
        step, reached = world["steps"][f"{entity.kind}-{following(kinds, entity.kind)}"]
        parts.append(f"{subject[0].upper()}{subject[1:]} {step}.")
        subject = reached
    return f"{' '.join(parts)} What is the name of {subject}? Answer with the name alone."
