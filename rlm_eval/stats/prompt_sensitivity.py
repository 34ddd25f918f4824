"""How much a score depends on the prompt's words: the range over wordings, beside that of chance.

The means of k wordings on the same samples differ by noise alone, the more the larger k: the range
that chance gives is the one over random exchanges of the wordings within each cluster. Not a
comparison of two named prompts (`paired`). Sclar 2024 and Mizrahi 2024 report ranges and worst
cases; the exchange test is Fisher's, as in `paired.sign_flip`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlm_eval.stats.intervals import cluster_sums

DRAWS = 2_000
"""Random exchanges."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Scores of k wordings on the same samples."""

    n: int
    """Samples that every wording answered."""
    clusters: int
    """Independent units."""
    means: tuple[float, ...]
    """Mean score of each wording, in the given order."""
    by_chance: float
    """Range of the means to be expected if the wording did not matter."""
    p: float
    """Share of exchanges with a range as large as the one seen."""

    @property
    def mean(self) -> float:
        """Over the wordings."""
        return sum(self.means) / len(self.means)

    @property
    def range(self) -> float:
        """Best minus worst."""
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
