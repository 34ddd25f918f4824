"""An invented world of people, institutes, works and towns, and questions over paths through it.

Every entity has two described traits, a year and one relation to an entity of the next kind.
A question describes its first entity in other words than the documents use and follows relations;
that it has exactly one answer is checked by brute force. No document is written here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.haystack import Permutation

KINDS = ("work", "person", "institute", "town")
NEXT = {"work": "person", "person": "institute", "institute": "town", "town": "person"}
TRAITS = {
    "person": ("trade", "habit"),
    "institute": ("field", "building"),
    "work": ("genre", "motif"),
    "town": ("terrain", "craft"),
}
CLONES_PER_CONSTRAINT = 4
MOST_DOCUMENTS = 10_000  # beyond, the names of towns run out


@dataclass(frozen=True)
class Entity:
    """One thing of the world."""

    kind: str
    """One of `KINDS`."""
    name: str
    """Unique; no name contains another one as whole words."""
    year: int
    traits: tuple[int, int]
    """Numbers into the two trait lists of the kind."""
    other: str
    """Name of the entity it is related to, of kind `NEXT[kind]`."""
    key: int
    """Number that determines its documents."""

    def words(self, asked: bool) -> dict[str, str]:
        """The traits as a document (or, `asked`, a question) states them."""
        table = data("world.json")[self.kind]
        return {
            name: table[name][number][int(asked)]
            for name, number in zip(TRAITS[self.kind], self.traits, strict=True)
        }

    def agrees(self, wanted: Entity) -> bool:
        """True where it satisfies the description of `wanted`: traits and decade."""
        return (self.kind, self.traits, self.year // 10) == (
            wanted.kind,
            wanted.traits,
            wanted.year // 10,
        )


@functools.lru_cache(maxsize=4)
def name_table(seed: str) -> dict[str, list[str]]:
    """All names of a world by kind, in the world's own order."""
    words, world = data("words.json"), data("world.json")
    half = len(words["nouns"]) // 2
    pairs = {
        "person": (words["first_names"], words["last_names"]),
        "town": (world["stems"], world["endings"]),
        "work": (words["adjectives"], words["nouns"][:half]),
        "institute": (words["adjectives"], words["nouns"][half:]),
    }
    tables = {}
    for kind, (left, right) in pairs.items():
        size = len(left) * len(right)
        order = Permutation(size, rng("names", kind, seed))(np.arange(size, dtype=np.uint64))
        names = []
        for number in order.tolist():
            a, b = left[number // len(right)], right[number % len(right)]
            if kind == "person":
                names.append(f"{a} {b}")
            elif kind == "town":
                names.append(f"{a}{b}")
            elif kind == "work":
                names.append(f"The {a.capitalize()} {b.capitalize()}")
            else:
                form = world["kinds"][number % len(world["kinds"])]
                names.append(f"{a.capitalize()} {b.capitalize()} {form}")
        tables[kind] = names
    return tables


def draw(source: Random, kind: str, name: str, other: str, key: int) -> Entity:
    """An entity with random traits and year."""
    table = data("world.json")[kind]
    first, second = (source.randrange(len(table[trait])) for trait in TRAITS[kind])
    return Entity(kind, name, source.randrange(1800, 1980), (first, second), other, key)


@functools.lru_cache(maxsize=8192)
def base_entity(seed: str, number: int) -> Entity:
    """Entity `number` of the world's unrelated population."""
    source, names = rng("entity", seed, number), name_table(seed)
    kind = KINDS[number % 4]
    other = names[NEXT[kind]][source.randrange(40)]
    return draw(source, kind, names[kind][number // 4], other, number)


@dataclass(frozen=True)
class Puzzle:
    """A question, the path that answers it, and its hard negatives."""

    question: str
    answer: str
    path: tuple[Entity, ...]
    """All entities but the last, whose name is the answer."""
    clones: tuple[Entity, ...]
    """Entities that satisfy the description but for one constraint."""

    def answers(self, entities: Sequence[Entity]) -> list[str]:
        """Every name that answers the question over `entities`: brute force."""
        by_name = {entity.name: entity for entity in entities}
        found = []
        for start in entities:
            if not start.agrees(self.path[0]):
                continue
            entity: Entity | None = start
            for wanted in self.path[1:]:
                entity = by_name.get(entity.other) if entity else None
                if entity is None or entity.traits[0] != wanted.traits[0]:
                    entity = None
                    break
            if entity is not None:
                found.append(entity.other)
        return found

    @property
    def content_words(self) -> list[str]:
        """The question's words after stop words, each once."""
        words = re.findall(r"[a-z0-9]+", self.question.lower())
        stop = data("world.json")["stop"]
        return [word for word in dict.fromkeys(words) if word not in stop]


def puzzle(seed: str, number: int, hops: int) -> Puzzle:
    """Question `number` of a world, over a path of `hops` entities (2 to 4)."""
    source, names = rng("puzzle", seed, number), name_table(seed)
    taken = [0]

    def fresh(kind: str) -> str:
        taken[0] += 1  # names of questions are taken from the end, those of the base from the front
        return names[kind][-(number * 40 + taken[0])]

    kinds = [source.choice(KINDS)]
    while len(kinds) < hops:
        kinds.append(NEXT[kinds[-1]])
    path_names = [fresh(kind) for kind in kinds]
    key = 10_000_000 + number * 1000
    path = [
        draw(source, kind, name, other, key + i)
        for i, (kind, name, other) in enumerate(
            zip(kinds[:-1], path_names[:-1], path_names[1:], strict=True)
        )
    ]
    clones = []
    for i in range(3 * CLONES_PER_CONSTRAINT):
        other = names[NEXT[kinds[0]]][source.randrange(40)]
        model = replace(path[0], name=fresh(kinds[0]), other=other, key=key + 100 + i)
        stranger = draw(source, kinds[0], "", "", 0)
        traits = list(model.traits)
        if i % 3 < 2:
            size = len(data("world.json")[kinds[0]][TRAITS[kinds[0]][i % 3]])
            if stranger.traits[i % 3] == traits[i % 3]:
                traits[i % 3] = (traits[i % 3] + 1) % size
            else:
                traits[i % 3] = stranger.traits[i % 3]
            model = replace(model, traits=(traits[0], traits[1]))
        else:
            away = source.choice((-3, -2, -1, 1, 2, 3)) * 10
            model = replace(model, year=model.year + away)
        clones.append(model)
    return Puzzle(_question(path), path_names[-1], tuple(path), tuple(clones))


def _question(path: Sequence[Entity]) -> str:
    world = data("world.json")
    first = path[0]
    description, short = world["ask"][first.kind]
    facts = first.words(asked=True) | {"decade": _decade(first.year)}
    phrase = short
    for entity in path:
        if entity is not first:
            phrase += " " + world["also"][entity.kind].format(**entity.words(asked=True))
        phrase = world["steps"][entity.kind].format(prev=phrase)
    return (
        f"Consider {description.format(**facts)}. Give the name of {phrase}. "
        "Answer with the name alone."
    )


def _decade(year: int) -> str:
    """The decade of `year` in words that name no other span."""
    start = year // 10 * 10
    if start % 100 == 0:  # "the 1800s" is a century to most readers
        return f"between {start} and {start + 9}"
    return f"in the {start}s"
