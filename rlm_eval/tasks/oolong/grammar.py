"""The text of `oolong_gen`: families of invented one-line texts with labels known by construction.

No word tells a label. A text mentions what would fit other labels as well, in sentences that all
labels share, and only what is said about the mentioned things decides: which noun a question asks
for, which of two drafts was sent, which halves of two facts were put together. Three forms:

- `focus`: a sentence with a noun of its label, `{A}`, and nouns of other labels, `{B}` and `{C}`.
- `pairs`: a sentence with both halves of a pair, one for each of two labels; `{A}` is its own.
- `claims`: a statement that pairs two halves of facts: of one fact (true) or of two (false).

Not TREC: every name is made up. What an answer type is follows TREC's coarse classes (Li and Roth,
2002), as OOLONG uses them (arXiv:2511.02817).
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlm_eval.core.errors import ConfigError
from rlm_eval.tasks.base import data

FAMILIES = ("question", "subject", "claims", "sentiment", "request", "formal")
"""The first is OOLONG's trec_coarse in shape; `subject` and `claims` are what a small model reads
line by line."""
_SLOT = re.compile(r"\{(\w+)\}")

Parts = tuple[tuple[str, ...], tuple[str, ...]]
"""A template as texts and the slot names between them."""


class NoMoreLines(ConfigError):
    """A writer that draws from a list has drawn all of a label."""


class Writer(Protocol):
    """Draws texts of one window."""

    def make(self, label: str) -> str:
        """A text of the label; texts may repeat. Raises `NoMoreLines` where there are no more."""
        ...


class Source(Hashable, Protocol):
    """Where the lines of a window come from."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, at least two."""
        ...

    def writer(self, source: random.Random) -> Writer:
        """A writer for one window."""
        ...

    def described(self, n: int, order: Sequence[str]) -> str:
        """What the window's preamble says about its `n` lines and their labels."""
        ...


def _parts(template: str) -> Parts:
    pieces = _SLOT.split(template)
    return tuple(pieces[::2]), tuple(pieces[1::2])


def described(n: int, items: str, task: str, order: Sequence[str]) -> str:
    """`lines contain ...`: how many lines of what, and the labels in the window's order."""
    named = ", ".join(f"'{label}'" for label in order)
    return f"lines contain {n} {items}, one per line. {task.format(k=len(order), labels=named)}"


@dataclass(frozen=True, eq=False)
class Family:
    """One family of texts, read from `data/oolong_<name>.json`. Satisfies `Source`."""

    name: str
    labels: tuple[str, ...]
    form: str
    """`focus`, `pairs` or `claims`."""
    items: str
    """What the lines are, in the plural."""
    task: str
    """What the preamble says about the labels."""
    templates: tuple[Parts, ...]
    slots: dict[str, tuple[tuple[str, ...], ...]]
    lexicon: dict[str, tuple[Parts, ...]]
    """Of `focus`: label -> its nouns."""
    pairs: tuple[tuple[tuple[Parts, ...], tuple[Parts, ...]], ...]
    """Of `pairs`: the ways to say each half."""
    relations: tuple[tuple[tuple[Parts, ...], tuple[tuple[str, str], ...]], ...]
    """Of `claims`: sentences and the pairs that make true ones, the frequent ones repeated."""
    keywords: dict[str, tuple[str, ...]]
    """Words that a person would look for without having seen a text; the keyword baseline's."""

    def described(self, n: int, order: Sequence[str]) -> str:
        """See `Source`."""
        return described(n, self.items, self.task, order)

    def writer(self, source: random.Random) -> Writer:
        """See `Source`."""
        forms: dict[str, Callable[[Family, random.Random], Writer]] = {
            "focus": _Focus,
            "pairs": _Pairs,
            "claims": _Claims,
        }
        return forms[self.form](self, source)

    def combinations(self, label: str) -> int:
        """At least so many different texts of the label."""
        most = 0
        for texts, names in self.templates:
            sizes = [math.prod(map(len, self.slots[n])) for n in set(names) & self.slots.keys()]
            most = max(most, math.prod(sizes))
            assert texts
        if self.form == "focus":
            others = sum(len(words) for key, words in self.lexicon.items() if key != label)
            return most * len(self.lexicon[label]) * others * len(self.templates)
        size = len(self.pairs) if self.form == "pairs" else sum(len(p) for _, p in self.relations)
        return most * size * len(self.templates)


