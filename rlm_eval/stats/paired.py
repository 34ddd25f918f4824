"""Compare two systems on the same samples: differences, tests, intervals, families of tests.

Independent groups are not covered: all methods and models answer the same samples. Fagerland,
Lydersen & Laake 2013 (mid-p McNemar); Newcombe 1998 (method 10); Holm 1979; Lugannani & Rice 1980
(tails of sign flips). `benchmarks/interval_coverage` measures the intervals' coverage.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr

from rlm_eval.stats.intervals import (
    affordable,
    cluster_se,
    cluster_sums,
    cluster_t,
    effective_size,
    hardly_varies,
    product,
    wilson,
)
from rlm_eval.stats.power import (
    detectable_by_clusters,
    detectable_difference,
    too_few_clusters,
)

WIDE = 0.3
"""An interval wider than this that contains a published number is hardly evidence of agreement."""
EXACT_CLUSTERS = 14
"""Up to this many clusters all 2^G sign flips are enumerated; above, 10,000 are drawn."""
FEW = 10
"""Pairs: where fewer differ from the modal difference, the observed variance is unreliable."""
EDGE = 3.0
"""For graded scores: within this distance of 0 or n, a side's sum hardly reflects rare values."""
_ROUNDING = 1e-12  # standard errors below this are rounding errors of 0
_WHOLE = 20_000  # largest sum whose distribution is computed exactly
_RARE = 10  # draws: a tail with fewer of them is computed by the formula


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B over paired samples."""

    n: int
    """Pairs."""
    clusters: int
    """Number of independent units."""
    mean_a: float
    """Mean score of A over the pairs."""
    mean_b: float
    """Mean score of B over the pairs."""
    difference: float
    """A minus B."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    p: float
    """Two-sided p value, not adjusted for other comparisons."""
    test: str
    """Name of the test and of the interval."""
    wins: int
    """Pairs where A scored higher."""
    losses: int
    """Pairs where B scored higher."""
    se: float | None
    """Cluster-based standard error of the difference; `None` = independent right/wrong scores."""


def detectable(
    n: int, clusters: int, discordant: int, se: float | None, alpha: float = 0.05
) -> float:
    """Difference that n pairs detect with 80 % power at the observed variance; NaN = out of reach.

    `discordant` pairs differ; `se` as in `Comparison` (NaN = `None`, as in a data frame); `alpha`
    is the level of the test: 0.05, or the remaining level in a family. Pairs that share clusters
    are never taken for independent ones: one cluster has no standard error, and shows nothing.
    """
    unknown = se is None or math.isnan(se)
    if clusters < n and (unknown or too_few_clusters(clusters, alpha)):
        return math.nan
    if se is None or unknown:
        return detectable_difference(n, max(discordant, 1) / n, alpha=alpha)
    # Where all pairs differ equally the variance is not estimable: as if one pair differed by 1.
    known = se if se > _ROUNDING else 1 / n
    return detectable_by_clusters(known, clusters, alpha=alpha)


def mcnemar(only_a: int, only_b: int) -> tuple[float, float]:
    """(exact, mid-p) two-sided p of McNemar's test from the discordant counts."""
    n = only_a + only_b
    if n == 0:
        return 1.0, 1.0
    least = min(only_a, only_b)
    tail = float(bdtr(least, n, 0.5))
    below = float(bdtr(least - 1, n, 0.5)) if least else 0.0
    return min(1.0, 2 * tail), min(1.0, tail + below)


