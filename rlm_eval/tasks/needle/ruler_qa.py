"""RULER's question answering (`qa`), over generated paragraphs.

Follows NVIDIA/RULER `qa.py` @c3f5e3b in form (numbered documents, a short answer), answer budget
and metric. Our own paragraphs replace its sources (SQuAD, HotpotQA): each is about an invented
craftsperson. A question needs two paragraphs, as in HotpotQA: the first states who was in the
queried relation to the named person, among eight other people that it names; the second states
where something happened to that person, among other towns. Question and paragraphs phrase both
differently.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.match import ruler_part, ruler_strict
from rlm_eval.tasks import Floor, stamped
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.rules import Span, skim

_PREFIX = "Document {}:\n"
_RELATIONS = 7  # named in a paragraph, each with its own person
_MENTIONS = 2  # people named in a paragraph without a queried relation
_ONE_WAY = 3  # first relations of the data; the others hold in both directions
_MORE = 12  # additional people who know those of the question
_SPARE = 90  # shorter paragraphs beyond the length, candidates for an exact fit


@dataclass(frozen=True)
class RulerQA(GeneratedTask):
    """Two-hop questions over paragraphs about people. See the module's docstring.

    `solved_by_code`: as in HotpotQA the question names a person, so a search for that name and for
    the names in that paragraph finds ten paragraphs with both facts, whatever the length.
    """

    name: str = "ruler_qa_gen"

    VERSION: ClassVar[int] = 2  # 1: some people had the same first name twice
    solved_by_code: ClassVar[bool] = True
    ANSWER_BUDGET: ClassVar[int] = 32
    OUTPUT_CAP: ClassVar[int | None] = 32
    SHORTEST: ClassVar[int] = 2048  # below, there is no room for the people of a question

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more paragraphs around the same people."""
        texts = data("people.json")
        source = rng("ruler_qa", self.seed, index)
        people = _People(source)
        name, *known = (people.new() for _ in range(1 + _RELATIONS))
        more = [people.new() for _ in range(_MORE)]
        kinds = source.sample(range(len(texts["relations"])), _RELATIONS)
        asked = source.randrange(_RELATIONS)
        place = source.randrange(len(texts["places"]))
        # Paragraphs about the question's people look like all others: each names nine people.
        first = _paragraph(source, name, kinds, [*known, *more[-_MENTIONS:]])
        others = [_paragraph(source, person, *people.known_to(person)) for person in known]
        second = others[asked]
        paragraphs = [paragraph.text for paragraph in (first, *others)]
        who = source.choice(texts["relations"][kinds[asked]][1]).format(name=name)
        question = (
            f"Answer the question from the given documents. Give the name of the town alone. "
            f"{source.choice(texts['places'][place][1]).format(person=who)}"
        )
        depths = [source.random() for _ in paragraphs]

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            return self._filler(rng("ruler_qa filler", self.seed, index), people, more, budget)

        text, tokens, spans = stamped.build(
            filler, paragraphs, stamped.numbered(depths, paragraphs, _PREFIX),
            _PREFIX.format(500), self.room(question), self.length, self.counter,
        )  # fmt: skip
        for person in (name, known[asked]):
            if len([p for p in _paragraphs(text) if _subject(p) == person]) != 1:
                raise AssertionError(f"ruler_qa {self.seed}/{index}: two paragraphs on {person}")
        evidence = []
        for start, paragraph, said in (
            (spans[0][0], first, first.relations[kinds[asked]]),
            (spans[1 + asked][0], second, second.places[place]),
        ):  # the first sentence gives the full name
            for sentence in (paragraph.opening, said):
                begin = start + paragraph.text.index(sentence)
                evidence.append((begin, begin + len(sentence)))
        item = f"qa-{self.seed}-{index}"
        meta = {"relation": kinds[asked], "place": place}
        golds = [second.towns[place]]
        return Draft(question, text, golds, item, item, tokens, tuple(sorted(evidence)), meta)

    def _filler(
        self, source: random.Random, people: _People, more: Sequence[str], budget: float
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Paragraphs about other people, then spare ones of one to twelve sentences."""
        own = self.counter.cost(_PREFIX.format(500))
        others = people.others(source)
        lines: list[str] = []
        costs: list[float] = []
        spent = 0.0
        waiting = list(more)
        while spent < budget:
            person = waiting.pop() if waiting else others.new()
            lines.append(_paragraph(source, person, *others.known_to(person)).text)
            costs.append(self.counter.cost(lines[-1]))
            spent += costs[-1] + own
        for _ in range(_SPARE):
            person = others.new()
            text = _paragraph(source, person, *others.known_to(person)).text.strip()
            sentences = re.findall(r"[^.]+\.", text)
            lines.append("".join(sentences[: source.randrange(1, len(sentences))]) + "\n\n")
            costs.append(self.counter.cost(lines[-1]))
        return lines, np.array(costs)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """RULER's `string_match_part`; and the town as a whole word."""
        text = answer.text or ""
        return ruler_part(sample.target, text), ruler_strict(sample.target, text)

    def floors(self) -> Mapping[str, Floor]:
        """The town of the queried kind for the first person in the named person's paragraph."""
        return {"first_acquaintance": _first_acquaintance}

    def baselines(self) -> Sequence[Baseline]:
        """A random town; a search for names; the same narrowed by the generator's own phrases."""
        return (
            Baseline("first_town", Kind.NO_MODEL, lambda s: Reply(_first_town(s), 1.0)),
            Baseline(
                "first_acquaintance", Kind.NO_MODEL, lambda s: Reply(_first_acquaintance(s), 1.0)
            ),
            Baseline(
                "follow_names", Kind.SKIMMER,
                lambda s: skim(s, _followed(s), str(s.target[0])),
            ),
        )  # fmt: skip


class _People:
    """Distinct full names of three parts; the first person is the queried one.

    Of the two people in a question, the second one's paragraph does not name the first. Other
    paragraphs do, in one-directional relations: a second neighbour would be a second answer.
    """

    def __init__(self, source: random.Random, taken: Sequence[str] = ()) -> None:
        self.source, self.names = source, dict.fromkeys(taken)
        self.mention = bool(taken)

    def new(self) -> str:
        """The next person."""
        words, pick = data("words.json"), self.source.choice
        while True:
            first, last = pick(words["first_names"]), pick(words["last_names"])
            if self.names and self.source.random() < 0.25:  # differs from the first in one name
                first, _, last = self.first.split()
            middle = pick(words["first_names"])
            name = f"{first} {middle} {last}"
            if middle != first and name not in self.names:
                self.names[name] = None
                return name

    @property
    def first(self) -> str:
        """The queried person."""
        return next(iter(self.names))

    def known_to(self, person: str) -> tuple[list[int], list[str]]:
        """Relations, and the people in this person's paragraph: with these, and without."""
        kinds = self.source.sample(range(len(data("people.json")["relations"])), _RELATIONS)
        asked, *others = [*dict.fromkeys([self.first, *list(self.names)[-40:]])]
        known = [n for n in others if n != person]
        names = self.source.sample(known, _RELATIONS + _MENTIONS)
        if self.mention and kinds[0] < _ONE_WAY and self.source.random() < 0.3:
            names[0] = asked
        return kinds, names

    def others(self, source: random.Random) -> _People:
        """Additional people, drawn from `source`."""
        return _People(source, list(self.names))


@dataclass(frozen=True)
class _Paragraph:
    """The document about one person."""

    text: str
    opening: str
    """Its first sentence, the only one with the full name."""
    relations: dict[int, str]
    """Sentence by relation."""
    places: list[str]
    """Sentence by kind of place."""
    towns: list[str]
    """Town by kind of place."""


def _paragraph(
    source: random.Random, name: str, kinds: Sequence[int], known: Sequence[str]
) -> _Paragraph:
    texts, pick = data("people.json"), source.choice
    who = name.split()[0]
    towns: dict[str, None] = {}
    while len(towns) < len(texts["places"]):
        towns[pick(texts["town_starts"]) + pick(texts["town_ends"])] = None
    relations = {
        kind: pick(texts["relations"][kind][0]).format(who=who, other=other)
        for kind, other in zip(kinds, known, strict=False)
    }
    ways = zip(texts["places"], towns, strict=True)
    places = [pick(phrases).format(who=who, town=town) for (phrases, _), town in ways]
    named = [pick(texts["mentions"]).format(who=who, other=o) for o in known[len(kinds) :]]
    said = [*relations.values(), *places, *named]
    source.shuffle(said)
    trade = pick(texts["trades"])
    article = "an" if trade[0] in "aeiou" else "a"
    opening = pick(texts["openings"]).format(name=name, trade=f"{article} {trade}")
    text = f"{opening} {' '.join(said)}\n\n"
    return _Paragraph(text, opening, relations, places, list(towns))


def _paragraphs(text: str) -> list[str]:
    return [part.partition("\n")[2] for part in text.strip().split("\n\n")]


def _subject(paragraph: str) -> str:
    """The person that a paragraph is about: its first full name."""
    found: list[str] = re.findall(r"[A-Z]\w+ [A-Z]\w+ [A-Z]\w+", paragraph)
    return found[0] if found else ""


def _town(paragraph: str, ways: Sequence[str]) -> str:
    """The town after one of the phrases for a kind of place."""
    for way in ways:
        pattern = re.escape(way).replace(r"\{who\}", r"\w+").replace(r"\{town\}", r"(\w+)")
        if match := re.search(pattern, paragraph):
            return match[1]
    return ""


def _asked(sample: Sample) -> tuple[str, Any]:
    """The named person, and the phrases of the queried kind of place."""
    name = _subject(sample.question.partition("town alone. ")[2])
    for ways, questions in data("people.json")["places"]:
        for question in questions:
            before, after = question.split("{person}")
            asked = sample.question.partition("town alone. ")[2]
            if asked.startswith(before) and asked.endswith(after):
                return name, ways
    return name, []


def _followed(sample: Sample) -> list[Span]:
    """Spans of the named person's paragraph and of those of everybody whom it names."""
    text = sample.context.text()
    found = [match.span() for match in re.finditer(r"(?:[^\n]|\n(?!\n))+", text)]
    own = {_subject(text[a:b].partition("\n")[2]): (a, b) for a, b in found}
    name, _ = _asked(sample)
    first = own.get(name, (0, 0))
    named = re.findall(r"[A-Z]\w+ [A-Z]\w+ [A-Z]\w+", text[slice(*first)])
    return [own[person] for person in dict.fromkeys([name, *named]) if person in own]


def _first_town(sample: Sample) -> str:
    _, ways = _asked(sample)
    return next(filter(None, (_town(p, ways) for p in _paragraphs(sample.context.text()))), "")


def _first_acquaintance(sample: Sample) -> str:
    name, ways = _asked(sample)
    paragraphs = {_subject(p): p for p in _paragraphs(sample.context.text())}
    named = re.findall(r"[A-Z]\w+ [A-Z]\w+ [A-Z]\w+", paragraphs.get(name, ""))[1:]
    return next((_town(paragraphs[n], ways) for n in named if n in paragraphs), "")