def _with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _relations(raw: list[dict[str, Any]]) -> Any:
    found = []
    for relation in raw:
        sentences = tuple(map(_parts, relation["sentences"]))
        named = _with_article if relation["article"] else str
        pairs = tuple((named(x), y) for x, y in relation["pairs"])
        found += [(sentences, pairs)] * relation["weight"]
    return tuple(found)


def _pairs(raw: dict[str, Any]) -> Any:
    pairs: list[Any] = [tuple((_parts(half),) for half in pair) for pair in raw.get("pairs", ())]
    for task in raw.get("tasks", ()):
        sides = zip(("{do}", "{did}"), task, raw["variants"], strict=True)
        pairs.append(tuple(tuple(_parts(v.replace(k, t)) for v in vs) for k, t, vs in sides))
    return tuple(pairs)


@functools.cache
def family(name: str) -> Family:
    """The family of that name. Raises `KeyError` for another."""
    if name not in FAMILIES:
        raise KeyError(name)
    raw = data(f"oolong_{name}.json")
    slots = data("oolong_names.json")["slots"] | raw["slots"]
    return Family(
        name,
        tuple(raw["labels"]),
        raw["form"],
        raw["items"],
        raw["task"],
        tuple(map(_parts, raw["templates"])),
        {key: tuple(map(tuple, parts)) for key, parts in slots.items()},
        {key: tuple(map(_parts, words)) for key, words in raw.get("lexicon", {}).items()},
        _pairs(raw),
        _relations(raw.get("relations", [])),
        {key: tuple(words) for key, words in raw["keywords"].items()},
    )


class _Sentences:
    """What the writers share: drawing templates and filling slots, each once per text."""

    def __init__(self, family: Family, source: random.Random) -> None:
        self.family, self.uniform = family, source.random

    def pick(self, options: Sequence[Any]) -> Any:
        """One of the options, all equally probable."""
        return options[int(self.uniform() * len(options))]

    def fill(self, parts: Parts, values: dict[str, str]) -> str:
        """The template with its slots filled; `values` keeps what was drawn."""
        texts, names = parts
        out = texts[0]
        for text, name in zip(texts[1:], names, strict=True):
            value = values.get(name)
            if value is None:
                options = self.family.slots[name]
                value = values[name] = "".join([self.pick(part) for part in options])
            out += value + text
        return out

    def finished(self, parts: Parts, values: dict[str, str]) -> str:
        """`fill`, with a capital in front."""
        text = self.fill(parts, values)
        return text[0].upper() + text[1:]


class _Focus(_Sentences):
    """Texts of the form `focus`.

    The nouns in passing are of the labels that were mentioned least so far: all labels are
    mentioned equally often in a window, whatever their shares.
    """

    def __init__(self, family: Family, source: random.Random) -> None:
        super().__init__(family, source)
        self.mentions = dict.fromkeys(family.labels, 0)

    def make(self, label: str) -> str:
        """See `Writer`."""
        mentions, uniform = self.mentions, self.uniform
        template: Parts = self.pick(self.family.templates)
        values = {"A": self.fill(self.pick(self.family.lexicon[label]), {})}
        mentions[label] += 1
        passing = sorted(set(template[1]) & {"B", "C"})
        if passing:
            ranked = sorted((mentions[key], uniform(), key) for key in mentions if key != label)
            for slot, (_, _, key) in zip(passing, ranked, strict=False):
                values[slot] = self.fill(self.pick(self.family.lexicon[key]), {})
                mentions[key] += 1
        return self.finished(template, values)


class _Pairs(_Sentences):
    """Texts of the form `pairs`."""

    def make(self, label: str) -> str:
        """See `Writer`."""
        own, other = self.pick(self.family.pairs)
        if label != self.family.labels[0]:
            own, other = other, own
        values: dict[str, str] = {}
        values["A"] = self.fill(self.pick(own), values)
        values["B"] = self.fill(self.pick(other), values)
        return self.finished(self.pick(self.family.templates), values)


class _Claims(_Sentences):
    """Texts of the form `claims`."""

    def make(self, label: str) -> str:
        """See `Writer`."""
        sentences, pairs = self.pick(self.family.relations)
        x, y = self.pick(pairs)
        if label != self.family.labels[0]:
            right, y = y, self.pick(pairs)[1]
            while y in (right, x):
                y = self.pick(pairs)[1]
        claim = self.fill(self.pick(sentences), {"x": x, "y": y})
        return self.finished(self.pick(self.family.templates), {"claim": claim})


LABELS = family("question").labels
"""OOLONG's six answer types."""
