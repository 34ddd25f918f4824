"""Effect of context length on a score: slopes, and the length where one method overtakes another.

The units are the clusters of `intervals`: samples of one context, and an item at all its lengths.
The slope's interval is cluster-robust t, as in `paired`; bootstrap draws of the crossover resample
whole clusters. Lengths enter as log2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlm_eval.stats.intervals import cluster_t, multiplicities, product


@dataclass(frozen=True, slots=True)
class Trend:
    """Difference A minus B as a function of length."""

    slope: float
    """Change of (A - B) per doubling of the length."""
    slope_low: float
    """Lower end of its cluster-robust 95 % t interval."""
    slope_high: float
    """Upper end."""
    clusters: int
    """Number of independent units."""
    crossover: float | None
    """Length from which A is ahead, in tokens; `None` where there is no crossing in the range."""
    draws: NDArray[np.float64]
    """Crossover length per bootstrap draw: 0 = ahead from the start, inf = never ahead."""


def trend(
    lengths: ArrayLike,
    clusters: ArrayLike,
    differences: ArrayLike,
    *,
    draws: int = 2_000,
    seed: int = 0,
) -> Trend:
    """Slope and crossover of paired differences (A - B) in independent `clusters`.

    A cluster spans all lengths: see `intervals.linked`. Raises `ValueError` with fewer than two
    lengths.
    two lengths.
    """
    axis, at = np.unique(np.asarray(lengths, dtype=float), return_inverse=True)
    if len(axis) < 2:
        raise ValueError("a trend needs at least two context lengths")
    d = np.asarray(differences, dtype=float)
    _, who = np.unique(np.asarray(clusters), return_inverse=True)
    shape = (who.max() + 1, len(axis))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (who, at), d)
    np.add.at(counts, (who, at), 1.0)
    sizes = counts.sum(axis=0)
    curve = sums.sum(axis=0) / sizes
    x = np.log2(axis) - np.log2(axis).mean()
    weights = x / (x**2).sum()
    slope = float(weights @ curve)
    # The slope is a weighted sum of means, so its error is that of the mean of each pair's part.
    # Where no pair differs, as if one pair differed by 1: an unobserved variance is not 0.
    parts = len(d) * (weights / sizes)[at] * (d - curve[at])
    half = cluster_t(parts, who, least=float(np.abs(weights / sizes).max()))
    steepest = float(np.abs(weights).sum())
    point = _crossover(axis, curve)
    inside = np.isfinite(point) and point > 0
    chosen = multiplicities(shape[0], draws, seed)
    with np.errstate(invalid="ignore"):  # a draw may contain no pair of a length
        curves = product(chosen, sums) / product(chosen, counts)
    return Trend(
        slope,
        max(-steepest, slope - half),
        min(steepest, slope + half),
        shape[0],
        float(point) if inside else None,
        np.array([_crossover(axis, row) for row in curves]),
    )


def _crossover(lengths: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Length where the curve last rises through 0 and stays above."""
    known = np.isfinite(curve)
    x, y = np.log2(lengths[known]), curve[known]
    if not len(y) or y[-1] <= 0:
        return float("inf")
    below = np.flatnonzero(y <= 0)
    if not len(below):
        return 0.0
    i = int(below[-1])
    return float(2 ** (x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])))
