"""Each claim "A against B" on the samples that both answered, and the sentence one may print.

The p value is exact McNemar's over right and wrong answers, or where a score is neither that of
sign flips over the scores; Holm adjusts it for all pairs of the run. Where questions share contexts
the units are contexts, and a second p value (sign flips of whole clusters) is the one that may be
generalised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlm_eval.report import summary, wording
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.scorers import different
from rlm_eval.report.tables import comparison
from rlm_eval.stats import bounds as missing
from rlm_eval.stats import paired

MOST = 60
"""Pairs above which only those with a direct arm, or the first arm, are tested."""
LEVEL = 0.05
"""Two-sided level of the family."""


@dataclass(frozen=True)
class Claim:
    """A against B on one task."""

    task: str
    """Task and its variant."""
    a: str
    """Name of A."""
    b: str
    """Name of B."""
    n: int
    """Samples with both scores."""
    clusters: int
    """Independent units among them."""
    mean_a: float
    """Mean score of A on them, 0 to 1."""
    mean_b: float
    """Of B."""
    difference: float
    """A minus B."""
    low: float
    """95 % interval of it, over clusters."""
    high: float
    """Its upper end."""
    given_low: float
    """Interval given these contexts; NaN where it is the same."""
    given_high: float
    """Its upper end."""
    only_a: int
    """Samples that A alone has right."""
    only_b: int
    """Samples that B alone has right."""
    p: float
    """Two-sided, over questions: exact McNemar's, or sign flips where `graded`."""
    p_holm: float
    """After Holm over all pairs."""
    zero_a: int
    """As `only_a` over all samples that both ran, a missing one counted wrong."""
    zero_b: int
    """As `only_b` likewise."""
    p_clusters: float
    """Over contexts, where questions share them; NaN where they do not."""
    p_clusters_holm: float
    """After Holm over all pairs."""
    detectable: float
    """Difference that so many pairs show with 80 % power; NaN = hardly any."""
    missing: int
    """Pairs that lack a score."""
    cut: float
    """Largest share of cut or suspected answers of a side."""
    could_turn: bool
    """True where the missing scores could change the verdict."""
    sign_open: bool
    """True where they could turn the sign of the difference."""
    graded: bool
    """True where a score, a mean over repeats, is neither 0 nor 1."""
    scorers: tuple[str, ...] = ()
    """Names of the scorers where the two sides have several; empty = one."""
    sentence: str = ""
    """What may be printed."""


def claims(evidence: Evidence) -> list[Claim]:
    """Every pair of methods of one model (else of models), by task, with Holm over all."""
    found: list[dict[str, Any]] = []
    for task, own in evidence.frame.groupby("task_label", sort=False):
        pairs = list(_pairs(own, evidence))
        if len(pairs) > MOST:
            first = _firsts(own, evidence)
            pairs = [(a, b) for a, b in pairs if a in first or b in first]
        for a, b in pairs:
            sides = own[own["series"] == a], own[own["series"] == b]
            row = _tested(*sides)
            if row is not None:
                zero = _discordant(own, a, b)
                row |= {"task": str(task), "a": a, "b": b, "zero": zero}
                row["scorers"] = different(pd.concat(sides))
                found.append(row | _with_missing(row, *sides))
    return _with_holm(found)


def untested(evidence: Evidence) -> list[str]:
    """Pairs of arms that share no scored sample, in words."""
    told = []
    for task, own in evidence.frame.groupby("task_label", sort=False):
        scored = own[own["score"].notna()]
        by = {series: set(part["sample_id"]) for series, part in scored.groupby("series")}
        told += [
            f"{task}: {a} and {b} share no scored sample"
            for a, b in _pairs(own, evidence)
            if not by.get(a, set()) & by.get(b, set())
        ]
    return told


