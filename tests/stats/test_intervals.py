"""Published test vectors, and coverage where a wrong formula would show."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from rlm_eval.stats import intervals


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(17, 20, 0.639581, 0.947631), (0, 20, 0.0, 0.161125), (28, 50, 0.42306, 0.688378)],
)
def test_wilson_vectors(successes: int, n: int, low: float, high: float) -> None:
    assert intervals.wilson(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_agrees_with_scipy() -> None:
    from scipy.stats import binomtest

    for successes, n in ((3, 7), (50, 50), (1, 200)):
        expected = binomtest(successes, n).proportion_ci(method="wilson")
        assert intervals.wilson(successes, n) == pytest.approx(tuple(expected), abs=1e-9)


def test_cluster_se_vector() -> None:
    x = [int(digit) for digit in "110100111001"]
    clusters = np.repeat(np.arange(4), 3)
    assert intervals.cluster_se(x, clusters) == pytest.approx(0.159571, abs=1e-6)
    assert intervals.cluster_se(x, np.arange(12)) == pytest.approx(0.148647, abs=1e-6)


def test_quantile_ranks_vectors() -> None:
    assert intervals.quantile_ranks(50, 0.5) == (18, 33)
    assert intervals.quantile_ranks(50, 0.9) == (41, 50)
    assert intervals.quantile_ranks(35, 0.9) is None
    assert intervals.quantile_ranks(36, 0.9) is not None
    assert intervals.quantile_ranks(71, 0.95) is None
    assert intervals.quantile_ranks(72, 0.95) is not None
    assert intervals.quantile_interval(range(1, 51), 0.5) == (18.0, 33.0)


def test_the_interval_fits_the_data() -> None:
    assert intervals.mean_interval([1, 0, 1, 1]).method == "Wilson"
    assert intervals.mean_interval([0.2, 0.9, 0.4]).method == "t"
    rng = np.random.default_rng(0)
    middling = rng.integers(0, 2, 200)
    wide = intervals.mean_interval(middling, np.repeat(np.arange(20), 10))
    assert (wide.method, wide.clusters) == ("cluster-robust t", 20)
    near_one = np.r_[np.ones(197), np.zeros(3)]
    assert intervals.mean_interval(near_one, np.repeat(np.arange(20), 10)).method.startswith(
        "Wilson at n"
    )


def test_no_failures_in_clusters_is_not_certainty() -> None:
    """Twenty right answers over two contexts are two contexts' worth of evidence."""
    found = intervals.mean_interval(np.ones(20), np.repeat([0, 1], 10))
    assert found.low == pytest.approx(intervals.wilson(2, 2)[0])
    assert found.high == 1.0


def test_nothing_to_say() -> None:
    assert np.isnan(intervals.mean_interval([]).estimate)
    single = intervals.mean_interval([0.5, 0.7], ["c", "c"])
    assert (single.low, single.high) == (0.0, 1.0)


def clustered(rng: np.random.Generator, groups: int, size: int, rho: float, p: float) -> np.ndarray:
    """Right/wrong in clusters: each cluster's rate is a beta draw with intra-class correlation."""
    scale = (1 - rho) / rho
    rates = rng.beta(p * scale, (1 - p) * scale, groups)
    return (rng.random((groups, size)) < rates[:, None]).astype(float).ravel()


@pytest.mark.parametrize(("groups", "floor"), [(8, 0.90), (20, 0.92), (50, 0.92)])
def test_coverage_in_clusters(groups: int, floor: float) -> None:
    """Nominal 95 %: spec figures .944, .948, .943; ignoring clusters gives .56 to .86."""
    rng = np.random.default_rng(1)
    size, runs, hit, naive = 200 // groups, 600, 0, 0
    labels = np.repeat(np.arange(groups), size)
    for _ in range(runs):
        x = clustered(rng, groups, size, 0.2, 0.5)
        found = intervals.mean_interval(x, labels)
        hit += found.low <= 0.5 <= found.high
        low, high = intervals.wilson(x.sum(), len(x))
        naive += low <= 0.5 <= high
    assert hit / runs > floor
    assert naive < hit


