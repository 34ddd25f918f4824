"""Samples needed to detect a difference, and the difference that n samples can detect.

Paired binary scores use the McNemar power formula; Card et al. 2020 explain why it is printed with
every comparison that is not significant. Two-sided, normal approximation.
"""

from __future__ import annotations

import math

from scipy.special import ndtri, stdtrit


def samples_needed(
    difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Pairs needed to detect `difference` when a share `discordant` of pairs disagrees.

    Raises `ValueError` unless 0 < |difference| <= discordant <= 1.
    """
    delta = abs(difference)
    if not 0 < delta <= discordant <= 1:
        raise ValueError(
            f"difference {difference} with discordant share {discordant}: "
            "need 0 < |difference| <= discordant <= 1"
        )
    return math.ceil(_needed(delta, discordant, power, alpha))


def _needed(delta: float, discordant: float, power: float, alpha: float) -> float:
    z_alpha, z_beta = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    root = z_alpha * math.sqrt(discordant)
    root += z_beta * math.sqrt(max(0.0, discordant - delta**2))
    return root**2 / delta**2


def detectable_difference(
    n: int, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest paired difference that n pairs detect; at most the discordant share.

    NaN where n pairs cannot detect even that.
    """
    if n < 1 or _needed(discordant, discordant, power, alpha) > n:
        return float("nan")
    # Solve `_needed` = n for the angle, with difference = sqrt(discordant) sin(angle).
    z_alpha, z_beta = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    angle = math.atan2(z_beta, math.sqrt(n)) + math.asin(z_alpha / math.hypot(math.sqrt(n), z_beta))
    return math.sqrt(discordant) * math.sin(angle)


def detectable_mean_difference(se: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of means that is detectable at a standard error of the difference."""
    return float(ndtri(1 - alpha / 2) + ndtri(power)) * se


def detectable_by_clusters(
    se: float, groups: int, power: float = 0.8, alpha: float = 0.05
) -> float:
    """`detectable_mean_difference` where `se` comes from this many sign-flipped clusters.

    NaN where even unanimous clusters cannot reach `alpha`: a share 2 / 2^groups of the flips is
    always as extreme.
    """
    if too_few_clusters(groups, alpha):
        return float("nan")
    degrees = groups - 1
    return float(stdtrit(degrees, 1 - alpha / 2) + stdtrit(degrees, power)) * se


def too_few_clusters(groups: int, alpha: float = 0.05) -> bool:
    """True where sign flips of so few clusters cannot reach significance."""
    return 2.0 ** (1 - groups) > alpha


CORRELATION = 0.2
"""Intra-cluster correlation of the differences, assumed before any measurement."""
LARGE = 0.5
"""A plan whose smallest detectable difference is above this detects hardly any difference."""


def detectable_planned(
    n: int,
    clusters: int,
    discordant: float,
    *,
    alpha: float = 0.05,
    correlation: float = CORRELATION,
) -> float:
    """Smallest paired difference that a plan detects with 80 % power; NaN = out of reach.

    The plan has n pairs in equal clusters; a share `discordant` of the pairs differs.
    """
    if clusters >= n:
        return detectable_difference(n, discordant, alpha=alpha)
    effect = 1 + (n / clusters - 1) * correlation
    se = math.sqrt(discordant * effect / n)
    found = detectable_by_clusters(se, clusters, alpha=alpha)
    return found if found <= discordant else float("nan")


def least_detectable(n: int, clusters: int, *, alpha: float = 0.05) -> float:
    """Smallest difference that a plan detects in the best case: all differing pairs differ alike.

    NaN where no outcome of the plan reaches `alpha`, or none does so with 80 % power.
    """
    # The sign flips of `clusters` groups, or mid-p McNemar of n pairs, have a smallest p.
    least_p = 2.0 ** (1 - clusters) if clusters < n else 0.5**n
    if least_p > alpha or math.isnan(detectable_planned(n, clusters, 1.0, alpha=alpha)):
        return float("nan")
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if math.isnan(detectable_planned(n, clusters, middle, alpha=alpha)):
            low = middle
        else:
            high = middle
    return high


def detectable_unpaired(
    n: int, rate: float = 0.5, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest detectable difference of two independent groups of n samples around `rate`."""
    return detectable_mean_difference(math.sqrt(2 * rate * (1 - rate) / n), power, alpha)
