"""The kinds of work of a λ-RLM: how leaf replies are parsed and results composed.

Follows tables 1B and 3 of arXiv:2603.20105; the reply parsers and merge operators are ours. A kind
is a monoid over its type `T`: `empty`, and an associative `merge`, so that the tree's shape does
not change the result.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

T = TypeVar("T")

_LINE = re.compile(r"[\s>*#-]*(?P<item>[^:]{1,80}?)[ \t]*:[ \t]*(?P<label>\S.*)")
_NUMBERED = re.compile(r"(?P<number>\d+)[.)][ \t]+(?P<item>.*\w.*)")
_MARKUP = " \t*_`"
_FENCE = re.compile(r"\s*```\w*\s*")
_NONE = re.compile(r"\W*none\W*", re.IGNORECASE)


@dataclass(frozen=True)
class Kind(ABC, Generic[T]):
    """One kind of work. Stateless."""

    name: ClassVar[str]
    menu: ClassVar[str]
    """Description in the model's menu of kinds."""
    filters: ClassVar[bool] = False
    """True where pieces may be dropped by their first characters."""
    composes: ClassVar[bool] = False
    """True where a model composes the results of an inner node."""
    final: ClassVar[bool] = False
    """True where a model may have to phrase the final answer."""
    compose_cost: ClassVar[float] = 0.05
    """Cost of composing one reply, in input tokens; the released code's value."""

    @abstractmethod
    def read(self, reply: str) -> T | None:
        """Parse a leaf's reply; `None` where it cannot be parsed."""

    def unread(self, reply: str) -> int:  # noqa: ARG002 a subclass's
        """Number of lines of a leaf's reply that were not parsed, in kinds that read lines."""
        return 0

    @property
    @abstractmethod
    def empty(self) -> T:
        """The result of a part without a contribution."""

    @abstractmethod
    def merge(self, a: T, b: T) -> T:
        """Combine two results; associative."""


def _labelled(reply: str) -> tuple[list[tuple[str, str]], int]:
    """(item, label) of each line `item: label`, and the number of other lines.

    Without markup. The number of a list is removed where the item has a number of its own, or where
    the lines are numbered from 1: otherwise it may be the item's name in the text.
    """
    lines = [line for line in reply.splitlines() if line.strip() and not _FENCE.fullmatch(line)]
    matches = [match for line in lines if (match := _LINE.fullmatch(line))]
    pairs = [(m["item"].strip(_MARKUP), m["label"].strip(_MARKUP)) for m in matches]
    pairs = [(item, label) for item, label in pairs if item and label]
    numbered = [_NUMBERED.fullmatch(item) for item, _ in pairs]
    numbers = [int(match["number"]) for match in numbered if match]
    is_list = numbers == list(range(1, len(numbers) + 1))
    found = []
    for (item, label), match in zip(pairs, numbered, strict=True):
        if match and (is_list or re.search(r"\d", match["item"])):
            item = match["item"].strip(_MARKUP)
        found.append((item, label))
    return found, len(lines) - len(found)


def _unread(reply: str) -> int:
    return 0 if _NONE.fullmatch(reply.strip()) else _labelled(reply)[1]


class _Texts(Kind[tuple[str, ...]]):
    """Results are texts in the order of the pieces; NONE means no result."""

    def read(self, reply: str) -> tuple[str, ...] | None:
        text = reply.strip()
        return () if not text or _NONE.fullmatch(text) else (text,)

    @property
    def empty(self) -> tuple[str, ...]:
        return ()

    def merge(self, a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
        return a + b


class Search(_Texts):
    """A fact at one place; the best of several candidates."""

    name = "search"
    menu = "find one fact that stands at one place of the text"
    filters = True
    composes = True
    compose_cost = 1.5


class Classify(_Texts):
    """A list with the label of every record."""

    name = "classify"
    menu = "give every record of the text a label and list the labels"

    def read(self, reply: str) -> tuple[str, ...] | None:
        """One `item: label` per line."""
        found = tuple(f"{item}: {label}" for item, label in _labelled(reply)[0])
        return found or (() if _NONE.fullmatch(reply.strip()) else None)

    def unread(self, reply: str) -> int:
        return _unread(reply)


class Aggregate(Kind[Counter[str]]):
    """Counts per label, summed."""

    name = "aggregate"
    menu = "count records or compare how many there are of each label"
    final = True

    def read(self, reply: str) -> Counter[str] | None:
        """Parse the last JSON object whose values are integers of 0 or more."""
        for text in reversed(re.findall(r"\{[^{}]*\}", reply)):
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if all(type(n) is int and n >= 0 for n in found.values()):
                counts: Counter[str] = Counter()
                for label, n in found.items():
                    counts[label.strip().lower()] += n
                return counts
        return None

    @property
    def empty(self) -> Counter[str]:
        return Counter()

    def merge(self, a: Counter[str], b: Counter[str]) -> Counter[str]:
        both = Counter(a)
        both.update(b)  # `+` would drop labels with count 0: the least common ones
        return both


def bare(label: str) -> str:
    """A label in lower case, without quotes and markup."""
    return label.strip(f"{_MARKUP}'\".").lower()


Labels = Mapping[str, frozenset[str]]
"""Labels of each item, by the item's number or name."""


class Pairwise(Kind[Labels]):
    """Labels of each item; pairs of the items that meet the condition."""

    name = "pairwise"
    menu = "list all pairs of items that meet a condition"
    final = True

    def read(self, reply: str) -> Labels | None:
        """Parse one `item: label` per line; an item may have several lines."""
        found: Labels = {}
        for item, label in _labelled(reply)[0]:
            number = re.search(r"\d+", item)
            labels = frozenset({bare(label)})
            found = self.merge(found, {number.group() if number else item: labels})
        return found or ({} if _NONE.fullmatch(reply.strip()) else None)

    def unread(self, reply: str) -> int:
        return _unread(reply)

    @property
    def empty(self) -> Labels:
        return {}

    def merge(self, a: Labels, b: Labels) -> Labels:
        none = frozenset[str]()
        return {item: a.get(item, none) | b.get(item, none) for item in (*a, *b)}


class Summarise(_Texts):
    """Notes on every part, combined by a model."""

    name = "summarise"
    menu = "understand or sum up the text as a whole"
    composes = True
    compose_cost = 2.0


class MultiHop(_Texts):
    """Passages from several documents, from which one call answers."""

    name = "multi_hop"
    menu = "put together facts that stand in several documents"
    filters = True
    final = True


KINDS: Mapping[str, Kind[object]] = {
    kind.name: kind  # type: ignore[misc]  # a mapping of kinds of any type
    for kind in (Search(), Classify(), Aggregate(), Pairwise(), Summarise(), MultiHop())
}
"""Kinds by name, in menu order."""