def newcombe(
    both: float, only_a: float, only_b: float, neither: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a paired difference of proportions: squared Wilson limits combined with phi.

    phi has Newcombe's continuity correction where it is positive.
    """
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    low_a, high_a = wilson(both + only_a, n, level)
    low_b, high_b = wilson(both + only_b, n, level)
    product = both * neither - only_a * only_b
    scale = np.sqrt(
        float(both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    )
    corrected = max(product - n / 2, 0.0) if product > 0 else float(product)
    phi = corrected / scale if scale else 0.0
    down_a, up_a, down_b, up_b = p_a - low_a, high_a - p_a, p_b - low_b, high_b - p_b
    below = np.sqrt(max(0.0, down_a**2 - 2 * phi * down_a * up_b + up_b**2))
    above = np.sqrt(max(0.0, up_a**2 - 2 * phi * up_a * down_b + down_b**2))
    return float(p_a - p_b - below), float(p_a - p_b + above)


@functools.lru_cache(2)
def _signs(groups: int, draws: int, seed: int) -> NDArray[np.int8]:
    """Random signs, shape (draws, groups); cached as in `intervals`."""
    return np.random.default_rng(seed).integers(0, 2, (draws, groups), dtype=np.int8) * 2 - 1


def sign_flip(
    differences: ArrayLike,
    clusters: Sequence[str] | ArrayLike,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided permutation p of a zero mean difference, flipping whole clusters.

    Exact up to `EXACT_CLUSTERS` clusters and for integer sums (right/wrong scores), otherwise from
    `draws`; a tail with few draws is computed by Lugannani and Rice's formula. So p has no lower
    bound from the number of draws, which a large family of tests needs.
    """
    sums, _, _ = cluster_sums(differences, clusters)
    sums = sums[sums != 0]  # a zero sum is unchanged by a flip
    groups = len(sums)
    if groups == 0:
        return 1.0
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    if groups <= EXACT_CLUSTERS:
        bits = (np.arange(2**groups)[:, None] >> np.arange(groups)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sums) >= observed))
    if (sums == np.round(sums)).all() and np.abs(sums).sum() < _WHOLE:
        return _of_whole_sums(np.abs(sums).astype(int), observed)
    draws = affordable(draws, groups)
    reached = int((np.abs(product(_signs(groups, draws, seed), sums)) >= observed).sum())
    drawn = (1 + reached) / (1 + draws)
    return min(drawn, _far_tail(sums, observed)) if reached < _RARE else drawn


def _of_whole_sums(sums: NDArray[np.int64], observed: float) -> float:
    """Two-sided tail of a sum of integers with independent signs, from its exact distribution."""
    chance = np.ones(1)  # P(sum = 2 * index - total so far)
    for size in sums:
        padded = np.zeros(size)
        chance = (
            np.concatenate([chance, padded, padded]) + np.concatenate([padded, padded, chance])
        ) / 2
    reached = np.abs(np.arange(len(chance)) - sums.sum()) >= observed
    return float(min(1.0, chance[reached].sum()))


def _far_tail(sums: NDArray[np.float64], observed: float) -> float:
    """Two-sided tail of a sum of `sums` with independent signs, far from its centre.

    The cumulant function of the sum is sum(log cosh(t s)); exactly one flip reaches the largest
    sum.
    """
    least = 2.0 ** (1 - len(sums))
    scaled = sums / np.abs(sums).max()
    target = observed / np.abs(sums).max()
    low, high = 0.0, 1.0
    while (slope := float((scaled * np.tanh(high * scaled)).sum())) < target and high < 700:
        low, high = high, 2 * high
    if slope < target:
        return least
    for _ in range(80):
        middle = (low + high) / 2
        if (scaled * np.tanh(middle * scaled)).sum() < target:
            low = middle
        else:
            high = middle
    t = (low + high) / 2
    cumulant = float(np.logaddexp(t * scaled, -t * scaled).sum() - len(sums) * math.log(2))
    curvature = float((scaled**2 * (1 - np.tanh(t * scaled) ** 2)).sum())
    w = math.sqrt(max(0.0, 2 * (t * target - cumulant)))
    u = t * math.sqrt(curvature)
    density = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
    tail = float(ndtr(-w)) + density * (1 / u - 1 / w)
    return max(least, min(1.0, 2 * tail))


