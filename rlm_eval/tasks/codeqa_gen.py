"""Four-way questions about a generated Python package, answered by executing it.

The shape of LongBench-v2's CodeQA: several modules must be read together (overridden class
attributes, a registry with priorities, defaults changed at start-up). The distractors are what a
reader gets who misses one of them. The answer is computed from the generator's table and again by
running the package in a subprocess. Guessing scores 0.25; the gold letters are balanced.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.scoring.choice import LETTERS
from rlm_eval.tasks.base import Draft, GeneratedTask, data, fit, rng
from rlm_eval.tasks.codeqa import FourWay, ask, check_surface
from rlm_eval.tasks.haystack import Prose, trim
from rlm_eval.types import Density

KINDS = ("value", "handler", "default")


@dataclass(frozen=True)
class _Riddle:
    """A small package, what is asked of it, and the four choices (the gold first)."""

    modules: dict[str, str]
    """Module name -> source."""
    question: str
    choices: tuple[str, ...]
    call: tuple[str, str, Any]
    """(module, function, argument) whose result decides."""
    expected: Any
    """That result, from the table."""


@dataclass(frozen=True)
class CodeQAGen(FourWay, GeneratedTask):
    """See the module's docstring."""

    name: str = "codeqa_gen"
    kind: str = "mix"
    """`value`, `handler`, `default`, or `mix` in turn."""
    surface: str = "official"
    """`official` (letters) or `rlm` (0 to 3), as in `codeqa`."""

    density: ClassVar[Density] = Density.CONSTANT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_surface(self.surface)
        if self.kind not in (*KINDS, "mix"):
            raise ValueError(f"kind={self.kind}: {', '.join(KINDS)} or mix")

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more unrelated modules around the same riddle."""
        source = rng("codeqa", self.seed, index)
        kind = KINDS[index % 3] if self.kind == "mix" else self.kind
        package = f"{source.choice(data('words.json')['nouns'])}{index}"
        riddle = _RIDDLES[kind](source, package)
        executed = execute(package, riddle.modules, riddle.call)
        if executed != riddle.expected:
            raise AssertionError(f"codeqa {self.seed}/{index}: {executed} run, {riddle.expected}")
        letters = rng("codeqa letters", self.seed, index // 4).sample(LETTERS, 4)
        gold = letters[index % 4]  # each letter once in every four samples
        choices = list(riddle.choices[1:])
        source.shuffle(choices)
        choices.insert(LETTERS.index(gold), riddle.choices[0])
        question = ask(riddle.question, choices, self.surface)
        names = list(riddle.modules)

        def make(budget: float, slack: float) -> str:
            files = {name: _file(package, name, code) for name, code in riddle.modules.items()}
            notes = f"=== file: {package}/NOTES.md ===\n"
            spent = sum(map(self.counter.cost, [*files.values(), notes]))
            filler = rng("codeqa filler", self.seed, index)
            number = 0
            while True:
                name, code = _unrelated(filler, number)
                text = _file(package, name, code)
                cost = self.counter.cost(text)
                if spent + cost > budget - 40:
                    break
                files[name] = text
                spent += cost
                number += 1
            prose = Prose(self.counter, f"codeqa|{self.seed}|{index}", decoys=False)
            units, costs = prose(budget - spent)
            text = "".join(files[name] for name in sorted(files))
            return text + notes + "".join(trim(units, costs, budget - spent, slack))

        text, tokens = fit(make, self.room(question), self.length, self.counter)
        spans = []
        for name in names:
            code = _file(package, name, riddle.modules[name])
            spans.append((text.index(code), text.index(code) + len(code)))
        item = f"codeqa-{kind}-{self.seed}-{index}"
        meta = {"kind": kind, "modules": text.count("=== file: ") - 1}
        return Draft(question, text, gold, item, item, tokens, tuple(sorted(spans)), meta)


def _file(package: str, name: str, code: str) -> str:
    return f"=== file: {package}/{name}.py ===\n{code}\n"


def execute(package: str, modules: Mapping[str, str], call: tuple[str, str, Any]) -> Any:
    """Result of `package.module.function(argument)`, run by an isolated interpreter of its own."""
    module, function, argument = call
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / package
        root.mkdir()
        (root / "__init__.py").touch()
        for name, code in modules.items():
            (root / f"{name}.py").write_text(code, "utf-8")
        program = (
            f"import json, sys; sys.path.insert(0, {folder!r}); "
            f"from {package}.{module} import {function}; "
            f"print(json.dumps({function}({argument!r})))"
        )
        done = subprocess.run(  # noqa: S603 - our own generated code
            [sys.executable, "-I", "-S", "-B", "-c", program],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    return json.loads(done.stdout)


def _names(source: random.Random, count: int) -> list[str]:
    """Module names, all different."""
    words = data("words.json")
    nouns = source.sample(words["nouns"], count)
    return [f"{source.choice(words['adjectives'])}_{noun}" for noun in nouns]


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _value(source: random.Random, package: str) -> _Riddle:
    base, mid, leaf, entry = _names(source, 4)
    number = {key: source.randrange(3, 60) for key in ("s0", "s1", "odd", "even", "cut")}
    r0, r1 = source.sample(range(2, 12), 2)
    number["s1"] += number["s1"] == number["s0"]
    amount = source.randrange(20, 90)
    limit = source.choice((0, 5000))  # reached always, or never

    def result(rate: int, step: int, odd: int, even: int, *, cut: bool = True) -> int:
        value = amount * rate + step + (-odd if amount % 2 else even)
        return value - number["cut"] if cut and value > limit else value

    odd, even, s0, s1 = number["odd"], number["even"], number["s0"], number["s1"]
    gold = result(r1, s1, odd, even)
    misread = [
        result(r0, s1, odd, even),  # the overridden rate
        result(r1, s0, odd, even),  # the overridden step
        result(r1, s1, -even, -odd),  # the other branch
        result(r1, s1, odd, even, cut=False),
        result(r0, s0, 0, 0),
    ]
    wrong = [v for v in dict.fromkeys(misread) if v != gold]
    wrong += [gold + 1, gold - 1, gold + 7]
    fields = {**number, "base": base, "mid": mid, "leaf": leaf, "entry": entry, "r0": r0, "r1": r1}
    fields |= {"Base": _class(base), "Mid": _class(mid), "Leaf": _class(leaf), "limit": limit}
    fields |= {"package": package, "noun": base.split("_")[1], "function": f"settle_{entry}"}
    templates = data("codeqa.json")["value"]
    modules = {key.format(**fields): text.format(**fields) for key, text in templates.items()}
    question = f"What does `{package}.{entry}.settle_{entry}({amount})` return?"
    choices = tuple(str(value) for value in [gold, *wrong[:3]])
    return _Riddle(modules, question, choices, (entry, f"settle_{entry}", amount), gold)


def _parts(source: random.Random, package: str, kind: str, own: dict[str, Any]) -> dict[str, Any]:
    base, mid, entry, *plugins = _names(source, 7)
    fields: dict[str, Any] = {"package": package, "base": base, "mid": mid, "entry": entry}
    fields |= {"function": f"run_{entry}", "event": source.choice(data("words.json")["nouns"])}
    fields |= {f"p{i}": name for i, name in enumerate(plugins)} | own
    templates = dict(data("codeqa.json")[kind])
    plugin = templates.pop("{p}")
    fields["modules"] = {
        key.format(**fields): text.format(**fields) for key, text in templates.items()
    }
    for i, name in enumerate(plugins):
        each = fields | {"self": name} | {k: v[i] for k, v in own.items() if isinstance(v, list)}
        fields["modules"][name] = plugin.format(**each)
    fields["plugins"] = plugins
    return fields


def _handler(source: random.Random, package: str) -> _Riddle:
    low, usual, high = sorted(source.sample(range(1, 90), 3))
    flag = source.choice((True, False))
    levels = source.sample(["URGENT", "LOW", "USUAL", source.choice(("USUAL", "LOW"))], 4)
    own = {"low": low, "usual": usual, "high": high, "flag": flag, "level": levels}
    fields = _parts(source, package, "handler", own)
    rank = {"LOW": low, "USUAL": usual, "URGENT": low if flag else high}
    best = max(range(4), key=lambda i: (rank[levels[i]], i))
    names = fields["plugins"]
    question = (
        f"Which module of `{package}` ends up handling the event {fields['event']!r} when "
        f"`{package}.{fields['entry']}.{fields['function']}` is called with it?"
    )
    choices = (names[best], *(name for i, name in enumerate(names) if i != best))
    call = (fields["entry"], fields["function"], fields["event"])
    return _Riddle(fields["modules"], question, choices, call, names[best])


def _default(source: random.Random, package: str) -> _Riddle:
    values = source.sample(range(10, 900), 5)
    switches = [source.random() < 0.5 for _ in range(4)]
    switches[source.randrange(4)] = True
    own: dict[str, Any] = {"r0": values[4], "value": values[:4]}
    own |= {f"w{i}": switch for i, switch in enumerate(switches)}
    fields = _parts(source, package, "default", own)
    last = max(i for i in range(4) if switches[i])
    question = (
        f"Which module of `{package}` decides the value of DEFAULTS[{fields['event']!r}] that "
        f"`{package}.{fields['entry']}.{fields['function']}` returns?"
    )
    names = fields["plugins"]
    choices = (names[last], *(name for i, name in enumerate(names) if i != last))
    call = (fields["entry"], fields["function"], fields["event"])
    return _Riddle(fields["modules"], question, choices, call, values[last])


_RIDDLES = {"value": _value, "handler": _handler, "default": _default}


def _unrelated(source: random.Random, number: int) -> tuple[str, str]:
    """Name and source of a module that nothing asked depends on."""
    words, texts = data("words.json"), data("codeqa.json")["filler"]
    a, b = source.sample(words["nouns"], 2)
    x, y, z = (source.randrange(2, 900) for _ in range(3))
    code = source.choice(texts).format(
        a=a, b=b, A=a.upper(), B=b.capitalize(), x=x, y=y, z=z
    )  # fmt: skip
    return f"{source.choice(words['adjectives'])}_{a}_{number}", code
