"""Two systems on the same samples: differences, tests, intervals, families of tests.

Not for independent groups: every method and model here answers the same samples. Fagerland,
Lydersen & Laake 2013 (mid-p McNemar); Newcombe 1998 (method 10); Holm 1979; Koehn 2004.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtrit

from rlm_eval.stats.intervals import (
    affordable,
    bootstrap_ratio,
    cluster_se,
    cluster_sums,
    product,
    wilson,
)
from rlm_eval.stats.power import detectable_by_clusters, detectable_difference

WIDE = 0.3
"""An interval wider than this that holds a published number agrees with almost anything."""
EXACT_CLUSTERS = 14
"""Up to this many clusters all 2^G sign flips are counted; above, 10,000 are drawn."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B over paired samples."""

    n: int
    """Pairs."""
    clusters: int
    """Independent units."""
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
    detectable: float
    """Difference that n pairs show with 80 % power at the spread seen; NaN = hardly any."""


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
    both: int, only_a: int, only_b: int, neither: int, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a paired difference of proportions: Wilson limits squared and added, with phi.

    phi carries Newcombe's continuity correction where it is positive.
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
    """Random signs, shape (draws, groups); kept as in `intervals`."""
    return np.random.default_rng(seed).integers(0, 2, (draws, groups), dtype=np.int8) * 2 - 1


def sign_flip(
    differences: ArrayLike,
    clusters: Sequence[str] | ArrayLike,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided permutation p of a zero mean difference, flipping whole clusters."""
    sums, _, _ = cluster_sums(differences, clusters)
    sums = sums[sums != 0]  # a cluster that sums to 0 flips to itself
    groups = len(sums)
    if groups == 0:
        return 1.0
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    if groups <= EXACT_CLUSTERS:
        bits = (np.arange(2**groups)[:, None] >> np.arange(groups)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sums) >= observed))
    draws = affordable(draws, groups)
    reached = int((np.abs(product(_signs(groups, draws, seed), sums)) >= observed).sum())
    return (1 + reached) / (1 + draws)


def compare(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[str] | ArrayLike,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """The comparison that the data ask for; `a[i]` and `b[i]` are scores of the same sample.

    Right/wrong and independent: mid-p McNemar, Newcombe. Right/wrong in clusters: sign flips of
    whole clusters, cluster-robust t. Graded: sign flips, paired BCa bootstrap over clusters.
    Raises `ValueError` without pairs.
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
    if binary and groups == n:
        p = mcnemar(wins, losses)[1]
        both = int(((x == 1) & (y == 1)).sum())
        low, high = newcombe(both, wins, losses, n - both - wins - losses, level)
        test = "mid-p McNemar, Newcombe interval"
        detectable = detectable_difference(n, max(wins + losses, 1) / n)
    else:
        p = sign_flip(d, labels, seed=seed)
        se = cluster_se(d, labels)
        # Where all pairs differ alike the spread cannot be seen: as if one pair differed by 1.
        detectable = detectable_by_clusters(se or 1 / n, groups)
        if binary or groups < 2 or np.ptp(d) == 0:
            half = float(stdtrit(groups - 1, 0.5 + level / 2)) * se if groups > 1 else np.inf
            low, high = max(-1.0, delta - half), min(1.0, delta + half)
            test = "cluster sign flips, cluster-robust t interval"
        else:
            low, high = bootstrap_ratio(d, np.ones(n), labels, level=level, seed=seed)
            test = "sign flips, paired BCa bootstrap interval"
    return Comparison(
        n, groups, float(x.mean()), float(y.mean()), delta, low, high, p, test, wins, losses,
        detectable,
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their family (Holm's step-down), in the given order."""
    # statsmodels has it too (a test compares), but takes a second to import.
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = reached
    return adjusted


def non_inferior(low: float, margin: float) -> bool:
    """True where A is shown to be at most `margin` below B; the margin is stated beforehand.

    `low`: lower end of the interval of A minus B.
    """
    return low > -margin


def against_published(
    value: float, low: float, high: float, published: float, n: int | None = None
) -> str:
    """Verdict in words on our interval and a published number.

    With the `n` behind it the published number has a Wilson interval too, and the difference
    Newcombe's (1998, method 10); without, its own uncertainty is unknown and left out.
    """
    below, above = (published, published) if n is None else wilson(published * n, n)
    difference = value - published
    least = difference - math.hypot(value - low, above - published)
    most = difference + math.hypot(high - value, published - below)
    if least > 0 or most < 0:
        return "lower" if value < published else "higher"
    return "n too small to tell" if most - least > WIDE else "compatible"
