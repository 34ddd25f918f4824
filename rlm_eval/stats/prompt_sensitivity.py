"""Sensitivity of a score to the prompt's wording: the observed range against the chance range.

The means of k wordings on the same samples differ by noise alone, more so for larger k. The chance
range is the mean range over random exchanges of the wordings within each cluster. Comparisons of
two named prompts are in `paired`. Sclar 2024 and Mizrahi 2024 report ranges and worst cases; the
exchange test is Fisher's, as in `paired.sign_flip`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlm_eval.stats.intervals import cluster_sums

DRAWS = 2_000
"""Number of random exchanges."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Scores of k wordings on the same samples."""

    n: int
    """Samples that every wording answered."""
    clusters: int
    """Number of independent units."""
    means: tuple[float, ...]
    """Mean score of each wording, in the given order."""
    by_chance: float
    """Expected range of the means if the wording had no effect."""
    p: float
    """Share of exchanges with a range at least as large as the observed one."""

    @property
    def mean(self) -> float:
        """Mean over the wordings."""
        return sum(self.means) / len(self.means)

    @property
    def range(self) -> float:
        """Best minus worst mean."""
        return max(self.means) - min(self.means)


def spread(
    scores: ArrayLike, clusters: Sequence[str] | ArrayLike, *, draws: int = DRAWS, seed: int = 0
) -> Spread:
    """The spread of `scores`, shape (samples, wordings), samples in `clusters`.

    Raises `ValueError` for fewer than two wordings or no sample.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or x.shape[1] < 2 or not len(x):
        raise ValueError(f"spread needs samples x wordings, two or more; got shape {x.shape}")
    sums = np.stack([cluster_sums(column, clusters)[0] for column in x.T], axis=1)
    means = sums.sum(axis=0) / len(x)
    rng = np.random.default_rng(seed)
    found = np.array([np.ptp(rng.permuted(sums, axis=1).sum(axis=0)) for _ in range(draws)])
    found /= len(x)
    reached = int((found >= np.ptp(means) - 1e-12).sum())
    return Spread(
        n=len(x),
        clusters=len(sums),
        means=tuple(float(mean) for mean in means),
        by_chance=float(found.mean()),
        p=(1 + reached) / (1 + draws),
    )
