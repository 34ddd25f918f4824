"""A window of labelled lines in OOLONG's format: made, rendered, read back.

Follows OOLONG-synth's construction (abertsch72/oolong; arXiv:2511.02817): label priors from a
softmax of random draws, 80 % of the lines from common users, uniform dates, the same preamble,
lines and epilogue. Three things differ, on purpose. Windows are nested: line i is the same at every
length, and a shorter window is the longer one with lines taken out (so that lengths pair). No text
occurs twice. And of every window's labels two are exactly equally frequent and three follow each
other closely: only such comparisons cannot be answered from a small sample of the lines.
Not here: questions.
"""

from __future__ import annotations

import functools
import math
import random
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from rlm_eval.errors import RlmEvalError
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.dates import day_text, read_day
from rlm_eval.tasks.oolong_grammar import LABELS, text_maker

FIRST_DAY, LAST_DAY = date(2022, 2, 16).toordinal(), date(2025, 6, 21).toordinal()
PROMPT_TOKENS, LINE_TOKENS = 168, 39
COMMON_SHARE = 0.8
ACTIVE = 4
"""Common users among whom a line is drawn; the pool grows by one user every ten lines."""
CLOSE = 0.475
"""Gap of close labels, in square roots of their count (middle of 0.35 to 0.6)."""
BLOCK = 128
_LAST = 8
_PIECE = 4096
_DAYS = list(range(FIRST_DAY, LAST_DAY + 1))
_LINE = re.compile(r"^Date: (.*?) \|\| User: (\d+) \|\| Instance: (.*)$", re.MULTILINE)
_TAG = " || Label: "


class Row(NamedTuple):
    """One line of a window."""

    day: int
    """Proleptic ordinal of its date."""
    user: int
    text: str
    label: str
    """Empty where it is unknown."""


def official_lines(length: int) -> int:
    """Lines of an official trec_coarse window of that nominal length."""
    return max(1, math.floor((0.95 * length - PROMPT_TOKENS - 250) / LINE_TOKENS))


@functools.lru_cache(maxsize=4096)
def day_name(day: int) -> str:
    """`Jan 06, 2023`."""
    return day_text(date.fromordinal(day))


@functools.lru_cache(maxsize=4096)
def _day_of(name: str) -> int:
    return read_day(name).toordinal()


def render_line(row: Row, with_label: bool = False) -> str:
    """The line without its newline."""
    tag = _TAG + row.label if with_label else ""
    return f"Date: {day_name(row.day)} || User: {row.user} || Instance: {row.text}{tag}"


def frame(n: int, labels: Sequence[str]) -> tuple[str, str]:
    """Preamble and epilogue of a window of `n` lines."""
    named = ", ".join(f"'{label}'" for label in labels)
    body = (
        f"lines contain {n} general-knowledge questions, one per line. Each question has an answer "
        f"that can be described as one of {len(labels)} categories: {named}.\n\nYou will be asked "
        f"to answer questions about the aggregate label statistics across all {n} examples in this "
        "dataset. Do not try to guess, estimate, or approximate the result. Calculate the exact "
        "answer given these datapoints.\n\n"
    )
    return f"The following {body}", f"Recall: the preceding {body}"


def render(rows: Sequence[Row], labels: Sequence[str], with_labels: bool = False) -> str:
    """The whole window as text."""
    before, after = frame(len(rows), labels)
    return "".join([before, *_blocks(rows, with_labels), after])


def _blocks(rows: Sequence[Row], with_labels: bool) -> Iterator[str]:
    """The lines in pieces: 30,000 small strings at once would outweigh the text they make."""
    for start in range(0, len(rows), _PIECE):
        part = rows[start : start + _PIECE]
        yield "".join([render_line(row, with_labels) + "\n" for row in part])


def parse(text: str) -> list[Row]:
    """The lines of a window, official or ours; labels where the text shows them."""
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Row]:
    for match in _LINE.finditer(text):
        instance, _, label = match[3].partition(_TAG)
        yield Row(_day_of(match[1]), int(match[2]), instance, label)


def reread_labels(rows: Sequence[Row]) -> list[tuple[date, int, str]]:
    """(date, user, label) of the lines, from their labelled rendering read back."""
    labels: dict[str, str] = {}  # one object per label and per user, not one per line
    users: dict[int, int] = {}
    shown = (row for block in _blocks(rows, with_labels=True) for row in _parsed(block))
    return [
        (_date_of(day), users.setdefault(user, user), labels.setdefault(label, label))
        for day, user, _, label in shown
    ]


_date_of = functools.lru_cache(maxsize=4096)(date.fromordinal)


def line_spans(text: str) -> list[tuple[int, int]]:
    """Character span of every line of a window, in order."""
    return [match.span() for match in _LINE.finditer(text)]


class Priors(NamedTuple):
    """Expected shares of a window's labels, and who is tied or close to whom."""

    order: tuple[str, ...]
    """Labels in the order in which the window lists them."""
    top: str
    tied: tuple[str, str]
    close: tuple[str, str, str]
    """Each a little more common than the next."""
    shares: tuple[float, float, float]
    """Of `top`, of each tied label, and of the middle close label."""


def draw_priors(source: random.Random) -> Priors:
    """OOLONG's draw, repeated until the most common label is clear and no group runs empty."""
    while True:
        labels = list(LABELS)
        source.shuffle(labels)
        heat = source.randint(2, 6)
        weights = {label: math.exp(source.randint(1, 30) ** (1 / heat)) for label in labels}
        total = sum(weights.values())
        ranked = sorted(labels, key=lambda label: -weights[label])
        shares = [weights[label] / total for label in ranked]
        top, tied, close = shares[0], sum(shares[1:3]) / 2, sum(shares[3:]) / 3
        if top > tied + 0.05 and tied > close + 0.03 and close > 0.04:
            a, b, c, d, e = ranked[1:]
            return Priors(tuple(labels), ranked[0], (a, b), (c, d, e), (top, tied, close))


