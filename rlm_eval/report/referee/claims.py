"""Each claim "A against B" on the samples that both answered, and the sentence one may print.

The p value is exact McNemar's over right and wrong answers; Holm adjusts it for all pairs of the
run. Where questions share contexts the units are contexts, and a second p value (sign flips of
whole clusters) is the one that may be generalised.
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
from rlm_eval.report.tables import comparison
from rlm_eval.stats import bounds as missing
from rlm_eval.stats import paired, power

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
    """Exact McNemar's, two-sided, over questions."""
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
    """True where the missing pairs could change the verdict."""
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
            row = comparison.whole(own[own["series"] == a], own[own["series"] == b])
            if row is not None:
                only = _discordant(own[own["score"].notna()], a, b)
                zero = _discordant(own, a, b)
                found.append({"task": str(task), "a": a, "b": b, "only": only, "zero": zero} | row)
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


def _with_holm(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    exact = [paired.mcnemar(*row["only"])[0] for row in rows]
    over = [row["p"] if row["clusters"] < row["n"] else math.nan for row in rows]
    exact_holm = paired.holm(exact)
    over_holm = paired.holm([1.0 if math.isnan(p) else p for p in over])
    level = LEVEL / max(1, len(rows))
    made = []
    for row, p, p_holm, q, q_holm in zip(rows, exact, exact_holm, over, over_holm, strict=True):
        discordant = row["wins"] + row["losses"]
        se = None if row["se"] is None or pd.isna(row["se"]) else row["se"]
        shown = paired.detectable(row["n"], row["clusters"], discordant, se, level)
        few = se is not None and power.too_few_clusters(row["clusters"], level)
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
            detectable=math.nan if few else shown,
            missing=row["missing"],
            cut=row["cut"],
            could_turn=_could_turn(row),
        )
        made.append(Claim(**{**_fields(claim), "sentence": sentence(claim, len(rows))}))
    return made


def _fields(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in claim.__dataclass_fields__}


def _could_turn(row: dict[str, Any]) -> bool:
    """True where missing pairs, as right or wrong, could turn the sign of the difference."""
    if not row["missing"]:
        return False
    low, high = float(row["worst_low"]), float(row["worst_high"])
    return low * float(row["difference"]) <= 0 or high * float(row["difference"]) <= 0


def sentence(claim: Claim, family: int) -> str:
    """What may be printed of a claim, gravest reservation first."""
    who, place = f"{claim.a} and {claim.b}", f"on {claim.task}"
    if claim.cut > missing.CUT_SHARE:
        return (
            f"{who} cannot be compared {place}: {100 * claim.cut:.0f} % of a side's answers were "
            "cut, or are suspected to be, so that its score is known as bounds."
        )
    if claim.could_turn:
        return (
            f"{who} cannot be compared {place}: {claim.missing} pairs lack a score, and with them "
            "the sign of the difference is open."
        )
    means = f"{100 * claim.mean_a:.1f} against {100 * claim.mean_b:.1f} %"
    size = f"{claim.n} questions in {claim.clusters} contexts"
    counted = f"exact McNemar {claim.only_a}:{claim.only_b}, {_p(claim)}"
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
