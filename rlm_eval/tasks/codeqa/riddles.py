"""Small groups of Python modules, and the result of a call into one, with four choices.

A group runs inside a host application whose settings affect the answer; the host's own code is not
shown, so the shown text cannot be run alone. The question names the entry module, which imports the
others under their own names: a search for the question's words finds only the entry. Every choice
is the answer under one of four decisions that a reader must follow, and is the gold equally often,
independent of its number, its name or its place in the loading order. All groups of a package
return the same four words, so that no word singles out a group.
"""

from __future__ import annotations

import builtins
import functools
import json
import operator
import random
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

from rlm_eval.tasks.base import data

KINDS = ("value", "handler", "default")
PLACES = 4
_TRIES = 200  # draws of plain names
_COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_PICKS = {"[0]": 0, "[1]": 1, "[-2]": 1, "[-1]": 2}
"""Rules by which `default` selects one of three proposals, with its index."""


@dataclass(frozen=True)
class Riddle:
    """A group of modules, the question about it, and the four choices (the gold first)."""

    modules: dict[str, str]
    """Module name -> source."""
    settings: dict[str, str]
    """Section -> the host's settings of that name, as TOML without a header."""
    question: str
    choices: tuple[str, ...]
    call: tuple[str, str, Any]
    """(module, function, argument) of the call that decides."""
    expected: Any
    """Its result, from the table."""


class _Loaded:
    """A package whose modules run on first import, outside `sys.modules`."""

    def __init__(self, package: str, sources: Mapping[str, str]) -> None:
        self._package, self._sources = package, sources
        self._modules: dict[str, ModuleType] = {}
        self._builtins = dict(vars(builtins)) | {"__import__": self._import}

    def module(self, name: str) -> ModuleType:
        """Return the module of that full name, running it once. Raises `ImportError` if unknown."""
        if name in self._modules:
            return self._modules[name]
        made = self._modules[name] = ModuleType(name)
        vars(made)["__builtins__"] = self._builtins
        if name in self._sources:
            exec(_code(self._sources[name]), vars(made))  # noqa: S102 - our own code
        elif not any(other.startswith(f"{name}.") for other in self._sources):
            del self._modules[name]
            raise ImportError(f"no module {name}")
        return made

    def _import(self, name: str, *rest: Any) -> ModuleType:
        """`__import__` for the package's modules; the third item of `rest` is the from-list."""
        names = (rest[2] if len(rest) > 2 else None) or ()
        top, _, below = name.partition(".")
        found, path = self.module(top), top
        for part in filter(None, below.split(".")):
            parent, path = found, f"{path}.{part}"
            found = self.module(path)
            setattr(parent, part, found)
        for part in names:
            if not hasattr(found, part):
                setattr(found, part, self.module(f"{name}.{part}"))
        return found if names else self.module(top)


@functools.lru_cache(maxsize=256)
def _code(source: str) -> CodeType:
    return compile(source, "<generated>", "exec")


def load(
    package: str, modules: Mapping[str, str], settings: Mapping[str, str] | None = None
) -> _Loaded:
    """Load a fresh copy of the package in its host, whose `setting` reads these sections."""
    values = {name: tomllib.loads(text) for name, text in (settings or {}).items()}
    sources = {f"{package}.{name}": code for name, code in modules.items()}
    sources["host.runtime"] = data("codeqa.json")["runtime"].format(values=values)
    return _Loaded(package, sources)


def execute(
    package: str,
    modules: Mapping[str, str],
    settings: Mapping[str, str],
    call: tuple[str, str, Any],
) -> Any:
    """Result of `package.module.function(argument)`."""
    module, function, argument = call
    found = load(package, modules, settings).module(f"{package}.{module}")
    return getattr(found, function)(argument)


class Names:
    """Distinct module names of one sample."""

    def __init__(self, source: random.Random, taken: Iterable[str] = ()) -> None:
        """`taken`: names to exclude."""
        self._source, self._taken = source, set(taken)

    def draw(self, count: int) -> list[str]:
        """Draw `count` names with different nouns."""
        words, source = data("words.json"), self._source
        drawn: list[str] = []
        for noun in source.sample(words["nouns"], count):
            name = f"{source.choice(words['adjectives'])}_{noun}"
            tries = 0
            while name in self._taken:
                tries += 1
                number = f"_{tries}" if tries > _TRIES else ""  # plain names run out at 4M tokens
                name = f"{source.choice(words['adjectives'])}_{noun}{number}"
            self._taken.add(name)
            drawn.append(name)
        return drawn


