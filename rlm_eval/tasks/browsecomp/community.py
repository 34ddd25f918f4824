"""Communities of an invented world of one kind of entity, and questions over paths through them.

A world consists of people or institutes. Each has one master (or parent house); a few have two
traits, some have one. A question describes an entity with both traits, in other words than the
documents use, and follows the masters. Documents state a master by name, or state that two entities
have the same one, as for all entities with two traits. Many have either trait, one has both; each
entity with both is equally likely to be asked for, and most masters are possible answers. Brute
force checks that a question has exactly one answer. Documents are written elsewhere.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.world import long_names, long_names_of, names

KINDS = ("institute", "person")
TRAITS = {"person": ("trade", "habit"), "institute": ("field", "building")}
_SMALL = 40  # entities in a small community
_VALUES = {True: (2, 3), False: (3, 4)}
"""Values of both traits in a community of any size; every pair of one of each occurs."""
_HALF = 6  # one entity in this many has one trait
_ALIKE = 3  # for one entity in this many, only another with the same master is stated
_LONGEST_PATH = 3

Traits = tuple[int | None, int | None]
"""Indices into the two trait lists of the kind; `None` = no such trait."""


@dataclass(frozen=True)
class Size:
    """Size of the communities in a world; equal for all of them."""

    entities: int
    """Entities in a community, at least 16."""
    long: bool = False
    """Names of three words: a world of long documents needs more names than two words give."""

    @property
    def described(self) -> int:
        """Number of entities with both traits."""
        first, second = self.values
        return first * second

    @property
    def values(self) -> tuple[int, int]:
        """Number of values of the first and of the second trait."""
        return _VALUES[self.entities <= _SMALL]

    @property
    def half_described(self) -> int:
        """Number of entities with one trait."""
        return min(self.entities - self.described, self.entities // _HALF)

    @property
    def facts(self) -> int:
        """Number of facts: traits and masters."""
        return 2 * self.described + self.half_described + self.entities

    def most_communities(self, kind: str) -> int:
        """Maximum number of communities for which there are names."""
        return (long_names(kind) if self.long else len(names("", kind))) // self.entities


@dataclass(frozen=True)
class Entity:
    """One entity of the world."""

    name: str
    """Unique; no name contains another as whole words."""
    traits: Traits
    other: str
    """Name of its master."""
    like: str | None
    """Where documents only state that two entities have the same master: the other one's name."""

    def agrees(self, wanted: Entity) -> bool:
        """True where it matches the description of `wanted`: both traits."""
        return self.traits == wanted.traits


def kind_of(seed: str) -> str:
    """The kind of a world's entities."""
    return rng("kind", seed).choice(KINDS)


@functools.lru_cache(maxsize=1024)
def pools(seed: str, number: int, size: Size) -> tuple[list[int], list[int]]:
    """The values of the two traits in a community; none shares a value pair with community 0."""
    world, source, kind = data("world.json"), rng("traits", seed, number), kind_of(seed)
    counts = [len(world[kind][trait]) for trait in TRAITS[kind]]
    taken = pools(seed, 0, size) if number else ([], [])
    while True:
        first, second = (
            source.sample(range(count), some)
            for count, some in zip(counts, size.values, strict=True)
        )
        if not (set(first) & set(taken[0]) and set(second) & set(taken[1])):
            return first, second


@functools.lru_cache(maxsize=256)
def community(seed: str, number: int, size: Size) -> tuple[Entity, ...]:
    """Community `number` of a world: entities with both traits first, then those with one.

    Each value of the first trait occurs with each of the second, so every description has hard
    negatives that miss one of its two constraints. Paths from a described entity have no cycles.
    """
    count, source = size.entities, rng("community", seed, number)
    kind, first = kind_of(seed), number * size.entities
    if size.long:
        called = list(long_names_of(seed, kind, first, count))
    else:
        called = names(seed, kind)[first : first + count]
    values = pools(seed, number, size)
    traits: list[Traits] = list(itertools.product(*values))
    source.shuffle(traits)
    for _ in range(size.half_described):
        trait = source.randrange(2)
        value = source.choice(values[trait])
        traits.append((None, value) if trait else (value, None))
    traits += [(None, None)] * (count - len(traits))
    while True:
        after = source.sample(range(count), count)
        # Described entities are included: each first step of a question then needs two facts.
        others = source.sample(range(size.described, count), count - size.described)
        few = max(0, count // _ALIKE - size.described)
        alike = [*range(size.described), *others[:few]]
        like = dict(zip(alike, others[few:], strict=False))
        masters = [after[like.get(i, i)] for i in range(count)]
        if all(_leads_on(i, masters, like) for i in range(count)) and all(
            _no_circle(i, masters) for i in range(size.described)
        ):
            break
    return tuple(
        Entity(called[i], traits[i], called[masters[i]], called[like[i]] if i in like else None)
        for i in range(count)
    )


def _leads_on(start: int, masters: Sequence[int], like: dict[int, int]) -> bool:
    """True where its master is neither itself nor the entity stated to share its master."""
    return masters[start] not in (start, like.get(start))


def _no_circle(start: int, masters: Sequence[int]) -> bool:
    passed = [start]
    for _ in range(_LONGEST_PATH):
        passed.append(masters[passed[-1]])
    return len(set(passed)) == len(passed)


@dataclass(frozen=True)
class Puzzle:
    """A question and the path that answers it."""

    question: str
    answer: str
    path: tuple[Entity, ...]
    """All entities but the last, whose name is the answer."""

    def answers(self, entities: Sequence[Entity]) -> list[str]:
        """All names that answer the question over `entities`, by brute force."""
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
        """The question's words without stop words and duplicates."""
        words = re.findall(r"[a-z0-9]+", self.question.lower())
        stop = data("world.json")["stop"]
        return [word for word in dict.fromkeys(words) if word not in stop]


def puzzle(seed: str, number: int, hops: int, size: Size) -> Puzzle:
    """Question `number` of a world, over a path of `hops` entities (2 to 4).

    From `size.described` on, descriptions repeat: use other `hops` then.
    """
    entities = community(seed, 0, size)
    by_name = {entity.name: entity for entity in entities}
    described = entities[: size.described]
    path = [rng("puzzle", seed).sample(described, len(described))[number % len(described)]]
    while len(path) < hops - 1:
        path.append(by_name[path[-1].other])
    return Puzzle(_question(kind_of(seed), path), path[-1].other, tuple(path))


def _question(kind: str, path: Sequence[Entity]) -> str:
    texts, world = data("chronicle.json"), data("world.json")
    description, step, subject = texts["kinds"][kind]["ask"]
    asked = {
        slot: world[kind][trait][number][1]
        for slot, trait, number in zip(("t1", "t2"), TRAITS[kind], path[0].traits, strict=True)
    }
    reached = f"the {step} of " * len(path) + subject
    text: str = texts["question"]
    return text.format(description=description.format(**asked), reached=reached)
