"""How a score changes with context length: slopes, and where one method overtakes another.

A base item keeps its needle and question while the filler grows, so items are the clusters: a
bootstrap draw takes an item at all its lengths. Lengths enter as log2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlm_eval.stats.intervals import multiplicities, product


@dataclass(frozen=True, slots=True)
class Trend:
    """Difference A minus B as a function of length."""

    slope: float
    """Change of (A - B) per doubling of the length."""
    slope_low: float
    """Lower end of its 95 % bootstrap interval."""
    slope_high: float
    """Upper end."""
    crossover: float | None
    """Length from which A is ahead, in tokens; `None` where there is no crossing in the range."""
    draws: NDArray[np.float64]
    """Crossover length per bootstrap draw: 0 = ahead from the start, inf = never ahead."""


def trend(
    lengths: ArrayLike,
    items: ArrayLike,
    differences: ArrayLike,
    *,
    draws: int = 2_000,
    seed: int = 0,
) -> Trend:
    """Slope and crossover of paired differences (A - B), with a bootstrap over items.

    Raises `ValueError` with fewer than two lengths.
    """
    axis, at = np.unique(np.asarray(lengths, dtype=float), return_inverse=True)
    if len(axis) < 2:
        raise ValueError("a trend needs at least two context lengths")
    _, who = np.unique(np.asarray(items), return_inverse=True)
    shape = (who.max() + 1, len(axis))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (who, at), np.asarray(differences, dtype=float))
    np.add.at(counts, (who, at), 1.0)
    chosen = multiplicities(shape[0], draws, seed)
    with np.errstate(invalid="ignore"):  # a draw may miss every item of a length
        curves = product(chosen, sums) / product(chosen, counts)
        curve = sums.sum(axis=0) / counts.sum(axis=0)
    slopes = _slopes(axis, curves)
    crossings = np.array([_crossover(axis, row) for row in curves])
    low, high = np.nanquantile(slopes, [0.025, 0.975])
    point = _crossover(axis, curve)
    inside = np.isfinite(point) and point > 0
    return Trend(
        float(_slopes(axis, curve[None, :])[0]),
        float(low),
        float(high),
        float(point) if inside else None,
        crossings,
    )


def _slopes(lengths: NDArray[np.float64], curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope per doubling of each curve; NaN with fewer than two known points."""
    known = np.isfinite(curves)
    x = np.where(known, np.log2(lengths), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = x - np.nanmean(x, axis=1, keepdims=True)
        slopes = np.nansum(x * curves, axis=1) / np.nansum(x**2, axis=1)
    return np.asarray(np.where(known.sum(axis=1) < 2, np.nan, slopes))


def _crossover(lengths: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Length where the curve rises through 0 for the last time and stays above."""
    known = np.isfinite(curve)
    x, y = np.log2(lengths[known]), curve[known]
    if not len(y) or y[-1] <= 0:
        return float("inf")
    below = np.flatnonzero(y <= 0)
    if not len(below):
        return 0.0
    i = int(below[-1])
    return float(2 ** (x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])))
