"""Trends with length, bounds for missing samples, repeats, and the union of what was read."""

from __future__ import annotations

import numpy as np
import pytest

from rlm_eval.records import coverage
from rlm_eval.stats import bounds, trend

LENGTHS = np.array([8, 16, 32, 64]) * 1024


def differences(items: int = 40, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A loses at 8k, wins at 64k: it crosses zero at 2^14.5."""
    rng = np.random.default_rng(0)
    curve = np.array([-0.3, -0.1, 0.1, 0.3])
    values = curve[None, :] + rng.normal(0, noise, (items, 4))
    return np.tile(LENGTHS, items), np.repeat(np.arange(items), 4), values.ravel()


def test_crossover_and_slope() -> None:
    found = trend.trend(*differences(), draws=500)
    assert found.crossover is not None
    assert np.log2(found.crossover) == pytest.approx(14.5, abs=0.2)
    assert found.slope_low < 0.2 < found.slope_high
    assert np.isfinite(found.draws).all()


def test_never_ahead_and_always_ahead_are_not_a_length() -> None:
    lengths, items, values = differences(noise=0.01)
    assert trend.trend(lengths, items, values - 1, draws=50).crossover is None
    ahead = trend.trend(lengths, items, values + 1, draws=50)
    assert ahead.crossover is None
    assert (ahead.draws == 0).all()
    with pytest.raises(ValueError, match="two context lengths"):
        trend.trend(lengths[:1], items[:1], values[:1])


def test_bounds() -> None:
    assert bounds.bounds([1, 0, np.nan, 1], [False, False, True, False]) == (0.5, 0.75)
    assert bounds.bounds([1, 0, 1, 1], [True, False, False, False]) == (0.5, 0.75)
    assert bounds.bounds([], []) == (0.0, 1.0)


def test_pass_at_k() -> None:
    assert bounds.pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert bounds.pass_at_k(4, 1, 4) == 1.0
    assert bounds.pass_hat_k(4, 2, 2) == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match="k <= n"):
        bounds.pass_at_k(2, 1, 3)


def test_coverage_is_a_union() -> None:
    assert coverage.coverage([(0, 10), (5, 15)], 30) == (0.5, pytest.approx(20 / 15))
    assert coverage.coverage([], 30) == (0.0, None)
    assert coverage.evidence_seen([(0, 4), (20, 24), (8, 12)], [(0, 10), (20, 30)]) == 2 / 3
    assert coverage.evidence_seen([(0, 11), (20, 32)], [(0, 10), (20, 30)]) == 1 / 2  # a full stop
