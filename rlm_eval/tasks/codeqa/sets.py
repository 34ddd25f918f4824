"""Transitive dependencies of a package, from the READMEs of a monorepo.

A README states what its package was made for and names other packages: its dependencies, some
dependents, and more that it only once needed, resembles or replaces. The question describes a
package in other words. The answer is a set of names, scored by F1: the closure of the dependencies,
computed in two ways. Six packages of every group are equally possible targets. Naming all packages
scores .27 at 2,048 tokens, .15 at 4,096 and less beyond: use 4,096 or more.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.sets import set_f1
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.codeqa.gen import fit_with_notes
from rlm_eval.tasks.codeqa.riddles import Names
from rlm_eval.tasks.codeqa.sets_rules import all_names, set_baselines
from rlm_eval.tasks.haystack import Prose, trim

_FIRST, _SECOND = 2, 3
"""Values of the two traits of a group's applications; each pair belongs to one application."""
_APPLICATIONS, _LIBRARIES, _BASES = 6, 6, 3
_STATEMENTS = 3  # statements of a README about other packages, true and false
_NOTES = 150  # tokens reserved for the notes, whose sentences make the length exact
_REPOSITORY = "packages"

Pair = tuple[int, int]


@dataclass(frozen=True)
class _Group:
    """Packages whose dependencies are all in the group."""

    applications: dict[str, Pair]
    """Name -> the traits of the institute that the application was made for."""
    needs: dict[str, tuple[str, ...]]
    """Name -> its direct dependencies; every package of the group is a key."""
    readmes: dict[str, str]
    facts: dict[str, str]
    """Application -> the sentence that states its purpose."""
    stated: dict[tuple[str, str], tuple[str, str]]
    """(package, dependency) -> (the README that states it, the sentence)."""


@dataclass(frozen=True)
class CodeQASets(GeneratedTask):
    """See the module's docstring.

    `solved_by_code`: four fixed phrases single out whom the packages were made for, and a search
    for the names of the right one and its dependencies finds the rest: a fifth of the text at
    4,096 tokens, an eighth at 8,192 (baseline `follow_names`).
    """

    name: str = "codeqa_gen_sets"

    solved_by_code: ClassVar[bool] = True  # by phrases and names
    density: ClassVar[Density] = Density.CONSTANT
    SHORTEST: ClassVar[int] = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more: the READMEs of fifteen "
                "packages and some others have to fit"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more groups around the same one."""
        source = rng("codeqa sets", self.seed, index)
        group = _group(source, Names(source), None)
        asked = source.choice(sorted(group.applications))
        golds = sorted(_closure(group.needs, asked))
        if golds != sorted(_reached(group.needs, asked)):
            raise AssertionError(f"codeqa sets {self.seed}/{index}: two ways, two answers")
        fields = data("world.json")["institute"]
        pair = group.applications[asked]
        traits = (fields["field"][pair[0]][1], fields["building"][pair[1]][1])
        question = (
            "One of these packages was made for an institution that deals with "
            f"{traits[0]} and is {traits[1]}. Which packages does it depend on, directly or "
            "through other packages? Answer with the names of all of them, separated by commas."
        )

        make = functools.partial(self._text, index, group)
        text, tokens = fit_with_notes(make, self.room(question), self.length, self.counter)
        stated = [(asked, group.facts[asked])]
        for who in (asked, *golds):
            stated += [group.stated[who, what] for what in group.needs[who]]
        spans = [_span(text, *fact) for fact in stated]
        spans += [_span(text, name, f"/{name}/README.md") for name, _ in stated]
        item = f"codeqa-sets-{self.seed}-{index}"
        meta = {"packages": text.count("/README.md ===\n"), "golds": len(golds)}
        return Draft(
            question, text, golds, item, item, tokens, tuple(sorted(set(spans))), meta
        )  # fmt: skip

    def _text(self, index: int, group: _Group, which: int, budget: float, slack: float) -> str:
        cost, source = self.counter.cost, rng("codeqa sets filler", self.seed, index)
        names = Names(source)
        head = f"=== file: {_REPOSITORY}/NOTES.md ===\n"
        files = {name: _file(name, text) for name, text in group.readmes.items()}
        spent = sum(map(cost, files.values())) + cost(head)
        pairs = set(group.applications.values())
        while True:
            more = _group(source, names, pairs)
            shown = {name: _file(name, text) for name, text in more.readmes.items()}
            price = sum(map(cost, shown.values()))
            if spent + price > budget - _NOTES or files.keys() & shown.keys():
                break
            files, spent = files | shown, spent + price
        # Packages without dependencies, where a whole group does not fit; they also name each
        # other.
        single = names.draw(_APPLICATIONS + _LIBRARIES + _BASES)
        others = [*files, *single]
        for name in single:
            lines = [_purpose(source, "seen", pairs)]
            related = source.sample([other for other in others if other != name], _STATEMENTS)
            lines += [_near(source, other) for other in related]
            source.shuffle(lines)
            text = _file(name, " ".join(lines))
            if spent + cost(text) > budget - _NOTES or name in files:
                break
            files[name] = text
            spent += cost(text)
        prose = Prose(self.counter, f"codeqa sets|{self.seed}|{index}|{which}", decoys=False)
        units, costs = prose(budget - spent)
        notes = "".join(trim(units, costs, budget - spent, slack))
        return "".join(files[name] for name in sorted(files)) + head + notes

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """F1 over the names of packages."""
        return (set_f1(sample.target, answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """Name every package."""
        return {"all_names": all_names}

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the mentions of packages; skimmers by words."""
        return set_baselines()


