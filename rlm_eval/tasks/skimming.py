"""Skimmers of every task: perfect readers of 1, 5 or 25 % of the text, selected without a model.

A skimmer reads the first, last or random items, the items that a string search for the question's
words ranks first, items with unusual words or with phrases common in other samples' evidence, or
the matches of a regular expression over shapes (names, numbers, dates). Where it has read all of
the evidence it answers the gold, otherwise the prior. A task that a skimmer solves does not require
reading the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlm_eval.core.baseline_kinds import BUDGETS as BUDGETS
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.items import Items, Page

SHAPES = {
    "two_capitalised_words": r"[A-Z][a-z'’-]+ [A-Z][a-z'’-]+",
    "three_capitalised_words": r"[A-Z][a-z'’-]+ [A-Z][a-z'’-]+ [A-Z][a-z'’-]+",
    "capitalised_word_inside": r"[a-z,;] [A-Z][a-z]",
    "number": r"\d+",
    "long_number": r"\d{4,}",
    "year": r"(?<!\d)(?:1[5-9]|20)\d\d(?![\d-])",
    "number_in_words": (
        r"\b[tfsenh](?:wo|hree|our|ive|ix|even|ight|ine|en|leven|welve|hirteen|ourteen|ifteen|"
        r"ixteen|eventeen|ighteen|ineteen|wenty|hirty|orty|ifty|ixty|eventy|ighty|inety|undred|"
        r"housand)\b"
    ),
    "date": (
        r"\d{4}-\d\d-\d\d|\d/\d{1,2}/\d\d|"
        r"[JFMASOND](?:an|eb|ar|pr|ay|un|ul|ug|ep|ct|ov|ec)[a-z]* \d"
    ),
    "capital_letters": r"[A-Z]{2,}",
    "letters_and_digits": r"[A-Za-z]-?\d|\d[A-Za-z]",
    "hyphen_or_underscore": r"[a-z][-_][a-z]",
    "quotation": r"[\"“'‘][^\"”'’\n]{3,80}[\"”'’]",
    "colon_or_equals": r": | = ",
    "bracket": r"[(\[{]",
}
"""Kinds of strings that a regular expression can find in any text, by name."""

_COMPILED = {name: re.compile(pattern) for name, pattern in SHAPES.items()}
_PHRASES = 60  # phrases of other evidence to search for: the most common ones
_BUCKETS = 100  # bins of a text for counting the evidence positions of other samples


@dataclass(frozen=True)
class Skimmed:
    """The part of one sample that one skimmer read."""

    name: str
    """`first_5_percent`, `year`, ...; the same for all samples."""
    chosen: Items
    """The items read."""


@dataclass(frozen=True)
class Seen:
    """Knowledge from the evidence of other samples of the task."""

    places: Sequence[float]
    """Positions of their evidence, as shares of the text, 0 to 1."""
    phrases: Mapping[str, int]
    """Phrase of `phrases` -> number of other samples with it in their evidence."""


def phrases(text: str) -> frozenset[str]:
    """Sequences of two and three words, as a regular expression for a template would use."""
    own = text.lower().split(" ")
    found = (" ".join(own[i : i + size]) for size in (2, 3) for i in range(len(own) - size + 1))
    return frozenset(phrase for phrase in found if phrase.isprintable() and len(phrase) > 5)


def skimmers(page: Page, seen: Seen) -> Iterator[Skimmed]:
    """Yield every skimmer's choice on a page, the cheapest first."""
    count = len(page)
    ranks = [(name, rank(), above) for name, (rank, above) in _ranks(page, seen).items()]
    for budget in BUDGETS:
        for name, rank, above in ranks:
            yield Skimmed(f"{name}_{budget}_percent", page.top(rank, budget / 100, above))
    for name, pattern in _COMPILED.items():
        found = page.matching(pattern)
        # More matches than the budget: the shape is not selective.
        few = page.read(found) <= BUDGETS[-1] / 100
        yield Skimmed(name, found if few else np.zeros(count, dtype=bool))


Values = NDArray[np.float64]
_Rank = Callable[[], Values]


def _ranks(page: Page, seen: Seen) -> dict[str, tuple[_Rank, float]]:
    """Name -> (rank of every item, exclusive lower bound of the rank)."""
    count, none = len(page), float("-inf")
    order = np.arange(count, dtype=np.float64)
    drawn = np.random.default_rng(rng("skim", page.sample.id).getrandbits(64)).random(count)
    starts, ends = page.bounds
    middle = (starts + ends) / 2 / max(1, len(page.text))
    counted = np.histogram(np.asarray(seen.places), bins=_BUCKETS, range=(0, 1))[0].astype(float)
    usual = counted[np.minimum((middle * _BUCKETS).astype(int), _BUCKETS - 1)]
    return {
        "first": (lambda: -order, none),
        "last": (lambda: order, none),
        "random": (lambda: drawn, none),
        "usual_place": (lambda: usual, 0.0),
        "search_of_the_questions_words": (lambda: page.asked, 0.0),
        "unusual_words": (lambda: page.unusual, none),
        "phrases_of_other_evidence": (lambda: _phrase_ranks(page, seen.phrases), 0.0),
    }


def _phrase_ranks(page: Page, known: Mapping[str, int]) -> Values:
    """Per item: the rank of its phrase that is most frequent in other evidence and rarest here."""
    ranks = np.zeros(len(page))
    if known:
        text = page.text.lower()
        for phrase in sorted(known, key=lambda phrase: (-known[phrase], phrase))[:_PHRASES]:
            found = page.containing(_places(text, phrase))
            if count := found.sum():
                ranks[found] = np.maximum(ranks[found], known[phrase] / count)
    return ranks


def _places(text: str, phrase: str) -> Iterator[int]:
    """Positions of the phrase in the text, in order."""
    at = text.find(phrase)
    while at >= 0:
        yield at
        at = text.find(phrase, at + 1)
