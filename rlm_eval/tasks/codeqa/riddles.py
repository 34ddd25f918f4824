"""Small groups of Python modules and what is asked of them, with four choices.

A group runs inside a host application, from whose settings its answer depends; the host's own code
is not shown, so that the shown text alone cannot be run. The choices differ in two decisions that a
reader must follow, or are modules of equal shape; every one of them is the answer as often as the
others, whatever its number, its name or its place in the order of loading.
"""

from __future__ import annotations

import json
import operator
import random
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.tasks.base import data

KINDS = ("value", "handler", "default")
PLACES = 4
_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_CLAIMS = {"last": "DEFAULTS[name] = value", "first": "DEFAULTS.setdefault(name, value)"}


@dataclass(frozen=True)
class Riddle:
    """A group of modules, what is asked of it, and the four choices (the gold first)."""

    modules: dict[str, str]
    """Module name -> source."""
    settings: str
    """Its section of the host's settings, as TOML."""
    question: str
    choices: tuple[str, ...]
    call: tuple[str, str, Any]
    """(module, function, argument) whose result decides."""
    expected: Any
    """That result, from the table."""


def execute(
    package: str, modules: Mapping[str, str], settings: str, call: tuple[str, str, Any]
) -> Any:
    """Result of `package.module.function(argument)`, run by an isolated interpreter of its own."""
    module, function, argument = call
    values = tomllib.loads(settings)
    with tempfile.TemporaryDirectory() as folder:
        for name, files in (
            (package, {f"{name}.py": code for name, code in modules.items()}),
            ("host", {"runtime.py": data("codeqa.json")["runtime"].format(values=values)}),
        ):
            (Path(folder) / name).mkdir()
            for file, text in {"__init__.py": "", **files}.items():
                (Path(folder) / name / file).write_text(text, "utf-8")
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


class Names:
    """Module names of one sample, none twice."""

    def __init__(self, source: random.Random) -> None:
        self._source, self._taken = source, set[str]()

    def draw(self, count: int) -> list[str]:
        """`count` of them, of different nouns."""
        words, source = data("words.json"), self._source
        drawn: list[str] = []
        for noun in source.sample(words["nouns"], count):
            name = f"{source.choice(words['adjectives'])}_{noun}"
            while name in self._taken:
                name = f"{source.choice(words['adjectives'])}_{noun}"
            self._taken.add(name)
            drawn.append(name)
        return drawn


