"""Confidence intervals for a mean score, a quantile and any statistic, with clusters.

Comparisons are in `paired.py`. Wilson 1927; Brown, Cai & DasGupta 2001 (never Wald near 0 or 1);
Cameron & Miller 2015 and Miller 2024 (arXiv:2411.00640) for clusters; Efron 1987 for BCa.
Samples that share a context form one cluster; where each has its own, clusters = samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik, ndtr, ndtri, stdtrit
from threadpoolctl import ThreadpoolController

_MOST_FLOATS = 4_000_000  # 32 MB
_ROUNDING = 1e-12  # of a mean: smaller deviations are rounding errors
FEW_CLUSTERS = 8
"""Below this the variance between clusters is poorly estimated; the cluster means are printed
too."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval."""

    estimate: float
    """The point estimate; NaN without data."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """Number of samples."""
    clusters: int
    """Number of independent units."""
    method: str
    """Description of the interval's method, for readers."""


def wilson(
    successes: float, n: float, level: float = 0.95, degrees: int | None = None
) -> tuple[float, float]:
    """Wilson's score interval; `n` may be an effective, fractional size.

    `degrees`: degrees of freedom of the size estimate; Student's t then replaces the normal.
    """
    if n <= 0:
        return 0.0, 1.0
    tail = 0.5 + level / 2
    z = float(ndtri(tail) if degrees is None else stdtrit(degrees, tail))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def cluster_sums(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(sum per cluster, size per cluster, cluster index per value)."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    return sums.astype(float), np.bincount(index).astype(float), index.astype(np.int64)


def cluster_se(values: ArrayLike, clusters: Sequence[str] | ArrayLike) -> float:
    """Cluster-robust standard error of the mean with the G/(G-1) factor; NaN for one cluster."""
    x = np.asarray(values, dtype=float)
    sums, sizes, _ = cluster_sums(x, clusters)
    groups = len(sums)
    if groups < 2:
        return float("nan")
    residuals = sums - sizes * x.mean()
    return float(np.sqrt(groups / (groups - 1) * (residuals**2).sum()) / len(x))


def cluster_t(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike, level: float = 0.95, least: float = 0.0
) -> float:
    """Half width of the cluster-robust t interval of a mean; infinite for one cluster.

    `least`: lower bound on the standard error.
    """
    groups = len(np.unique(np.asarray(clusters)))
    if groups < 2:
        return math.inf
    return float(stdtrit(groups - 1, 0.5 + level / 2)) * max(cluster_se(values, clusters), least)


def hardly_varies(values: ArrayLike, clusters: Sequence[str] | ArrayLike) -> bool:
    """True where fewer than 10 clusters, and fewer than half, have another mean than the modal one.

    Their observed variance is then unreliable, or 0, even if the values within a cluster differ:
    differences may cancel there, as in contexts with one "yes" and one "no" question.
    """
    sums, sizes, _ = cluster_sums(values, clusters)
    modal = int(np.unique(np.round(sums / sizes, 9), return_counts=True)[1].max())
    return len(sums) - modal < min(10, len(sums) / 2)


def linked(*labels: Sequence[Any] | ArrayLike) -> NDArray[np.int64]:
    """Index of the independent unit of each row: rows that share any label are dependent.

    Samples of a cluster share a context; an item used at every length links all clusters that
    contain it.
    """
    columns = [np.unique(np.asarray(column), return_inverse=True)[1] for column in labels]
    unit = np.arange(len(columns[0]))
    while True:  # propagate the smallest index along every label until no index changes
        before = unit
        for column in columns:
            least = np.full(len(unit), len(unit))
            np.minimum.at(least, column, unit)
            unit = least[column]
        if (unit == before).all():
            return np.unique(unit, return_inverse=True)[1].astype(np.int64)


def amount_interval(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean of long-tailed amounts (money, tokens, seconds), in clusters.

    The union of the cluster-robust t interval and the BCa bootstrap interval: the former ignores
    the tail, the latter is too narrow for few clusters. Where the t interval reaches 0, the lower
    end is the bootstrap's. NaN where the variance is not estimable: one cluster, or equal means of
    all clusters.
    """
    x = np.asarray(values, dtype=float)
    half, mean = cluster_t(x, clusters, level), float(x.mean())
    if not np.isfinite(half) or half <= _ROUNDING * abs(mean):
        return float("nan"), float("nan")
    low, high = bootstrap_ratio(x, np.ones(len(x)), clusters, draws=2_000, level=level)
    return min(low, mean - half) if half < mean else low, max(high, mean + half)


def mean_interval(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Interval of a mean score in [0, 1]; the method depends on the data.

    Right/wrong scores of independent samples: Wilson. Right/wrong in clusters, with fewer than 10
    successes or failures: Wilson at the effective size n/deff. Otherwise the cluster-robust t
    interval with G-1 degrees of freedom, clipped to [0, 1]; for graded scores whose sum is within
    10 of 0 or of n it is no narrower than Wilson at n/deff: forty scores near 0 do not exclude a
    rare 1. Nor is it where hardly any cluster's mean differs from the modal one (`hardly_varies`).

    Fewer than `FEW_CLUSTERS` clusters of several samples: the wider of the two, with t's quantile
    in Wilson's too, because the design effect comes from G-1 degrees of freedom; the cluster means
    are reported.
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0, "no data")
    labels = np.arange(n) if clusters is None else np.asarray(clusters)
    groups = len(np.unique(labels))
    mean = float(x.mean())
    if groups == n and np.isin(x, (0.0, 1.0)).all():
        return Interval(mean, *wilson(x.sum(), n, level), n, groups, "Wilson")
    if groups < 2:
        return Interval(mean, 0.0, 1.0, n, groups, "one cluster: nothing can be said")
    low, high, name = _in_clusters(x, labels, level, few=groups < min(FEW_CLUSTERS, n))
    return Interval(mean, low, high, n, groups, name)


def given_clusters(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean conditional on its few contexts: the questions are the units.

    It covers other questions about these contexts, not other contexts. NaN where there are
    `FEW_CLUSTERS` or more contexts, or one sample per context: `mean_interval` is then more
    informative.
    """
    x = np.asarray(values, dtype=float)
    if not is_conditional(len(x), len(np.unique(np.asarray(clusters)))):
        return float("nan"), float("nan")
    found = mean_interval(x, level=level)
    return found.low, found.high


def is_conditional(n: int, clusters: int) -> bool:
    """True where an interval over questions is shown next to the one over contexts."""
    return clusters < min(FEW_CLUSTERS, n)


def _in_clusters(
    x: NDArray[np.float64], labels: NDArray[Any], level: float, few: bool
) -> tuple[float, float, str]:
    """(low, high, method) of a mean over two clusters or more; see `mean_interval`."""
    n, mean = len(x), float(x.mean())
    sums, sizes, _ = cluster_sums(x, labels)
    groups = len(sums)
    binary, edge = np.isin(x, (0.0, 1.0)).all(), min(x.sum(), n - x.sum()) < 10
    half = cluster_t(x, labels, level)
    low, high = max(0.0, mean - half), min(1.0, mean + half)
    name = "t" if groups == n else "cluster-robust t"
    if edge or (few and binary) or hardly_varies(x, labels):
        size = effective_size(x, labels)
        # Equal scores give no estimate of the design effect: assume the worst case.
        degrees = groups - 1 if few and np.ptp(x) > 0 else None
        least = wilson(mean * size, size, level, degrees)
        if binary and edge and not few:
            low, high, name = *least, f"Wilson at n = {size:.1f}"
        elif least[0] < low or least[1] > high:
            low, high, name = min(low, least[0]), max(high, least[1]), f"{name}, at least Wilson"
    if few:
        told = ", ".join(f"{100 * share:.0f}" for share in sums / sizes)
        name = f"{name}; means of the {groups} clusters: {told} %"
    return low, high, name


def effective_size(values: ArrayLike, clusters: Sequence[str] | ArrayLike) -> float:
    """n / design effect, between the number of clusters and n.

    Where all values are equal the design effect is not estimable: each cluster counts once.
    """
    x = np.asarray(values, dtype=float)
    groups = len(np.unique(np.asarray(clusters)))
    variance = float(x.var(ddof=1)) if len(x) > 1 else 0.0
    if variance == 0.0 or groups < 2:
        return float(groups)
    effect = cluster_se(x, clusters) ** 2 / (variance / len(x))
    # With few clusters the estimate is noisy: an effect below 1 must not raise n.
    return len(x) / max(1.0, effect)


@functools.lru_cache(2)
def multiplicities(groups: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """Count of each of `groups` clusters in each of `draws` resamples, shape (draws, groups).

    Cached: a report's comparisons resample the same number of clusters many times.
    """
    rng = np.random.default_rng(seed)
    found = np.empty((draws, groups), dtype=np.uint8)  # above 255 once in 10^500 draws
    step = max(1, 2_000_000 // groups)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        chosen = rng.integers(0, groups, (rows, groups)) + groups * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * groups)
        found[start : start + rows] = counts.reshape(rows, groups)
    return found


@functools.lru_cache(1)
def _as_floats(groups: int, draws: int, seed: int) -> NDArray[np.float64]:
    """`multiplicities` as floats: converting them takes most of the time of a product."""
    return multiplicities(groups, draws, seed).astype(float)


def affordable(draws: int, groups: int) -> int:
    """Number of draws that keeps a draws-by-groups matrix under 100 MB; at least 1,000."""
    return min(draws, max(1_000, 100_000_000 // groups))


def product(matrix: NDArray[Any], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """`matrix @ vectors` for a matrix of small integers, converted to float in blocks.

    In one thread: with more, BLAS adds up in another order, and the last digits would depend on the
    number of cores. For so few columns one thread is faster, too.
    """
    step = max(1, 1_000_000 // matrix.shape[1])
    with _threads().limit(limits=1, user_api="blas"):
        parts = [
            matrix[i : i + step].astype(float, copy=False) @ vectors
            for i in range(0, len(matrix), step)
        ]
    return np.concatenate(parts)


@functools.cache
def _threads() -> ThreadpoolController:
    """The thread pools of the loaded libraries; to find them takes milliseconds."""
    return ThreadpoolController()


def bootstrap_ratio(
    top: ArrayLike,
    bottom: ArrayLike,
    clusters: Sequence[str] | ArrayLike,
    *,
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    method: str = "BCa",
) -> tuple[float, float]:
    """Interval of sum(top)/sum(bottom), resampling whole clusters; a mean has `bottom` = 1.

    `method`: `BCa` or `percentile`. A point where all cluster ratios are equal.
    """
    tops, _, _ = cluster_sums(top, clusters)
    bottoms, _, _ = cluster_sums(bottom, clusters)
    if len(tops) < 2:
        return float("nan"), float("nan")
    drawn = affordable(draws, len(tops))
    counts = _as_floats if drawn * len(tops) <= _MOST_FLOATS else multiplicities
    resampled = counts(len(tops), drawn, seed)
    # Two products with vectors: BLAS packs the matrix for one with two columns, which takes longer.
    below: Any = bottoms[0] * len(bottoms)  # of every draw, if all clusters are of one size
    if np.ptp(bottoms) > 0:
        below = product(resampled, bottoms)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = product(resampled, tops) / below
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "BCa" and np.ptp(tops / np.where(bottoms == 0, 1, bottoms)) > 0:
        tails = _bca_tails(tops, bottoms, found, tails)
    low, high = np.nanquantile(found, tails)
    return float(low), float(high)


def _bca_tails(
    tops: NDArray[np.float64],
    bottoms: NDArray[np.float64],
    found: NDArray[np.float64],
    tails: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Efron's percentiles of the draws for these tails, with bias and acceleration (jackknife)."""
    whole = tops.sum() / bottoms.sum()
    # Draws equal to the estimate count half, as in scipy's bootstrap.
    bias = ndtri(np.clip((np.mean(found < whole) + np.mean(found <= whole)) / 2, 1e-9, 1 - 1e-9))
    left_out = (tops.sum() - tops) / (bottoms.sum() - bottoms)
    away = left_out.mean() - left_out
    acceleration = (away**3).sum() / (6 * max((away**2).sum(), 1e-300) ** 1.5)
    moved = bias + ndtri(tails)
    return np.asarray(ndtr(bias + moved / (1 - acceleration * moved)))


def quantile_ranks(n: int, q: float, level: float = 0.95) -> tuple[int, int] | None:
    """1-based ranks of the order statistics that bound the quantile; `None` where n is too small.

    An interval for the 90th percentile needs n >= 36, for the 95th n >= 72.
    """
    low, high = _binomial_quantile((1 - level) / 2, n, q), _binomial_quantile((1 + level) / 2, n, q)
    return (low, high + 1) if low >= 1 and high < n else None


def _binomial_quantile(share: float, n: int, q: float) -> int:
    """Smallest k with P(X <= k) >= share for X ~ Binomial(n, q)."""
    k = max(0, math.ceil(bdtrik(share, n, q)))
    return k - 1 if k and bdtr(k - 1, n, q) >= share else k


def quantile_interval(
    values: ArrayLike, q: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Distribution-free interval of a quantile; `None` where n is too small (print the max)."""
    x = np.sort(np.asarray(values, dtype=float))
    ranks = quantile_ranks(len(x), q, level)
    return None if ranks is None else (float(x[ranks[0] - 1]), float(x[ranks[1] - 1]))
