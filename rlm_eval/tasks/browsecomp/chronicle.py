"""Documents about a community of an invented world: issues of small local papers.

An issue has a title, headings and paragraphs. Nearly every sentence states a fact of the world with
the same phrases: it names two or three entities, states something about one of them ("... the
latter was apprenticed to ...") and so denies it of the others. Knowing every phrase does not
suffice: a reader must still resolve the reference, and the facts that a question needs look like
hundreds of others. The facts of one entity are in different documents. Questions are in
`community`.

A program with the full grammar of the sentences can parse all of it, as for any generated text.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.browsecomp.community import TRAITS, Entity, Size, community, kind_of

PARTS = ("first trait", "second trait", "relation")
Fact = tuple[str, str]
"""An entity's name, and one of `PARTS`."""
Span = tuple[int, int, int]
"""Document index, first character, end (exclusive)."""

_FACT_WORDS = 930  # words for a community's facts; fewer do not hold them
_LEAST_DOCUMENTS = 10
_OVERHEAD = 9  # words of a title and a heading
_DRAWS = 30  # retries of the facts' words, where the first draw does not fit
_WORDS = {  # words per sentence, by kind, for names of three words (a long world) or two
    ("person", False): 20,
    ("institute", False): 24,
    ("person", True): 28,
    ("institute", True): 31,
}
_STATED = 0.93  # share of the words in whole sentences that state facts
_LEAST, _MANY = 14, 400  # minimum entities; words of a document from which names have three words
_SPARE = 3  # words of a document that no sentence fits
_ROUNDED = 7  # words of a document that no fact fits
_THREE = {True: 0.25, False: 0.5}
"""Share of sentences with three names, in short and other documents; others have two, traits
three."""
_SOURCED = 0.1  # share of the sentences in longer documents that cite a source
_TRIES = 3  # draws, of which the shortest sentence is used, in short documents


def documents_of_a_community(words: tuple[int, int]) -> int:
    """Number of documents of `words` (minimum, maximum) words that a community needs."""
    mean = sum(words) / 2 - _OVERHEAD - _SPARE
    return max(_LEAST_DOCUMENTS, math.ceil(_FACT_WORDS / mean))


@functools.cache
def size_of_a_community(words: tuple[int, int], kind: str) -> Size:
    """The size at which a community's facts fill its documents."""
    mean, long = sum(words) / 2, sum(words) / 2 > _MANY
    total = documents_of_a_community(words) * (mean - _OVERHEAD - _ROUNDED)
    facts = _STATED * total / _WORDS[kind, long]
    entities = int(facts)
    while entities > _LEAST and Size(entities, long).facts > facts:
        entities -= 1
    return Size(entities, long)


@dataclass(frozen=True)
class Chronicle:
    """The documents of one community, with the positions of its facts."""

    documents: tuple[str, ...]
    spans: dict[Fact, Span]
    """Position of each fact's statement."""


@dataclass(frozen=True)
class Sentence:
    """One statement, without its full stop."""

    text: str
    about: tuple[str, ...]
    """Names of the entities that it is about."""
    named: tuple[str, ...]
    """All names in it."""
    fact: Fact | None = None

    @functools.cached_property
    def words(self) -> int:
        """Number of words."""
        return self.text.count(" ") + 1


@functools.lru_cache(maxsize=128)
def chronicle(seed: str, number: int, words: tuple[int, int]) -> Chronicle:
    """Documents of community `number`, each with `words` (minimum, maximum) words."""
    source, size = rng("chronicle", seed, number), size_of_a_community(words, kind_of(seed))
    entities = community(seed, number, size)
    writer = Writer(source, kind_of(seed), entities, short=not size.long)
    for _ in range(_DRAWS):
        facts = [sentence for entity in entities for sentence in writer.facts(entity)]
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
    source: Random, facts: Sequence[Sentence], words: tuple[int, int]
) -> tuple[list[int], list[list[Sentence]]] | None:
    """Words of each document, and its facts, no two about one entity.

    Where there is room, facts that only mention an entity are also in other documents. `None` where
    they do not fit.
    """
    count = documents_of_a_community(words)
    for _ in range(100):
        targets = [source.randint(*words) for _ in range(count)]
        left = [float(target - _OVERHEAD) for target in targets]
        placed: list[list[Sentence]] = [[] for _ in range(count)]
        holds: list[set[str]] = [set() for _ in range(count)]
        shows: list[set[str]] = [set() for _ in range(count)]
        for fact in facts:
            free = [i for i in range(count) if holds[i].isdisjoint(fact.about)]
            met = {i: sum(name in shows[i] for name in fact.named) for i in free}
            best = max(
                free,
                key=lambda i: (left[i] >= fact.words, -met[i], left[i], source.random()),
                default=None,
            )
            if best is None or left[best] + words[1] - targets[best] < fact.words:
                break
            placed[best].append(fact)
            holds[best].update(fact.about)
            shows[best].update(fact.named)
            left[best] -= fact.words
        else:
            return targets, placed
    return None


