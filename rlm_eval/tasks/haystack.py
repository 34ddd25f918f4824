"""Filler of exact length, with needles inserted at given depths.

`noise` and `needle` follow RULER (NVIDIA/RULER `niah.py` @c3f5e3b). `prose` is our own grammar: no
sentence occurs twice (a keyed permutation of some 10^12 combinations), 7-digit numbers and the
asked key's words also occur in the filler, and a shorter text is a prefix of the longer one.
`mixed` is logs, code, chat and prose; `file` is the user's text. Questions are elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.tokens import Tokenizer
from rlm_eval.tasks.base import data, fit, rng, top_up

KINDS = ("prose", "noise", "needle", "mixed", "file")
_NOISE = ("The grass is green.", " The sky is blue.", " The sun is yellow.", " Here we go.")
_NOISE_LINE = "".join(_NOISE) + " There and back again.\n"
_NOISE_PARTS = ["Here we go.\n", *("".join(_NOISE[: i + 1]) + "\n" for i in range(4))] * 2
_SPARE = 240  # units beyond the budget, candidates for an exact fit
_NUMBER_EVERY, _WORD_EVERY = 12, 8  # a decoy in one of so many sentences

Ints = npt.NDArray[np.uint64]


class Permutation:
    """A keyed bijection of 0 .. size-1, evaluated for whole arrays (four Feistel rounds)."""

    def __init__(self, size: int, source: random.Random) -> None:
        self.size = size
        self._half = max(1, math.ceil(math.log2(size) / 2))
        self._keys = [source.getrandbits(62) * 2 + 1 for _ in range(4)]

    def __call__(self, values: Ints) -> Ints:
        result = self._round(values)
        outside = np.nonzero(result >= self.size)[0]
        while outside.size:  # iterate until every value is in range
            result[outside] = self._round(result[outside])
            outside = outside[result[outside] >= self.size]
        return result

    def _round(self, values: Ints) -> Ints:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._keys:
            mixed = (right + np.uint64(key & 0xFFFFFFFF)) * np.uint64(key)
            mixed ^= mixed >> np.uint64(29)
            left, right = right, left ^ ((mixed * np.uint64(key)) >> np.uint64(37)) & mask
        return (left << half) | right


@dataclass(frozen=True)
class _Columns:
    """The grammar: one list of phrases per sentence position, with their costs."""

    texts: list[list[str]]
    costs: list[npt.NDArray[np.float64]]
    bare_opening: npt.NDArray[np.float64]
    ending: npt.NDArray[np.float64]
    number_tails: list[str]
    number_costs: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@functools.lru_cache(maxsize=4)
def _columns(tokenizer: Tokenizer) -> _Columns:
    words = data("words.json")
    names = ("openings", "adjectives", "nouns", "verbs", "objects", "tails")
    texts = [[f" {phrase}" for phrase in words[name]] for name in names]
    texts[5] = [f"{tail}." for tail in texts[5]]
    tails = [f" {tail}." for tail in words["number_tails"]]

    def cost(phrases: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.array([tokenizer.cost(phrase) for phrase in phrases])

    numbered = [tail.format(4821730) for tail in tails]
    return _Columns(
        texts=texts,
        costs=[cost(column) for column in texts],
        bare_opening=cost([opening[1:] for opening in texts[0]]),
        ending=cost([f"{tail}\n" for tail in texts[5]]),
        number_tails=tails,
        number_costs=(cost(numbered), cost([f"{tail}\n" for tail in numbered])),
    )


@dataclass(frozen=True)
class Prose:
    """Sentences 0, 1, 2, ... of one text."""

    tokenizer: Tokenizer
    seed: str
    """Seed of the text."""
    key_words: tuple[tuple[int, str], ...] = ()
    """Decoy words as (1, adjective) or (2, noun)."""
    avoid: frozenset[str] = frozenset()
    """Numbers that must not occur."""
    decoys: bool = True
    """Include 7-digit numbers and `key_words` in the filler."""

    def __call__(self, budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Units worth `budget` tokens plus `_SPARE` more, with their costs."""
        mean = sum(float(cost.mean()) for cost in _columns(self.tokenizer).costs)
        count = int(budget / mean * 1.02) + _SPARE
        while True:
            units, costs = self.take(0, count)
            if float(costs[: -_SPARE // 2].sum()) >= budget:
                return units, costs
            count = count * 6 // 5

    def take(self, first: int, count: int) -> tuple[list[str], npt.NDArray[np.float64]]:
        """`count` sentences from number `first` on, with their costs.

        Decoy positions count from `first`; without decoys, pieces of one text concatenate exactly.
        """
        columns, source = _columns(self.tokenizer), rng("prose", self.seed)
        order = Permutation(math.prod(map(len, columns.texts)), source)
        numbers = Permutation(9_000_000, source)
        places = np.arange(first, first + count, dtype=np.uint64)
        rest = order(places)
        ends = (rest >> np.uint64(3)) % np.uint64(6) == 0  # the sentence ends its paragraph
        starts = np.concatenate(([True], ends[:-1]))
        picks = []
        for column in columns.texts:
            rest, pick = np.divmod(rest, np.uint64(len(column)))
            picks.append(pick.astype(np.int64))
        texts = [[column[i] for i in p.tolist()] for column, p in zip(columns.texts, picks)]  # noqa: B905
        cost = [column[p] for column, p in zip(columns.costs, picks, strict=True)]
        cost[0] = np.where(starts, columns.bare_opening[picks[0]], cost[0])
        cost[5] = np.where(ends, columns.ending[picks[5]], cost[5])
        if self.decoys:
            values = numbers(places[::_NUMBER_EVERY]).tolist()
            for n, drawn in zip(range(0, count, _NUMBER_EVERY), values, strict=True):
                number = str(1_000_000 + drawn)
                if number not in self.avoid:
                    which = n // _NUMBER_EVERY % len(columns.number_tails)
                    texts[5][n] = columns.number_tails[which].format(number)
                    cost[5][n] = columns.number_costs[int(ends[n])][which]
            for n in range(5, count if self.key_words else 0, _WORD_EVERY):
                place, word = self.key_words[n // _WORD_EVERY % len(self.key_words)]
                texts[place][n] = f" {word}"
                cost[place][n] = self.tokenizer.cost(f" {word}")
        for n in np.nonzero(starts)[0].tolist():
            texts[0][n] = texts[0][n][1:]
        for n in np.nonzero(ends)[0].tolist():
            texts[5][n] += "\n"
        return list(map("".join, zip(*texts, strict=True))), np.sum(cost, axis=0)


Filler = Callable[[float], tuple[list[str], npt.NDArray[np.float64]]]
"""`filler(budget)`: units worth at least `budget` tokens, some spare, with their costs."""


def lines(
    tokenizer: Tokenizer, make: Callable[[int], str], short: Sequence[str] = _NOISE_PARTS
) -> Filler:
    """A filler from the lines `make(0)`, `make(1)`, ... (without newlines).

    `short`: extra lines (with newlines) where all lines of the task have the same length.
    """

    def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
        units: list[str] = []
        costs: list[float] = []
        total, spare = 0.0, 0
        while spare < _SPARE:
            units.append(f"{make(len(units))}\n")
            costs.append(tokenizer.cost(units[-1]))
            total += costs[-1]
            spare += total > budget
        units += short
        return units, np.array(costs + [tokenizer.cost(part) for part in short])

    return filler


def noise(tokenizer: Tokenizer) -> Filler:
    """RULER's repeated sentences, one per line; the spare units are prefixes of them."""

    def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
        cost = tokenizer.cost(_NOISE_LINE)
        count = int(budget / cost) + 1
        costs = [cost] * count + [tokenizer.cost(part) for part in _NOISE_PARTS]
        return [_NOISE_LINE] * count + _NOISE_PARTS, np.array(costs)

    return filler


def mixed(tokenizer: Tokenizer, seed: str, avoid: frozenset[str]) -> Filler:
    """Log lines, code, chat and prose, one per line; no line occurs twice."""
    words = data("words.json")
    adjectives, nouns, names = words["adjectives"], words["nouns"], words["first_names"]
    prose = itertools.cycle(  # repeats only where a text far exceeds its share of prose
        Prose(tokenizer, seed, avoid=avoid)(2**17)[0]
    )
    source = rng("mixed", seed)

    def make(n: int) -> str:
        draw, pick = source.randrange, source.choice
        kind, number = draw(4), str(1_000_000 + draw(9_000_000))
        number = "1000001" if number in avoid else number
        clock = f"{n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}"
        if kind == 0:
            level = pick(("INFO", "WARN", "DEBUG", "ERROR"))
            return (
                f"2026-{1 + n // 86400 % 12:02d}-{1 + n // 7200 % 28:02d}T{clock} {level} "
                f"{pick(nouns)}-service[{draw(99999)}]: job {number} on {pick(adjectives)}-"
                f"{pick(nouns)} took {draw(9000)} ms"
            )
        if kind == 1:
            name = f"{pick(adjectives)}_{pick(nouns)}_{n}"
            return f"def {name}({pick(nouns)}, limit={draw(99)}): return limit * {number}"
        if kind == 2:
            return (
                f"[{clock}] {pick(names)}: the {pick(adjectives)} {pick(nouns)} again? "
                f"see ticket {number}, {pick(names)} has the {pick(nouns)}"
            )
        return next(prose).strip()

    return lines(tokenizer, make)


def from_file(tokenizer: Tokenizer, path: Path) -> Filler:
    """The user's text from its start, split at the ends of sentences or lines."""
    text = re.sub(r"[ \t]+", " ", path.read_text("utf-8"))
    pieces = [p for p in re.split(r"(?<=[.!?])(?= )|(?<=\n)", text) if p.strip()]

    def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
        costs = np.array([tokenizer.cost(piece) for piece in pieces])
        if costs.sum() < budget:
            raise ConfigError(
                f"{path} has about {int(costs.sum())} tokens, the length asks for {int(budget)}; "
                "give a longer file or a shorter length (a text is never repeated)"
            )
        return pieces, costs

    return filler


def file_hash(path: str) -> str:
    """Hash of a user's file. Raises `ConfigError` where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"file {path!r} cannot be read: {error.strerror}") from error


def build(
    filler: Filler,
    needles: Sequence[tuple[float, str]],
    room: int,
    length: int,
    tokenizer: Tokenizer,
) -> tuple[str, int, list[tuple[int, int]]]:
    """Text, tokens and the needles' character spans; `needles` are (depth in [0, 1], sentence).

    `room` is the maximum tokens of the text, `length` the nominal length for the tolerance.
    """
    needle_cost = sum(tokenizer.cost(f" {sentence}\n") for _, sentence in needles)

    def make(budget: float, slack: float, most: int = 3) -> str:
        units, costs = filler(max(0.0, budget - needle_cost))
        return insert(trim(units, costs, budget - needle_cost, slack, most), needles)

    try:
        text, tokens = fit(make, room, length, tokenizer)
    except RlmEvalError:  # where several one-sentence paragraphs meet, a few units do not fit
        text, tokens = fit(functools.partial(make, most=8), room, length, tokenizer)
    starts = [text.index(sentence) for _, sentence in needles]
    return text, tokens, [(s, s + len(n)) for s, (_, n) in zip(starts, needles, strict=True)]


def trim(
    units: list[str], costs: npt.NDArray[np.float64], budget: float, slack: float, most: int = 3
) -> list[str]:
    """The first units plus up to `most` later ones that fill `budget` to within `slack`."""
    total = np.cumsum(costs)
    full = int(np.searchsorted(total, budget, side="right"))
    for kept in range(full, max(full - 8, -1), -1):
        left = budget - (float(total[kept - 1]) if kept else 0.0)
        inline = kept > 0 and not units[kept - 1].endswith("\n")
        spare = [
            i
            for i in range(full, min(full + _SPARE + 16, len(units)))
            if units[i].startswith(" ") == inline and units[i].endswith("\n") != inline
        ]
        extra = top_up(costs[spare].tolist(), left, slack, most)
        if extra or left <= slack:
            return units[:kept] + [units[spare[i]] for i in extra]
    return units[:full]


def insert(units: list[str], needles: Sequence[tuple[float, str]]) -> str:
    """Insert each needle after the share `depth` of the units, between whole sentences."""
    parts = list(units)
    placed = sorted(((round(d * len(units)), s) for d, s in needles), key=lambda pair: pair[0])
    for place, sentence in reversed(placed):  # needles at one place keep their order
        at_line = place == 0 or parts[place - 1].endswith("\n")
        parts.insert(place, f"{sentence}\n" if at_line else f" {sentence}")
    return "".join(parts)