def riddle(
    kind: str, source: random.Random, names: Names, package: str, event: str, place: int
) -> Riddle:
    """A riddle of a kind whose gold is choice number `place` (0 to 3) of its own order.

    The order is that of loading (`handler`, `default`) or of the two decisions (`value`).
    """
    if kind == "value":
        return _value(source, names, package, place)
    make = {"handler": _handler, "default": _default}[kind]
    return make(source, names, package, event, place)


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _filled(kind: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """The modules of a kind but its plug-ins."""
    templates = {k: v for k, v in data("codeqa.json")[kind].items() if k != "{p}"}
    return {key.format(**fields): text.format(**fields) for key, text in templates.items()}


def _value(source: random.Random, names: Names, package: str, place: int) -> Riddle:
    """Which class the last one inherits from, and whether the limit cuts the result."""
    base, mid, leaf, entry = names.draw(4)
    inherits, cuts = divmod(place, 2)
    op = source.choice(("<", ">"))
    amount = source.randrange(20, 90)
    while True:
        number = {key: source.randrange(3, 60) for key in ("s0", "s1", "odd", "even", "cut")}
        r0, r1 = source.sample(range(2, 12), 2)

        def result(inherits: int, cut: int, of: dict[str, int], rates: tuple[int, int]) -> int:
            value = amount * rates[inherits] + of["s1"]
            if inherits:
                value += -of["odd"] if amount % 2 else of["even"]
            return value - of["cut"] * cut

        values = [result(i, c, number, (r0, r1)) for i in (0, 1) for c in (0, 1)]
        if len(set(values)) == PLACES:
            break
    uncut, gap = result(inherits, 0, number, (r0, r1)), source.randrange(3, 60)
    limit = uncut + gap if (op == "<") == bool(cuts) else uncut - gap
    fields = {**number, "base": base, "mid": mid, "leaf": leaf, "entry": entry, "r0": r0, "r1": r1}
    fields |= {"Base": _class(base), "Mid": _class(mid), "Leaf": _class(leaf), "op": op}
    parent = mid if inherits else base
    fields |= {"package": package, "noun": base.split("_")[1], "function": f"settle_{entry}"}
    fields |= {"parent": parent, "Parent": _class(parent)}
    gold = values.pop(place)
    source.shuffle(values)
    return Riddle(
        _filled("value", fields),
        f"[{entry}]\nlimit = {limit}\n",
        f"What does `{package}.{entry}.settle_{entry}({amount})` return?",
        tuple(map(str, (gold, *values))),
        (entry, f"settle_{entry}", amount),
        gold,
    )


def _parts(
    kind: str,
    fields: dict[str, Any],
    plugins: list[str],
    own: list[dict[str, Any]],
) -> dict[str, str]:
    """The modules of a kind with its four plug-ins, which are loaded in their order."""
    fields = fields | {f"p{i}": name for i, name in enumerate(plugins)}
    modules = _filled(kind, fields)
    template = data("codeqa.json")[kind]["{p}"]
    for name, more in zip(plugins, own, strict=True):
        modules[name] = template.format(**fields, **more, self=name)
    return modules


def _handler(source: random.Random, names: Names, package: str, event: str, place: int) -> Riddle:
    """Whose priority, by its number in the settings, wins; and who wins where two are equal."""
    base, entry, *plugins = names.draw(6)
    function, levels = f"run_{entry}", ("low", "usual", "high", "urgent", "night")
    while True:
        op = source.choice(tuple(_COMPARED))
        numbers = dict(zip(levels, source.choices(range(1, 30), k=len(levels)), strict=True))
        given = source.choices(levels, k=PLACES)
        best = 0
        for i in range(1, PLACES):
            if _COMPARED[op](numbers[given[i]], numbers[given[best]]):
                best = i
        if best == place:
            break
    fields = {"package": package, "base": base, "entry": entry, "event": event}
    fields |= {"function": function, "op": op}
    modules = _parts("handler", fields, plugins, [{"level": level} for level in given])
    rows = [f"{level} = {number}\n" for level, number in numbers.items()]
    source.shuffle(rows)
    others = [name for i, name in enumerate(plugins) if i != best]
    return Riddle(
        modules,
        f"[{entry}]\n{''.join(rows)}",
        f"Which module of `{package}` ends up handling the event {event!r} when "
        f"`{package}.{entry}.{function}` is called with it?",
        (plugins[best], *others),
        (entry, function, event),
        plugins[best],
    )


def _default(source: random.Random, names: Names, package: str, event: str, place: int) -> Riddle:
    """Which part that is switched on comes first, or last, in the order of the settings."""
    base, entry, *plugins = names.draw(6)
    function, values = f"run_{entry}", source.sample(range(10, 900), PLACES)
    while True:
        order = source.sample(range(PLACES), PLACES)
        on = [source.random() < 0.5 for _ in range(PLACES)]
        wins = source.choice(tuple(_CLAIMS))
        running = [i for i in order if on[i]]
        if running and order.index(running[-1 if wins == "last" else 0]) == place:
            break
    best = order[place]
    fields = {"package": package, "base": base, "entry": entry, "event": event}
    fields |= {"function": function, "claim": _CLAIMS[wins]}
    modules = _parts("default", fields, plugins, [{"value": value} for value in values])
    rows = [f"{name} = {str(on[i]).lower()}\n" for i, name in enumerate(plugins)]
    rows.append(f"order = {json.dumps([plugins[i] for i in order])}\n")
    source.shuffle(rows)
    others = [name for i, name in enumerate(plugins) if i != best]
    return Riddle(
        modules,
        f"[{entry}]\n{''.join(rows)}",
        f"Which module of `{package}` decides the value for {event!r} that "
        f"`{package}.{entry}.{function}({event!r})` returns?",
        (plugins[best], *others),
        (entry, function, event),
        values[best],
    )
