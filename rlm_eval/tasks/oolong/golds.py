"""The answers to OOLONG's questions, from two independent implementations that must agree.

`Table` counts over the columns of a window; `reread` sorts and scans lines parsed from the
rendered, labelled text. They share no code. A form without a clear answer in a window has no gold
(a tie, a frequency gap of 2 % or less where the benchmark requires more, no such line).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import TypeVar

from rlm_eval.tasks.dates import MONTHS
from rlm_eval.tasks.oolong.grammar import LABELS
from rlm_eval.tasks.oolong.questions import LESS, MORE, SAME, Form, Gold
from rlm_eval.tasks.oolong.window import Row

_Value = TypeVar("_Value", int, date)

MARGIN = 0.02
"""Minimum difference of two frequencies in a comparison."""


class Table:
    """First implementation: counts over the columns of a window."""

    def __init__(self, rows: Sequence[Row], labels: Sequence[str] = LABELS) -> None:
        self.rows, self.labels = rows, labels

    def gold(self, form: Form) -> Gold | None:
        """The answer; `None` where the window has no clear answer to the form."""
        rows = [row for row in self.rows if form.holds(row)]
        if not rows:
            return None
        if form.kind == "C2" and len({row.label for row in rows}) < len(self.labels):
            # The question lists all labels: one with count 0 would be the least common.
            return None
        found: Gold | None = _SOLVERS[form.kind](form, rows)
        return found and replace(found, support=len(rows))


def _leader(counts: Counter[str] | Counter[int], rank: int = 0) -> Gold | None:
    """The key at `rank`, where no other key has the same count."""
    ranked = counts.most_common(rank + 2)
    if len(ranked) < rank + 2:
        return None
    gaps = [ranked[i][1] - ranked[i + 1][1] for i in range(len(ranked) - 1)]
    return Gold(ranked[rank][0], gaps[rank], 0) if all(gaps[max(0, rank - 1) :]) else None


def _relation(more: float, less: float, words: tuple[str, str, str]) -> str:
    return words[0] if more > less else words[1] if more < less else words[2]


def _most(_: Form, rows: list[Row]) -> Gold | None:
    found = _leader(Counter(row.label for row in rows))
    return found if found and found.margin > MARGIN * len(rows) else None


def _least(_: Form, rows: list[Row]) -> Gold | None:
    ranked = Counter(row.label for row in rows).most_common()
    if len(ranked) < 2 or ranked[-1][1] == ranked[-2][1]:
        return None
    return Gold(ranked[-1][0], ranked[-2][1] - ranked[-1][1], 0)


def _compare(form: Form, rows: list[Row]) -> Gold | None:
    counts = Counter(row.label for row in rows)
    a, b = counts[form.a], counts[form.b]
    return Gold(_relation(a, b, (MORE, LESS, SAME)), abs(a - b), 0) if a and b else None


def _count(form: Form, rows: list[Row]) -> Gold | None:
    counted = sum(row.label == form.a for row in rows)
    return Gold(counted, 0, 0) if counted else None


def _user_with(form: Form, rows: list[Row]) -> Gold | None:
    return _leader(Counter(row.user for row in rows if row.label == form.a))


def _two_users(form: Form, rows: list[Row]) -> Gold | None:
    counts = Counter(row.user for row in rows if row.label == form.a)
    gap = counts[form.user] - counts[form.other]
    return Gold(form.user if gap > 0 else form.other, abs(gap), 0) if abs(gap) >= 2 else None


def _dates(rank: int) -> Callable[[Form, list[Row]], Gold | None]:
    def solve(_: Form, rows: list[Row]) -> Gold | None:
        found = _leader(Counter(row.day for row in rows), rank)
        return found and replace(found, value=date.fromordinal(int(str(found.value))))

    return solve


def _repeated(_: Form, rows: list[Row]) -> Gold | None:
    counts = Counter(row.day for row in rows).most_common()
    if len(counts) < 4:
        return None
    times = counts[3][1]
    return Gold(sum(c == times for _, c in counts), 0, 0, times)


def _before(form: Form, rows: list[Row]) -> Gold | None:
    sides: Counter[tuple[bool, bool]] = Counter(
        (row.day < form.days[0], row.label == form.a) for row in rows if row.day != form.days[0]
    )
    early = sides[True, True] + sides[True, False]
    late = sides[False, True] + sides[False, False]
    if not early or not late:
        return None
    gap = sides[True, True] / early - sides[False, True] / late
    equal = sides[True, True] * late == sides[False, True] * early
    if abs(gap) <= MARGIN and not equal:
        return None
    words = ("more common", "less common", "the same frequency")
    return Gold(_relation(0 if equal else gap, 0, words), abs(gap) * len(rows), 0)


def _by_month(rows: Sequence[Row]) -> list[tuple[tuple[int, int], Counter[str]]]:
    months: dict[tuple[int, int], Counter[str]] = {}
    for row in rows:
        day = date.fromordinal(row.day)
        months.setdefault((day.year, day.month), Counter())[row.label] += 1
    return sorted(months.items())


def _first_month(form: Form, rows: list[Row]) -> Gold | None:
    for (year, month), counts in _by_month(rows):
        if counts[form.a] > counts[form.b]:
            return Gold(f"{MONTHS[month - 1]} {year}", counts[form.a] - counts[form.b], 0)
    return None


def _months_above(form: Form, rows: list[Row]) -> Gold | None:
    months = sum(counts[form.a] > counts[form.b] for _, counts in _by_month(rows))
    return Gold(months, 0, 0) if months else None


def _months_leading(form: Form, rows: list[Row]) -> Gold | None:
    wins = [c.most_common(2) for _, c in _by_month(rows)]
    led = [w[0][0] for w in wins if len(w) < 2 or w[0][1] > w[1][1]]
    return Gold(led.count(form.a), 0, 0) if form.a in led else None


_SOLVERS: dict[str, Callable[[Form, list[Row]], Gold | None]] = {
    "C1": _most,
    "C2": _least,
    "C3": _compare,
    "C4": _count,
    "U1": lambda _, rows: _leader(Counter(row.user for row in rows)),
    "U2": lambda _, rows: _leader(Counter(row.user for row in rows), 1),
    "U4": _user_with,
    "U5": _two_users,
    "T1": _dates(0),
    "T2": _dates(1),
    "T3": _repeated,
    "T4": _before,
    "T7": _first_month,
    "T8": _months_above,
    "T9": _months_leading,
}


def reread(form: Form, gold: Gold, lines: Sequence[tuple[date, int, str]]) -> str | int | date:
    """Second implementation: the answer from (date, user, label) parsed from the labelled text.

    Sorts and scans; shares no code with `Table`. `gold` provides only T3's count.
    """
    part = [line for line in lines if _in_subset(form, line)]
    labels = [label for _, _, label in part]
    days = [day for day, _, _ in part]
    mine = [user for _, user, label in part if label == form.a]
    kind = form.kind
    if kind in ("C1", "C2"):
        return (max if kind == "C1" else min)(sorted(set(labels)), key=labels.count)
    if kind == "C3":
        gap = labels.count(form.a) - labels.count(form.b)
        return SAME if gap == 0 else MORE if gap > 0 else LESS
    if kind == "C4":
        return labels.count(form.a)
    if kind in ("U1", "U2"):
        return _longest_runs([user for _, user, _ in part])[kind == "U2"]
    if kind == "U4":
        return _longest_runs(mine)[0]
    if kind == "U5":
        return max((form.user, form.other), key=mine.count)
    if kind in ("T1", "T2"):
        return _longest_runs(days)[kind == "T2"]
    if kind == "T3":
        runs = [len(list(run)) for _, run in itertools.groupby(sorted(days))]
        return runs.count(gold.times)
    if kind == "T4":
        parting = date.fromordinal(form.days[0])
        early = [label == form.a for day, label in zip(days, labels, strict=True) if day < parting]
        late = [label == form.a for day, label in zip(days, labels, strict=True) if day > parting]
        left, right = sum(early) * len(late), sum(late) * len(early)
        words = {1: "more common", -1: "less common", 0: "the same frequency"}
        return words[(left > right) - (left < right)]
    months = [(day.year, day.month) for day in days]
    return _reread_months(form, sorted(zip(months, labels, strict=True)))


def _in_subset(form: Form, line: tuple[date, int, str]) -> bool:
    day, user, _ = line
    if form.kind[0] != "C" or form.scope == "global":
        return True
    if form.scope == "user":
        return user == form.user
    if form.scope == "month":
        return day.month == form.month
    low, high = map(date.fromordinal, form.days)
    return low <= day <= high


def _longest_runs(values: Sequence[_Value]) -> list[_Value]:
    runs = [(len(list(run)), value) for value, run in itertools.groupby(sorted(values))]
    return [value for _, value in sorted(runs, key=lambda run: -run[0])]


def _reread_months(form: Form, lines: list[tuple[tuple[int, int], str]]) -> str | int:
    above, leading = 0, 0
    for (year, month), run in itertools.groupby(lines, key=lambda line: line[0]):
        labels = [label for _, label in run]
        a, b = labels.count(form.a), labels.count(form.b)
        if form.kind == "T7" and a > b:
            return f"{MONTHS[month - 1]} {year}"
        above += a > b
        leading += all(a > labels.count(other) for other in set(labels) - {form.a})
    return above if form.kind == "T8" else leading