def _pairs(own: pd.DataFrame, evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Methods of one model; where each model has one method, models."""
    # The later one is A, the claim is about it: RLMs stand last, direct arms first.
    direct = set(own.loc[own["method"].isin(evidence.direct), "series"])
    order = sorted(summary.series_order(own), key=lambda series: series not in direct)
    models = own.drop_duplicates("series").set_index("series")[["root", "sub"]]
    groups: dict[str, list[str]] = {}
    for series in order:
        groups.setdefault(str(models.loc[series, "root"]), []).append(series)
    if all(len(names) == 1 for names in groups.values()):
        groups = {"": order}
    for names in groups.values():
        yield from ((b, a) for a, b in itertools.combinations(names, 2))


def _firsts(own: pd.DataFrame, evidence: Evidence) -> set[str]:
    direct = own.loc[own["method"].isin(evidence.direct), "series"]
    return set(direct) or {summary.series_order(own)[0]}


def _discordant(own: pd.DataFrame, a: str, b: str) -> tuple[int, int]:
    """Samples that only A, and only B, has right: more than half of its repeats score 1.

    A row without a score counts as wrong here.
    """
    right = own.assign(right=own["score"].fillna(0.0) >= 1)
    shares = right[right["series"].isin((a, b))].pivot_table(
        index=["length", "item", "sample_id"], columns="series", values="right", aggfunc="mean"
    )
    both = shares.dropna() > 0.5
    return int((both[a] & ~both[b]).sum()), int((both[b] & ~both[a]).sum())


def _tested(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any] | None:
    """Compare the records of two series; `None` if no pair has both scores.

    Adds to `comparison.whole`: `only` (`_discordant`), `exact` (p over questions) and `over` (p
    over contexts; NaN where every question has its own).
    """
    row = comparison.whole(one, other)
    if row is None:
        return None
    both = pd.concat([one, other])
    names = (str(side["series"].iloc[0]) for side in (one, other))
    only = _discordant(both[both["score"].notna()], *names)
    shared = row["clusters"] < row["n"]
    p = paired.mcnemar(*only)[0]
    if row["graded"]:  # counts of right answers say nothing of the means that the claim is about
        sides = (side.assign(cluster=side["sample_id"]) for side in (one, other))
        alone = comparison.whole(*sides) if shared else row
        p = row["p"] if alone is None else alone["p"]
    return row | {"only": only, "exact": p, "over": row["p"] if shared else math.nan}


def _with_missing(row: dict[str, Any], one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """The decisive p with every missing score against the difference, and in its favour."""
    if not row["missing"]:
        return {"sign_open": False, "p_worst": _decisive(row), "p_best": _decisive(row)}
    ends = []
    for of_one, of_other in ((0.0, 1.0), (1.0, 0.0)):
        filled = (
            side.assign(score=side["score"].fillna(score))
            for side, score in ((one, of_one), (other, of_other))
        )
        ends.append(_tested(*filled) or row)
    low, high = ends
    against, favour = (high, low) if row["difference"] < 0 else (low, high)
    turned = against["difference"] * row["difference"] <= 0
    return {
        "sign_open": turned or favour["difference"] * row["difference"] <= 0,
        "p_worst": 1.0 if turned else _decisive(against),
        "p_best": min(_decisive(favour), _decisive(against) if turned else 1.0),
    }


def _decisive(row: dict[str, Any]) -> float:
    """P over contexts, where questions share them; else over questions."""
    return float(row["exact"] if math.isnan(row["over"]) else row["over"])


def _with_holm(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    exact = [row["exact"] for row in rows]
    over = [row["over"] for row in rows]
    known = [1.0 if math.isnan(p) else p for p in over]
    exact_holm, over_holm = paired.holm(exact), paired.holm(known)
    turned = {
        end: [
            of_exact if math.isnan(q) else of_over
            for q, of_exact, of_over in zip(
                over,
                paired.holm_instead(exact, [row[end] for row in rows]),
                paired.holm_instead(known, [row[end] for row in rows]),
                strict=True,
            )
        ]
        for end in ("p_worst", "p_best")
    }
    level = LEVEL / max(1, len(rows))
    made = []
    for at, (row, p, p_holm, q, q_holm) in enumerate(
        zip(rows, exact, exact_holm, over, over_holm, strict=True)
    ):
        discordant = row["wins"] + row["losses"]
        seen = (p_holm if math.isnan(q) else q_holm) < LEVEL
        open_ = turned["p_worst"][at] >= LEVEL if seen else turned["p_best"][at] < LEVEL
        claim = Claim(
            task=row["task"],
            a=row["a"],
            b=row["b"],
            n=row["n"],
            clusters=row["clusters"],
            mean_a=row["mean_a"],
            mean_b=row["mean_b"],
            difference=row["difference"],
            low=row["low"],
            high=row["high"],
            given_low=row["given_low"],
            given_high=row["given_high"],
            only_a=row["only"][0],
            only_b=row["only"][1],
            p=p,
            p_holm=p_holm,
            zero_a=row["zero"][0],
            zero_b=row["zero"][1],
            p_clusters=q,
            p_clusters_holm=math.nan if math.isnan(q) else q_holm,
            detectable=paired.detectable(row["n"], row["clusters"], discordant, row["se"], level),
            missing=row["missing"],
            cut=row["cut"],
            could_turn=bool(row["sign_open"] or open_),
            sign_open=bool(row["sign_open"]),
            graded=row["graded"],
            scorers=row["scorers"],
        )
        made.append(Claim(**{**_fields(claim), "sentence": sentence(claim, len(rows))}))
    return made


def _fields(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in claim.__dataclass_fields__}


def sentence(claim: Claim, family: int) -> str:
    """What may be printed of a claim, gravest reservation first."""
    who, place = f"{claim.a} and {claim.b}", f"on {claim.task}"
    if claim.scorers:
        return (
            f"{who} cannot be compared {place}: their scores are of different scorers "
            f"({', '.join(claim.scorers)})."
        )
    if claim.cut > missing.CUT_SHARE:
        return (
            f"{who} cannot be compared {place}: {100 * claim.cut:.0f} % of a side's answers were "
            "cut, or are suspected to be, so that its score is known as bounds."
        )
    if claim.could_turn:
        what = "the sign of the difference is open"
        if not claim.sign_open:
            what = "it is open whether a difference is shown"
        return (
            f"{who} cannot be compared {place}: {claim.missing} pairs lack a score, and with them "
            f"{what}."
        )
    means = f"{100 * claim.mean_a:.1f} against {100 * claim.mean_b:.1f} %"
    size = f"{claim.n} questions in {claim.clusters} contexts"
    test = "sign flips" if claim.graded else f"exact McNemar {claim.only_a}:{claim.only_b}"
    counted = f"{test}, {_p(claim)}"
    if claim.clusters == 1 and claim.n > 1:
        return (
            f"On {claim.n} questions about one context of {claim.task}, {claim.a} and {claim.b} "
            f"scored {means} ({counted}); this does not generalise to other contexts."
        )
    over = claim.p_holm if math.isnan(claim.p_clusters) else claim.p_clusters_holm
    if over < LEVEL:
        word = "more" if claim.difference > 0 else "less"
        return (
            f"{claim.a} scored {word} than {claim.b} {place} ({means}, difference "
            f"{100 * claim.difference:+.1f} points [{100 * claim.low:+.1f}, "
            f"{100 * claim.high:+.1f}], {size}, {_p(claim)})."
        )
    power_told = (
        "so few would seldom show a difference"
        if math.isnan(claim.detectable)
        else f"they would show {100 * claim.detectable:.0f} points or more"
    )
    return f"{size} {place} do not show that {who} differ ({means}, {counted}); {power_told}." + (
        f" {family} pairs were looked at." if family > 1 else ""
    )


def _p(claim: Claim) -> str:
    told = f"p = {wording.probability(claim.p)}, after Holm {wording.probability(claim.p_holm)}"
    if math.isnan(claim.p_clusters):
        return told
    return f"{told}; over contexts {wording.probability(claim.p_clusters)}"
