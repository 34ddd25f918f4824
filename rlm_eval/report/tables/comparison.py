"""`rlm-eval compare`: A minus B on the same samples, in numbers and in words.

Pairs are joined by sample; samples missing on either side are excluded and counted. No verdict if
more than 5 % of a side was truncated. Against a published number only our own interval is used.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report import names, per_sample, series, summary, wording
from rlm_eval.report.distinct import each_once
from rlm_eval.report.tables import published
from rlm_eval.stats import bounds, paired, power
from rlm_eval.stats.intervals import bootstrap_ratio, is_conditional

_SELECTORS = ("series", "method", "variant", "root", "sub", "prompt", "run")
_COMPARED = ("score", "cut", "lost", "missing", "least", "most", "cost", "refused", "cluster")
WORDING = ["low_worst", "left_out", "graded", "free"]
"""Columns that decide words alone: the data behind a figure lack them."""
ALPHA = 0.05
"""Two-sided level of a family of comparisons."""

Column = np.ndarray[Any, Any]


def against(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare every other series with `baseline`, per task and length; Holm over all comparisons.

    Columns: a, b, the fields of `paired.Comparison`, cost_ratio with interval, and the columns of
    `with_holm`.
    """
    sides: Any = per_sample.units(frame).groupby("series", sort=False)
    samples = dict(iter(sides))
    rows = [
        row
        for series in summary.series_order(frame)
        if series != baseline
        for row in _by_place(series, samples[series], baseline, samples[baseline])
    ]
    return with_holm(pd.DataFrame(rows))