def test_coverage_of_few_clusters() -> None:
    """4 clusters of 10, p = .3, rho = .2: .980, and .923 of the sixth that show no design effect.

    Wilson at n/deff, the normal's quantile: .888 and .660. Cluster-robust t alone: .929 and .713.
    """
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 10)
    hits, unseen = [], []
    for _ in range(2000):
        x = clustered(rng, 4, 10, 0.2, 0.3)
        found = intervals.mean_interval(x, labels)
        hits.append(found.low <= 0.3 <= found.high)
        unseen.append(intervals.effective_size(x, labels) >= 40)
    assert np.mean(hits) > 0.95
    assert np.mean(np.array(hits)[unseen]) > 0.88


def test_few_clusters_that_look_alike_are_not_independent_samples() -> None:
    x = np.tile(np.r_[np.ones(3), np.zeros(7)], 4)
    found = intervals.mean_interval(x, np.repeat(np.arange(4), 10))
    low, high = intervals.wilson(12, 40)
    assert found.low < low - 0.05
    assert found.high > high + 0.05
    assert found.method.endswith("at least Wilson; means of the 4 clusters: 30, 30, 30, 30 %")
    uneven = intervals.mean_interval(np.r_[np.ones(10), np.zeros(30)], np.repeat(np.arange(4), 10))
    assert (uneven.low, uneven.high) == (0.0, 1.0)
    assert intervals.mean_interval([1.0, 0.0], ["c", "c"]).method.startswith("one cluster")


@pytest.mark.parametrize(("n", "p"), [(20, 0.97), (50, 0.9), (100, 0.97)])
def test_coverage_near_one(n: int, p: float) -> None:
    rng = np.random.default_rng(2)
    hits = [
        low <= p <= high for low, high in (intervals.wilson(k, n) for k in rng.binomial(n, p, 2000))
    ]
    assert np.mean(hits) > 0.93


def test_graded_scores_of_almost_nothing_are_not_certainty() -> None:
    almost = np.r_[np.zeros(37), 0.0056, 0.0075, 0.0001]
    found = intervals.mean_interval(almost)
    assert found.method == "t, at least Wilson"
    assert found.high == pytest.approx(intervals.wilson(0, 40)[1], abs=1e-3)  # t alone: 0.001
    assert found.low == 0.0
    assert intervals.mean_interval(1 - almost).low == pytest.approx(1 - found.high)
    assert intervals.mean_interval(np.linspace(0, 1, 40)).method == "t"


def test_coverage_of_rare_graded_scores() -> None:
    """A score of 0.75^k once in twenty: t alone covers 0.81."""
    rng = np.random.default_rng(3)
    hits, truth = 0, 0.05 * np.mean(0.75 ** np.arange(4))
    for _ in range(1000):
        x = (rng.random(40) < 0.05) * 0.75 ** rng.integers(0, 4, 40)
        found = intervals.mean_interval(x)
        hits += found.low <= truth <= found.high
    assert hits / 1000 > 0.94


def test_bootstrap_of_a_ratio_covers_and_keeps_clusters_whole() -> None:
    rng = np.random.default_rng(3)
    hit = 0
    for run in range(150):
        costs = rng.lognormal(0, 0.5, 60)
        low, high = intervals.bootstrap_ratio(
            2 * costs * rng.lognormal(0, 0.1, 60), costs, np.arange(60), draws=500, seed=run
        )
        hit += low <= 2 * np.exp(0.005) <= high
    assert hit / 150 > 0.85
    x = np.tile([0.0, 1.0], 20)
    whole = intervals.bootstrap_ratio(x, np.ones(40), np.repeat(np.arange(20), 2), draws=500)
    assert whole == (0.5, 0.5)


def test_bca_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    x = np.random.default_rng(4).beta(2, 1, 60)
    expected = bootstrap((x,), np.mean, n_resamples=4_000, rng=np.random.default_rng(0))
    found = intervals.bootstrap_ratio(x, np.ones(60), np.arange(60), draws=4_000)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=1e-12)


def test_a_bootstrap_of_very_many_clusters_stays_small() -> None:
    x = np.random.default_rng(4).random(60_000)
    low, high = intervals.bootstrap_ratio(x, np.ones(len(x)), np.arange(len(x)))
    assert low < float(x.mean()) < high
    assert high - low < 0.01


@pytest.mark.parametrize("groups", [417, 700])
def test_the_digits_do_not_depend_on_the_number_of_threads(groups):
    """With two threads BLAS adds up in another order: a table would differ by machine."""
    matrix = intervals.multiplicities(groups, 10_000, 0)
    values = np.random.default_rng(1).normal(size=(groups, 2))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(intervals.product(matrix, values).tobytes())
    assert found[0] == found[1]