def riddle(
    kind: str,
    source: random.Random,
    names: Names,
    package: str,
    event: str,
    words: Sequence[str],
    place: int,
) -> Riddle:
    """A riddle of a kind whose gold is choice number `place` (0 to 3) of its own order.

    The order is that of loading (`handler`), of the settings (`default`) or of the two decisions
    (`value`). `handler` and `default` return one of `words`.
    """
    if kind == "value":
        return _value(source, names, package, place)
    make = {"handler": _handler, "default": _default}[kind]
    return make(source, names, package, event, source.sample(list(words), PLACES), place)


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _filled(kind: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """The modules of a kind without its plug-ins."""
    templates = {k: v for k, v in data("codeqa.json")[kind].items() if k != "{p}"}
    return {key.format(**fields): text.format(**fields) for key, text in templates.items()}


def _value(source: random.Random, names: Names, package: str, place: int) -> Riddle:
    """Which class the last one inherits from, and whether the limit clips the result."""
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
    fields |= {"package": package, "noun": base.split("_")[1], "function": f"run_{entry}"}
    fields |= {"parent": parent, "Parent": _class(parent)}
    gold = values.pop(place)
    source.shuffle(values)
    return Riddle(
        _filled("value", fields),
        {leaf: f"limit = {limit}\n"},
        f"What does `{package}.{entry}.run_{entry}({amount})` return?",
        tuple(map(str, (gold, *values))),
        (entry, f"run_{entry}", amount),
        gold,
    )


def _parts(
    kind: str,
    fields: dict[str, Any],
    plugins: list[str],
    own: list[dict[str, Any]],
) -> dict[str, str]:
    """The modules of a kind with its four plug-ins, in loading order."""
    fields = fields | {f"p{i}": name for i, name in enumerate(plugins)}
    modules = _filled(kind, fields)
    template = data("codeqa.json")[kind]["{p}"]
    for name, more in zip(plugins, own, strict=True):
        modules[name] = template.format(**fields, **more, self=name)
    return modules


def _asked(
    fields: dict[str, Any],
    modules: dict[str, str],
    rows: list[str],
    words: list[str],
    best: int,
) -> Riddle:
    package, entry, event = fields["package"], fields["entry"], fields["event"]
    function = fields["function"]
    return Riddle(
        modules,
        {fields["base"]: "".join(rows)},
        f"What does `{package}.{entry}.{function}({event!r})` return?",
        (words[best], *(word for word in words if word != words[best])),
        (entry, function, event),
        words[best],
    )


def _handler(
    source: random.Random, names: Names, package: str, event: str, words: list[str], place: int
) -> Riddle:
    """Which plug-in's priority wins, by its number in the settings, and which wins a tie.

    Two plug-ins have the highest number and two the lowest: each of the four comparisons has
    another winner, so that the winner is unknown without reading the comparison.
    """
    base, entry, *plugins = names.draw(6)
    levels = source.sample(("low", "usual", "high", "urgent", "night"), PLACES)
    order = [True, True, False, False]
    while True:
        source.shuffle(order)
        op = source.choice(tuple(_COMPARED))
        low, high = sorted(source.sample(range(1, 30), 2))
        numbers = [high if top else low for top in order]
        best = 0
        for i in range(1, PLACES):
            if _COMPARED[op](numbers[i], numbers[best]):
                best = i
        if best == place:
            break
    fields = {"package": package, "base": base, "entry": entry, "event": event}
    fields |= {"function": f"run_{entry}", "op": op}
    own = [{"level": level, "word": word} for level, word in zip(levels, words, strict=True)]
    rows = [f"{level} = {number}\n" for level, number in zip(levels, numbers, strict=True)]
    source.shuffle(rows)
    return _asked(fields, _parts("handler", fields, plugins, own), rows, words, best)


def _default(
    source: random.Random, names: Names, package: str, event: str, words: list[str], place: int
) -> Riddle:
    """Which of the three enabled parts is selected, in the order of the settings."""
    base, entry, *plugins = names.draw(6)
    while True:
        order, off = source.sample(range(PLACES), PLACES), source.randrange(PLACES)
        # Each of the three places equally often, though the middle one has two phrasings.
        wanted = source.randrange(PLACES - 1)
        pick = source.choice([way for way, number in _PICKS.items() if number == wanted])
        best = [part for part in order if part != off][wanted]
        if order.index(best) == place:
            break
    fields = {"package": package, "base": base, "entry": entry, "event": event}
    fields |= {"function": f"run_{entry}", "pick": pick}
    rows = [f"{name} = {str(i != off).lower()}\n" for i, name in enumerate(plugins)]
    rows.append(f"order = {json.dumps([plugins[i] for i in order])}\n")
    source.shuffle(rows)
    modules = _parts("default", fields, plugins, [{"word": word} for word in words])
    return _asked(fields, modules, rows, words, best)
