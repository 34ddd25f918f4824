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
from rlm_eval.report import names, series, summary, wording
from rlm_eval.stats import bounds, paired, power
from rlm_eval.stats.intervals import Interval, bootstrap_ratio, is_conditional, mean_interval

_SELECTORS = ("series", "method", "variant", "root", "sub", "prompt", "run")
_COMPARED = ("score", "cut", "lost", "cost", "refused", "cluster")
_NO_VERDICT = "no verdict: more than 5 % cut off"
ALPHA = 0.05
"""Two-sided level of a family of comparisons."""

Column = np.ndarray[Any, Any]


def against(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare every other series with `baseline`, per task and length; Holm over all comparisons.

    Columns: a, b, the fields of `paired.Comparison`, cost_ratio with interval, and the columns of
    `with_holm`.
    """
    sides: Any = summary.units(frame).groupby("series", sort=False)
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
    return list(_by_place(names[0], summary.units(a), names[1], summary.units(b)))


def _by_place(
    a: str, a_samples: pd.DataFrame, b: str, b_samples: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield one comparison per task and length with samples on both sides (`summary.units`)."""
    others = dict(_groups(b_samples))
    for (task, length), left in _groups(a_samples):
        right = others.get((task, length))
        if right is not None and (found := _paired(left, right)) is not None:
            yield {"task_label": task, "length": length, "a": a, "b": b} | found


def whole(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any] | None:
    """Return one comparison over all common samples; `None` if there are none."""
    return _paired(summary.units(a), summary.units(b))


def _paired(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, Any] | None:
    """Compare A and B on their common samples; `None` if no pair has both scores.

    Pairs with a `refused` prompt are excluded from the cost ratio: a refusal costs nothing.
    `missing` pairs lack a score on a side; with them the difference is between `worst_low` and
    `worst_high`. `given_low` to `given_high` is the interval conditional on few contexts
    (`intervals.given_clusters`), else NaN; `p_worst` is the p value with the missing scores imputed
    against the observed difference, `p_best` in its favour.
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
    row["missing"] = int((~known).sum())
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
    """See `_paired`. Every missing score is imputed as 0 and as 1, whichever is worse."""
    if not (a["lost"] | b["lost"]).any():
        ends = {"worst_low": found.difference, "worst_high": found.difference}
        return ends | {"p_worst": found.p, "p_best": found.p}

    def filled(of_a: float, of_b: float) -> paired.Comparison:
        one = np.where(a["lost"], of_a, a["score"])
        return paired.compare(one, np.where(b["lost"], of_b, b["score"]), a["cluster"])

    low, high = filled(0.0, 1.0), filled(1.0, 0.0)
    against, favour = (high, low) if found.difference < 0 else (low, high)
    turned = against.difference * found.difference <= 0
    return {
        "worst_low": low.difference,
        "worst_high": high.difference,
        "p_worst": 1.0 if turned else against.p,
        "p_best": min(favour.p, against.p if turned else 1.0),
    }


_MATCHES = (series.SERIES, ["method", "variant", "prompt"], ["root", "sub"])


def matched(a: pd.DataFrame, b: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Match series of A with series of B for pairing.

    Two runs pair equal series, two models equal methods, two methods equal models. Raises
    `RlmEvalError` if a name means several series that this does not distinguish.
    """
    if a["series"].nunique() == 1 and b["series"].nunique() == 1:
        return [(a, b)]
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
    if np.isnan(a).any() or np.isnan(b).any() or not b.sum() or not a.sum():
        return {"cost_ratio": math.nan, "cost_ratio_low": math.nan, "cost_ratio_high": math.nan}
    low, high = bootstrap_ratio(a, b, clusters, draws=500, method="percentile")
    return {"cost_ratio": a.sum() / b.sum(), "cost_ratio_low": low, "cost_ratio_high": high}


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
            None if pd.isna(r["se"]) else r["se"],
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
    family = [*rows["p"], *[1.0] * not_run]
    found = [paired.holm([*family[:i], p, *family[i + 1 :]])[i] for i, p in enumerate(rows[column])]
    return np.asarray(found)


def _verdict(row: dict[Any, Any]) -> str:
    if row["cut"] > bounds.CUT_SHARE:
        return _NO_VERDICT
    if row["could_turn"]:
        return (
            f"no verdict: {row['missing']} pairs lack a score; with them the difference is between "
            f"{100 * row['worst_low']:+.1f} and {100 * row['worst_high']:+.1f} pp"
        )
    if row["shown"]:
        return "A higher" if row["difference"] > 0 else "A lower"
    if not pd.isna(row["se"]) and power.too_few_clusters(row["clusters"], row["level"]):
        return f"not shown to differ; {row['clusters']} clusters are too few to show any difference"
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

    Raises `RlmEvalError` for a name that matches nothing, listing near names.
    """
    frame = summary.prepare(records, manifests)
    published = _number(b)
    left = select(frame, a)
    if published is not None:
        return "\n".join([*_status(frame), *_published(left, published)])
    right = select(frame, b)
    if left.index.equals(right.index):
        raise RlmEvalError(f"{a!r} and {b!r} select the same results; name two different sides")
    rows = with_holm(
        pd.DataFrame([row for one, other in matched(left, right) for row in pairs(one, other)])
    )
    if rows.empty:
        raise RlmEvalError(f"{a} and {b} share no scored sample; compare runs of the same samples")
    told = [*_status(frame), f"A = {a}, B = {b}; difference = A - B, paired by sample"]
    for row in rows.to_dict("records"):
        told += ["", *lines(row, margin)]
    if len(rows) > 1:
        told += ["", f"p values after Holm over the {len(rows)} comparisons above."]
    return "\n".join(told)


def _status(frame: pd.DataFrame) -> list[str]:
    told = ["exploratory: these comparisons were not named before the run"]
    if stamp := wording.stamps(frame):
        told.append(stamp)
    return told


def _left_out(row: dict[Any, Any]) -> str:
    parts = [
        f"{row['missing']} pairs without both scores" if row["missing"] else "",
        f"{row['unpaired']} samples that one side did not run" if row["unpaired"] else "",
    ]
    told = ", ".join(filter(None, parts))
    return f" ({told} left out)" if told else ""


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
        shown = row["comparable"] and paired.non_inferior(row["low"], margin)
        word = "shown" if shown else "not shown"
        told.append(f"  A is at most {100 * margin:g} pp below B: {word}")
    return [*told, f"  {_cost_words(row)}"]


def _cost_words(row: dict[Any, Any]) -> str:
    if row["refused"] == row["n"]:
        return "cost ratio: none (every pair has a prompt that was refused as too long)"
    if math.isnan(row["cost_ratio"]):
        return "cost ratio: unknown (a price is missing)"
    ends = f"[{row['cost_ratio_low']:.2f}, {row['cost_ratio_high']:.2f}]"
    left_out = f", {row['refused']} pairs with a refused prompt left out" if row["refused"] else ""
    return f"cost A / B: {row['cost_ratio']:.2f} {ends}{left_out}"


def _published(frame: pd.DataFrame, published: float) -> list[str]:
    lines = [f"published: {100 * published:.1f} % (its own uncertainty is not known)"]
    for (task, length), part in _groups(frame):
        samples = summary.units(part)
        scored = samples[~samples["lost"]]
        found = mean_interval(scored["score"], scored["cluster"])
        verdict = paired.against_published(found.estimate, found.low, found.high, published)
        if samples["cut"].mean() > bounds.CUT_SHARE:
            verdict = _NO_VERDICT
        elif lost := int(samples["lost"].sum()):
            ends = [_filled(samples, score) for score in (0.0, 1.0)]
            low, high = (end.estimate for end in ends)
            same = {
                paired.against_published(end.estimate, end.low, end.high, published) for end in ends
            }
            if same != {verdict}:
                verdict = (
                    f"no verdict: {lost} samples have no score; with them between "
                    f"{100 * low:.1f} and {100 * high:.1f} %"
                )
        lines.append(
            f"{task} at {wording.tokens_label(length)}: {100 * found.estimate:.1f} % "
            f"[{100 * found.low:.1f}, {100 * found.high:.1f}], n = {found.n}, {found.method}: "
            f"{verdict}"
        )
    return lines


def _filled(samples: pd.DataFrame, score: float) -> Interval:
    """Return the mean with every missing score imputed as `score`."""
    return mean_interval(samples["score"].fillna(score), samples["cluster"])


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().rstrip("%")) / (100 if "%" in text else 1)
    except ValueError:
        return None
    if not 0 <= value <= 1:
        raise RlmEvalError(f"{text}: a published score is given as 0.44 or 44%")
    return value


def select(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Select the records of a name: a series label, method, variant, model, prompt or run.

    `rlm:gpt-5` means a method with a root model; names of YAML files work too (`names.printed`).
    Raises `RlmEvalError` listing near names.
    """
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
