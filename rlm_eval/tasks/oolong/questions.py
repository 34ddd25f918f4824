"""OOLONG's question catalogue over a labelled window: C1-C4, U1-U5, T1-T9, with their wording.

Question and answer wording follow the benchmark's format (abertsch72/oolong `generate_dataset.py`).
Known generator faults are repaired: T3 counts over all dates, T7 is asked once, closes its quotes
and has one answer, U5 lists the two users in random order, U4 and U5 quote their label, ties are
never asked. The answers are in `oolong_golds`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date

from rlm_eval.tasks.dates import MONTHS
from rlm_eval.tasks.oolong.window import FIRST_DAY, LAST_DAY, Priors, Row, day_name

MORE, LESS, SAME = "more common than", "less common than", "same frequency as"
_DAYS = LAST_DAY - FIRST_DAY
_FORM = "Give your final answer in the form"


@dataclass(frozen=True)
class Form:
    """A question without its answer; the same at every length of a window."""

    kind: str
    """Name in the catalogue: `C1` to `T9`."""
    a: str = ""
    """First label."""
    b: str = ""
    """Second label."""
    user: int = 0
    """The user of a subset, or the first of U5's two."""
    other: int = 0
    """The second of U5's two users."""
    month: int = 0
    """The month of a subset, 1 to 12."""
    days: tuple[int, int] = (0, 0)
    """First and last day of a range; for T4 the day that divides the window."""

    @property
    def scope(self) -> str:
        """The part of the window that the question is about."""
        if self.kind == "U5" or (self.user and self.kind[0] == "C"):
            return "user"
        return "month" if self.month else "range" if self.days[0] != self.days[1] else "global"

    @property
    def written(self) -> str:
        """The form as JSON; `read` parses it."""
        return json.dumps(astuple(self))

    @classmethod
    def read(cls, text: str) -> Form:
        """Parse the output of `written`."""
        kind, a, b, user, other, month, (first, last) = json.loads(text)
        return cls(kind, a, b, user, other, month, (first, last))

    def holds(self, row: Row) -> bool:
        """True for lines in the subset."""
        if self.kind[0] != "C":
            return True
        if self.user:
            return row.user == self.user
        if self.month:
            return date.fromordinal(row.day).month == self.month
        return not self.days[0] or self.days[0] <= row.day <= self.days[1]


@dataclass(frozen=True)
class Gold:
    """The answer to a form over one window."""

    value: str | int | date
    """Label, comparison, user, date, `Month year` or count."""
    margin: float
    """Margin of the gold over the next candidate, in lines (or days, months)."""
    support: int
    """Number of lines that the question is about."""
    times: int = 0
    """T3: the count in the question."""


def ask(form: Form, gold: Gold, labels: Sequence[str]) -> str:
    """The question in the benchmark's wording, answer format included."""
    prefix, given = "In the above data,", "For the following question, only consider the subset of"
    if form.scope == "user" and form.kind != "U5":
        prefix = (
            f"{given} instances that are associated with user IDs {form.user}. Among instances "
            "associated with these users,"
        )
    elif form.scope == "month":
        name = MONTHS[form.month - 1]
        prefix = (
            f"{given} instances that occur in {name} of any year. "
            f"Among instances occuring in {name},"
        )
    elif form.scope == "range":
        low, high = map(day_name, form.days)
        prefix = (
            f"{given} instances that occur between {low} and {high}, inclusive. Among instances "
            "occuring in this date range,"
        )
    parting = date.fromordinal(form.days[0]).isoformat() if form.kind == "T4" else ""
    a, b = f"'{form.a}'", f"'{form.b}'"
    ties = "Disregard months where there is a tie."
    words = {
        "C1": "which of the labels is the most common?",
        "C2": "which of the labels is the least common?",
        "C3": f"is label {a} more common, less common, or the same frequency as label {b}?",
        "C4": f"how many data points should be classified as label {a}?",
        "U1": "which user is represented most often?",
        "U2": "which user is represented the second most often?",
        "U4": f"which user has the most instances with the label {a}?",
        "U5": f"which user has more instances with the label {a}: User {form.user} or "
        f"User {form.other}?",
        "T1": "which date is represented most often?",
        "T2": "which date is represented the second most often?",
        "T3": f"how many dates are represented exactly {gold.times} times?",
        "T4": f"was label {a} more common, less common, or the same frequency before {parting}, "
        f"as compared to after {parting}?",
        "T7": f"In which month did the label {a} first occur more often than the label {b}?",
        "T8": f"For how many months does the label {a} occur more frequently than the label {b}? "
        + ties,
        "T9": f"For how many months is the label {a} the single most frequently occuring label? "
        + ties,
    }[form.kind]
    core = words if form.kind in ("T7", "T8", "T9") else f"{prefix} {words}"
    return f"{core} {_FORM} {_answer_form(form, labels, parting)}"


