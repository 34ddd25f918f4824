"""Four-way questions about a generated Python package, answered by executing it.

The shape of LongBench-v2's CodeQA: several modules and the settings must be read together
(inheritance, a registry with priorities, defaults claimed at start-up). The other modules are such
groups, too, about the same events. The answer is computed from the generator's table and again by
running the group in a subprocess, with the host application that the text does not show. Guessing
scores 0.25; the gold letters, numbers and places are balanced.
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
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.codeqa.longbench import FourWay, answer_choice, ask, check_surface
from rlm_eval.tasks.codeqa.riddles import KINDS, PLACES, Names, Riddle, execute, riddle
from rlm_eval.tasks.codeqa.rules import choice_baselines
from rlm_eval.tasks.haystack import Prose, trim

_NOTES = 150  # tokens left for the notes, whose sentences make up the exact length
_TRIES = 4  # of different notes, where their sentences do not make up the exact length
_SAME_EVENT = 0.5  # share of the other groups that handle the asked event, too


@dataclass(frozen=True)
class CodeQAGen(FourWay, GeneratedTask):
    """See the module's docstring."""

    name: str = "codeqa_gen"
    kind: str = "mix"
    """`value`, `handler`, `default`, or `mix` in turn."""
    surface: str = "official"
    """`official` (letters) or `rlm` (0 to 3), as in `codeqa`."""

    VERSION: ClassVar[int] = 2
    density: ClassVar[Density] = Density.CONSTANT

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
        made = riddle(kind, source, Names(source), package, event, place[turn % 4])
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
            return self._text(index, package, event, made, notes, budget, slack)

        text, tokens = fit_with_notes(make, self.room(question), self.length, self.counter)
        shown = [_file(package, f"{name}.py", code) for name, code in made.modules.items()]
        starts = [(text.index(part), len(part)) for part in (*shown, made.settings)]
        spans = sorted((start, start + size) for start, size in starts)
        item = f"codeqa-{kind}-{self.seed}-{index}"
        meta = {"kind": kind, "modules": text.count(".py ===\n")}
        return Draft(question, text, gold, item, item, tokens, tuple(spans), meta)

    def _text(
        self,
        index: int,
        package: str,
        event: str,
        made: Riddle,
        which: int,
        budget: float,
        slack: float,
    ) -> str:
        """The package: the riddle's group, as many others as fit, unrelated modules, and notes."""
        cost, filler = self.counter.cost, rng("codeqa filler", self.seed, index)
        files = {f"{name}.py": _file(package, f"{name}.py", code)
                 for name, code in made.modules.items()}  # fmt: skip
        readme = data("codeqa.json")["readme"].format(Package=package.capitalize())
        files["README.md"] = _file(package, "README.md", readme)
        heads = [_file(package, name, "") for name in ("settings.toml", "NOTES.md")]
        sections = [made.settings]
        spent = sum(map(cost, (*files.values(), *heads, made.settings)))
        names = Names(filler)
        while True:
            group = self._group(filler, names, package, event)
            more = {f"{name}.py": _file(package, f"{name}.py", code)
                    for name, code in group.modules.items()}  # fmt: skip
            price = sum(map(cost, (*more.values(), group.settings)))
            if spent + price > budget - _NOTES or files.keys() & more.keys():
                break
            files |= more
            sections.append(group.settings)
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
        filler.shuffle(sections)
        files["settings.toml"] = _file(package, "settings.toml", "".join(sections).rstrip("\n"))
        prose = Prose(self.counter, f"codeqa|{self.seed}|{index}|{which}", decoys=False)
        units, costs = prose(budget - spent)
        notes = heads[1].rstrip("\n") + "\n" + "".join(trim(units, costs, budget - spent, slack))
        return "".join(files[name] for name in sorted(files)) + notes

    def _group(self, source: random.Random, names: Names, package: str, event: str) -> Riddle:
        """A group that nothing asked depends on, of the same shapes as the riddle's."""
        if source.random() >= _SAME_EVENT:
            event = source.choice(data("words.json")["nouns"])
        kind, place = source.choice(KINDS), source.randrange(PLACES)
        return riddle(kind, source, names, package, event, place)

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the choices and where the text mentions them; skimmers by words."""
        return choice_baselines(lambda letter: answer_choice(letter, self.surface))


def fit_with_notes(
    make: Callable[[int, float, float], str], room: int, length: int, tokenizer: Tokenizer
) -> tuple[str, int]:
    """`fit` for a text that ends with notes: other notes where the first do not fill it exactly.

    `make(number of the notes, budget, slack)` is as in `fit`. Raises `RlmEvalError` as it does.
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


def _unrelated(source: random.Random, number: int) -> tuple[str, str]:
    """Name and source of a module that nothing asked depends on."""
    words, texts = data("words.json"), data("codeqa.json")["filler"]
    a, b = source.sample(words["nouns"], 2)
    x, y, z = (source.randrange(2, 900) for _ in range(3))
    code = source.choice(texts).format(
        a=a, b=b, A=a.upper(), B=b.capitalize(), x=x, y=y, z=z
    )  # fmt: skip
    return f"{source.choice(words['adjectives'])}_{a}_{number}", code
