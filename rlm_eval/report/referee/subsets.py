"""Subsets that carry a claim: domains, levels, kinds of question that the log names.

A difference may come from one domain alone, or turn where only completed rows are compared and one
domain is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd

from rlm_eval.report import summary
from rlm_eval.report.referee.evidence import Evidence, Finding
from rlm_eval.stats import paired

_PREFIX = "meta_"
_MOST = 12  # values of a column that still name subsets, and methods whose pairs are looked at
_LEAST = 5  # samples of a subset
_LEVEL = 0.05
_SHOWN = 12


def subsets(evidence: Evidence) -> Iterator[Finding]:
    """Claims that one subset carries, and subsets in which the order is the opposite."""
    name, lines, looked, alarm = "subsets that carry a claim", [], False, False
    for task, own in evidence.frame.groupby("task_label", sort=False):
        series = summary.series_order(own)
        for column in _columns(own):
            looked = True
            for b, a in itertools.combinations(series[:_MOST], 2):
                told, carried = _of_pair(own, column, a, b)
                lines += [f"{task}, by {column.removeprefix(_PREFIX)}: {one}" for one in told]
                alarm = alarm or carried
    if lines:
        yield Finding(
            name,
            "alarm" if alarm else "note",
            "A difference over the whole comes from one subset, or a subset shows the opposite: "
            "say of which subset a claim holds (p here is exact McNemar's, not adjusted).",
            tuple(lines[:_SHOWN]),
        )
    elif looked:
        yield Finding(name, "fine", "No subset that is named in the rows carries or turns a claim.")
    else:
        yield Finding(name, "unknown", "The rows name no subsets (domains, levels).")


def _columns(own: pd.DataFrame) -> list[str]:
    """Columns of texts that split the samples into a few subsets of enough samples each."""
    found = []
    for column in (str(name) for name in own.columns if str(name).startswith(_PREFIX)):
        known = own[["sample_id", column]].dropna().drop_duplicates("sample_id")
        counts = known[column].value_counts()
        if not all(isinstance(value, str) for value in known[column]):
            continue
        if 2 <= len(counts) <= _MOST and counts.min() >= _LEAST:
            found.append(column)
    return found


def _of_pair(own: pd.DataFrame, column: str, a: str, b: str) -> tuple[list[str], bool]:
    """What is to be said of A against B, and whether one subset carries the whole difference."""
    sides = {}
    for name in (a, b):
        part = own[own["series"] == name]
        sides[name] = part.groupby("sample_id")["score"].mean()
    group = own.drop_duplicates("sample_id").set_index("sample_id")[column]
    both = pd.DataFrame({"a": sides[a], "b": sides[b], "group": group}).dropna(subset=["group"])
    attempted = both.assign(a=both["a"].fillna(0.0), b=both["b"].fillna(0.0))
    answered = both.dropna(subset=["a", "b"])
    whole = _counts(attempted)
    if min(paired.mcnemar(*whole)[0], paired.mcnemar(*_counts(answered))[0]) >= _LEVEL:
        return [], False
    if whole[0] < whole[1]:  # the better one first
        a, b, whole = b, a, whole[::-1]
        attempted = attempted.rename(columns={"a": "b", "b": "a"})
        answered = answered.rename(columns={"a": "b", "b": "a"})
    sign = whole[0] - whole[1]
    lines, carried = [], False
    for value, part in answered.groupby("group"):
        rest = _counts(answered[answered["group"] != value])
        if (rest[0] - rest[1]) * sign <= 0:
            carried = True
            inside = _counts(part)
            lines.append(
                f"{a} against {b}: {whole[0]}:{whole[1]} over all attempted; of the rows that both "
                f"completed {value} has {inside[0]}:{inside[1]} (p = "
                f"{paired.mcnemar(*inside)[0]:.3f}), all others together {rest[0]}:{rest[1]} (p = "
                f"{paired.mcnemar(*rest)[0]:.2f})"
            )
    for value, part in attempted.groupby("group"):
        inside = _counts(part)
        p = paired.mcnemar(*inside)[0]
        if (inside[0] - inside[1]) * sign < 0 and p < _LEVEL:
            lines.append(
                f"{a} against {b}: {whole[0]}:{whole[1]} over all attempted, but {value} "
                f"{inside[0]}:{inside[1]}, p = {p:.3f}"
            )
    return lines, carried


def _counts(part: pd.DataFrame) -> tuple[int, int]:
    """Samples on which A, and on which B, has the higher score."""
    return int((part["a"] > part["b"]).sum()), int((part["b"] > part["a"]).sum())
