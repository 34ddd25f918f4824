"""Contract clauses: the days that an agreement gives for an event, from clauses in other words.

Legal review on a small scale: a building agreement defines classes of events, gives each class four
terms (notice, meeting, prolongation, withdrawal) and exceptions for kinds of site. The question
describes an event and a site in everyday words and asks for one term. Two or more classes cover the
event, and their terms are added up; for each, three clauses decide: the definition, the term, and
the exception, if any, for that kind of site. Question and clauses share no content words,
definitions also name what they exclude, and classes come in pairs for the same event, the queried
ones like all others, so that neither a search for the question's words nor a frequency finds the
answer. Whoever reads the definitions and then searches for the matching classes needs a fifth of
the text. Our own task; it follows no benchmark.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.amount import amount
from rlm_eval.tasks import Floor, stamped
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.grouping import group_skimmers, index_skimmer
from rlm_eval.tasks.rules import Span

_NUMBER = "{}. "
_NAME = re.compile(r"(Class [A-Z]{2}-\d{3})\b")
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_DAYS = range(4, 98)
_EXCEPTED = 0.55  # share of classes with an exception for the queried site
_EXCLUDES = 0.5  # share of definitions that also list exclusions
_AFTER = 9  # general clauses after all others, of which the length may drop some
_SPARE = 260  # general clauses beyond the length, candidates for an exact fit


@dataclass(frozen=True)
class _Class:
    """The clauses of one class of events."""

    label: str
    event: int
    definition: str
    terms: list[tuple[str, int]]
    """Clause and days, by duty."""
    exceptions: dict[tuple[int, int], tuple[str, int]]
    """(duty, kind of site) -> clause and days."""

    def clauses(self) -> list[str]:
        """All clauses, as lines."""
        found = [self.definition, *(clause for clause, _ in self.terms)]
        return [f"{c}\n" for c in (*found, *(clause for clause, _ in self.exceptions.values()))]


@dataclass(frozen=True)
class ContractClauses(GeneratedTask):
    """See the module's docstring.

    `solved_by_code`: definitions are the clauses on a class without a number of days, and a search
    for the names of the matching classes finds their terms; together a fifth of the text (baseline
    `definitions`).
    """

    name: str = "contract_clauses"

    # 1: in a long contract only the queried event was unique. 2: in a long one its words were among
    # the rarest, so that a quarter of the clauses answered two thirds of the questions.
    VERSION: ClassVar[int] = 3
    solved_by_code: ClassVar[bool] = True  # by definitions and names
    density: ClassVar[Density] = Density.LINEAR
    ANSWER_BUDGET: ClassVar[int] = 32
    SHORTEST: ClassVar[int] = 1024  # below, there is no room for other classes

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more classes, of which some cover the event, too."""
        texts = data("clauses.json")
        source = rng("contract_clauses", self.seed, index)
        event, duty = source.randrange(len(texts["events"])), source.randrange(4)
        site = source.randrange(len(texts["sites"]))
        asked = (event, duty, site)
        own = _pair(source, event, duty, site)
        question = (
            f"{source.choice(texts['events'][event][1])} "
            f"The site is {source.choice(texts['sites'][site][1])}. "
            f"{source.choice(texts['duties'][duty]['questions'])} "
            "The agreement settles this, in other words: more than one of its classes covers what "
            "happened, and the terms of all of them are added up. Answer with the number of days "
            "alone."
        )
        needles = [clause for made in own for clause in made.clauses()]
        arrange = stamped.numbered([source.random() for _ in needles], needles, _NUMBER)
        others: list[_Class] = []

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            other = rng("contract_clauses filler", self.seed, index)
            others[:], lines, costs = self._filler(other, own, asked, budget)
            return lines, costs

        text, tokens, _ = stamped.build(
            filler, needles, arrange, _NUMBER.format(500), self.room(question), self.length,
            self.counter,
        )  # fmt: skip
        _check(text, [*own, *others])
        match = [made for made in (*own, *others) if made.event == event]
        decisive = [made.exceptions.get((duty, site), made.terms[duty]) for made in match]
        shown = [clause for made in match for clause in (made.definition, made.terms[duty][0])]
        shown += [clause for clause, _ in decisive]
        evidence = sorted({_place(text, clause) for clause in shown})
        days = sum(number for _, number in decisive)
        item = f"contract-{self.seed}-{index}"
        excepted = sum((duty, site) in made.exceptions for made in match)
        meta = {"duty": duty, "event": event, "site": site, "excepted": excepted,
                "matches": len(match)}  # fmt: skip
        return Draft(question, text, days, item, item, tokens, tuple(evidence), meta)

    def _filler(
        self,
        source: random.Random,
        own: Sequence[_Class],
        asked: tuple[int, int, int],
        budget: float,
    ) -> tuple[list[_Class], list[str], npt.NDArray[np.float64]]:
        """Whole classes and general clauses in random order, then spare general clauses; costs.

        Classes come in pairs, and every event once in each turn, as the queried pair does: a
        truncated pair or another count would distinguish it.
        """
        texts, (event, duty, site) = data("clauses.json"), asked
        labels, stamp = {made.label for made in own}, self.counter.cost(_NUMBER.format(500).strip())
        classes: list[_Class] = []
        costs: dict[str, float] = {}

        def general() -> str:
            schedule = source.randrange(1, 1000)
            return f"{source.choice(texts['general']).format(k=schedule, n=source.choice(_DAYS))}\n"

        def cost(lines: Sequence[str]) -> float:
            for line in lines:
                costs.setdefault(line, self.counter.cost(f" {line}"))
            return sum(costs[line] + stamp for line in lines)

        after = [general() for _ in range(_AFTER)]
        spent, lines = cost(after), list[str]()
        for own_event, first in _turns(source, len(texts["events"]), event):
            pair = _pair(source, own_event, duty, site, first)
            more = [clause for made in pair for clause in made.clauses()] + [general()]
            step = cost(more)
            if spent + step > budget:
                break
            new = {made.label for made in pair}
            if len(new) == len(pair) and not new & labels:
                labels |= new
                classes += pair
                lines += more
                spent += step
        while True:
            line = general()
            spent += cost([line])
            if spent > budget:
                break
            lines.append(line)
        source.shuffle(lines)
        lines += [*after, *(general() for _ in range(_SPARE))]
        cost(lines)
        return classes, lines, np.array([costs[line] for line in lines])

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """1 where the answer's number of days is correct."""
        return (amount(int(sample.target), "days", answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """The best constant; the answer selected by the clauses' fixed phrases."""
        return {"constant": lambda _: "100", "last_exception": lambda s: _exception(s, last=True)}

    def baselines(self) -> Sequence[Baseline]:
        """The best constant; numbers and fixed phrases; whole classes; definitions."""
        return (
            Baseline("constant", Kind.PRIOR, lambda _: Reply("100", 0.0)),
            Baseline("most_frequent_days", Kind.NO_MODEL, lambda s: Reply(_frequent(s), 1.0)),
            Baseline("first_exception", Kind.NO_MODEL, lambda s: Reply(_exception(s), 1.0)),
            Baseline(
                "last_exception", Kind.NO_MODEL, lambda s: Reply(_exception(s, last=True), 1.0)
            ),
            *group_skimmers(_NAME, r"^\d+\. ", lambda s: str(s.target)),
            index_skimmer("definitions", _NAME, _definitions, lambda s: str(s.target)),
        )


def _sentence(template: str, label: str, **fields: Any) -> str:
    text = template.format(label=f"a {label} event", **fields)
    return text[0].upper() + text[1:]


def _turns(source: random.Random, count: int, asked: int) -> Iterator[tuple[int, bool]]:
    """(event, whether it is the first turn), each once in a turn; the queried one had one."""
    for turn in itertools.count():
        events = [event for event in range(count) if turn or event != asked]
        source.shuffle(events)
        yield from ((event, not turn) for event in events)


def _pair(
    source: random.Random, event: int, duty: int, site: int, apart: bool = True
) -> list[_Class]:
    """Two classes for `event`, with exceptions from the term `duty`, often for `site`.

    `apart`: define the event in different words. Later pairs of an event do not, so that the counts
    of its phrases differ: equal ones would link its classes.
    """
    texts = data("clauses.json")
    meanings = source.sample(texts["events"][event][0], 2)
    made = []
    for meaning in meanings if apart else meanings[:1] * 2:
        sites = source.sample([s for s in range(len(texts["sites"])) if s != site], 2)
        if source.random() < _EXCEPTED:
            sites[0] = site
        made.append(_class(source, event, meaning, duty, sites))
    return made


def _class(source: random.Random, event: int, meaning: str, duty: int, sites: list[int]) -> _Class:
    """A class for `event`, with exceptions for `sites` from the terms `duty` and another one."""
    texts = data("clauses.json")
    label = f"Class {''.join(source.choices(_LETTERS, k=2))}-{source.randrange(100, 1000)}"
    if source.random() < _EXCLUDES:
        other = source.choice([e for e in range(len(texts["events"])) if e != event])
        outside = source.choice(texts["events"][other][0])
        meaning += source.choice(texts["exclusions"]).format(event=outside)
    definition = _sentence(source.choice(texts["definitions"]), label, event=meaning)
    cases = [(duty, site) for site in sites]
    cases.append((source.choice([d for d in range(4) if d != duty]), source.choice(sites)))
    numbers = iter(source.sample(_DAYS, 4 + len(cases)))
    terms = []
    for rules in texts["duties"]:
        days = next(numbers)
        terms.append((_sentence(source.choice(rules["rules"]), label, n=days), days))
    exceptions = {}
    for which, site in cases:
        days, where = next(numbers), source.choice(texts["sites"][site][0])
        term = source.choice(texts["duties"][which]["terms"])
        template = source.choice(texts["exceptions"])
        clause = _sentence(template, label, n=days, site=where, term=term)
        exceptions[which, site] = clause, days
    return _Class(label, event, definition, terms, exceptions)


def _check(text: str, classes: Sequence[_Class]) -> None:
    """Check that exactly a class's own clauses name it."""
    named: dict[str, list[str]] = {made.label: [] for made in classes}
    for line in text.splitlines():
        if match := _NAME.search(line):
            named.get(match[1], []).append(f"{line.partition('. ')[2]}\n")
    for made in classes:
        if sorted(named[made.label]) != sorted(made.clauses()):
            raise AssertionError(f"{made.label}: other clauses than its own name the class")


def _place(text: str, clause: str) -> tuple[int, int]:
    """Span of a clause, without its number."""
    start = text.index(f" {clause}\n") + 1
    return start, start + len(clause)


def _frequent(sample: Sample) -> str:
    found: list[str] = re.findall(r"(\d+) days", sample.context.text())
    return Counter(found).most_common(1)[0][0]


def _definitions(text: str, own: Sequence[Span]) -> list[Span]:
    """The clauses on a class that give no number of days."""
    return [(a, b) for a, b in own if " days" not in text[a:b]]


def _exception(sample: Sample, *, last: bool = False) -> str:
    """Days of the first (last) exception to the queried term, by all phrases except the class.

    Uses the generator's data: the words of every term and of every exception.
    """
    texts = data("clauses.json")
    duty = next(d for d in texts["duties"] if any(q in sample.question for q in d["questions"]))
    found = [
        line
        for line in sample.context.text().splitlines()
        if re.search(r"general one|of no others|instead\.", line)
        and any(term in line for term in duty["terms"])
    ]
    days = [re.sub(r".*?(\d+) days.*", r"\1", line) for line in found]
    return days[-1 if last else 0] if days else ""