def _file(name: str, text: str) -> str:
    return f"=== file: {_REPOSITORY}/{name}/README.md ===\n{text}\n\n"


def _span(text: str, name: str, sentence: str) -> tuple[int, int]:
    start = text.index(sentence, text.index(f"/{name}/README.md"))
    return start, start + len(sentence)


def _purpose(source: random.Random, how: str, taken: set[Pair], pair: Pair | None = None) -> str:
    """The purpose of the package, or (`seen`) an institute that it was not made for."""
    world = data("world.json")["institute"]
    while pair is None or (how == "seen" and pair in taken):
        pair = (source.randrange(len(world["field"])), source.randrange(len(world["building"])))
    slots = {
        slot: source.choice(world[trait][number][0])
        for slot, trait, number in zip(("t1", "t2"), ("field", "building"), pair, strict=True)
    }
    text: str = source.choice(data("packages.json")[how]).format(**slots)
    return text


def _near(source: random.Random, other: str) -> str:
    text: str = source.choice(data("packages.json")["near"]).format(b=other)
    return text


def _group(source: random.Random, names: Names, asked: set[Pair] | None) -> _Group:
    """A group of packages; no application of it has a pair of traits in `asked`."""
    counts = [len(data("world.json")["institute"][trait]) for trait in ("field", "building")]
    while True:
        first = source.sample(range(counts[0]), _FIRST)
        second = source.sample(range(counts[1]), _SECOND)
        pairs = list(itertools.product(first, second))
        if not asked or not asked & set(pairs):
            break
    source.shuffle(pairs)
    drawn = names.draw(_APPLICATIONS + _LIBRARIES + _BASES)
    applications = dict(zip(drawn, pairs, strict=False))
    libraries, bases = drawn[_APPLICATIONS:-_BASES], drawn[-_BASES:]
    while True:  # two different libraries per application, each library used by two of them
        orders = [source.sample(libraries, len(libraries)) for _ in range(2)]
        if all(a != b for a, b in zip(*orders, strict=True)):
            break
    needs: dict[str, tuple[str, ...]] = dict.fromkeys(bases, ())
    needs |= {name: (base,) for name, base in zip(libraries, bases * 2, strict=True)}
    needs |= dict(zip(applications, zip(*orders, strict=True), strict=True))
    taken = set(pairs) | (asked or set())
    lines: dict[str, list[str]] = {name: [] for name in drawn}
    facts: dict[str, str] = {}
    stated = {}
    for who, what in [(name, other) for name in drawn for other in needs[name]]:
        place, other, how = source.choice(((who, what, "forward"), (what, who, "backward")))
        sentence = source.choice(data("packages.json")[how]).format(b=other)
        lines[place].append(sentence)
        stated[who, what] = (place, sentence)
    for name in drawn:
        if name in applications:
            facts[name] = _purpose(source, "made", taken, applications[name])
        lines[name].append(facts.get(name) or _purpose(source, "seen", taken))
        related = {name, *needs[name], *(who for who in drawn if name in needs[who])}
        free = [other for other in drawn if other not in related]
        missing = max(0, _STATEMENTS + 1 - len(lines[name]))
        lines[name] += [_near(source, other) for other in source.sample(free, missing)]
        source.shuffle(lines[name])
    readmes = {name: " ".join(lines[name]) for name in drawn}
    return _Group(applications, needs, readmes, facts, stated)


def _closure(needs: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """The dependencies of `name`, by recursion."""
    return functools.reduce(
        lambda found, other: found | {other} | _closure(needs, other), needs[name], set[str]()
    )


def _reached(needs: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """The same, by iteration to a fixed point."""
    found: set[str] = set(needs[name])
    while True:
        more = {other for known in found for other in needs[known]} - found
        if not more:
            return found
        found |= more
