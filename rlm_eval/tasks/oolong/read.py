"""Parse an OOLONG question's text back into its form.

Supports our wordings and the benchmark's, its faults included: T7 lacks a quote after its first
label, U4 and U5 do not quote theirs.
"""

from __future__ import annotations

import re
from datetime import date

from rlm_eval.tasks.dates import MONTHS, read_day
from rlm_eval.tasks.oolong.questions import Form

_LABEL = r"'?(.+?)'?"
_FORMS = (
    ("C1", r"which of the labels is the most common\?"),
    ("C2", r"which of the labels is the least common\?"),
    (
        "C3",
        rf"is label {_LABEL} more common, less common, or the same frequency as label {_LABEL}\?",
    ),
    ("C4", rf"how many data points should be classified as label {_LABEL}\?"),
    ("U1", r"which user is represented most often\?"),
    ("U2", r"which user is represented the second most often\?"),
    ("U4", rf"which user has the most instances with the label {_LABEL}\?"),
    ("U5", rf"which user has more instances with the label {_LABEL}: User (\d+) or User (\d+)\?"),
    ("T1", r"which date is represented most often\?"),
    ("T2", r"which date is represented the second most often\?"),
    ("T3", r"how many dates are represented exactly (\d+) times?\?"),
    (
        "T4",
        rf"was label {_LABEL} more common, less common, or the same frequency before ([\d-]+), ",
    ),
    (
        "T7",
        rf"In which month did the label {_LABEL} first occur more often than the label {_LABEL}\?",
    ),
    ("T8", rf"does the label {_LABEL} occur more frequently than the label {_LABEL}\?"),
    ("T9", rf"is the label {_LABEL} the single most frequently occuring label\?"),
)
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _FORMS)
_USER = re.compile(r"associated with user IDs (\d+)\. Among")
_MONTH = re.compile(r"instances that occur in (\w+) of any year\.")
_RANGE = re.compile(r"instances that occur between (.+?) and (.+?), inclusive\.")


def read_question(text: str) -> tuple[Form, int] | None:
    """The form of a question, and T3's count of times; `None` for another wording.

    A subset of several users also has no form.
    """
    for kind, pattern in _PATTERNS:
        match = pattern.search(text)
        if match is None:
            continue
        got = match.groups()
        if kind == "T3":
            return Form(kind), int(got[0])
        a, b = (*got, "", "")[:2]
        form = Form(kind, a, b if kind in ("C3", "T7", "T8") else "")
        if kind == "U5":
            return Form(kind, got[0], user=int(got[1]), other=int(got[2])), 0
        if kind == "T4":
            day = date.fromisoformat(got[1]).toordinal()
            return Form(kind, got[0], days=(day, day)), 0
        return _restricted(form, text)
    return None


def _restricted(form: Form, text: str) -> tuple[Form, int] | None:
    kind, a, b = form.kind, form.a, form.b
    user, month, days = (pattern.search(text) for pattern in (_USER, _MONTH, _RANGE))
    if user:
        return Form(kind, a, b, user=int(user[1])), 0
    if "associated with user IDs" in text:
        return None
    if month:
        return Form(kind, a, b, month=MONTHS.index(month[1]) + 1), 0
    if days:
        low, high = (read_day(days[i]).toordinal() for i in (1, 2))
        return Form(kind, a, b, days=(low, high)), 0
    return form, 0