def _answer_form(form: Form, labels: Sequence[str], parting: str) -> str:
    if form.kind in ("C1", "C2"):
        return f"'Label: answer' where answer is one of the labels: {', '.join(labels)}."
    if form.kind == "C3":
        return f"'Answer: {form.a} is [X] {form.b}', where [X] is '{MORE}', '{LESS}', or '{SAME}'."
    if form.kind == "T4":
        return (
            f"'Answer: {form.a} is [X] before {parting}', where [X] is 'more common', "
            "'less common', or 'the same frequency'."
        )
    kind = {"T1": "D", "T2": "D", "T7": "M"}.get(form.kind, form.kind[0])
    return {
        "U": "'User: [X]', where [X] is the user ID.",
        "D": "'Date: [X]', where [X] is the date in the form MM/DD/YYYY.",
        "M": "'Answer: [month] [year]'.",
        "C": "'Answer: number'.",
        "T": "'Answer: [X]', where [X] is the number.",
    }[kind]


_TYPES = {"C1": "LABEL", "C2": "LABEL", "C3": "COMPARISON", "T4": "COMPARISON", "T7": "MONTH_YEAR"}
_TYPES |= dict.fromkeys(("U1", "U2", "U4", "U5"), "USER") | dict.fromkeys(("T1", "T2"), "DATE")
_TASKS = {"C1": "MOST_FREQ", "C2": "LEAST_FREQ", "C4": "NUMERIC_ONE_CLASS", "U1": "MOST_FREQ"}
_TASKS |= {"U2": "SECOND_MOST_FREQ", "U4": "MOST_FREQ", "T1": "MOST_FREQ", "T9": "MOST_FREQ"}
_TASKS |= {"T2": "SECOND_MOST_FREQ", "T3": "REPRESENTED_N_TIMES"}


def official_names(form: Form) -> dict[str, str]:
    """The benchmark's names: `answer_type`, `task` and `task_group`."""
    group = "user" if form.kind[0] == "U" or form.scope == "user" else "counting"
    if form.kind[0] == "T" or form.scope in ("month", "range"):
        group = "timeline"
    return {
        "answer_type": f"ANSWER_TYPE.{_TYPES.get(form.kind, 'NUMERIC')}",
        "task": f"TASK_TYPE.{_TASKS.get(form.kind, 'RELATIVE_FREQ')}",
        "task_group": group,
    }


def written(value: str | int | date) -> str:
    """A gold in the data set's format: a Python literal list."""
    if isinstance(value, date):
        return f"[datetime.date({value.year}, {value.month}, {value.day})]"
    return repr([value])


def forms(kind: str, priors: Priors, early: Sequence[Row], source: random.Random) -> Iterator[Form]:
    """Candidate forms of a kind, best first, drawn from facts that are the same at every length.

    `kind` is a catalogue name, with a suffix for the subset (`C3user`, `C1month`, `C4range`) or for
    the pair of labels (`C3close`, `C3same`; `C1close` and `C2close` are C1 and C2 with close
    labels). A kind that the window's priors rule out has no candidates. `early` are the first lines
    of the window: users come from them, so that they occur at every length. A range of `C3range`
    and of `C4range` covers at least half of all days: a filter could find a subset of few lines.
    """
    name, rest = kind[:2], kind[2:]
    labels = list(priors.order)
    if (rest == "close" or kind == "C3range") and not priors.close:
        return
    if (rest == "same" and not priors.tied) or (kind == "C1close" and len(labels) > 2):
        return
    while True:
        a, b = source.sample(labels, 2)
        if rest == "close" or kind == "C3range":
            place = source.randrange(len(priors.close) - 1)
            a, b = source.sample(priors.close[place : place + 2], 2)
        elif rest == "same":
            a, b = source.sample(priors.tied, 2)
        low, high = sorted(source.sample(range(FIRST_DAY, LAST_DAY), 2))
        if rest == "range":
            span = source.randint(_DAYS // 2, _DAYS * 9 // 10)
            low = FIRST_DAY + source.randrange(_DAYS - span)
            high = low + span
        users = source.choices([row.user for row in early], k=2)
        form = Form(name, a, b) if name in ("C3", "T7", "T8") else Form(name, a)
        if name in ("C1", "C2", "U1", "U2", "T1", "T2", "T3"):
            form = Form(name)
        if rest == "user":
            form = replace(form, user=users[0])
        elif rest == "month":
            form = replace(form, month=source.randint(1, 12))
        elif rest == "range":
            form = replace(form, days=(low, high))
        elif name == "U5":
            form = replace(form, user=users[0], other=users[1])
        elif name == "T4":
            form = replace(form, days=(low, low))
        yield form
