"""How often the intervals of paired differences hold the true one, and how often p < 0.05 is false.

    PYTHONPATH=. python benchmarks/interval_coverage/coverage.py               (5 CPU minutes)
    PYTHONPATH=. python benchmarks/interval_coverage/coverage.py --sets 200    (30 s)

Each set is n pairs of scores in G clusters (G = n: independent), drawn from a Gaussian copula: a
cluster's effect carries 20 % of the variance, A and B share 30 % of what makes a sample hard. Right
or wrong scores have the stated mean; graded ones are right, wrong or something between, half of
them each. A is 0 or 5 points better than B. `paired.compare` is what the reports use.

Prints one line per situation and the worst of them; `results.txt` holds the last output, and
`docs/statistics.md` its table. Exit code 1 where an interval covers less than
93 %, or a test rejects more than 5.5 % of true hypotheses, by more than two standard errors of the
simulation.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from rlm_eval.stats import paired

SIZES = {20: (4, 8, 20), 40: (4, 8, 20, 40), 100: (4, 8, 20, 100)}
"""Pairs -> clusters."""
MEANS = (0.1, 0.3, 0.5, 0.7, 0.9)
COVERED, REJECTED = 0.93, 0.055
_OF_CLUSTER, _SHARED = 0.2, 0.3  # shares of the latent variance


@dataclass(frozen=True)
class Situation:
    """What the sets are drawn from."""

    n: int
    clusters: int
    kind: str
    """`right/wrong` or `graded`."""
    mean: float
    """Of B."""
    difference: float
    """A minus B, in truth."""


def situations() -> list[Situation]:
    """Every combination."""
    return [
        Situation(n, groups, kind, mean, difference)
        for n, sizes in SIZES.items()
        for groups, kind, mean, difference in itertools.product(
            sizes, ("right/wrong", "graded"), MEANS, (0.0, 0.05)
        )
    ]


def draw(
    s: Situation, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """(A, B, clusters) of one set."""
    labels = np.arange(s.n) * s.clusters // s.n
    own = 0.0 if s.clusters == s.n else _OF_CLUSTER

    def pair(size: int) -> NDArray[np.float64]:
        shared = rng.standard_normal(size)
        return math.sqrt(_SHARED) * shared + math.sqrt(1 - _SHARED) * rng.standard_normal((2, size))

    latent = math.sqrt(own) * pair(s.clusters)[:, labels] + math.sqrt(1 - own) * pair(s.n)
    uniform = ndtr(latent)
    make = _right_or_wrong if s.kind == "right/wrong" else _graded
    return make(uniform[0], s.mean + s.difference), make(uniform[1], s.mean), labels


def _right_or_wrong(uniform: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    return (uniform < mean).astype(float)


def _graded(uniform: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """1 for half of the mean's share, 0 for half of the rest's, a power of a uniform between."""
    high, low = mean / 2, 1 - (1 - mean) / 2
    between = np.clip((low - uniform) / (low - high), 1e-12, 1.0) ** ((1 - mean) / mean)
    return np.where(uniform < high, 1.0, np.where(uniform > low, 0.0, between))


def measure(s: Situation, sets: int, seed: int) -> tuple[float, float, float]:
    """(share of intervals that hold the true difference, mean width, share of p < 0.05)."""
    rng = np.random.default_rng(
        (seed, s.n, s.clusters, int(1000 * s.mean), int(s.difference * 100))
    )
    held = width = rejected = 0.0
    for _ in range(sets):
        found = paired.compare(*draw(s, rng))
        held += found.low <= s.difference + 1e-12 and found.high >= s.difference - 1e-12
        width += found.high - found.low
        rejected += found.p < 0.05
    return held / sets, width / sets, rejected / sets


def main() -> int:
    """Measure every situation and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [(s, *measure(s, options.sets, options.seed)) for s in situations()]
    print(f"{options.sets} sets each; seed {options.seed}")
    print("n    clusters  scores       mean  A-B   covered  width  p<0.05")
    for s, held, width, rejected in rows:
        print(
            f"{s.n:<4} {s.clusters:<9} {s.kind:<12} {s.mean:.1f}   {s.difference:.2f}  "
            f"{held:.3f}    {width:.3f}  {rejected:.3f}"
        )
    print("\nclusters  scores       covered: least, mean   rejected of true: most, mean")
    for groups, kind in itertools.product(("4", "8", "20", "n"), ("right/wrong", "graded")):
        own = [r for r in rows if r[0].kind == kind and _named(r[0]) == groups]
        held, false = [r[1] for r in own], [r[3] for r in own if r[0].difference == 0]
        print(
            f"{groups:<9} {kind:<12} {min(held):.3f}  {np.mean(held):.3f}           "
            f"{max(false):.3f}  {np.mean(false):.3f}"
        )
    noise = {
        limit: 2 * math.sqrt(limit * (1 - limit) / options.sets) for limit in (COVERED, REJECTED)
    }
    short = [r for r in rows if r[1] < COVERED - noise[COVERED]]
    loose = [r for r in rows if r[0].difference == 0 and r[3] > REJECTED + noise[REJECTED]]
    print(f"\nunder {COVERED:.0%} by more than two errors: {len(short)}; "
          f"over {REJECTED:.1%} likewise: {len(loose)}")  # fmt: skip
    return 1 if short or loose else 0


def _named(s: Situation) -> str:
    return "n" if s.clusters == s.n else str(s.clusters)


if __name__ == "__main__":
    raise SystemExit(main())
