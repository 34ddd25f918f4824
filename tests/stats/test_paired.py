"""Tests on pairs: vectors, type-I error, and the right test for the data."""

from __future__ import annotations

import numpy as np
import pytest

from rlm_eval.stats import intervals, paired, power


def detectable(found: paired.Comparison, alpha: float = 0.05) -> float:
    differing = found.wins + found.losses
    return paired.detectable(found.n, found.clusters, differing, found.se, alpha)


def test_mcnemar_vectors() -> None:
    assert paired.mcnemar(9, 2) == pytest.approx((0.065430, 0.038574), abs=1e-6)
    assert paired.mcnemar(5, 0) == pytest.approx((0.0625, 0.03125), abs=1e-9)
    assert paired.mcnemar(0, 0) == (1.0, 1.0)
    assert paired.mcnemar(4, 4)[1] == pytest.approx(1.0)


def test_mcnemar_agrees_with_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    expected = mcnemar([[10, 7], [3, 5]], exact=True).pvalue
    assert paired.mcnemar(7, 3)[0] == pytest.approx(expected)


def test_newcombe_vector() -> None:
    assert paired.newcombe(40, 9, 2, 9) == pytest.approx((0.006268, 0.227053), abs=1e-6)


def test_holm_vector() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == []


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(3).random(30) ** 3
    assert paired.holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_power_table() -> None:
    table = {50: (17, 21), 100: (12, 15), 150: (10, 12), 200: (9, 11)}
    for n, expected in table.items():
        found = [100 * power.detectable_difference(n, share) for share in (0.2, 0.3)]
        assert np.allclose(found, expected, atol=0.75), (n, found)
    assert 100 * power.detectable_difference(500, 0.2) == pytest.approx(5.6, abs=0.1)
    assert 100 * power.detectable_unpaired(50) == pytest.approx(28, abs=0.5)
    assert 100 * power.detectable_unpaired(150) == pytest.approx(16, abs=0.5)


def test_what_clusters_can_show_depends_on_their_number() -> None:
    rng = np.random.default_rng(0)

    def found(groups: int) -> paired.Comparison:
        a, b = rng.integers(0, 2, (2, groups * 10)).astype(float)
        return paired.compare(a, b, np.repeat(np.arange(groups), 10))

    assert np.isnan(detectable(found(4)))  # no p below 2/16
    assert np.isnan(detectable(found(5)))
    six = found(6)
    se = (six.high - six.difference) / 2.570582  # t, 5 degrees of freedom, .975; .8: 0.919544
    assert detectable(six) == pytest.approx((2.570582 + 0.919544) * se, rel=1e-5)
    graded = paired.compare(rng.random(40), rng.random(40), np.repeat(np.arange(4), 10))
    assert np.isnan(detectable(graded))


def test_a_difference_that_never_varies_does_not_show_everything() -> None:
    same = paired.compare(np.ones(40), np.ones(40), np.repeat(np.arange(10), 4))
    assert detectable(same) == pytest.approx((2.262157 + 0.883404) / 40, rel=1e-5)


def test_power_is_its_own_inverse() -> None:
    n = power.samples_needed(0.1, 0.25)
    assert power.detectable_difference(n, 0.25) <= 0.1 < power.detectable_difference(n - 2, 0.25)
    assert np.isnan(power.detectable_difference(5, 0.1))
    with pytest.raises(ValueError, match="discordant"):
        power.samples_needed(0.3, 0.2)


def test_mid_p_keeps_its_size() -> None:
    """Spec: .046 at n = 50 with 15 % discordant each way; the exact test gives .028."""
    rng = np.random.default_rng(0)
    tables = rng.multinomial(50, [0.15, 0.15, 0.7], 4000)
    sizes = np.mean([[p < 0.05 for p in paired.mcnemar(b, c)] for b, c, _ in tables], axis=0)
    assert sizes[0] < sizes[1]
    assert sizes[1] == pytest.approx(0.046, abs=0.012)


