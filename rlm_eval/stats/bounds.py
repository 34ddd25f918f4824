"""Bounds of a mean with missing and truncated samples, and means over repeats.

No imputation: no value is filled in, both ends are reported. Repeats of a sample are averaged
before any other step (never n x K rows); pass@k follows Chen et al. 2021, pass^k tau-bench.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

CUT_SHARE = 0.05
"""Above this share of truncated or limited samples a mean is printed as bounds."""


def bounds(
    scores: ArrayLike, open_: ArrayLike, most: ArrayLike | None = None
) -> tuple[float, float]:
    """(mean if every open sample were wrong, mean if every one were right).

    `scores`: one per sample, NaN where missing; `open_`: True where the score may not be the
    method's own (missing, truncated, limited). NaN counts as open. `most`: the largest possible
    score of each sample if `scores` are the smallest, as where some of its repeats are missing.
    """
    x = np.asarray(scores, dtype=float)
    unknown = np.asarray(open_, dtype=bool) | np.isnan(x)
    if not len(x):
        return 0.0, 1.0
    y = x if most is None else np.asarray(most, dtype=float)
    low, high = float(x[~unknown].sum()), float(y[~unknown].sum())
    return low / len(x), (high + int(unknown.sum())) / len(x)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Probability that at least one of k draws out of n repeats is correct."""
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n repeats, n = {n}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def pass_hat_k(n: int, correct: int, k: int) -> float:
    """Probability that all k draws out of n repeats are correct."""
    if not 1 <= k <= n:
        raise ValueError(f"pass^{k} needs 1 <= k <= n repeats, n = {n}")
    return math.comb(correct, k) / math.comb(n, k)
