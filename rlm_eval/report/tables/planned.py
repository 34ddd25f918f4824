"""The text of `rlm-eval power`: statistical power of a plan, before any model call."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.stats import power


def power_text(
    *,
    difference: float | None = None,
    n: int | None = None,
    discordant: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.6),
    clusters: int | None = None,
    tests: int = 1,
) -> str:
    """Return the samples needed for a difference, or the difference that n samples can detect.

    The n samples are in `clusters` contexts; `tests` comparisons set the level of Holm's first
    step. Raises `RlmEvalError` unless exactly one of `difference` (more than 0, at most 1) and `n`
    is given.
    """
    if (difference is None) == (n is None):
        raise RlmEvalError("power: give either difference=0.1 or n=50")
    if difference is not None and not 0 < difference <= 1:  # false for NaN as well
        raise RlmEvalError(f"power: difference={difference:g}: give more than 0 and at most 1")
    alpha = 0.05 / tests
    level = "two-sided 5 %" if tests == 1 else f"two-sided 5 % over {tests} tests (Holm)"
    lines = [f"paired right/wrong scores, 80 % power, {level}"]
    units = n if clusters is None else clusters
    if n is not None and units is not None and units < n:
        lines[0] += f", {units} contexts of {n / units:.3g} (correlation {power.CORRELATION:g})"
    lines.append("discordant pairs   answer")
    for share in discordant:
        if n is not None and units is not None:
            found = power.detectable_planned(n, units, share, alpha=alpha)
            answer = "nothing" if math.isnan(found) else f"{100 * found:.1f} pp"
        elif difference is not None and 0 < abs(difference) <= share:
            answer = f"{power.samples_needed(difference, share, alpha=alpha)} samples"
        else:
            answer = "impossible: a difference cannot exceed the share of pairs that differ"
        lines.append(f"{100 * share:>9.0f} %        {answer}")
    if n is not None and units is not None:
        least = power.least_detectable(n, units, alpha=alpha)
        lines.append(
            "no outcome of this plan shows a difference: more samples or contexts are needed"
            if math.isnan(least)
            else f"at best, where all pairs that differ do so alike: {100 * least:.0f} pp"
        )
        if units == n:
            unpaired = 100 * power.detectable_unpaired(n, alpha=alpha)
            shown = f"{unpaired:.0f} pp" if unpaired <= 100 else "nothing"  # scores end at 100 %
            lines.append(f"without pairing, around 50 %: {shown}")
    return "\n".join(lines)
