"""Model-free answers to OOLONG's questions: constants, rules and readers of a small part.

- `prior`: the best constant of each kind of question, found on other seeds if there are any.
- no model: `no_labels` counts users and dates, `keyword_rules` labels lines by keyword lists.
- skimmers get the correct label of each line that they read: the first lines, random lines, or the
  lines of the user or the dates in the question, up to a quarter of the lines (a random subset of
  more). Counts are extrapolated.
- `bag_of_words` labels the lines by training on other texts, then counts exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from rlm_eval.core.types import Sample
from rlm_eval.scoring.oolong import DECAY, read_gold
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.oolong.floors import constant, no_labels, worded
from rlm_eval.tasks.oolong.golds import reread
from rlm_eval.tasks.oolong.questions import Form, Gold
from rlm_eval.tasks.oolong.read import read_question
from rlm_eval.tasks.oolong.window import Row, parse, render_line

SHARES = (1, 5, 25)
"""Percentages of the lines that skimmers read."""
_COUNTS = ("C4", "T3")

Labelled = Callable[[Sample], Sequence[Row]]
"""The rows of a sample's window in order, with their correct labels."""


class Prior:
    """The best constant for each kind of question, found on other samples."""

    def __init__(self, known: Sequence[Sample] = ()) -> None:
        """`known`: samples whose golds may be used; none = `oolong_floors.constant`."""
        self._best: dict[str, str | float] = {}
        kinds = {str(sample.meta["kind"]) for sample in known if "kind" in sample.meta}
        for kind in sorted(kinds):
            golds = [(s, read_gold(s.target)[0]) for s in known if s.meta["kind"] == kind]
            if kind in ("C3", "T4", "T7"):
                self._best[kind] = Counter(str(gold) for _, gold in golds).most_common(1)[0][0]
            elif isinstance(golds[0][1], int) and kind[0] in "CT":
                scale = [(_lines(s) if kind == "C4" else 1, int(gold)) for s, gold in golds]
                self._best[kind] = max((g / n for n, g in scale), key=lambda f: _gain(f, scale))

    def __call__(self, sample: Sample) -> str:
        """The answer."""
        kind = str(sample.meta.get("kind", ""))
        best = self._best.get(kind)
        found = read_question(sample.question)
        if found and found[0].kind == "U5":
            return worded(sample, found[0].user)
        if isinstance(best, str):
            return worded(sample, best)
        if best is not None:
            return worded(sample, round(best * (_lines(sample) if kind == "C4" else 1)))
        return constant(sample)


def _lines(sample: Sample) -> int:
    return int(sample.meta.get("support", sample.meta["lines"]))


def _gain(share: float, scale: Sequence[tuple[int, int]]) -> float:
    return sum(DECAY ** abs(round(share * n) - gold) for n, gold in scale)


def guess(sample: Sample, rows: Sequence[Row], lines: int) -> str | None:
    """Answer a sample's question from some of its window's `lines` lines.

    Counts of lines are scaled up. `None` where the rows or the question's wording give no answer.
    """
    found = read_question(sample.question)
    if found is None or not rows:
        return None
    form, times = found
    read = [(date.fromordinal(row.day), row.user, row.label) for row in rows]
    try:
        value = reread(form, Gold("", 0, 0, times), read)
    except (IndexError, ValueError):
        return None  # for example the most common label of no line
    if isinstance(value, int) and form.kind in _COUNTS:
        value = round(value * lines / len(rows))
    return worded(sample, value)


@dataclass(frozen=True)
class _Skimmer:
    """Reads the lines that `chosen` selects, and no others."""

    labelled: Labelled
    chosen: Callable[[Sample, Sequence[Row]], list[int]]
    prior: Callable[[Sample], str]
    most: int | None = None
    """Maximum share of the lines to read among those that `chosen` selects, percent; `None` =
    all."""

    def __call__(self, sample: Sample) -> Reply:
        rows = self.labelled(sample)
        places = self.chosen(sample, rows)
        lines = len(rows) if self.most is None else len(places)
        if self.most is not None and len(places) > (allowed := len(rows) * self.most // 100):
            places = sorted(rng("search", sample.id).sample(places, max(1, allowed)))
        read = [rows[place] for place in places]
        share = sum(len(render_line(row)) + 1 for row in read) / max(1, sample.context.chars)
        answer = guess(sample, read, lines)
        return Reply(self.prior(sample) if answer is None else answer, min(1.0, share))


def _first(percent: int) -> Callable[[Sample, Sequence[Row]], list[int]]:
    return lambda _, rows: list(range(max(1, len(rows) * percent // 100)))


def _random(percent: int) -> Callable[[Sample, Sequence[Row]], list[int]]:
    def chosen(sample: Sample, rows: Sequence[Row]) -> list[int]:
        size = max(1, len(rows) * percent // 100)
        return sorted(rng("skimmer", percent, sample.id).sample(range(len(rows)), size))

    return chosen


def _named(sample: Sample, rows: Sequence[Row]) -> list[int]:
    """Lines of the users, the month or the dates in the question; empty where it names none."""
    found = read_question(sample.question)
    if found is None or found[0].scope == "global":
        return []
    form = found[0]
    users = (form.user, form.other) if form.kind == "U5" else ()
    return [
        place
        for place, row in enumerate(rows)
        if (row.user in users if users else Form("C4", "", "", *_subset(form)).holds(row))
    ]


def _subset(form: Form) -> tuple[int, int, int, tuple[int, int]]:
    return form.user, 0, form.month, form.days


def skimmers(labelled: Labelled, prior: Callable[[Sample], str]) -> list[Baseline]:
    """Readers of a part of the window that get the labels of the lines they read."""
    found = []
    for percent in SHARES:
        for name, chosen in (("first", _first(percent)), ("random", _random(percent))):
            skimmer = _Skimmer(labelled, chosen, prior)
            found.append(Baseline(f"{name}_{percent}_percent", Kind.SKIMMER, skimmer))
    searched = _Skimmer(labelled, _named, prior, most=SHARES[-1])
    return [*found, Baseline("search_named", Kind.SKIMMER, searched)]


def by_label(
    label: Callable[[str], str | None], prior: Callable[[Sample], str]
) -> Callable[[Sample], Reply]:
    """Exact counts over the labels that a rule assigns; unlabelled lines are excluded.

    The rule reads everything. A count of lines is scaled up for the unlabelled lines.
    """

    def answer(sample: Sample) -> Reply:
        rows = parse(sample.context.text())
        told = [row._replace(label=found) for row in rows if (found := label(row.text))]
        guessed = guess(sample, told, len(rows))
        return Reply(prior(sample) if guessed is None else guessed, 1.0)

    return answer


def without_labels(prior: Callable[[Sample], str]) -> list[Baseline]:
    """The constants, and answers from users and dates alone."""

    def counted(sample: Sample) -> Reply:
        found = read_question(sample.question)
        needs = found is None or found[0].kind not in ("U1", "U2", "T1", "T2", "T3")
        return Reply(prior(sample) if needs else no_labels(sample), 1.0)

    return [
        Baseline("prior", Kind.PRIOR, lambda sample: Reply(prior(sample), 0.0)),
        Baseline("no_labels", Kind.NO_MODEL, counted),
    ]
