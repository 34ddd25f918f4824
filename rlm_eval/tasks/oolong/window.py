"""A window of labelled lines in OOLONG's format: generated, rendered, parsed.

Follows OOLONG-synth's construction (abertsch72/oolong; arXiv:2511.02817): label priors from a
softmax of random draws, 80 % of the lines from common users, uniform dates, the same preamble,
lines and epilogue. It differs deliberately in three ways. Windows are nested: line i is the same at
every length, and a shorter window is the longer one with lines removed (so that lengths pair). No
text occurs twice. Some labels of a window are exactly equally frequent or nearly so
(`draw_priors`): only such comparisons cannot be answered from a small sample of the lines. Texts
are in `oolong_grammar`; questions are elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import math
import random
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.dates import day_text, read_day
from rlm_eval.tasks.oolong.grammar import NoMoreLines, Source, Writer, family
from rlm_eval.tasks.oolong.users import OOLONG_USERS, Mix, Users

FIRST_DAY, LAST_DAY = date(2022, 2, 16).toordinal(), date(2025, 6, 21).toordinal()
PROMPT_TOKENS, LINE_TOKENS = 168, 39
CLOSE = 0.475
"""Gap of close labels, in square roots of their count (middle of 0.35 to 0.6)."""
FEWEST = 3
"""Minimum gap of close labels, in lines, where they have at least 8."""
BLOCK = 128
CLOSE_OF_TWO = 0.75
"""Share of the two-label windows in which the labels are close."""
_LAST, _DRAWS = 8, 150
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
    """Empty where unknown."""


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
    """Format the line, without its newline."""
    tag = _TAG + row.label if with_label else ""
    return f"Date: {day_name(row.day)} || User: {row.user} || Instance: {row.text}{tag}"


def frame(n: int, source: Source, order: Sequence[str]) -> tuple[str, str]:
    """Preamble and epilogue of a window of `n` lines."""
    body = (
        f"{source.described(n, order)}\n\nYou will be asked "
        f"to answer questions about the aggregate label statistics across all {n} examples in this "
        "dataset. Do not try to guess, estimate, or approximate the result. Calculate the exact "
        "answer given these datapoints.\n\n"
    )
    return f"The following {body}", f"Recall: the preceding {body}"


def render(
    rows: Sequence[Row],
    order: Sequence[str],
    with_labels: bool = False,
    source: Source | None = None,
) -> str:
    """Render the whole window, the labels in `order`. `source`: `None` = OOLONG's questions."""
    before, after = frame(len(rows), source or family("question"), order)
    return "".join([before, *_blocks(rows, with_labels), after])


def _blocks(rows: Sequence[Row], with_labels: bool) -> Iterator[str]:
    """Yield the lines in blocks: 30,000 small strings take more memory than the text."""
    for start in range(0, len(rows), _PIECE):
        part = rows[start : start + _PIECE]
        yield "".join([render_line(row, with_labels) + "\n" for row in part])


def parse(text: str) -> list[Row]:
    """Parse the lines of a window, official or ours; labels where the text shows them."""
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Row]:
    for match in _LINE.finditer(text):
        instance, _, label = match[3].partition(_TAG)
        yield Row(_day_of(match[1]), int(match[2]), instance, label)


def reread_labels(rows: Sequence[Row]) -> list[tuple[date, int, str]]:
    """(date, user, label) of the lines, parsed back from their labelled rendering."""
    labels: dict[str, str] = {}  # one object per distinct label and user, to save memory
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
    """Expected shares of a window's labels, with the tied and the close labels."""

    order: tuple[str, ...]
    """Labels in the window's listing order."""
    top: str
    """The most common label; where there are only two and they are close, the first of them."""
    tied: tuple[str, ...]
    """Two exactly equally frequent labels, or none."""
    close: tuple[str, ...]
    """Labels each slightly more common than the next: two or three, or none."""
    shares: dict[str, float]
    """Label -> its share of the lines, before adding the gaps of the close ones."""


def draw_priors(source: random.Random, labels: Sequence[str]) -> Priors:
    """OOLONG's draw, repeated until the most common label is clear and no group is empty.

    With five labels or more, two are tied and the least common three are close (with three or five
    labels: two). Two labels are close in three windows of four, otherwise clearly apart.
    """
    if len(labels) == 2:
        return _draw_two(source, labels)
    while True:
        order = list(labels)
        source.shuffle(order)
        heat = source.randint(2, 6)
        weights = {label: math.exp(source.randint(1, 30) ** (1 / heat)) for label in order}
        total = sum(weights.values())
        ranked = sorted(order, key=lambda label: -weights[label])
        shares = {label: weights[label] / total for label in ranked}
        tied = ranked[1:3] if len(ranked) >= 5 else []
        close = ranked[-2:] if len(ranked) in (3, 5) else ranked[-3:]
        for group in (tied, close):
            mean = sum(shares[label] for label in group) / max(1, len(group))
            shares |= dict.fromkeys(group, mean)
        middle = shares[ranked[1]]
        gap = 0.06 / len(ranked)  # 0.01 for six labels, as the benchmark's questions require
        apart = middle > shares[close[0]] + 3 * gap or not tied
        if shares[ranked[0]] > middle + 5 * gap and apart and shares[close[0]] > 4 * gap:
            return Priors(tuple(order), ranked[0], tuple(tied), tuple(close), shares)


def _draw_two(source: random.Random, labels: Sequence[str]) -> Priors:
    order = list(labels)
    source.shuffle(order)
    ranked = source.sample(order, 2)
    if source.random() < CLOSE_OF_TWO:
        return Priors(tuple(order), ranked[0], (), tuple(ranked), dict.fromkeys(ranked, 0.5))
    share = source.uniform(0.56, 0.7)
    shares = {ranked[0]: share, ranked[1]: 1 - share}
    return Priors(tuple(order), ranked[0], (), (), shares)


