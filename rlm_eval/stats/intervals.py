"""Intervals for a mean score, for a quantile, for any statistic; clusters are never ignored.

Not comparisons (`paired.py`). Wilson 1927; Brown, Cai & DasGupta 2001 (never Wald near 0 or 1);
Cameron & Miller 2015 and Miller 2024 (arXiv:2411.00640) for clusters; Efron 1987 for BCa.
Samples that share a context are one cluster; where every sample has its own, clusters = samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

FEW_CLUSTERS = 8
"""Below this the cluster-robust interval is too narrow to trust and the reader is told."""

Statistic = Callable[[NDArray[np.int64]], float]
"""A number from the indices of the samples drawn."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval."""

    estimate: float
    """The point estimate; NaN where there is nothing to estimate from."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """Samples behind it."""
    clusters: int
    """Independent units behind it."""
    method: str
    """How the interval was made, in a reader's words."""


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval; `n` may be an effective, fractional size."""
    if n <= 0:
        return 0.0, 1.0
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def cluster_sums(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(sum per cluster, size per cluster, cluster number per value)."""
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


def mean_interval(
    values: ArrayLike, clusters: Sequence[str] | ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """The interval of a mean score in [0, 1], chosen by what the data are.

    Right/wrong scores of independent samples: Wilson. Right/wrong in clusters, with fewer than 10
    successes or failures or fewer than `FEW_CLUSTERS` clusters: Wilson at the effective size
    n/deff. Else the cluster-robust t interval with G-1 degrees of freedom, cut to [0, 1].
    """
    from scipy import stats  # slow to import: only where it is used

    x = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0, "no data")
    labels = np.arange(n) if clusters is None else np.asarray(clusters)
    groups = len(np.unique(labels))
    mean = float(x.mean())
    if np.isin(x, (0.0, 1.0)).all():
        edge = min(x.sum(), n - x.sum()) < 10
        if groups == n:
            return Interval(mean, *wilson(x.sum(), n, level), n, groups, "Wilson")
        if edge or groups < FEW_CLUSTERS:
            size = effective_size(x, labels)
            return Interval(
                mean, *wilson(mean * size, size, level), n, groups, f"Wilson at n = {size:.1f}"
            )
    if groups < 2:
        return Interval(mean, 0.0, 1.0, n, groups, "one cluster: nothing can be said")
    half = float(stats.t.ppf(0.5 + level / 2, groups - 1)) * cluster_se(x, labels)
    name = "t" if groups == n else "cluster-robust t"
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), n, groups, name)


def effective_size(values: ArrayLike, clusters: Sequence[str] | ArrayLike) -> float:
    """n / design effect, between the number of clusters' worth of information and n.

    Where all values are equal the design effect cannot be seen: each cluster counts once.
    """
    x = np.asarray(values, dtype=float)
    groups = len(np.unique(np.asarray(clusters)))
    variance = float(x.var(ddof=1)) if len(x) > 1 else 0.0
    if variance == 0.0 or groups < 2:
        return float(groups)
    effect = cluster_se(x, clusters) ** 2 / (variance / len(x))
    # Few clusters make the design effect itself noisy: never gain from a lucky small one.
    return len(x) / max(1.0, effect)


def bootstrap(
    clusters: Sequence[str] | ArrayLike,
    statistic: Statistic,
    *,
    draws: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Percentile interval and draws of any statistic, resampling whole clusters.

    For a mean or a ratio of sums use `bootstrap_ratio`, which is vectorised and offers BCa.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(index.max() + 1)]
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        chosen = rng.integers(0, len(members), len(members))
        found[draw] = statistic(np.concatenate([members[group] for group in chosen]))
    tail = (1 - level) / 2
    finite = found[np.isfinite(found)]
    if not len(finite):
        return (float("nan"), float("nan")), found
    return (float(np.quantile(finite, tail)), float(np.quantile(finite, 1 - tail))), found


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
    """Interval of sum(top)/sum(bottom) over whole clusters; a mean has `bottom` = 1.

    BCa where it is defined; where the draws are all equal, percentile (a point).
    """
    from scipy import stats  # slow to import: only where it is used

    tops, _, _ = cluster_sums(top, clusters)
    bottoms, _, _ = cluster_sums(bottom, clusters)
    if len(tops) < 2:
        return float("nan"), float("nan")

    def ratio(index: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(tops[index].sum(axis=axis) / bottoms[index].sum(axis=axis))

    spread = np.ptp(tops / np.where(bottoms == 0, 1, bottoms)) > 0
    draw: Any = stats.bootstrap  # its stubs know no statistic of indices
    result = draw(
        (np.arange(len(tops)),),
        ratio,
        n_resamples=draws,
        # A batch bounds the index matrix to a few million entries.
        batch=max(1, min(draws, 2_000_000 // len(tops))),
        confidence_level=level,
        method=method if spread else "percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def quantile_ranks(n: int, q: float, level: float = 0.95) -> tuple[int, int] | None:
    """1-based ranks of the order statistics that bound the quantile; `None` where n is too small.

    An interval for the 90th percentile needs n >= 36, for the 95th n >= 72.
    """
    from scipy import stats  # slow to import: only where it is used

    alpha = 1 - level
    low = int(stats.binom.ppf(alpha / 2, n, q))
    high = int(stats.binom.ppf(1 - alpha / 2, n, q)) + 1
    return (low, high) if low >= 1 and high <= n else None


def quantile_interval(
    values: ArrayLike, q: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Distribution-free interval of a quantile; `None` where n is too small (print the max)."""
    x = np.sort(np.asarray(values, dtype=float))
    ranks = quantile_ranks(len(x), q, level)
    return None if ranks is None else (float(x[ranks[0] - 1]), float(x[ranks[1] - 1]))