class Writer:
    """Writes sentences and documents about one community."""

    def __init__(
        self, source: Random, kind: str, entities: Sequence[Entity], *, short: bool
    ) -> None:
        self._source, self._kind, self._short = source, kind, short
        self._texts = data("chronicle.json")["kinds"][kind]
        self._entities = {entity.name: entity for entity in entities}
        self._all = _Deck(source, list(self._entities))
        described = [entity.name for entity in entities if None not in entity.traits]
        self._described = _Deck(source, described)

    def facts(self, entity: Entity) -> list[Sentence]:
        """Sentences that state the entity's traits and its master."""
        tries = _TRIES if self._short else 1
        drawn = [list(self._facts(entity)) for _ in range(tries)]
        return [min(each, key=lambda s: s.words) for each in zip(*drawn, strict=True)]

    def _facts(self, entity: Entity) -> Iterator[Sentence]:
        world, pick = data("world.json"), self._source.choice
        dealt = self._all if None in entity.traits else self._described
        for place, number in enumerate(entity.traits):
            if number is not None:
                phrase = pick(world[self._kind][TRAITS[self._kind][place]][number][0])
                turn = pick(self._texts["traits"][place]).replace("{t}", phrase)
                alike = {e.name for e in self._entities.values() if e.traits[place] == number}
                fact = (entity.name, PARTS[place])
                yield self._stated(turn, (entity.name,), fact, alike, dealt, 3)
        other = entity.like or entity.other
        alike = {e.name for e in self._entities.values() if e.other == entity.other}
        turn = pick(self._texts["like" if entity.like else "relation"]).replace("{c}", "{b}")
        yield self._stated(turn, (entity.name, other), (entity.name, PARTS[2]), alike, self._all)

    def _stated(
        self,
        turn: str,
        about: tuple[str, ...],
        fact: Fact | None,
        alike: Collection[str],
        dealt: _Deck,
        count: int | None = None,
    ) -> Sentence:
        """The phrase, about the first of `about`, one of the two or three named entities.

        The others are `dealt`: the statement is false of them, whereas it is true of those in
        `alike`.
        """
        pick = self._source.choice
        count = count or (3 if self._source.random() < _THREE[self._short] else 2)
        named = [about[0]]
        while len(named) < count:
            named.append(dealt.take({*named, *about, *alike}))
        self._source.shuffle(named)
        called = pick(self._texts["pair" if count == 2 else "three"])[named.index(about[0])]
        shown = [self._with_article(name) for name in named]
        listed = f"{', '.join(shown[:-1])} and {shown[-1]}"
        b = self._with_article(about[1]) if len(about) > 1 else ""
        preface = pick(self._texts["prefaces"]).replace("{L}", listed)
        said = turn.replace("{a}", called).replace("{b}", b)
        if not self._short and self._source.random() < _SOURCED:
            sources = data("world.json")["sources"]
            said = f"{said}, {pick(sources).format(year=self._year())}"
        return Sentence(f"{preface}: {said}", about, (*named, *about[1:]), fact)

    def _with_article(self, name: str) -> str:
        return f"the {name}" if self._kind == "institute" else name

    def other(self) -> Sentence:
        """A sentence without facts that a question asks for."""
        one = self._all.take(())
        two = self._all.take({one})
        turn = self._source.choice(self._texts["asides"])
        if self._source.random() < 0.5:
            shown = map(self._with_article, (one, two))
            text = turn.format(**dict(zip("ab", shown, strict=True)))
            return Sentence(text, (one, two), (one, two))
        return self._stated(turn, (one, two), None, (), self._all)

    def _year(self) -> int:
        return self._source.randrange(1840, 1930)

    def document(
        self, facts: Sequence[Sentence], target: int
    ) -> tuple[str, dict[Fact, tuple[int, int]]]:
        """An issue of about `target` words that states the facts, with their spans."""
        source, world, words = self._source, data("world.json"), data("words.json")
        told = list(facts)
        left = target - _OVERHEAD - sum(sentence.words for sentence in told)
        while left > 12:
            sentence = self.other()
            if sentence.words < left + 4:
                told.append(sentence)
                left -= sentence.words
        source.shuffle(told)
        adjective, noun = source.choice(words["adjectives"]), source.choice(words["nouns"])
        paper = f"{adjective} {noun} {source.choice(world['titles'])}".title()
        page = _Page(f"{paper}, No. {source.randrange(2, 400)}, {self._year()}")
        headings = itertools.cycle(source.sample(world["headings"], len(world["headings"])))
        heading_at = paragraph_at = 0
        for number, sentence in enumerate(told):
            if number == heading_at:
                page.add(f"\n\n{next(headings)}\n")
                heading_at = number + source.randint(6, 14)
            elif number == paragraph_at:
                page.add("\n")
            if page.at_line_start:
                paragraph_at = number + source.randint(2, 4)
            else:
                page.add(" ")
            page.add(f"{sentence.text[0].upper()}{sentence.text[1:]}.", sentence.fact)
        if left > 3:
            page.add(f" {source.choice(data('chronicle.json')['closers'])}")
        return page.text, page.spans


class _Deck:
    """Deals names in random order, each once before any repeats."""

    def __init__(self, source: Random, names: Sequence[str]) -> None:
        self._source, self._names = source, names
        self._left: list[str] = []

    def take(self, but: Collection[str]) -> str:
        """Deal the next name not in `but`; skipped names stay in the deck."""
        for place in range(len(self._left) - 1, -1, -1):
            if self._left[place] not in but:
                return self._left.pop(place)
        self._left = self._source.sample(self._names, len(self._names)) + self._left
        return self.take(but)


class _Page:
    """A text under construction, with the spans of its facts."""

    def __init__(self, title: str) -> None:
        self._pieces, self._length = [title], len(title)
        self.spans: dict[Fact, tuple[int, int]] = {}

    def add(self, piece: str, fact: Fact | None = None) -> None:
        """Append a piece, which may state a fact."""
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
        """The whole text."""
        return "".join(self._pieces)
