"""S-NIAH by meaning: a question in other words, answered by two sentences among similar ones.

Each person in the text has one sentence on a trade and a habit and another, elsewhere, on the home
town; the question describes one person in other words. Eleven others share all but one or two of
the three traits, no other person has all of them, and some sentences are about a person's cousin.
The twelve are symmetric, so that no count of words or names distinguishes the queried one. Items
depend only on (seed, index) and recur at every length.
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

_LISTS = (("person", "trade"), ("person", "habit"), ("town", "terrain"))
_GRID = (3, 2, 2)
"""Trait values of the queried person and the hard negatives: exactly one person has each triple."""
_SPARE = 240  # sentences beyond the budget, candidates for an exact fit
_COUSINS = 0.2  # share of the sentences about a cousin of the named person
_DEPTHS = (0, 70, 30, 100, 60, 20, 90, 50, 10, 80, 40)  # percent; few samples are spread too
_JITTER = 5  # percent, half a step

Triple = tuple[int, ...]
"""Indices of a trade, a habit and a terrain."""


@dataclass(frozen=True)
class Paraphrase(GeneratedTask):
    """See the module's docstring.

    `solved_by_code`: a name links a person's two sentences, so that a reader of a quarter of the
    persons finds a quarter of the answers, and half of them where sequences of words that recur
    select the persons (baseline `by_person`).
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
    VERSION: ClassVar[int] = 5
    solved_by_code: ClassVar[bool] = True  # by names and counts
    OUTPUT_CAP: ClassVar[int | None] = 128
    operation: ClassVar[str | None] = "filter"
    SHORTEST: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more: twelve descriptions and "
                "some others have to fit"
            )
        if self.depth is not None and not 0 <= self.depth <= 100:
            raise ValueError(f"depth={self.depth}: percent, 0 to 100")

    def draft(self, index: int) -> Draft:
        """One sample; only its filler depends on the length."""
        source, world = rng("paraphrase", self.seed, index), data("world.json")
        picks = [
            source.sample(range(len(world[kind][trait])), values)
            for (kind, trait), values in zip(_LISTS, _GRID, strict=True)
        ]
        triples = list(itertools.product(*picks))
        source.shuffle(triples)
        called = list(itertools.islice(_people(self.seed, index), len(triples)))
        # The queried needle comes last, so that it follows the others at its place, even at the
        # start.
        needles = [
            _sentence(source, name, triple, home)
            for name, triple in reversed(list(zip(called, triples, strict=True)))
            for home in (True, False)
        ]
        depth = _DEPTHS[index % len(_DEPTHS)] if self.depth is None else self.depth
        near = depth + source.uniform(-_JITTER, _JITTER) if self.depth is None else depth
        depths = [source.uniform(0, 100) for _ in needles[1:]]
        depths.append(min(100, max(0, near)))
        asked = [
            world[kind][trait][number][1]
            for (kind, trait), number in zip(_LISTS, triples[0], strict=True)
        ]
        question = (
            f"Which person {asked[0]}, {asked[1]} and is from a place that {asked[2]}? "
            "The text says so in other words. Answer with the full name."
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
        """Sentences worth `budget` tokens plus `_SPARE` more, with their costs."""
        source, lists = rng("paraphrase filler", self.seed, index), data("world.json")
        sizes = [len(lists[kind][trait]) for kind, trait in _LISTS]
        people = itertools.islice(_people(self.seed, index), math.prod(_GRID), None)
        said: list[str] = []
        units: list[str] = []
        costs: list[float] = []
        total, spare, at_start = 0.0, 0, True

        def person() -> list[str]:
            triple = asked
            while triple == asked:
                triple = tuple(map(source.randrange, sizes))
            name = next(people)
            return [_sentence(source, name, triple, home, cousins=True) for home in (False, True)]

        # A person's two sentences lie anywhere, as those of the needles do.
        while total < budget:
            pair = person()
            said += pair
            total += sum(self.counter.cost(f" {sentence}") for sentence in pair)
        source.shuffle(said)
        said.reverse()
        total = 0.0
        while spare < _SPARE:
            if not said:
                said = person()
            # Spare sentences include one-sentence paragraphs, which can follow a paragraph's end.
            ends = source.random() < (0.5 if total > budget else 0.15)
            text = f"{'' if at_start else ' '}{said.pop()}"
            units.append(f"{text}\n" if ends else text)
            costs.append(self.counter.cost(units[-1]))
            at_start = ends
            spare += total > budget
            total += costs[-1]
        return units, np.array(costs)

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


def _sentence(
    source: random.Random, name: str, triple: Triple, home: bool, cousins: bool = False
) -> str:
    """A sentence on the home of `name` (sometimes of a cousin), or on the other two traits."""
    world = data("world.json")
    slots = {
        slot: source.choice(world[kind][trait][number][0])
        for slot, (kind, trait), number in zip(("t1", "t2", "p"), _LISTS, triple, strict=True)
    }
    if cousins and source.random() < _COUSINS:
        name = f"{source.choice(world['modifiers']['person'])} {name}"
    profiles = [f"{text}." for text in world["profile"]["person"]["true"]]
    texts = data("paraphrase.json")["home"] if home else profiles
    text: str = source.choice(texts).format(a=name, **slots)
    return text[0].upper() + text[1:]
