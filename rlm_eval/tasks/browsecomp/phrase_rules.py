"""Rules that know every phrase of the `browsecomp_gen` generator, but not whom a phrase is about.

The skimmers read the sentences with a phrase, up to a quarter of the text; the other rules count
the names next to the phrases that match the question's description.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.browsecomp.community import KINDS, TRAITS
from rlm_eval.tasks.rules import one_of, rule, sentences, skim

_Shape = Callable[[Sample], re.Pattern[str]]
_Steps = Callable[[Sample], int]
_FIRST = ("first", "former", "before")
"""Words that refer to one of the names in a sentence."""
_MOST_STEPS = 12  # maximum chain length, steps through an entity with the same master included


@functools.cache
def _turns(*parts: str) -> tuple[str, ...]:
    """The longest fixed part of every phrasing of these parts."""
    kinds = data("chronicle.json")["kinds"]
    turns = [turn for kind in KINDS for part in parts for turn in kinds[kind][part]]
    return tuple(max(re.split(r"\{\w\}", turn), key=len) for turn in turns)


@functools.cache
def _traits() -> tuple[str, ...]:
    world = data("world.json")
    every = (values for kind in KINDS for trait in TRAITS[kind] for values in world[kind][trait])
    return tuple(phrase for phrases, _ in every for phrase in phrases)


def _asked(sample: Sample) -> list[tuple[str, ...]]:
    """For each trait in the question, the phrases that the documents use for it."""
    world = data("world.json")
    kind = "institute" if "institution" in sample.question else "person"
    return [
        tuple(phrases)
        for trait in TRAITS[kind]
        for phrases, asked in world[kind][trait]
        if asked in sample.question
    ]


@functools.lru_cache(maxsize=2)
def _units(text: str) -> tuple[list[tuple[int, int]], list[int]]:
    spans = sentences(text)
    return spans, [start for start, _ in spans]


def _with(text: str, phrases: Iterable[str]) -> list[int]:
    """Indices of the sentences with one of the phrases, in order."""
    _, starts = _units(text)
    found = set()
    for phrase in phrases:
        at = text.find(phrase)
        while at >= 0:
            found.add(max(0, bisect_right(starts, at) - 1))
            at = text.find(phrase, at + 1)
    return sorted(found)


def _told(text: str, numbers: Iterable[int]) -> list[str]:
    spans, _ = _units(text)
    return [text[slice(*spans[number])] for number in numbers]


def _skimmer(
    name: str,
    phrases: Callable[[Sample], Sequence[str]],
    first: Callable[[Sample], Sequence[str]] = lambda _: (),
    keeps: Callable[[str], bool] = lambda _: True,
) -> Baseline:
    """Read the sentences with one of the phrases in random order, up to a share of the text.

    Sentences with one of the `first` phrases precede the others.
    """

    def answer(sample: Sample) -> Reply:
        text = sample.context.text()
        spans, _ = _units(text)
        found = []
        for some in (first(sample), phrases(sample)):
            numbers = _with(text, some)
            rng(name, sample.id).shuffle(numbers)
            found += [spans[i] for i in numbers if keeps(text[slice(*spans[i])])]
        return skim(sample, dict.fromkeys(found), str(sample.target[0]))

    return Baseline(name, Kind.SKIMMER, answer)


def _described(sample: Sample, names: re.Pattern[str]) -> list[str]:
    """The names next to phrases of the most traits; among those the most frequent."""
    text = sample.context.text()
    traits, often = Counter[str](), Counter[str]()
    for phrases in _asked(sample):
        beside = [n for line in _told(text, _with(text, phrases)) for n in names.findall(line)]
        traits.update(set(beside))
        often.update(beside)
    votes = {name: (traits[name], often[name]) for name in traits}
    most = max(votes.values(), default=(0, 0))
    return sorted(name for name, vote in votes.items() if vote == most)


def _chain(sample: Sample, names: re.Pattern[str], left: int) -> str:
    """Follow the sentences about masters from the name next to the most phrases."""
    text = sample.context.text()
    name = one_of(sample, "start", _described(sample, names))
    like = set(_with(text, _turns("like")))
    masters = _with(text, _turns("relation", "like"))
    told = list(zip(masters, _told(text, masters), strict=True))
    for step in range(_MOST_STEPS):
        links = Counter[tuple[str, bool]]()
        for number, line in told:
            before, _, after = line.partition(": ")
            if name and name in before:
                links.update((other, number in like) for other in names.findall(after))
        most = max(links.values(), default=0)
        found = sorted(f"{n}|{a:d}" for (n, a), count in links.items() if count == most)
        name, _, alike = one_of(sample, str(step), found).partition("|")
        left -= alike != "1"
        if not left:
            break
    return name


def _in_documents(sample: Sample, names: re.Pattern[str]) -> str:
    """The name whose documents have the most phrases that match the question."""
    asked = [phrase for phrases in _asked(sample) for phrase in phrases]
    asked += _turns("relation", "like")
    votes = Counter[str]()
    for document in sample.context.value():
        weight = sum(document.count(phrase) for phrase in asked)
        votes.update(dict.fromkeys(set(names.findall(document)), weight))
    most = max(votes.values(), default=0)
    return one_of(sample, "votes", sorted(n for n, count in votes.items() if count == most))


def _most_often_master(sample: Sample, names: re.Pattern[str]) -> str:
    text = sample.context.text()
    told = _told(text, _with(text, _turns("relation", "like")))
    named = Counter(name for line in told for name in names.findall(line.partition(": ")[2]))
    most = max(named.values(), default=0)
    return one_of(sample, "master", sorted(n for n, count in named.items() if count == most))


def phrase_baselines(shape: _Shape, steps: _Steps) -> Iterator[Baseline]:
    """All rules. `shape` returns the names' pattern, `steps` the number of steps."""
    by_name, likes = _turns("relation"), _turns("like")
    masters = (*by_name, *likes)

    def asked(sample: Sample) -> list[str]:
        return [phrase for phrases in _asked(sample) for phrase in phrases]

    yield _skimmer("every_phrase", lambda _: [*masters, *_traits()])
    yield _skimmer("phrases_of_masters", lambda _: masters)
    yield _skimmer("asked_phrases", lambda _: masters, asked)
    yield _skimmer("asked_phrases_of_names", lambda _: by_name, asked)
    yield _skimmer("asked_phrases_of_likes", lambda _: by_name, lambda s: [*asked(s), *likes])
    yield _skimmer(
        "asked_phrases_of_the_first",
        lambda _: masters,
        asked,
        lambda line: any(word in line for word in _FIRST),
    )
    yield rule("voted_chain", lambda s: _chain(s, shape(s), steps(s)))
    yield rule("voted_in_documents", lambda s: _in_documents(s, shape(s)))
    yield rule("described", lambda s: one_of(s, "described", _described(s, shape(s))))
    yield rule("most_often_master", lambda s: _most_often_master(s, shape(s)))
