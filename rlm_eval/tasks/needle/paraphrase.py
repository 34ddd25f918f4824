"""S-NIAH by meaning: two sentences among similar ones, linked and asked for in other words.

A person has a trade, a habit and a home town. One sentence has the name with the trade and the
habit; another, elsewhere, has the town of "the one who" has them, without the name and in words
that the first does not use. The question gives the habit and the town's terrain in words that
neither uses. All people come in groups of six (`GROUP`) that share trades, habits and terrains
evenly, and the queried person's group is one of them, so that no count of words or names
distinguishes it. Only the queried person has that habit and that terrain, and only they have that
trade and that habit. Items depend only on (seed, index) and recur at every length.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring import said
from rlm_eval.scoring.match import ruler_all
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.haystack import build
from rlm_eval.tasks.needle.paraphrase_rules import NAME, first_name, paraphrase_baselines
from rlm_eval.tasks.world import names

GROUP = (3, 2, 3)
"""Trades, habits and terrains of a group of six people: one for each trade with each habit. Person
(i, j) has terrain (i + j) mod 3, so that each habit also occurs with each terrain."""
_LISTS = (("person", "trade"), ("person", "habit"), ("town", "terrain"))
_SPARE = 240  # sentences beyond the budget, candidates for an exact fit
_DEPTHS = (0, 70, 30, 100, 60, 20, 90, 50, 10, 80, 40)  # percent; few samples are spread too
_JITTER = 5  # percent, half a step
_SELDOM = 0.2  # share of the pairs of traits that a text has once at most

Triple = tuple[int, int, int]
"""Indices of a trade, a habit and a terrain."""
Pair = tuple[str, int, int]
"""Two traits that a sentence tells of one person: its kind and their indices."""


@dataclass(frozen=True)
class Paraphrase(GeneratedTask):
    """See the module's docstring.

    A text has up to 176 phrases, which recur. A reader who learns those of a quarter of the text
    and then searches for them answers most questions from 4K tokens on; the skimmers of
    `baselines` do not learn, and answer few.
    """

    name: str = "s_niah_paraphrase"
    depth: int | None = None
    """Percent of the filler before the needle; `None` = about 0, 10, ..., 100 over samples, each to
    within 5: exact depths would reveal the place through other samples."""

    # Version 1 was `SNiah` with style=paraphrase: a search for names found the eight facts.
    # Version 2: a filler person's two sentences were close together, those of a needle apart.
    # Version 3: where plain names ran out, some had the same first name twice.
    # Version 4: the queried person's second sentence was at one of eleven depths, so that reading a
    # quarter of the text, at the usual places, scored .23 at 16k.
    # Version 5: a person's two sentences had the same name, and the twelve people of the question
    # shared traits more often than the others: a quarter of the text held half of the answers.
    VERSION: ClassVar[int] = 6
    OUTPUT_CAP: ClassVar[int | None] = 128
    operation: ClassVar[str | None] = "filter"
    SHORTEST: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more: two groups of people have "
                "to fit"
            )
        if self.depth is not None and not 0 <= self.depth <= 100:
            raise ValueError(f"depth={self.depth}: percent, 0 to 100")

    def draft(self, index: int) -> Draft:
        """One sample; only its filler depends on the length."""
        source, world = rng("paraphrase", self.seed, index), data("world.json")
        triples = _group(source)
        called = list(itertools.islice(_people(self.seed, index), len(triples)))
        # The queried needle comes last, so that it follows the others at its place, even at the
        # start.
        needles = [
            text
            for name, triple in reversed(list(zip(called, triples, strict=True)))
            for text in (_home(source, triple), _named(source, triple, name))
        ]
        depth = _DEPTHS[index % len(_DEPTHS)] if self.depth is None else self.depth
        near = depth + source.uniform(-_JITTER, _JITTER) if self.depth is None else depth
        depths = [source.uniform(0, 100) for _ in needles[1:]]
        depths.append(100 - abs(100 - abs(near)))  # reflected: the ends are no more likely
        habit, terrain = (
            world[kind][trait][number][1]
            for (kind, trait), number in zip(_LISTS[1:], triples[0][1:], strict=True)
        )
        question = (
            f"Which person {habit} and is from a place that {terrain}? The text says so in other "
            "words and in two places: one sentence tells what the one from there did, another "
            "names the person who did it. Answer with the full name."
        )
        room = self.room(question)
        if sum(self.counter.cost(f" {needle}\n") for needle in needles) > 0.8 * room:
            raise ConfigError(
                f"{self.name}: length={self.length} is too short for {self.tokenizer}; "
                f"use length={2 * self.length}"
            )
        text, tokens, spans = build(
            functools.partial(self._filler, index, triples[0]),
            [(d / 100, needle) for d, needle in zip(depths, needles, strict=True)],
            room, self.length, self.counter,
        )  # fmt: skip
        item = f"paraphrase-{self.seed}-{index}"
        meta = {"depth": depth}
        return Draft(
            question, text, [called[0]], item, item, tokens, tuple(sorted(spans[-2:])), meta
        )

    def _filler(
        self, index: int, asked: Triple, budget: float
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Lines worth `budget` tokens plus `_SPARE` more, with their costs.

        Each sentence is a line, as each needle is: paragraphs would tell them apart.
        """
        source = rng("paraphrase filler", self.seed, index)
        people = itertools.islice(_people(self.seed, index), math.prod(GROUP[:2]), None)
        seldom = _seldom(rng("paraphrase pairs", self.seed, index))
        used = set(_pairs(asked))
        lines: list[str] = []
        costs: list[float] = []
        said: list[str] = []
        total, spare = 0.0, 0

        def group() -> list[str]:
            """The sentences of a group that repeats no pair of which there is one at most."""
            while True:
                triples = _group(source)
                pairs = [pair for triple in triples for pair in _pairs(triple)]
                if used.isdisjoint(pairs):
                    break
            used.update(seldom.intersection(pairs))
            return [
                text
                for triple, name in zip(triples, people, strict=False)
                for text in (_named(source, triple, name), _home(source, triple))
            ]

        # A person's two sentences lie anywhere, as those of the needles do.
        while total < budget:
            more = group()
            said += more
            total += sum(self.counter.cost(f"{sentence}\n") for sentence in more)
        source.shuffle(said)
        said.reverse()
        total = 0.0
        while spare < _SPARE:
            if not said:
                said = group()
            lines.append(f"{said.pop()}\n")
            costs.append(self.counter.cost(lines[-1]))
            spare += total > budget
            total += costs[-1]
        return lines, np.array(costs)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The gold's share of the persons named in the answer; and RULER's substring recall."""
        text = answer.text or ""
        [gold] = sample.target
        named = {" ".join(name.split()) for name in NAME.findall(said(text))}
        value = float(gold in named) / len(named) if named else 0.0
        return Score("one_name", value, ", ".join(sorted(named))), ruler_all(sample.target, text)

    def floors(self) -> Mapping[str, Floor]:
        """The first name in the text; `baselines` has all other rules."""
        return {"first_name": first_name}

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the counts and places of names; skimmers by words and shapes."""
        return paraphrase_baselines()