def compare(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[str] | ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two systems, choosing the test by the data; `a[i]` and `b[i]` are of the same sample.

    Independent right/wrong scores: mid-p McNemar, Newcombe. Clustered or graded scores: sign flips
    of whole clusters, cluster-robust t; where fewer than `FEW` pairs differ from the modal
    difference, the interval is at least Newcombe's at the effective size, because pairs without a
    difference do not prove that none exists. So it is where hardly any cluster differs
    (`hardly_varies`): differences that cancel within every cluster have no observed variance. The
    same holds for graded scores where a side's sum is within `EDGE` of 0 or of n: the differences
    are skewed, and t assumes symmetry. Raises `ValueError` without pairs.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    labels = np.asarray(clusters)
    n, groups = len(x), len(np.unique(labels))
    if not n or len(y) != n or len(labels) != n:
        raise ValueError(f"compare needs pairs; got {n}, {len(y)} scores, {len(labels)} clusters")
    d = x - y
    wins, losses = int((d > 0).sum()), int((d < 0).sum())
    delta = float(d.mean())
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    se = None
    if binary and groups == n:
        p = mcnemar(wins, losses)[1]
        low, high = _newcombe(x, y, n, level)
        test = "mid-p McNemar, Newcombe interval"
    else:
        p, se = sign_flip(d, labels, seed=seed), cluster_se(d, labels)
        half = cluster_t(d, labels, level)
        low, high = max(-1.0, delta - half), min(1.0, delta + half)
        test = "cluster sign flips, cluster-robust t interval"
        if groups == n:
            test = "sign flips, t interval"
        commonest = int(np.unique(np.round(d, 9), return_counts=True)[1].max())
        at_edge = min(x.sum(), n - x.sum(), y.sum(), n - y.sum()) < EDGE
        rare = n - commonest < FEW or hardly_varies(d, labels)
        if rare or (at_edge and not binary):
            least = _newcombe(x, y, effective_size(d, labels), level)
            if least[0] < low or least[1] > high:
                low, high, test = (
                    min(low, least[0]),
                    max(high, least[1]),
                    f"{test}, at least Newcombe",
                )
    return Comparison(
        n, groups, float(x.mean()), float(y.mean()), delta, low, high, p, test, wins, losses, se
    )


def _newcombe(
    x: NDArray[np.float64], y: NDArray[np.float64], size: float, level: float
) -> tuple[float, float]:
    """Newcombe's interval of these pairs at an effective size.

    For graded scores the counts are the amounts that both share, only one has, and neither has.
    """
    share = size / len(x)
    both, only_x = np.minimum(x, y).sum(), np.maximum(x - y, 0).sum()
    only_y, neither = np.maximum(y - x, 0).sum(), (1 - np.maximum(x, y)).sum()
    return newcombe(share * both, share * only_x, share * only_y, share * neither, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their family (Holm's step-down), in the given order."""
    # statsmodels has it too (a test compares both), but its import takes a second.
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = reached
    return adjusted


def holm_instead(p_values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Holm's p of each of `others`, in the family where it alone replaces its `p_values`."""
    family = list(p_values)
    return [holm([*family[:i], p, *family[i + 1 :]])[i] for i, p in enumerate(others)]


def non_inferior(low: float, margin: float) -> bool:
    """True where A is shown to be at most `margin` below B; the margin must be set beforehand.

    `low`: lower end of the interval of A minus B.
    """
    return low > -margin


def against_published(
    value: float, low: float, high: float, published: float, n: int | None = None
) -> str:
    """Verdict in words on our interval and a published number.

    With the published `n` the number has a Wilson interval, and the difference has Newcombe's
    (1998, method 10); without `n` its uncertainty is unknown and ignored.
    """
    below, above = (published, published) if n is None else wilson(published * n, n)
    difference = value - published
    least = difference - math.hypot(value - low, above - published)
    most = difference + math.hypot(high - value, published - below)
    if least > 0 or most < 0:
        return "lower" if value < published else "higher"
    return "n too small to tell" if most - least > WIDE else "compatible"
