"""Communities of an invented world of one kind of thing, and questions over paths through them.

A world has people or institutes. Each of them has one master (or parent house), a few have two
traits, some one. A question describes one that has two, in other words than the documents use, and
follows the masters. Documents state a master by name, or say that two have the same one, as of all
that have two traits. Many have either trait, one has both; each that has both could have been asked
for, and most masters could be the answer. That a question has exactly one answer is checked by
brute force. No document is written here.
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
_SMALL = 40  # entities of a small community
_VALUES = {True: (2, 3), False: (3, 4)}
"""Values of both traits in a community, small or not; each of one stands with each of the other."""
_HALF = 6  # one entity in so many has one trait
_ALIKE = 3  # one entity in so many is only said to have the master of another one
_LONGEST_PATH = 3

Traits = tuple[int | None, int | None]
"""Numbers into the two trait lists of the kind; `None` = no such trait."""


@dataclass(frozen=True)
class Size:
    """What the communities of a world are like; all of a world are alike."""

    entities: int
    """In a community, 16 or more."""
    long: bool = False
    """Names of three words: those of two are too few for a world of long documents."""

    @property
    def described(self) -> int:
        """Entities with both traits."""
        first, second = self.values
        return first * second

    @property
    def values(self) -> tuple[int, int]:
        """Values of the first trait and of the second one."""
        return _VALUES[self.entities <= _SMALL]

    @property
    def half_described(self) -> int:
        """Entities with one trait."""
        return min(self.entities - self.described, self.entities // _HALF)

    @property
    def facts(self) -> int:
        """Traits and masters."""
        return 2 * self.described + self.half_described + self.entities

    def most_communities(self, kind: str) -> int:
        """Of which there are names."""
        return (long_names(kind) if self.long else len(names("", kind))) // self.entities


@dataclass(frozen=True)
class Entity:
    """One thing of the world."""

    name: str
    """Unique; no name contains another one as whole words."""
    traits: Traits
    other: str
    """Name of its master."""
    like: str | None
    """Where documents only say that the two have the same master: the other one's name."""

    def agrees(self, wanted: Entity) -> bool:
        """True where it satisfies the description of `wanted`: both traits."""
        return self.traits == wanted.traits


def kind_of(seed: str) -> str:
    """The kind of a world's entities."""
    return rng("kind", seed).choice(KINDS)


@functools.lru_cache(maxsize=1024)
def pools(seed: str, number: int, size: Size) -> tuple[list[int], list[int]]:
    """The values of the two traits in a community; none with a pair of values of the first one."""
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
    """Community `number` of a world; those with both traits first, then those with one.

    Each value of the first trait stands with each of the second, so that every description has
    hard negatives that miss one of its two constraints. Paths from a described entity never come
    back to what they have passed.
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
        # The described ones are among them: each first step of a question takes two facts.
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
    """True where nobody is their own master, nor that of the one who is like them."""
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


def puzzle(seed: str, number: int, hops: int, size: Size) -> Puzzle:
    """Question `number` of a world, over a path of `hops` entities (2 to 4).

    From `size.described` on, the entities are described once more: ask for other `hops` then.
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