def _people(seed: int, index: int) -> Iterator[str]:
    """Yield distinct names for a sample, endlessly.

    Once plain names run out, names have a second first name.
    """
    plain = names(f"paraphrase|{seed}", "person")
    begin = rng("paraphrase names", seed, index).randrange(len(plain))
    plain = plain[begin:] + plain[:begin]
    yield from plain
    for middle in data("words.json")["first_names"]:
        for name in plain:
            first, last = name.split()
            if middle != first:
                yield f"{first} {middle} {last}"


def _group(source: random.Random) -> list[Triple]:
    """The six people of a group, in random order."""
    world = data("world.json")
    trades, habits, terrains = (
        source.sample(range(len(world[kind][trait])), values)
        for (kind, trait), values in zip(_LISTS, GROUP, strict=True)
    )
    triples = [
        (trade, habit, terrains[(i + j) % len(terrains)])
        for i, trade in enumerate(trades)
        for j, habit in enumerate(habits)
    ]
    source.shuffle(triples)
    return triples


def _pairs(triple: Triple) -> tuple[Pair, Pair]:
    """The person's trade with their habit, and the habit with the terrain."""
    trade, habit, terrain = triple
    return ("work", trade, habit), ("home", habit, terrain)


def _seldom(source: random.Random) -> frozenset[Pair]:
    """Pairs that a text has once at most, like the queried person's: else they alone were so."""
    world = data("world.json")
    sizes = [len(world[kind][trait]) for kind, trait in _LISTS]
    triples = itertools.product(*map(range, sizes))
    every = list(dict.fromkeys(pair for t, h, p in triples for pair in _pairs((t, h, p))))
    return frozenset(source.sample(every, round(_SELDOM * len(every))))


def _named(source: random.Random, triple: Triple, name: str) -> str:
    """A sentence on the trade and the habit of `name`."""
    world = data("world.json")
    trade, habit = (
        source.choice(world[kind][trait][number][0])
        for (kind, trait), number in zip(_LISTS[:2], triple[:2], strict=True)
    )
    text = source.choice(world["profile"]["person"]["true"])
    return _written(text.format(a=name, t1=trade, t2=habit))


def _home(source: random.Random, triple: Triple) -> str:
    """A sentence on the home of the one with the trade and the habit, in its own words for them."""
    own, towns = data("paraphrase.json"), data("world.json")["town"]["terrain"]
    trade, habit = (
        source.choice(own[trait][number])
        for (_, trait), number in zip(_LISTS[:2], triple[:2], strict=True)
    )
    place = source.choice(towns[triple[2]][0])
    return _written(source.choice(own["home"]).format(t1=trade, t2=habit, p=place))


def _written(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