class Window:
    """The lines of one base window in arrival order; a length uses the first n of them.

    `cost` counts tokens. `block`: lines drawn and measured together. `mix`: distribution over
    users.
    """

    def __init__(
        self,
        key: str,
        cost: Callable[[str], float],
        source: Source | None = None,
        block: int = BLOCK,
        mix: Mix = OOLONG_USERS,
    ) -> None:
        self.key, self.cost, self.block = key, cost, block
        self.source = source or family("question")
        self.priors = draw_priors(rng(key, "priors"), self.source.labels)
        self._rows: list[Row] = []
        self._places = array("d")
        self._blocks: list[float] = []
        self._head = cost(render_line(Row(LAST_DAY, 12_345, "", "")).rstrip())
        self._counts = dict.fromkeys(self.source.labels, 0)
        self._texts: set[str] = set()
        self._users, self._days = Users(key, mix), rng(key, "days")
        self._order = rng(key, "order")
        self._writer = self.source.writer(rng(key, "text"))
        middle = (len(self.priors.close) - 1) / 2
        self._steps = [
            (label, share, middle - self.priors.close.index(label))
            if label in self.priors.close
            else (label, share, 0.0)
            for label, share in self.priors.shares.items()
        ]

    def _due(self) -> str:
        """The label furthest below its share."""
        n, counts = len(self._rows) + 1, self._counts
        most, due = -math.inf, ""
        for label, share, steps in self._steps:
            lag = share * n - counts[label]
            if steps:
                close = share * n
                lag += steps * max(CLOSE * math.sqrt(close), min(FEWEST + 0.2, close / 2.5))
            if lag > most:
                most, due = lag, label
        return due

    def _fresh(self, writer: Writer, label: str) -> str:
        while True:
            text = writer.make(label)
            if text not in self._texts:
                self._texts.add(text)
                return text

    def _arrive(self) -> Row:
        label = self._due()
        day = _DAYS[int(self._days.random() * len(_DAYS))]
        user = self._users.of_line(len(self._rows), label)
        row = Row(day, user, self._fresh(self._writer, label), label)
        self._counts[label] += 1
        self._rows.append(row)
        self._places.append(self._order.random())
        return row

    def first(self, n: int) -> list[Row]:
        """The first `n` lines in arrival order."""
        while len(self._rows) < n:
            self._arrive()
        rows = self._rows[:n]
        if not self.priors.tied:
            return rows
        a, b = (sum(r.label == label for r in rows) for label in self.priors.tied)
        for i in range(n - 1, -1, -1):
            # The cut separates the two tied labels: convert the surplus line to a `top` line.
            if a == b:
                break
            if rows[i].label == self.priors.tied[0 if a > b else 1]:
                rows[i] = self._relabelled(rows[i], i)
                a, b = (a - 1, b) if a > b else (a, b - 1)
        return rows

    def _relabelled(self, row: Row, place: int) -> Row:
        writer = self.source.writer(rng(self.key, "relabelled", place))
        text = self._unused(writer, self.priors.top)
        return row._replace(label=self.priors.top, text=text)

    def _unused(self, writer: Writer, label: str) -> str:
        return next(t for t in iter(lambda: writer.make(label), "") if t not in self._texts)

    def _candidates(self, writer: Writer, label: str) -> list[str]:
        """Up to `_DRAWS` texts of the label that no line uses."""
        drawn: list[str] = []
        with contextlib.suppress(NoMoreLines):
            while len(drawn) < _DRAWS:
                drawn.append(self._unused(writer, label))
        return drawn

    def _cost(self, *rows: Row) -> float:
        """Tokens of lines: their texts plus line heads, which all have the same length."""
        return len(rows) * self._head + self.cost("".join([f" {row.text}\n" for row in rows]))

    def _block(self, place: int) -> float:
        """Cost of a block of lines; a tokenizer call costs more than its work on one line."""
        while len(self._blocks) <= place:
            start, end = len(self._blocks) * self.block, (len(self._blocks) + 1) * self.block
            while len(self._rows) < end:
                self._arrive()
            self._blocks.append(self._cost(*self._rows[start:end]))
        return self._blocks[place]

    def fitting(self, budget: float) -> tuple[int, float]:
        """Number of lines that cost at most `budget` tokens, and the tokens left."""
        n, left = 0, budget
        while self._block(n // self.block) <= left:
            left -= self._block(n // self.block)
            n += self.block
        while (cost := self._cost(self._rows[n])) <= left:
            left -= cost
            n += 1
        return n, left

    def fill(self, budget: float, slack: float) -> list[Row]:
        """Lines whose cost is within `slack` below `budget`, in arrival order.

        The texts of the last lines are redrawn so that the sum fits; labels, users and dates stay,
        so no gold changes. Raises `RlmEvalError` where not even two lines fit.
        """
        n, left = self.fitting(budget)
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
            writer = self.source.writer(rng(self.key, "filler", n, i))
            label = rows[i].label
            drawn = [rows[i].text, *self._candidates(writer, label)]
            now = self._cost(rows[i])
            fits = [(self._cost(rows[i]._replace(text=t)) - now, t) for t in drawn]
            allowed = [(more, t) for more, t in fits if more <= left and t not in taken]
            more, text = max(allowed or fits[:1], key=lambda pair: pair[0])
            taken.add(text)
            rows[i], left = rows[i]._replace(text=text), left - more
        return rows

    def arranged(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of `first` or `fill` in the window's display order."""
        places = self._places
        return [rows[i] for i in sorted(range(len(rows)), key=places.__getitem__)]