class Window:
    """The lines of one base window in order of arrival; a length takes the first n of them."""

    def __init__(self, key: str, cost: Callable[[str], float]) -> None:
        self.key, self.cost = key, cost
        self.priors = draw_priors(rng(key, "priors"))
        self._rows: list[Row] = []
        self._places = array("d")
        self._blocks: list[float] = []
        self._head = cost(render_line(Row(LAST_DAY, 12_345, "", "")).rstrip())
        self._counts = dict.fromkeys(LABELS, 0)
        self._texts: set[str] = set()
        self._users, self._days = rng(key, "users"), rng(key, "days")
        self._order = rng(key, "order")
        self._makers = {label: text_maker(label, rng(key, "text", label)) for label in LABELS}
        self._ids = array("I", range(10_000, 100_000))
        self._users.shuffle(self._ids)

    def _due(self) -> str:
        """The label that lags most behind its share."""
        n, counts, priors = len(self._rows) + 1, self._counts, self.priors
        top, tied, close = (share * n for share in priors.shares)
        gap = max(CLOSE * math.sqrt(close), min(5.2, close / 2.5))
        most, middle, least = priors.close
        a, b = priors.tied
        lags = (
            (top - counts[priors.top], priors.top),
            (tied - counts[a], a),
            (tied - counts[b], b),
            (close + gap - counts[most], most),
            (close - counts[middle], middle),
            (close - gap - counts[least], least),
        )
        return max(lags)[1]

    def _fresh(self, make: Callable[[], str]) -> str:
        while True:
            text = make()
            if text not in self._texts:
                self._texts.add(text)
                return text

    def _user(self) -> int:
        half = len(self._ids) // 2
        if self._users.random() < COMMON_SHARE:
            newest = len(self._rows) // 10
            oldest = max(0, newest - ACTIVE + 1)
            place = oldest + int(self._users.random() * max(ACTIVE, newest - oldest + 1))
            return self._ids[place % half]
        return self._ids[half + int(self._users.random() * half)]

    def _arrive(self) -> Row:
        label = self._due()
        day = _DAYS[int(self._days.random() * len(_DAYS))]
        row = Row(day, self._user(), self._fresh(self._makers[label]), label)
        self._counts[label] += 1
        self._rows.append(row)
        self._places.append(self._order.random())
        return row

    def first(self, n: int) -> list[Row]:
        """The first `n` lines in order of arrival."""
        while len(self._rows) < n:
            self._arrive()
        rows = self._rows[:n]
        a, b = (sum(r.label == label for r in rows) for label in self.priors.tied)
        for i in range(n - 1, -1, -1):
            # The cut fell between the two tied labels: the surplus line becomes a `top` line.
            if a == b:
                break
            if rows[i].label == self.priors.tied[0 if a > b else 1]:
                rows[i] = self._relabelled(rows[i], i)
                a, b = (a - 1, b) if a > b else (a, b - 1)
        return rows

    def _relabelled(self, row: Row, place: int) -> Row:
        make = text_maker(self.priors.top, rng(self.key, "relabelled", place))
        return row._replace(label=self.priors.top, text=self._unused(make))

    def _unused(self, make: Callable[[], str]) -> str:
        return next(text for text in iter(make, "") if text not in self._texts)

    def _cost(self, *rows: Row) -> float:
        """Tokens of lines: their texts, and a head each that is as long as any other."""
        return len(rows) * self._head + self.cost("".join([f" {row.text}\n" for row in rows]))

    def _block(self, place: int) -> float:
        """Cost of `BLOCK` lines; a tokenizer's call costs more than its work on one line."""
        while len(self._blocks) <= place:
            start = len(self._blocks) * BLOCK
            while len(self._rows) < start + BLOCK:
                self._arrive()
            self._blocks.append(self._cost(*self._rows[start : start + BLOCK]))
        return self._blocks[place]

    def fill(self, budget: float, slack: float) -> list[Row]:
        """Lines whose cost comes within `slack` below `budget`, in order of arrival.

        The texts of the last lines are drawn again so that the sum fits; labels, users and dates
        stay, so that no gold changes with it. Raises `RlmEvalError` where not even two lines fit.
        """
        n, left = 0, budget
        while self._block(n // BLOCK) <= left:
            left -= self._block(n // BLOCK)
            n += BLOCK
        while (cost := self._cost(self._rows[n])) <= left:
            left -= cost
            n += 1
        if n < 2:
            raise RlmEvalError(f"a window of {budget:.0f} tokens holds no lines; use a longer one")
        rows = self.first(n)
        for i in range(n - 1, -1, -1):
            if rows[i] is not self._rows[i]:
                left += self._cost(self._rows[i]) - self._cost(rows[i])
        taken: set[str] = set()
        for i in range(n - 1, max(0, n - 1 - _LAST), -1):
            if 0 <= left <= slack:
                break
            make = text_maker(rows[i].label, rng(self.key, "filler", n, i))
            drawn = [rows[i].text, *(self._unused(make) for _ in range(150))]
            now = self._cost(rows[i])
            fits = [(self._cost(rows[i]._replace(text=t)) - now, t) for t in drawn]
            allowed = [(more, t) for more, t in fits if more <= left and t not in taken]
            more, text = max(allowed or fits[:1], key=lambda pair: pair[0])
            taken.add(text)
            rows[i], left = rows[i]._replace(text=text), left - more
        return rows

    def arranged(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of `first` or `fill` in the order in which the window shows them."""
        places = self._places
        return [rows[i] for i in sorted(range(len(rows)), key=places.__getitem__)]
