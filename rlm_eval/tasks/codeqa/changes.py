"""Which functions change a module-level name, from the source of a generated package.

A group of modules keeps a list under a module-level name. Some of its functions change it: they
rebind the name, mutate the object in place, through an alias, an argument or the module's
attribute, or call a function that does. Others only look similar: they change a copy, a local name,
another module's name, or a name that an importing module reuses. The answer is a set of functions,
scored by F1; it comes from the generator's table and again from calling every function in a fresh
copy of the group. Running the text gives the same result: a program solves the task.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.sets import set_f1
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.codeqa.changes_rules import change_baselines, every_function
from rlm_eval.tasks.codeqa.gen import fit_with_notes
from rlm_eval.tasks.codeqa.riddles import Names, load
from rlm_eval.tasks.haystack import Prose, trim

_OWN, _MODULES, _EACH = 5, 3, 3
"""Functions of the defining module; modules that use the name, and functions of each."""
_CHANGING = 0.35  # share of the functions that change the name
_FEWEST, _MOST = 3, 6
_NOTES = 150  # tokens reserved for the notes, whose sentences make the length exact
_CALLED_WITH = 7


@dataclass
class _Group:
    """Modules around one name."""

    state: str
    """The module that defines it."""
    sources: dict[str, str] = field(default_factory=dict)
    functions: dict[str, bool] = field(default_factory=dict)
    """`module.function` -> whether it changes the name."""

    @property
    def golds(self) -> list[str]:
        """The functions that change it."""
        return sorted(name for name, changes in self.functions.items() if changes)


@dataclass(frozen=True)
class CodeQAChanges(GeneratedTask):
    """See the module's docstring."""

    name: str = "codeqa_gen_changes"

    density: ClassVar[Density] = Density.CONSTANT
    solved_by_code: ClassVar[bool] = True
    SHORTEST: ClassVar[int] = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more: a group of five modules "
                "and some others have to fit"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more groups around the same one."""
        source = rng("codeqa changes", self.seed, index)
        package = f"{source.choice(data('words.json')['nouns'])}{index}"
        kept, spare = source.sample(data("changes.json")["kept"], 2)
        group = _group(source, Names(source), package, kept, spare)
        if (ran := _changed(package, group, kept)) != group.golds:
            raise AssertionError(f"codeqa changes {self.seed}/{index}: {ran} run, {group.golds}")
        question = data("changes.json")["question"].format(
            package=package, state=group.state, kept=kept
        )

        make = functools.partial(self._text, index, package, kept, spare, group)
        text, tokens = fit_with_notes(make, self.room(question), self.length, self.counter)
        shown = [_file(package, name, code) for name, code in group.sources.items()]
        spans = sorted((start := text.index(part), start + len(part)) for part in shown)
        item = f"codeqa-changes-{self.seed}-{index}"
        meta = {"modules": text.count(".py ===\n"), "golds": len(group.golds)}
        return Draft(question, text, group.golds, item, item, tokens, tuple(spans), meta)

    def _text(
        self,
        index: int,
        package: str,
        kept: str,
        spare: str,
        group: _Group,
        which: int,
        budget: float,
        slack: float,
    ) -> str:
        cost, source = self.counter.cost, rng("codeqa changes filler", self.seed, index)
        names = Names(source, group.sources)
        head = f"=== file: {package}/NOTES.md ===\n"
        files = {name: _file(package, name, code) for name, code in group.sources.items()}
        spent = sum(map(cost, files.values())) + cost(head)
        while True:
            other = _group(source, names, package, kept, spare)
            more = {name: _file(package, name, code) for name, code in other.sources.items()}
            price = sum(map(cost, more.values()))
            if spent + price > budget - _NOTES:
                break
            files, spent = files | more, spent + price
        prose = Prose(self.counter, f"codeqa changes|{self.seed}|{index}|{which}", decoys=False)
        units, costs = prose(budget - spent)
        notes = "".join(trim(units, costs, budget - spent, slack))
        return "".join(files[name] for name in sorted(files)) + head + notes

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """F1 over the names of functions."""
        return (set_f1(sample.target, answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """Name every function."""
        return {"every_function": every_function}

    def baselines(self) -> Sequence[Baseline]:
        """Searches in the source that do not run it."""
        return change_baselines()


def _file(package: str, name: str, code: str) -> str:
    return f"=== file: {package}/{name}.py ===\n{code}\n"


def _changed(package: str, group: _Group, kept: str) -> list[str]:
    """The functions whose call changes the name's value, each in a fresh copy."""
    found = []
    for qualified in group.functions:
        module, function = qualified.split(".")
        loaded = load(package, group.sources)
        state = loaded.module(f"{package}.{group.state}")
        before = list(getattr(state, kept))
        getattr(loaded.module(f"{package}.{module}"), function)(_CALLED_WITH)
        if getattr(state, kept) != before:
            found.append(qualified)
    return sorted(found)


def _group(source: random.Random, names: Names, package: str, kept: str, spare: str) -> _Group:
    """A group with a few functions that change the name `kept`; `spare` is an unrelated name."""
    state, hub, *users = names.draw(_MODULES + 2)
    fields = {"package": package, "state": state, "hub": hub, "kept": kept, "spare": spare}
    while True:
        group = _Group(state)
        _written(group, source, state, "state", _OWN, fields, [])
        group.sources[hub] = data("changes.json")["hub"].format(**fields)
        for number, user in enumerate(users):
            style = source.choice(sorted(data("changes.json")["users"]))
            _written(group, source, user, style, _EACH, fields, users[:number])
        if _FEWEST <= len(group.golds) <= _MOST:
            return group


def _written(
    group: _Group,
    source: random.Random,
    module: str,
    style: str,
    count: int,
    fields: Mapping[str, str],
    earlier: Sequence[str],
) -> None:
    """Add a module with `count` functions; it may call the modules in `earlier`."""
    texts = data("changes.json")
    form = texts["state"] if style == "state" else texts["users"][style]
    words = data("words.json")["nouns"]
    imports: set[str] = set()
    bodies = []
    for noun in source.sample(words, count):
        name = f"{source.choice(texts['verbs'])}_{noun}"
        changes = source.random() < _CHANGING
        own = form["changes" if changes else "keeps"]
        called = [
            qualified
            for qualified, changing in group.functions.items()
            if changing == changes and qualified.split(".")[0] in (*earlier, group.state)
        ]
        body = source.choice(own)
        if called and style != "state" and source.random() < 0.35:
            other, function = source.choice(called).split(".")
            imports.add(f"from {fields['package']} import {other}\n")
            body = f"return {other}.{function}(value)"
        numbers = {"k": source.randrange(2, 90), "m": source.randrange(2, 90)}
        lines = body.format(**fields, **numbers).split("\n")
        bodies.append(f"\n\ndef {name}(value):\n" + "".join(f"    {line}\n" for line in lines))
        group.functions[f"{module}.{name}"] = changes
    head = form["head"].format(
        **fields, x=source.randrange(2, 90), y=source.randrange(2, 90), z=source.randrange(2, 90)
    )
    doc, _, rest = head.partition("\n\n")
    added = "".join(sorted(imports - {f"{line}\n" for line in rest.split("\n")}))
    group.sources[module] = f"{doc}\n\n{added}{rest}" + "".join(bodies)
