"""Contract clauses: the number of days for an event, among many clauses similar to the right one.

Legal review on a small scale: a building agreement defines classes of events, gives each class four
terms (notice, meeting, prolongation, withdrawal) and exceptions for kinds of site. The question
describes an event and a site in everyday words and asks for one term. Three clauses decide: the
definition that covers the event, the term of that class, and the exception, if any, for that kind
of site. Question and clauses share no content words, definitions also name what they exclude, and
every other class has the same clauses, so that neither a search nor a frequency finds the answer.
Our own task; it follows no benchmark.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.amount import amount
from rlm_eval.tasks import Floor, stamped
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply

_NUMBER = "{}. "
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_DAYS = range(4, 98)
_OTHER_SITE = 0.4  # share of questions about a site without an exception: the general term applies
_EXCLUDES = 0.5  # share of definitions that also list exclusions
_SPARE = 260  # general clauses beyond the length, candidates for an exact fit


@dataclass(frozen=True)
class _Class:
    """The clauses of one class of events."""

    label: str
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
    """See the module's docstring."""

    name: str = "contract_clauses"

    VERSION: ClassVar[int] = 2  # 1: in a long contract only the queried event was unique
    ANSWER_BUDGET: ClassVar[int] = 32
    SHORTEST: ClassVar[int] = 1024  # below, there is no room for other classes

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more classes in addition to the queried one."""
        texts = data("clauses.json")
        source = rng("contract_clauses", self.seed, index)
        event, duty = source.randrange(len(texts["events"])), source.randrange(4)
        site, *others = source.sample(range(len(texts["sites"])), 3)
        excepted = source.random() >= _OTHER_SITE
        sites = [site, others[0]] if excepted else others
        asked = _class(source, event, duty, sites)
        decisive, days = asked.exceptions.get((duty, site), asked.terms[duty])
        question = (
            f"{source.choice(texts['events'][event][1])} "
            f"The site is {source.choice(texts['sites'][site][1])}. "
            f"{source.choice(texts['duties'][duty]['questions'])} "
            "The agreement settles this, in other words. Answer with the number of days alone."
        )
        needles = asked.clauses()
        arrange = stamped.numbered([source.random() for _ in needles], needles, _NUMBER)

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            other = rng("contract_clauses filler", self.seed, index)
            return self._filler(other, asked.label, (event, duty, site), budget)

        text, tokens, spans = stamped.build(
            filler, needles, arrange, _NUMBER.format(500), self.room(question), self.length,
            self.counter,
        )  # fmt: skip
        _check(text, asked)
        shown = {f"{c}\n" for c in (asked.definition, asked.terms[duty][0], decisive)}
        evidence = [s for s, n in zip(spans, needles, strict=True) if n in shown]
        item = f"contract-{self.seed}-{index}"
        meta = {"excepted": excepted, "duty": duty, "event": event, "site": site}
        return Draft(question, text, days, item, item, tokens, tuple(sorted(evidence)), meta)

    def _filler(
        self, source: random.Random, label: str, asked: tuple[int, int, int], budget: float
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Whole classes and a few general clauses in random order, then spare general clauses.

        A truncated class would distinguish the queried one from the others.
        """
        texts, (event, duty, site) = data("clauses.json"), asked
        every = [e for e in range(len(texts["events"])) if e != event]
        first = source.sample(every, len(every))
        # Half of the events occur once at any length, as the queried one does.
        events = itertools.chain(first, itertools.cycle(first[: len(every) // 2]))
        sites = [s for s in range(len(texts["sites"])) if s != site]
        labels, stamp = {label}, self.counter.cost(_NUMBER.format(500).strip())
        lines: list[str] = []
        costs: list[float] = []
        spent = 0.0

        def general() -> str:
            schedule = source.randrange(1, 1000)
            return f"{source.choice(texts['general']).format(k=schedule, n=source.choice(_DAYS))}\n"

        while True:
            own = source.sample(sites, 2)
            if source.random() < 0.5:
                own[0] = site
            made = _class(source, next(events), duty, own)
            clauses = [*made.clauses(), general()]
            added = [self.counter.cost(f" {clause}") for clause in clauses]
            step = sum(added) + stamp * len(added)
            if spent + step > budget:
                break
            if made.label not in labels:
                labels.add(made.label)
                lines += clauses
                costs += added
                spent += step
        while True:
            lines.append(general())
            costs.append(self.counter.cost(f" {lines[-1]}"))
            spent += costs[-1] + stamp
            if spent > budget:
                break
        order = list(range(len(lines) - 1))
        source.shuffle(order)
        spare = [general() for _ in range(_SPARE)]
        found = [costs[i] for i in order] + [self.counter.cost(f" {line}") for line in spare]
        return [lines[i] for i in order] + spare, np.array(found)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """1 where the answer's number of days is correct."""
        return (amount(int(sample.target), "days", answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """The best constant; the answer selected by the clauses' fixed phrases."""
        return {"constant": lambda _: "50", "last_exception": lambda s: _exception(s, last=True)}

    def baselines(self) -> Sequence[Baseline]:
        """The best constant, and rules over the clauses' numbers and fixed phrases."""
        return (
            Baseline("constant", Kind.PRIOR, lambda _: Reply("50", 0.0)),
            Baseline("most_frequent_days", Kind.NO_MODEL, lambda s: Reply(_frequent(s), 1.0)),
            Baseline("first_exception", Kind.NO_MODEL, lambda s: Reply(_exception(s), 1.0)),
            Baseline(
                "last_exception", Kind.NO_MODEL, lambda s: Reply(_exception(s, last=True), 1.0)
            ),
        )


def _sentence(template: str, label: str, **fields: Any) -> str:
    text = template.format(label=f"a {label} event", **fields)
    return text[0].upper() + text[1:]


def _class(source: random.Random, event: int, duty: int, sites: list[int]) -> _Class:
    """A class for `event`, with exceptions for `sites` from the terms `duty` and another one."""
    texts = data("clauses.json")
    label = f"Class {''.join(source.choices(_LETTERS, k=2))}-{source.randrange(100, 1000)}"
    meaning = source.choice(texts["events"][event][0])
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
    return _Class(label, definition, terms, exceptions)


def _check(text: str, asked: _Class) -> None:
    """Check that only the queried class's own clauses name it."""
    named = [line.partition(". ")[2] for line in text.splitlines() if asked.label in line]
    if sorted(named) != sorted(clause.strip() for clause in asked.clauses()):
        raise AssertionError(f"{asked.label}: other clauses name the class")


def _frequent(sample: Sample) -> str:
    found: list[str] = re.findall(r"(\d+) days", sample.context.text())
    return Counter(found).most_common(1)[0][0]


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
