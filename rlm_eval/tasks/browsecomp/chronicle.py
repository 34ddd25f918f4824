"""Documents about a community of an invented world: issues of small local papers.

An issue has a title, headings and paragraphs. Its sentences join two clauses each. A clause states
a fact of an entity (its traits, its relation), or something that only resembles one: a cousin of
hers did it, he applied and was turned down, they quarrelled over a bridge. Both are built of the
same names, traits, verbs and turns, and a fact may stand beside anything. The facts of one entity
stand in different documents. No question is asked here.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.world import TRAITS, Entity, community, cycle, following

PARTS = ("profile", "relation")
Fact = tuple[str, str]
"""An entity's name, and one of `PARTS`."""
Span = tuple[int, int, int]
"""Document, first character, one past the last."""

_FACT_WORDS = 930  # of a community's facts; fewer do not hold them
_LEAST_DOCUMENTS = 10
_OVERHEAD = 9  # words of a title and a heading
_DRAWS = 30  # of the facts' words, where the first ones do not fit
_SPARE = 3  # words of a document that no fact fits into
_SHORT = 400  # least and most words of a document together, below which its clauses are short
_MODIFIED = 0.65  # of the near misses: the clause of a fact, but about somebody's cousin
_APPOSED = 0.2  # of the longer clauses name a cousin of the one that they are about
_SOURCED = 0.1  # share of the clauses that name a source


def documents_of_a_community(words: tuple[int, int]) -> int:
    """How many documents of `words` (least, most) a community needs."""
    mean = sum(words) / 2 - _OVERHEAD - _SPARE
    return max(_LEAST_DOCUMENTS, math.ceil(_FACT_WORDS / mean))


@dataclass(frozen=True)
class Chronicle:
    """The documents of one community."""

    documents: tuple[str, ...]
    spans: dict[Fact, Span]
    """Where each fact is stated."""


@dataclass(frozen=True)
class _Clause:
    text: str
    names: tuple[str, ...]
    fact: Fact | None = None

    @property
    def words(self) -> int:
        return len(self.text.split())


@functools.lru_cache(maxsize=128)
def chronicle(seed: str, number: int, size: int, words: tuple[int, int]) -> Chronicle:
    """The documents of community `number`, each of `words` (least, most) words."""
    source, entities = rng("chronicle", seed, number), community(seed, number, size)
    asked = community(seed, 0, size)
    writer = Writer(source, cycle(seed), entities, asked, 3 if sum(words) < _SHORT else 1)
    for _ in range(_DRAWS):
        facts = [clause for entity in entities for clause in writer.facts(entity)]
        source.shuffle(facts)
        if fitted := _placed(source, facts, words):
            break
    else:
        raise RlmEvalError(
            f"documents of {words[0]} to {words[1]} words do not hold the facts of a community; "
            "raise doc_words_max"
        )
    targets, placed = fitted
    documents: list[str] = []
    spans: dict[Fact, Span] = {}
    for place, (target, own) in enumerate(zip(targets, placed, strict=True)):
        text, found = writer.document(own, target)
        documents.append(text)
        spans |= {fact: (place, start, end) for fact, (start, end) in found.items()}
    return Chronicle(tuple(documents), spans)


def _placed(
    source: Random, facts: Sequence[_Clause], words: tuple[int, int]
) -> tuple[list[int], list[list[_Clause]]] | None:
    """Words of each document, and the facts that it states: no two that share a name.

    `None` where they do not fit.
    """
    count = documents_of_a_community(words)
    for _ in range(100):
        targets = [source.randint(*words) for _ in range(count)]
        left = [float(target - _OVERHEAD) for target in targets]
        placed: list[list[_Clause]] = [[] for _ in range(count)]
        holds: list[set[str]] = [set() for _ in range(count)]
        for fact in facts:
            free = [i for i in range(count) if holds[i].isdisjoint(fact.names)]
            best = max(free, key=lambda i: (left[i], source.random()), default=None)
            if best is None or left[best] + words[1] - targets[best] < fact.words + 1:
                break
            placed[best].append(fact)
            holds[best].update(fact.names)
            left[best] -= fact.words + 0.5  # every other clause needs a conjunction
        else:
            return targets, placed
    return None


