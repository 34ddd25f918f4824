"""External engines next to our methods: one line each, over all attempted samples.

The other tables exclude failures outside the method (a provider's failure), and give bounds for
truncated answers. Here every attempted sample without an answer scores 0. Made only for reports
with an external engine.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from rlm_eval.report import wording
from rlm_eval.report.tables.baselines import MUST_EXCEED, NOT_COMPUTED, SHOWN
from rlm_eval.report.tables.standard import Table, percent
from rlm_eval.report.tables.table import row_dicts
from rlm_eval.stats import intervals

ENGINE = "external_"
"""Prefix of the method names of external engines."""
FAILED_CALLS = " *"
"""Mark after a method with failed calls."""
_OURS = "ours"
"""Entry in columns for an engine's own accounting: our methods have only our meter."""
_NOTE = (
    "Every attempted sample counts in every column: one without an answer scored 0, the cut ones "
    "too. Calls, tokens and seconds are our meter's, means per sample. Forced: the turns ran out "
    "and an answer was demanded; it is scored. Failures: outcomes other than ok, with the reason "
    "where the engine named one. Missed: calls (tokens) of our meter that the engine's own account "
    "lacks, summed over the samples of which it gave one; negative where it counts what it never "
    "sent. Failed calls: requests that got an error while the engine went on; a line with any is "
    "marked *. First prompt: characters of the first request to the root model, median."
)


def build(frame: pd.DataFrame, table: pd.DataFrame) -> list[Table]:
    """Build the table from a prepared frame and its cell table; empty without external engines."""
    if not frame["method"].str.startswith(ENGINE).any():
        return []
    keys = ["task_label", "length", "series"]
    parts = dict(iter(frame.groupby(keys, sort=False)))
    engines = frame[frame["method"].str.startswith(ENGINE)]
    places = set(zip(engines["task_label"], engines["length"], strict=True))
    rows = [
        _row(line, parts[tuple(line[key] for key in keys)])
        for line in row_dicts(table)
        if (line["task_label"], line["length"]) in places
    ]
    return [Table("leaderboard", "Engines on equal terms", _NOTE, pd.DataFrame(rows))]


def _row(line: dict[str, Any], part: pd.DataFrame) -> dict[str, Any]:
    samples = (
        part.assign(scored=part["score"].fillna(0.0))
        .groupby(["item", "sample_id"], sort=False)
        .agg({"scored": "mean", "cluster": "first"})
    )
    score = intervals.mean_interval(samples["scored"], samples["cluster"])
    failed = _sum(part, "failed_calls")
    row: dict[str, Any] = {
        "task": line["task_label"],
        "length": wording.tokens_label(line["length"]),
        "method": line["series"] + (FAILED_CALLS if failed else ""),
        "attempted": len(part),
        "score %": percent(score.estimate),
        "95 % interval": f"[{percent(score.low)}, {percent(score.high)}]",
    }
    for kind in MUST_EXCEED:
        value = line[f"base_{kind}"]
        row[f"{SHOWN[kind]} %"] = NOT_COMPUTED if pd.isna(value) else percent(value)
    tokens, calls = part["total_tokens"].mean(), part["n_calls"].mean()
    row |= {
        "tokens": "unknown" if pd.isna(tokens) else f"{tokens:,.0f}",
        "calls": "unknown" if pd.isna(calls) else f"{calls:.1f}",
        "seconds": _mean(part, "wall_seconds", "{:.0f}"),
        "failures": _failures(part),
    }
    if not str(part["method"].iloc[0]).startswith(ENGINE):
        names = ("forced", "failed calls", "missed calls", "missed tokens", "at once")
        return row | dict.fromkeys((*names, "first prompt"), _OURS)
    told = _notes(part, "missed_calls").notna().sum()
    missed = _sum(part, "missed_calls")
    few = "" if told == len(part) else f" (of {told} samples)"
    return row | {
        "forced": _sum(part, "forced") or 0,
        "failed calls": "unknown" if failed is None else failed,
        "missed calls": "unknown" if missed is None else f"{missed}{few}",
        "missed tokens": "unknown" if (n := _sum(part, "missed_tokens")) is None else f"{n}{few}",
        "at once": _most(part, "peak_calls"),
        "first prompt": _middle(part, "input_chars_first"),
    }


def _failures(part: pd.DataFrame) -> str:
    """Return `limit:turns 12, no_answer (reply without code) 3`, most frequent first, or `none`."""
    wrong = part[part["outcome"] != "ok"]
    reasons = _words(wrong, "reason")
    kinds = [
        f"{outcome} ({reason})" if reason else outcome
        for outcome, reason in zip(wrong["outcome"], reasons, strict=True)
    ]
    counted = sorted(pd.Series(kinds, dtype=object).value_counts().items(), key=_by_count)
    return ", ".join(f"{kind} {count}" for kind, count in counted) or "none"


def _by_count(item: tuple[Hashable, int]) -> tuple[int, str]:
    return -item[1], str(item[0])


def _words(part: pd.DataFrame, name: str) -> list[str]:
    column = f"note_engine_{name}"
    if column not in part:
        return [""] * len(part)
    return [value if isinstance(value, str) else "" for value in part[column].astype(object)]


def _notes(part: pd.DataFrame, name: str) -> pd.Series:
    column = f"note_engine_{name}"
    if column not in part:
        return pd.Series(index=part.index, dtype=float)
    return pd.to_numeric(part[column].astype(object), errors="coerce").astype(float)


def _sum(part: pd.DataFrame, name: str) -> int | None:
    known = _notes(part, name).dropna()
    return int(known.sum()) if len(known) else None


def _most(part: pd.DataFrame, name: str) -> int | str:
    known = _notes(part, name).dropna()
    return int(known.max()) if len(known) else "unknown"


def _middle(part: pd.DataFrame, name: str) -> str:
    known = _notes(part, name).dropna()
    return f"{known.median():,.0f}" if len(known) else "unknown"


def _mean(part: pd.DataFrame, name: str, form: str) -> str:
    known = part[name].dropna()
    return form.format(known.mean()) if len(known) else "unknown"
