"""Four-way questions about a generated Python package, verified by executing it.

The shape of LongBench-v2's CodeQA: several modules and the settings must be read together
(inheritance, a registry with priorities, proposals at start-up). The other modules are groups of
the same kind, about the same event and with the same return values. The answer is computed from the
generator's table and again by running the group with the host application, which the text does not
show. Guessing scores 0.25; gold letters, numbers and places are balanced. A search for the
question's words finds one file of a group; a reader who follows its imports needs only that group,
a small part of a long text, and a program that supplies the host runs it: `solved_by_code`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.tokens import Tokenizer
from rlm_eval.core.types import Density
from rlm_eval.scoring.choice import LETTERS
from rlm_eval.tasks.base import Draft, GeneratedTask, data, fit, rng
from rlm_eval.tasks.baselines import Baseline, Kind
from rlm_eval.tasks.codeqa.following import group_of, run
from rlm_eval.tasks.codeqa.longbench import FourWay, answer_choice, ask, check_surface
from rlm_eval.tasks.codeqa.riddles import KINDS, PLACES, Names, Riddle, execute, riddle
from rlm_eval.tasks.codeqa.rules import choice_baselines
from rlm_eval.tasks.haystack import Prose, trim
from rlm_eval.tasks.rules import rule, skim

_NOTES = 150  # tokens reserved for the notes, whose sentences make the length exact
_TRIES = 4  # attempts with different notes, where their sentences do not make the length exact


@dataclass(frozen=True)
class CodeQAGen(FourWay, GeneratedTask):
    """See the module's docstring."""

    name: str = "codeqa_gen"
    kind: str = "mix"
    """`value`, `handler`, `default`, or `mix` (alternating)."""
    surface: str = "official"
    """`official` (letters) or `rlm` (0 to 3), as in `codeqa`."""

    VERSION: ClassVar[int] = 3  # 2: a search for whole files found the answer
    density: ClassVar[Density] = Density.CONSTANT
    solved_by_code: ClassVar[bool] = True  # by its imports a search finds the group; it also runs

    def __post_init__(self) -> None:
        super().__post_init__()
        check_surface(self.surface)
        if self.kind not in (*KINDS, "mix"):
            raise ValueError(f"kind={self.kind}: {', '.join(KINDS)} or mix")

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more groups around the same riddle."""
        source = rng("codeqa", self.seed, index)
        kind = KINDS[index % 3] if self.kind == "mix" else self.kind
        nouns = data("words.json")["nouns"]
        package, event = f"{source.choice(nouns)}{index}", source.choice(nouns)
        # Each place once in every four samples of a kind, and each letter in every four samples.
        turn = index // 3 if self.kind == "mix" else index
        place = rng("codeqa place", self.seed, kind, turn // 4).sample(range(PLACES), PLACES)
        words = source.sample(data("codeqa.json")["words"], PLACES)
        made = riddle(kind, source, Names(source), package, event, words, place[turn % 4])
        executed = execute(package, made.modules, made.settings, made.call)
        if executed != made.expected:
            raise AssertionError(f"codeqa {self.seed}/{index}: {executed} run, {made.expected}")
        letters = rng("codeqa letters", self.seed, index // 4).sample(LETTERS, 4)
        gold = letters[index % 4]
        choices = list(made.choices[1:])
        source.shuffle(choices)
        choices.insert(LETTERS.index(gold), made.choices[0])
        question = ask(made.question, choices, self.surface)

        def make(notes: int, budget: float, slack: float) -> str:
            return self._text(index, package, event, words, made, notes, budget, slack)

        text, tokens = fit_with_notes(make, self.room(question), self.length, self.counter)
        starts = [(text.index(part), len(part)) for part in _files(package, made).values()]
        spans = sorted((start, start + size) for start, size in starts)
        item = f"codeqa-{kind}-{self.seed}-{index}"
        meta = {"kind": kind, "modules": text.count(".py ===\n")}
        return Draft(question, text, gold, item, item, tokens, tuple(spans), meta)

    def _text(
        self,
        index: int,
        package: str,
        event: str,
        words: list[str],
        made: Riddle,
        which: int,
        budget: float,
        slack: float,
    ) -> str:
        """The package: the riddle's group, as many others as fit, unrelated modules, and notes."""
        cost, filler = self.counter.cost, rng("codeqa filler", self.seed, index)
        files = _files(package, made)
        readme = data("codeqa.json")["readme"].format(Package=package.capitalize())
        files["README.md"] = _file(package, "README.md", readme)
        head = _file(package, "NOTES.md", "")
        spent = sum(map(cost, (*files.values(), head)))
        names = Names(filler, made.modules)
        while True:
            kind, place = filler.choice(KINDS), filler.randrange(PLACES)
            more = _files(package, riddle(kind, filler, names, package, event, words, place))
            price = sum(map(cost, more.values()))
            if spent + price > budget - _NOTES:
                break
            files |= more
            spent += price
        number = 0
        while True:
            name, code = _unrelated(filler, number)
            text = _file(package, f"{name}.py", code)
            if spent + cost(text) > budget - _NOTES:
                break
            files[f"{name}.py"] = text
            spent += cost(text)
            number += 1
        prose = Prose(self.counter, f"codeqa|{self.seed}|{index}|{which}", decoys=False)
        units, costs = prose(budget - spent)
        notes = head.rstrip("\n") + "\n" + "".join(trim(units, costs, budget - spent, slack))
        return "".join(files[name] for name in sorted(files)) + notes

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the choices and their mentions; skimmers by words and imports; running it."""

        def stated(letter: str) -> str:
            return answer_choice(letter, self.surface)

        return (
            *choice_baselines(stated),
            Baseline(
                "follow_imports", Kind.SKIMMER,
                lambda s: skim(s, group_of(s), stated(str(s.target))),
            ),
            rule("run_the_package", lambda s: stated(letter) if (letter := run(s)) else ""),
        )  # fmt: skip


def fit_with_notes(
    make: Callable[[int, float, float], str], room: int, length: int, tokenizer: Tokenizer
) -> tuple[str, int]:
    """`fit` for a text that ends with notes; tries other notes where the first fill is not exact.

    `make(index of the notes, budget, slack)` is as in `fit`. Raises `RlmEvalError` likewise.
    """
    for number in range(_TRIES):
        try:
            return fit(functools.partial(make, number), room, length, tokenizer)
        except RlmEvalError:
            if number == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _file(package: str, name: str, text: str) -> str:
    return f"=== file: {package}/{name} ===\n{text}\n"


def _files(package: str, made: Riddle) -> dict[str, str]:
    """The files of a group by name, including its settings."""
    found = {f"{name}.py": code for name, code in made.modules.items()}
    found |= {f"settings/{name}.toml": text for name, text in made.settings.items()}
    return {name: _file(package, name, text) for name, text in found.items()}


def _unrelated(source: random.Random, number: int) -> tuple[str, str]:
    """Name and source of a module on which no question depends."""
    words, texts = data("words.json"), data("codeqa.json")["filler"]
    a, b = source.sample(words["nouns"], 2)
    x, y, z = (source.randrange(2, 900) for _ in range(3))
    code = source.choice(texts).format(
        a=a, b=b, A=a.upper(), B=b.capitalize(), x=x, y=y, z=z
    )  # fmt: skip
    return f"{source.choice(words['adjectives'])}_{a}_{number}", code