def test_sign_flip_counts_every_flip_of_whole_clusters() -> None:
    assert paired.sign_flip([1, 1, 1, 1], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert paired.sign_flip(np.ones(10), np.arange(10)) == pytest.approx(2 / 1024)
    assert paired.sign_flip(np.zeros(5), np.arange(5)) == 1.0
    assert paired.sign_flip(np.ones(40), np.arange(40)) == pytest.approx(2.0**-39)


def test_sign_flip_keeps_its_size_in_clusters() -> None:
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(300):
        effects = rng.normal(0, 1, 10).repeat(5)
        rejected += (
            paired.sign_flip(effects + rng.normal(0, 0.3, 50), np.arange(10).repeat(5)) < 0.05
        )
    assert rejected / 300 < 0.09


def test_compare_chooses_by_the_data() -> None:
    a, b = np.r_[np.ones(40), np.zeros(20)], np.r_[np.ones(30), np.zeros(30)]
    independent = paired.compare(a, b, np.arange(60))
    assert "McNemar" in independent.test
    assert (independent.wins, independent.losses) == (10, 0)
    assert independent.low > 0
    assert "cluster sign flips" in paired.compare(a, b, np.arange(60) // 3).test
    rng = np.random.default_rng(2)
    graded = paired.compare(rng.random(50), rng.random(50), np.arange(50))
    assert "t interval" in graded.test
    assert graded.low <= graded.difference <= graded.high
    assert detectable(graded) > 0
    assert detectable(graded) < detectable(graded, 0.05 / 18)
    with pytest.raises(ValueError, match="pairs"):
        paired.compare([], [], [])


def test_the_graded_interval_covers() -> None:
    rng = np.random.default_rng(5)
    hit = 0
    for _ in range(60):
        base = rng.beta(2, 1, 80)
        found = paired.compare(base, np.clip(base - rng.exponential(0.1, 80), -1, 1), np.arange(80))
        hit += found.low <= 0.1 <= found.high
    assert hit >= 52


def test_non_inferiority_needs_the_lower_end() -> None:
    a = np.r_[np.ones(95), np.zeros(5)]
    same = paired.compare(a, a, np.arange(100))
    assert paired.non_inferior(same.low, 0.1)
    few = paired.compare(a[:8], a[:8], np.arange(8))
    assert not paired.non_inferior(few.low, 0.1)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.5, 0.45, 0.55), "compatible"),
        ((0.3, 0.2, 0.4), "lower"),
        ((0.8, 0.7, 0.9), "higher"),
        ((0.5, 0.2, 0.8), "n too small to tell"),
        ((0.3, 0.1, 0.5), "lower"),
    ],
)
def test_published_verdicts(interval: tuple[float, float, float], verdict: str) -> None:
    assert paired.against_published(*interval, published=0.52) == verdict


def test_differences_that_cancel_within_clusters_show_nothing() -> None:
    """A always says yes, B always no; each context has one yes and one no question."""
    a, contexts = np.tile([1.0, 0.0], 40), np.repeat(np.arange(40), 2)
    found = paired.compare(a, 1 - a, contexts)
    assert found.low < -0.2
    assert found.high > 0.2
    assert found.test.endswith("at least Newcombe")
    assert not paired.non_inferior(found.low, 0.05)
    score = intervals.mean_interval(a, contexts)
    assert (score.low, score.high) == intervals.wilson(40, 80)
    equal = intervals.mean_interval(np.full(40, 0.5))
    assert equal.high - equal.low > 0.2
    uneven = np.r_[contexts, np.arange(20).repeat(2)]  # half of the contexts have four questions
    assert paired.compare(np.r_[a, a[:40]], 1 - np.r_[a, a[:40]], uneven).low < -0.1


def test_amounts_that_cancel_within_clusters_have_no_interval() -> None:
    assert np.isnan(intervals.amount_interval(np.full(40, 0.1), np.arange(40))).all()
    twice = np.repeat(np.arange(20), 2)
    assert np.isnan(intervals.amount_interval(np.tile([0.1, 0.3], 20), twice)).all()
