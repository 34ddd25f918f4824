"""F1 over unordered pairs of user ids (OOLONG-Pairs), fast at millions of pairs.

`official` follows the scorer of PrimeIntellect-ai/prime-envs (pull requests 422 and 550), including
its edge cases: self pairs count as predictions, and with an empty gold only the literal texts "",
"None" and "[]" are correct. `recommended` is ours: it accepts quotes and the word "User", drops
self pairs, and accepts no pairs for an empty gold.

A pair of ids is packed into one integer. A gold of 2 * 10^7 pairs need not be enumerated: it is
given as the sets of users that form it (`PairSet`), and membership is tested per predicted pair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from rlm_eval.core.types import Score
from rlm_eval.scoring import said

_BASE = 0x9E3779B97F
# Larger than any id, odd and irregular: with a power of two, packed pairs of dense ids share
# their low bits and a set of millions degenerates (42 s instead of 4 s for 4.5 million pairs).
_STRICT = re.compile(r"\((\d+)\s*,\s*(\d+)\)")
_BARE = re.compile(r"(?<!\d)(\d+)\s*,\s*(\d+)")  # matched once per number, not once per digit
_ID = r"(?:user\s*(?:id)?\s*[:#]?\s*)?[\"'“‘]?\s*(?:user\s*)?(\d+)\s*[\"'”’]?"
_TOLERANT = re.compile(rf"[(\[]\s*{_ID}\s*,\s*{_ID}\s*[)\]]", re.IGNORECASE)
_MOST_DIGITS = 4300
"""Python refuses to parse longer integers; no real id is that long."""
EMPTY = ("", "None", "[]")
"""Texts that the reference reads as no pairs."""


def pack(first: int, second: int) -> int:
    """Pack an unordered pair of ids below `_BASE` (about 7 * 10**11) into one integer."""
    return first * _BASE + second if first <= second else second * _BASE + first


@dataclass(frozen=True)
class PairSet:
    """All unordered pairs of two different users, one from `a` and the other from `b`.

    With `a == b` these are all pairs within one set.
    """

    a: frozenset[int]
    """Users in the first role."""
    b: frozenset[int]
    """Users in the second role."""

    def __len__(self) -> int:
        both = len(self.a & self.b)
        return len(self.a) * len(self.b) - both * (both - 1) // 2 - both

    def count(self, packed: set[int]) -> int:
        """Number of the packed pairs in the set."""
        a, b = self.a, self.b
        unpacked = map(divmod, packed, repeat(_BASE))
        if a == b:
            return sum(u in a and v in a and u != v for u, v in unpacked)
        return sum(((u in a and v in b) or (v in a and u in b)) and u != v for u, v in unpacked)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield every pair once, lower id first, sorted."""
        users = sorted(self.a | self.b)
        for i, u in enumerate(users):
            in_a, in_b = u in self.a, u in self.b
            for v in users[i + 1 :]:
                if (in_a and v in self.b) or (in_b and v in self.a):
                    yield u, v

    def to_json(self) -> dict[str, list[int]]:
        """Return the JSON form used in a sample's target."""
        return {"a": sorted(self.a), "b": sorted(self.b)}


def read_object(value: Any) -> set[int] | None:
    """Packed pairs of a Python list (tuple, set) of pairs; `None` for any other value.

    A pair is two integers or two numeric strings. Strings such as "(1, 2)" are not parsed here.
    """
    if not isinstance(value, list | tuple | set | frozenset):
        return None
    packed: set[int] = set()
    for item in value:
        if not isinstance(item, list | tuple | set | frozenset) or len(item) != 2:
            return None
        first, second = item
        try:
            packed.add(pack(int(first), int(second)))
        except (OverflowError, TypeError, ValueError):
            return None
    return packed


def _read(value: Any, wanted: re.Pattern[str]) -> set[int]:
    """Packed pairs of a text, of a list of texts, or of a list of pairs."""
    if not isinstance(value, str):
        packed = read_object(value)
        if packed is not None:
            return packed
        if isinstance(value, list | tuple):
            return set().union(*(_read(_text(item), wanted) for item in value))
    text = _text(value)
    return _found(text, wanted) or _found(text, _BARE)


def _text(value: Any) -> str:
    """`value` as text; empty where it holds an integer too long for Python to write."""
    try:
        return str(value)
    except ValueError:
        return ""


def _found(text: str, wanted: re.Pattern[str]) -> set[int]:
    ids = (match.groups() for match in wanted.finditer(text))
    return {pack(int(a), int(b)) for a, b in ids if max(len(a), len(b)) <= _MOST_DIGITS}


def read_gold(gold: Any) -> PairSet | set[int]:
    """Read a gold in any form: `PairSet` (or its JSON), a text, a list of texts or of pairs."""
    if isinstance(gold, PairSet):
        return gold
    if isinstance(gold, Mapping):
        return PairSet(frozenset(gold["a"]), frozenset(gold["b"]))
    return _read(gold, _STRICT)


def _f1(predicted: set[int], gold: PairSet | set[int]) -> float:
    hits = gold.count(predicted) if isinstance(gold, PairSet) else len(predicted & gold)
    if not hits:
        return 0.0
    precision, recall = hits / len(predicted), hits / len(gold)
    return 2 * precision * recall / (precision + recall)


_VERSION = "2"  # of both scorers: 1 stripped fewer reasoning forms


def _answer(output: Any) -> Any:
    return said("" if output is None else output)


def pairs_f1(gold: Any, output: Any) -> Score:
    """F1 as the reference computes it. `output` is a text or a Python list of pairs."""
    answer = _answer(output)
    wanted = read_gold(gold)
    if not len(wanted):
        literal = answer.strip() in EMPTY if isinstance(answer, str) else not answer
        return Score("official", float(literal), "0 pairs" if literal else None, _VERSION)
    predicted = _read(answer, _STRICT)
    return Score("official", _f1(predicted, wanted), f"{len(predicted)} pairs", _VERSION)


def pairs_recommended(gold: Any, output: Any) -> Score:
    """F1 with a tolerant parser; self pairs dropped; no pairs for an empty gold scores 1."""
    answer = _answer(output)
    wanted = read_gold(gold)
    predicted = {p for p in _read(answer, _TOLERANT) if p // _BASE != p % _BASE}
    value = _f1(predicted, wanted) if len(wanted) else float(not predicted)
    return Score("recommended", value, f"{len(predicted)} pairs", _VERSION)
