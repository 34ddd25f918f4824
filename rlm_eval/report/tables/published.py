"""A measured score beside a published number, of which only the value (and perhaps n) is known."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report import series, wording
from rlm_eval.report.per_sample import units
from rlm_eval.stats import bounds, paired
from rlm_eval.stats.intervals import Interval, mean_interval

CUT = "no verdict: more than 5 % cut off"
"""Verdict where the score is only known as bounds."""


def number(text: str) -> float | None:
    """Return a published score in [0, 1] from `0.44` or `44%`; `None` for a name.

    Raises `RlmEvalError` for a number outside of that range.
    """
    try:
        value = float(text.strip().rstrip("%")) / (100 if "%" in text else 1)
    except ValueError:
        return None
    if not 0 <= value <= 1:
        raise RlmEvalError(f"{text}: a published score is given as 0.44 or 44%")
    return value


def mean_of(samples: pd.DataFrame) -> Interval:
    """Return the mean score of the samples (`units`) that have one; NaN if none has."""
    scored = samples[~samples["lost"]]
    return mean_interval(scored["score"], scored["cluster"])


def verdict(samples: pd.DataFrame, published: float, n: int | None = None) -> str:
    """Return in words how the samples' mean score compares with a published one.

    `samples` are rows of `units`; `published` is in [0, 1], `n` its sample size if it is stated. A
    verdict is given only if no outcome of the missing scores could change it.
    """
    found = mean_of(samples)
    if not found.n:
        return f"no verdict: {wording.several(len(samples), 'sample')} without a score"
    if samples["cut"].mean() > bounds.CUT_SHARE:
        return CUT
    told = _verdict(found, published, n)
    lost = int(samples["missing"].sum())
    ends = [mean_interval(samples[end], samples["cluster"]) for end in ("least", "most")]
    if lost and {_verdict(end, published, n) for end in ends} != {told}:
        low, high = (100 * end.estimate for end in ends)
        return (
            f"no verdict: {lost} samples have no score; with them between {low:.1f} and "
            f"{high:.1f} %"
        )
    return told


def _verdict(found: Interval, published: float, n: int | None) -> str:
    return paired.against_published(found.estimate, found.low, found.high, published, n)


def lines(frame: pd.DataFrame, name: str, published: float) -> list[str]:
    """Describe each series of a prepared frame beside a published score, per task and length.

    Series are never pooled: a mean over two models or prompts is neither's score. Raises
    `RlmEvalError` if no sample of `name` has a score.
    """
    if frame["score"].isna().all():
        raise RlmEvalError(f"{name}: none of its samples has a score; run its cells again")
    told = [f"published: {100 * published:.1f} % (its own uncertainty is not known)"]
    rank = {label: place for place, label in enumerate(series.in_order(frame))}
    groups: Any = frame.groupby(["task_label", "length", "series"])
    for (task, length, label), part in sorted(
        groups, key=lambda group: (*group[0][:2], rank[group[0][2]])
    ):
        samples = units(part)
        found = mean_of(samples)
        score = (
            f"{100 * found.estimate:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}], "
            f"n = {found.n}, {found.method}: "
        )
        place = f"{task} at {wording.tokens_label(length)}, {label}: "
        told.append(place + (score if found.n else "") + verdict(samples, published))
    return told
