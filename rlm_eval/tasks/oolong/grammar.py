"""Text generator of `oolong_gen`: families of one-line texts with labels known by construction.

No single word reveals a label. A text mentions material of other labels too, in sentences common to
all labels, and only the statement about it decides: which noun a question asks for, which of two
drafts was sent, which halves of two facts were combined. Four forms:

- `focus`: a sentence with a noun of its label, `{A}`, and nouns of other labels, `{B}` and `{C}`.
- `pairs`: a sentence with both halves of a pair, one for each of two labels; `{A}` is its own.
- `drafts`: two drafts, one for each of two labels, and a verdict on one of them. The first sentence
  determines which draft it is about, and the order of common words whether it was sent.
- `claims`: a statement that pairs two halves of facts: of one fact (true) or of two (false).

Not TREC: every name is invented. Answer types follow TREC's coarse classes (Li and Roth, 2002), as
used in OOLONG (arXiv:2511.02817).
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
"""The first has the shape of OOLONG's trec_coarse; a small model can read `subject` and `claims`
line by line."""
_BY_THE_OTHER = 0.4
"""Share of the verdicts in `drafts` that name the other draft."""
_SLOT = re.compile(r"\{(\w+)\}")

Parts = tuple[tuple[str, ...], tuple[str, ...]]
"""A template as texts, with the slot names between them."""


class NoMoreLines(ConfigError):
    """A list-based writer has no unused text of a label left."""


class Writer(Protocol):
    """Generates the texts of one window."""

    def make(self, label: str) -> str:
        """Generate a text of the label, possibly a repeat. Raises `NoMoreLines` at the end."""
        ...


class Source(Hashable, Protocol):
    """Source of a window's lines."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, at least two."""
        ...

    def writer(self, source: random.Random) -> Writer:
        """A writer for one window."""
        ...

    def described(self, n: int, order: Sequence[str]) -> str:
        """The preamble's statement about the window's `n` lines and their labels."""
        ...


def _parts(template: str) -> Parts:
    pieces = _SLOT.split(template)
    return tuple(pieces[::2]), tuple(pieces[1::2])


def described(n: int, items: str, task: str, order: Sequence[str]) -> str:
    """`lines contain ...`: number and kind of the lines, and the labels in the window's order."""
    named = ", ".join(f"'{label}'" for label in order)
    return f"lines contain {n} {items}, one per line. {task.format(k=len(order), labels=named)}"


@dataclass(frozen=True, eq=False)
class Family:
    """One family of texts, read from `data/oolong_<name>.json`. Satisfies `Source`."""

    name: str
    labels: tuple[str, ...]
    form: str
    """`focus`, `pairs`, `drafts` or `claims`."""
    items: str
    """Kind of the lines, in the plural."""
    task: str
    """Description of the labels in the preamble."""
    templates: tuple[Parts, ...]
    slots: dict[str, tuple[tuple[str, ...], ...]]
    lexicon: dict[str, tuple[Parts, ...]]
    """For `focus`: label -> its nouns."""
    pairs: tuple[tuple[tuple[Parts, ...], tuple[Parts, ...]], ...]
    """For `pairs` and `drafts`: the phrasings of each half."""
    openings: tuple[tuple[Parts, tuple[tuple[Parts, Parts], ...]], ...]
    """For `drafts`: a sentence with both, and names for the first and the second."""
    verdicts: tuple[tuple[Parts, ...], tuple[Parts, ...]]
    """For `drafts`: verdicts that the draft was sent, and that it was dropped."""
    references: tuple[tuple[Parts, ...], tuple[Parts, ...]]
    """For `drafts`: references by the draft's own name, and by the other one's."""
    joins: tuple[str, ...]
    """For `drafts`: connectors of the two sentences."""
    relations: tuple[tuple[tuple[Parts, ...], tuple[tuple[str, str], ...]], ...]
    """For `claims`: sentences and the pairs that make true ones; frequent ones are repeated."""
    keywords: dict[str, tuple[str, ...]]
    """Keywords that a person could list without having seen a text, for the keyword baseline."""

    def described(self, n: int, order: Sequence[str]) -> str:
        """See `Source`."""
        return described(n, self.items, self.task, order)

    def writer(self, source: random.Random) -> Writer:
        """See `Source`."""
        forms: dict[str, Callable[[Family, random.Random], Writer]] = {
            "focus": _Focus,
            "pairs": _Pairs,
            "drafts": _Drafts,
            "claims": _Claims,
        }
        return forms[self.form](self, source)

    def combinations(self, label: str) -> int:
        """Lower bound on the number of distinct texts of the label."""
        most = 0
        templates = [*self.templates, *(opening for opening, _ in self.openings)]
        for texts, names in templates:
            sizes = [math.prod(map(len, self.slots[n])) for n in set(names) & self.slots.keys()]
            most = max(most, math.prod(sizes))
            assert texts
        if self.form == "focus":
            others = sum(len(words) for key, words in self.lexicon.items() if key != label)
            return most * len(self.lexicon[label]) * others * len(templates)
        size = sum(len(pairs) for _, pairs in self.relations) if self.relations else len(self.pairs)
        return most * size * len(templates)


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