def pairs(a: pd.DataFrame, b: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one comparison per task and length that both sides have."""
    names = [", ".join(summary.series_order(side)) for side in (a, b)]
    return list(_by_place(names[0], per_sample.units(a), names[1], per_sample.units(b)))


def _by_place(
    a: str, a_samples: pd.DataFrame, b: str, b_samples: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield one comparison per task and length with samples on both sides (`per_sample.units`)."""
    others = dict(_groups(b_samples))
    for (task, length), left in _groups(a_samples):
        right = others.get((task, length))
        if right is not None and (found := _paired(left, right)) is not None:
            yield {"task_label": task, "length": length, "a": a, "b": b} | found


def whole(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any] | None:
    """Return one comparison over all common samples; `None` if there are none."""
    return _paired(per_sample.units(a), per_sample.units(b))


def _paired(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, Any] | None:
    """Compare A and B on their common samples; `None` if no pair has both scores.

    Pairs with a `refused` prompt are excluded from the cost ratio: a refusal costs nothing.
    `missing` pairs lack a score on a side, of one repeat or of all; with them the difference is
    between `worst_low` and `worst_high`, and the lower end of its interval is `low_worst`.
    `left_out` pairs have no score at all on a side. `given_low` to `given_high` is the interval
    conditional on few contexts (`intervals.given_clusters`), else NaN; `p_worst` is the p value
    with the missing scores imputed against the observed difference, `p_best` in its favour.
    `graded`: some score (a mean over repeats) is not 0 or 1.
    """
    # NumPy columns: a merge of two frames takes ten times as long, and a report may need hundreds.
    names = [side["sample_id"].to_numpy(dtype=object) for side in (left, right)]
    _, *at = np.intersect1d(names[0], names[1], return_indices=True)
    a, b = (
        {n: s[n].to_numpy()[i] for n in _COMPARED} for s, i in zip((left, right), at, strict=True)
    )
    known = ~(a["lost"] | b["lost"])
    if not known.any():
        return None
    seen_a, seen_b = ({n: column[known] for n, column in side.items()} for side in (a, b))
    found = paired.compare(seen_a["score"], seen_b["score"], seen_a["cluster"])
    row: dict[str, Any] = {name: getattr(found, name) for name in found.__slots__}
    row["given_low"] = row["given_high"] = math.nan
    if is_conditional(found.n, found.clusters):
        given = paired.compare(seen_a["score"], seen_b["score"], np.arange(found.n))
        row |= {"given_low": given.low, "given_high": given.high}
    row |= _with_missing(found, a, b)
    row["unpaired"] = len(left) + len(right) - 2 * len(known)
    row["missing"] = int((a["missing"] | b["missing"]).sum())
    row["left_out"] = int((~known).sum())
    scores = np.concatenate([seen_a["score"], seen_b["score"]])
    row["graded"] = not np.isin(scores, (0.0, 1.0)).all()
    row["cut"] = max(float(side["cut"].mean()) for side in (seen_a, seen_b))
    spent = ~(seen_a["refused"] | seen_b["refused"]).astype(bool)
    row["refused"] = int((~spent).sum())
    of_a, of_b, clusters = (
        column[spent] for column in (seen_a["cost"], seen_b["cost"], seen_a["cluster"])
    )
    return row | _cost_ratio(of_a, of_b, clusters)


def _with_missing(
    found: paired.Comparison, a: dict[str, Column], b: dict[str, Column]
) -> dict[str, float]:
    """See `_paired`. Every missing repeat is imputed as 0 and as 1, whichever is worse."""
    if not (a["missing"] | b["missing"]).any():
        ends = {"worst_low": found.difference, "worst_high": found.difference}
        return ends | {"low_worst": found.low, "p_worst": found.p, "p_best": found.p}
    low = paired.compare(a["least"], b["most"], a["cluster"])
    high = paired.compare(a["most"], b["least"], a["cluster"])
    against, favour = (high, low) if found.difference < 0 else (low, high)
    turned = against.difference * found.difference <= 0
    return {
        "worst_low": low.difference,
        "worst_high": high.difference,
        "low_worst": min(found.low, low.low, high.low),
        "p_worst": 1.0 if turned else against.p,
        "p_best": min(favour.p, against.p if turned else 1.0),
    }


_MATCHES = (series.SERIES, ["method", "variant", "prompt"], ["models"])


def matched(a: pd.DataFrame, b: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Match series of A with series of B for pairing.

    Two runs pair equal series, two models equal methods, two methods equal models. Raises
    `RlmEvalError` if a name means several series that this does not distinguish.
    """
    if a["series"].nunique() == 1 and b["series"].nunique() == 1:
        return [(a, b)]
    a, b = (
        side.assign(models=each_once(series.model_pair, side["root"], side["sub"]))
        for side in (a, b)
    )
    for keys in _MATCHES:
        left, right = ({key: part for key, part in side.groupby(keys)} for side in (a, b))  # noqa: C416 - typed keys
        shared = [key for key in left if key in right]
        if shared and all(p[k]["series"].nunique() == 1 for p in (left, right) for k in shared):
            return [(left[key], right[key]) for key in shared]
    raise RlmEvalError(
        "several series on a side; name one of: "
        + "; ".join(summary.series_order(a) + summary.series_order(b))
    )


def _groups(frame: pd.DataFrame) -> list[tuple[tuple[str, float], pd.DataFrame]]:
    """Return the rows of each (task, length)."""
    keyed: Any = frame.groupby(["task_label", "length"])
    return [((str(task), float(length)), part) for (task, length), part in keyed]


def _cost_ratio(a: Column, b: Column, clusters: Column) -> dict[str, float]:
    """Return A / B with its interval; NaN where a cost is unknown, or 0 on a side (`free`)."""
    known = not (np.isnan(a).any() or np.isnan(b).any())
    free = {"free": known and not (a.sum() and b.sum())}
    if not known or free["free"]:
        ends = {"cost_ratio_low": math.nan, "cost_ratio_high": math.nan}
        return {"cost_ratio": math.nan} | ends | free
    low, high = bootstrap_ratio(a, b, clusters, draws=500, method="percentile")
    ends = {"cost_ratio_low": low, "cost_ratio_high": high}
    return {"cost_ratio": a.sum() / b.sum()} | ends | free


def with_holm(rows: pd.DataFrame, not_run: int = 0) -> pd.DataFrame:
    """Add p values adjusted over all rows (p_holm), and a verdict in words.

    `not_run` comparisons of the same family have no row yet: they count with p = 1. Figures mark
    rows that are `shown`: significant, and not between scores that are only known as bounds
    (`comparable`). `detectable` is the smallest detectable difference at the level that Holm leaves
    for the comparisons that are not significant.
    """
    if rows.empty:
        return rows
    family = len(rows) + not_run
    rows["p_holm"] = paired.holm([*rows["p"], *[1.0] * not_run])[: len(rows)]
    level = ALPHA / max(1, family - int((rows["p_holm"] < ALPHA).sum()))
    rows["detectable"] = [
        paired.detectable(
            r["n"],
            r["clusters"],
            r["wins"] + r["losses"],
            r["se"],
            level,
        )
        for r in rows.to_dict("records")
    ]
    rows["level"] = level
    # A verdict is given only if no outcome of the missing pairs could change it.
    held = _holm_of(rows, "p_worst", not_run) < ALPHA
    could = _holm_of(rows, "p_best", not_run) < ALPHA
    seen = rows["p_holm"] < ALPHA
    rows["could_turn"] = np.where(seen, ~held, could)
    rows["comparable"] = (rows["cut"] <= bounds.CUT_SHARE) & ~rows["could_turn"]
    rows["shown"] = rows["comparable"] & seen
    rows["verdict"] = [_verdict(row) for row in rows.to_dict("records")]
    return rows


def _holm_of(rows: pd.DataFrame, column: str, not_run: int) -> Column:
    """Return Holm-adjusted p values, with each row's p in turn replaced by its `column`."""
    return np.asarray(paired.holm_instead([*rows["p"], *[1.0] * not_run], list(rows[column])))


def _verdict(row: dict[Any, Any]) -> str:
    if row["cut"] > bounds.CUT_SHARE:
        return published.CUT
    if row["could_turn"]:
        return (
            f"no verdict: {row['missing']} pairs lack a score; with them the difference is between "
            f"{100 * row['worst_low']:+.1f} and {100 * row['worst_high']:+.1f} pp"
        )
    if row["shown"]:
        return "A higher" if row["difference"] > 0 else "A lower"
    # Whole clusters are flipped where samples share them, and for graded scores (`se`).
    flipped = row["clusters"] < row["n"] or not pd.isna(row["se"])
    if flipped and power.too_few_clusters(row["clusters"], row["level"]):
        few = "1 cluster is" if row["clusters"] == 1 else f"{row['clusters']} clusters are"
        return f"not shown to differ; {few} too few to show any difference"
    if math.isnan(row["detectable"]):
        return f"not shown to differ; {row['n']} pairs would seldom show it if they did"
    return (
        f"not shown to differ; n shows {100 * row['detectable']:.0f} pp or more "
        f"(at the level of {row['level']:.2g} that Holm leaves)"
        if row["level"] < ALPHA
        else f"not shown to differ; n shows {100 * row['detectable']:.0f} pp or more"
    )


def compare_text(
    records: pd.DataFrame,
    a: str,
    b: str,
    *,
    margin: float | None = None,
    manifests: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the text of `rlm-eval compare A B`: exploratory, since it was not planned.

    `a` names a method, model, prompt, run or series; `b` too, or is a published score (`0.44`,
    `44%`). `margin` requests a non-inferiority test (0.05 = 5 pp). The `manifests` name the series
    as in the report.

    Raises `RlmEvalError` for a name that is empty or matches nothing, listing near names, for sides
    with common results, and for sides without a scored sample.
    """
    frame = summary.prepare(records, manifests)
    value = published.number(b)
    left = select(frame, a)
    if value is not None:
        return "\n".join([*_status(frame), *published.lines(left, a, value)])
    right = select(frame, b)
    both = left[left.index.isin(right.index)]
    if len(both):
        raise RlmEvalError(
            f"{a!r} and {b!r} both select {', '.join(summary.series_order(both))}; "
            "name two sides without common results"
        )
    partners = matched(left, right)
    rows = with_holm(pd.DataFrame([row for one, other in partners for row in pairs(one, other)]))
    if rows.empty:
        tasks = [", ".join(sorted(set(side["task_label"]))) for side in (left, right)]
        why = "" if tasks[0] == tasks[1] else f" (A has {tasks[0]:.200}; B has {tasks[1]:.200})"
        raise RlmEvalError(
            f"{a} and {b} share no scored sample{why}; compare runs of the same samples"
        )
    told = [*_status(frame), f"A = {a}, B = {b}; difference = A - B, paired by sample"]
    for row in rows.to_dict("records"):
        told += ["", *lines(row, margin)]
    told += _alone(left, right, partners)
    if len(rows) > 1:
        told += ["", f"p values after Holm over the {len(rows)} comparisons above."]
    return "\n".join(told)


def _alone(
    a: pd.DataFrame, b: pd.DataFrame, partners: Sequence[tuple[pd.DataFrame, pd.DataFrame]]
) -> list[str]:
    """Return a line per side on its series that have no partner on the other side."""
    told = []
    for side, name in enumerate("AB"):
        paired_ones = {label for pair in partners for label in pair[side]["series"]}
        every = summary.series_order((a, b)[side])
        if alone := [label for label in every if label not in paired_ones]:
            told.append(f"left out of {name}, without a partner: {', '.join(alone)}")
    return ["", *told] if told else []


def _status(frame: pd.DataFrame) -> list[str]:
    told = ["exploratory: these comparisons were not named before the run"]
    if stamp := wording.stamps(frame):
        told.append(stamp)
    return told


def _left_out(row: dict[Any, Any]) -> str:
    parts = [
        f"{row['left_out']} pairs without both scores" if row["left_out"] else "",
        f"{row['unpaired']} samples that one side did not run" if row["unpaired"] else "",
    ]
    told = ", ".join(filter(None, parts))
    partly = row["missing"] - row["left_out"]
    lacking = f"; {partly} lack the score of a repeat" if partly else ""
    return (f" ({told} left out)" if told else "") + lacking


def lines(row: dict[Any, Any], margin: float | None) -> list[str]:
    """Describe one comparison; `margin` requests a non-inferiority test."""
    told = [
        f"{row['task_label']} at {wording.tokens_label(row['length'])}, {row['a']} - {row['b']}: "
        f"n = {wording.several(row['n'], 'pair')} in {wording.several(row['clusters'], 'cluster')}"
        + _left_out(row),
        f"  A {100 * row['mean_a']:.1f} %, B {100 * row['mean_b']:.1f} %, difference "
        f"{100 * row['difference']:+.1f} pp [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]",
        f"  p = {wording.probability(row['p'])}, after Holm {wording.probability(row['p_holm'])} "
        f"({row['test']})",
        f"  A better on {row['wins']}, B better on {row['losses']}, "
        f"same on {row['n'] - row['wins'] - row['losses']}",
        f"  {row['verdict']}",
    ]
    if not math.isnan(row["given_low"]):
        few = row["clusters"]
        these = "this context" if few == 1 else f"these {few} contexts"
        told.append(
            f"  given {these}: [{100 * row['given_low']:+.1f}, "
            f"{100 * row['given_high']:+.1f}], over questions; not valid for other contexts"
        )
    if margin is not None:
        word = "shown" if at_most_below(row, margin) else "not shown"
        told.append(f"  A is at most {100 * margin:g} pp below B: {word}")
    return [*told, f"  {_cost_words(row)}"]


def at_most_below(row: dict[Any, Any], margin: float) -> bool:
    """Return true where a row of `with_holm` shows that A is at most `margin` (0 to 1) below B.

    Missing scores count against it: the lower end of the interval is the lowest that they allow.
    """
    return bool(row["comparable"]) and paired.non_inferior(row["low_worst"], margin)


def _cost_words(row: dict[Any, Any]) -> str:
    if row["refused"] == row["n"]:
        return "cost ratio: none (every pair has a prompt that was refused as too long)"
    if row["free"]:
        return "cost ratio: none (a side cost nothing)"
    if math.isnan(row["cost_ratio"]):
        return "cost ratio: unknown (a price is missing)"
    ends = "(no interval: 1 cluster)"
    if not math.isnan(row["cost_ratio_low"]):
        ends = f"[{row['cost_ratio_low']:.2f}, {row['cost_ratio_high']:.2f}]"
    left_out = f", {row['refused']} pairs with a refused prompt left out" if row["refused"] else ""
    return f"cost A / B: {row['cost_ratio']:.2f} {ends}{left_out}"


def select(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Select the records of a name: a series label, method, variant, model, prompt or run.

    `rlm:gpt-5` means a method with a root model; names of YAML files work too (`names.printed`).
    Raises `RlmEvalError` listing near names, and for an empty name, which would select the rows
    that lack a variant or a model.
    """
    if not name.strip():
        raise RlmEvalError("an empty name; name a series, method, model, prompt or run")
    for asked in dict.fromkeys((name, names.printed(name))):
        method, _, root = asked.partition(":")
        part = frame[(frame["method"] == method) & (frame["root"] == root)]
        if not part.empty:
            return series.originals(part)
        for column in _SELECTORS:
            part = frame[frame[column] == asked]
            if not part.empty:  # a method or model alone excludes its counterfactuals
                named = column in ("series", "variant", "run")
                return part if named else series.originals(part)
    known = sorted({str(v) for c in _SELECTORS for v in frame[c].unique() if v})
    near = difflib.get_close_matches(name, known, 5) or known[:20]
    raise RlmEvalError(f"{name!r} is in none of these runs; near: {', '.join(near)}")