class Writer:
    """Clauses and documents about one community."""

    def __init__(
        self,
        source: Random,
        kinds: Sequence[str],
        entities: Sequence[Entity],
        asked: Sequence[Entity],
        tries: int,
    ) -> None:
        self._source, self._kinds = source, kinds
        self._tries = tries  # of which the shortest is taken: short documents have short clauses
        self._by_kind = {kind: [e for e in entities if e.kind == kind] for kind in kinds}
        # A near miss never describes what a question may ask for: no pair of an entity's traits.
        self._pairs = {(e.kind, e.traits) for e in (*entities, *asked)}
        self._minor = [
            (a, b.removesuffix("2"), text)
            for a, b, text in data("world.json")["minor"]
            if a in kinds and b.removesuffix("2") in kinds
        ]

    def facts(self, entity: Entity) -> list[_Clause]:
        """The clauses that state the entity's traits and its relation."""
        drawn = [self._facts(entity) for _ in range(self._tries)]
        return [min(pair, key=lambda clause: clause.words) for pair in zip(*drawn, strict=True)]

    def _facts(self, entity: Entity) -> list[_Clause]:
        world, kind = data("world.json"), entity.kind
        profile = self._source.choice(world["profile"][kind]["true"])
        relation = f"{kind}-{following(self._kinds, kind)}"
        text = self._source.choice(world["relation"][relation]["true"])
        traits = self._traits(kind, entity.traits)
        both = (entity.name, entity.other)
        return [
            self._clause(profile, kind, both[:1], (entity.name, PARTS[0]), **traits),
            self._clause(text, kind, both, (entity.name, PARTS[1])),
        ]

    def _modified(self, text: str, kind: str, slot: str) -> str:
        """The clause about a cousin (a rival, a parody, ...) of what stands in the slot."""
        other = self._source.choice(data("world.json")["modifiers"][kind])
        return text.replace(f"{_article(kind)}{{{slot}}}", f"{other} {_article(kind)}{{{slot}}}")

    def _traits(self, kind: str, numbers: tuple[int, int]) -> dict[str, str]:
        lists = (data("world.json")[kind][trait] for trait in TRAITS[kind])
        pairs = zip(("t1", "t2"), lists, numbers, strict=True)
        return {slot: self._source.choice(table[number][0]) for slot, table, number in pairs}

    def other(self) -> _Clause:
        """A clause that states no fact, in the words of those that do."""
        return min((self._other() for _ in range(self._tries)), key=lambda clause: clause.words)

    def _other(self) -> _Clause:
        source, world = self._source, data("world.json")
        kind, draw = source.choice(self._kinds), source.random()
        entity = source.choice(self._by_kind[kind])
        how = "true" if source.random() < _MODIFIED else "near"
        if draw < 0.35:
            lists = [world[kind][trait] for trait in TRAITS[kind]]
            while True:
                pair = (source.randrange(len(lists[0])), source.randrange(len(lists[1])))
                if (kind, pair) not in self._pairs:
                    break
            text = source.choice(world["profile"][kind][how])
            if how == "true":
                text = self._modified(text, kind, "a")
            traits = self._traits(kind, pair)
            return self._clause(text, kind, (entity.name,), None, **traits)
        if draw < 0.8:
            second = following(self._kinds, kind)
            text = source.choice(world["relation"][f"{kind}-{second}"][how])
            if (
                how == "true"
            ):  # a town may keep a parody's manuscript, but no second one of the work
                of = ("work", "b") if second == "work" else (kind, "a")
                text = self._modified(text, *of)
            taken = (entity.name, entity.other)
        else:
            kind, second, text = source.choice(self._minor)
            entity = source.choice(self._by_kind[kind])
            taken = (entity.name, entity.other)
        while True:
            name = source.choice(self._by_kind[second]).name
            if name not in taken:
                return self._clause(text, kind, (entity.name, name))

    def _clause(
        self, text: str, kind: str, names: tuple[str, ...], fact: Fact | None = None, **traits: str
    ) -> _Clause:
        """The clause about `names`, the first one of `kind`.

        Some, whatever they state, add whose cousin that one is, or name a source.
        """
        source, world = self._source, data("world.json")
        slot = text.find("{a}")
        if self._tries == 1 and text[slot + 3 : slot + 4] == " " and source.random() < _APPOSED:
            relative = source.choice(self._by_kind[kind]).name
            if relative not in names:
                added = f"{source.choice(world['modifiers'][kind])} {_article(kind)}{relative}"
                text = f"{text[: slot + 3]}, {added},{text[slot + 3 :]}"
                names = (*names, relative)
        text = text.format(**dict(zip("ab", names, strict=False)), **traits)
        if source.random() < _SOURCED:
            cited = source.choice(world["sources"]).format(year=self._year())
            text = f"{cited}, {text}" if source.random() < 0.5 else f"{text}, {cited}"
        return _Clause(text, names, fact)

    def _year(self) -> int:
        return self._source.randrange(1840, 1930)

    def document(
        self, facts: Sequence[_Clause], target: int
    ) -> tuple[str, dict[Fact, tuple[int, int]]]:
        """An issue of about `target` words that states the facts, and their spans in it."""
        source, world, words = self._source, data("world.json"), data("words.json")
        clauses = list(facts)
        left = target - _OVERHEAD - sum(clause.words + 0.5 for clause in clauses)
        while left > 4:
            clause = self.other()
            if clause.words < left + 4:
                clauses.append(clause)
                left -= clause.words + 0.5
        source.shuffle(clauses)
        adjective, noun = source.choice(words["adjectives"]), source.choice(words["nouns"])
        paper = f"{adjective} {noun} {source.choice(world['titles'])}".title()
        page = _Page(f"{paper}, No. {source.randrange(2, 400)}, {self._year()}")
        headings = itertools.cycle(source.sample(world["headings"], len(world["headings"])))
        sentences = heading_at = paragraph_at = 0
        while clauses:
            if sentences == heading_at:
                page.add(f"\n\n{next(headings)}\n")
                heading_at = sentences + source.randint(6, 14)
            elif sentences == paragraph_at:
                page.add("\n")
            if page.at_line_start:
                paragraph_at = sentences + source.randint(2, 4)
            else:
                page.add(" ")
            self._sentence(page, clauses)
            sentences += 1
        return page.text, page.spans

    def _sentence(self, page: _Page, clauses: list[_Clause]) -> None:
        """Writes the last clause, or two of them that share no name."""
        first = clauses.pop()
        page.add(first.text[0].upper() + first.text[1:], first.fact)
        if clauses and set(first.names).isdisjoint(clauses[-1].names):
            page.add(self._source.choice(data("world.json")["joins"]))
            second = clauses.pop()
            page.add(second.text, second.fact)
        page.add(".")


def _article(kind: str) -> str:
    return "the " if kind == "institute" else ""


class _Page:
    """A text that is written piece by piece, and where its facts stand."""

    def __init__(self, title: str) -> None:
        self._pieces, self._length = [title], len(title)
        self.spans: dict[Fact, tuple[int, int]] = {}

    def add(self, piece: str, fact: Fact | None = None) -> None:
        """Appends a piece, which may state a fact."""
        if fact:
            self.spans[fact] = (self._length, self._length + len(piece))
        self._pieces.append(piece)
        self._length += len(piece)

    @property
    def at_line_start(self) -> bool:
        """True after a line break."""
        return self._pieces[-1].endswith("\n")

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._pieces)