def _begun(ways: Sequence[Parts], before: Sequence[str]) -> tuple[Parts, ...]:
    """Each phrasing, with each of the beginnings."""
    return tuple(
        ((start + texts[0], *texts[1:]), names) for start in before for texts, names in ways
    )


def _drafts(form: str) -> Any:
    """The openings, verdicts, references and joins of `drafts` families."""
    if form != "drafts":
        return (), ((), ()), ((), ()), ()
    raw = data("oolong_drafts.json")
    openings = tuple(
        (_parts(text), tuple((_parts(x), _parts(y)) for x, y in called))
        for text, called in raw["openings"]
    )
    found = [tuple(map(_parts, raw[key])) for key in ("sent", "dropped", "plain", "instead")]
    return openings, tuple(found[:2]), tuple(found[2:]), tuple(raw["joins"])


def _pairs(raw: dict[str, Any]) -> Any:
    pairs: list[Any] = [tuple((_parts(half),) for half in pair) for pair in raw.get("pairs", ())]
    if "before" in raw:
        pairs = [tuple(map(_begun, pair, raw["before"])) for pair in pairs]
    for do, did in raw.get("tasks", ()):
        sides = [[v.replace("{do}", do).replace("{did}", did) for v in w] for w in raw["variants"]]
        pairs.append(tuple(tuple(map(_parts, ways)) for ways in sides))
    return tuple(pairs)


@functools.cache
def family(name: str) -> Family:
    """The family with that name. Raises `KeyError` for an unknown one."""
    if name not in FAMILIES:
        raise KeyError(name)
    raw = data(f"oolong_{name}.json")
    slots = data("oolong_names.json")["slots"] | raw["slots"]
    openings, verdicts, references, joins = _drafts(raw["form"])
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
        openings,
        verdicts,
        references,
        joins,
        _relations(raw.get("relations", [])),
        {key: tuple(words) for key, words in raw["keywords"].items()},
    )


class _Sentences:
    """Base of the writers: draws templates and fills slots, each once per text."""

    def __init__(self, family: Family, source: random.Random) -> None:
        self.family, self.uniform = family, source.random

    def pick(self, options: Sequence[Any]) -> Any:
        """Draw one of the options uniformly."""
        return options[int(self.uniform() * len(options))]

    def fill(self, parts: Parts, values: dict[str, str]) -> str:
        """Fill the template's slots; `values` records the draws."""
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
        """`fill`, with an initial capital."""
        text = self.fill(parts, values)
        return text[0].upper() + text[1:]


class _Focus(_Sentences):
    """Texts of the form `focus`.

    Distractor nouns come from the labels mentioned least so far: a window mentions all labels
    equally often, independent of their shares.
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


class _Drafts(_Sentences):
    """Texts of the form `drafts`."""

    def make(self, label: str) -> str:
        """See `Writer`."""
        own, other = self.pick(self.family.pairs)
        if label != self.family.labels[0]:
            own, other = other, own
        values: dict[str, str] = {}
        texts = [self.fill(self.pick(ways), values) for ways in (own, other)]
        own_first, about_own = self.uniform() < 0.5, self.uniform() < 0.5
        values["X"], values["Y"] = texts if own_first else texts[::-1]
        opening, called = self.pick(self.family.openings)
        shown = self.finished(opening, values)
        called_x, called_y = self.pick(called)
        by_other = self.uniform() < _BY_THE_OTHER
        name = called_x if (about_own == own_first) != by_other else called_y
        values["R"] = self.fill(name, values)
        values["R"] = self.fill(self.pick(self.family.references[by_other]), values)
        values.pop("w", None)
        verdict = self.fill(self.pick(self.family.verdicts[0 if about_own else 1]), values)
        join = self.pick(self.family.joins)
        if join[0] == ".":
            verdict = verdict[0].upper() + verdict[1:]
        # An apposition has one comma at the end of a clause and none at the end of the text.
        return f"{shown}{join}{verdict.replace(',,', ',').rstrip(',')}."


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
