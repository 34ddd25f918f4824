"""Few observations give wide intervals, and never an interval of width zero (items 5 to 7)."""

import made_frames as frames
import numpy as np
import pytest

from rlm_eval.report import summary
from rlm_eval.report.figures import distributions
from rlm_eval.report.tables import comparison
from rlm_eval.report.tables.comparison import compare_text
from rlm_eval.stats import intervals, paired, trend


def same_everywhere(score, n=20, per_cluster=5):
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=n, per_cluster=per_cluster)
    return made.assign(score=score)


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("per_cluster", [1, 5])
def test_equal_scores_of_four_clusters_show_no_non_inferiority(score, per_cluster):
    text = compare_text(same_everywhere(score, per_cluster=per_cluster), "rlm", "rag", margin=0.01)
    assert "[+0.0, +0.0]" not in text
    assert "at most 1 pp below B: not shown" in text


def test_the_interval_narrows_with_the_clusters_and_not_with_their_samples():
    def width(clusters, each):
        zeros, labels = np.zeros(clusters * each), np.repeat(np.arange(clusters), each)
        found = paired.compare(zeros, zeros, labels)
        return found.high - found.low

    assert width(4, 5) > width(20, 5) > width(100, 5) > 0
    assert width(4, 50) == pytest.approx(width(4, 5))


def test_the_level_that_holm_leaves_decides_what_n_shows():
    made = frames.frame(methods=("long_context", "rag", "rlm"), lengths=(1024, 2048, 4096), n=60)
    made["score"] = np.random.default_rng(5).integers(0, 2, len(made)).astype(float)
    rows = comparison.against(summary.prepare(made), "long_context")
    alone = rows.iloc[[0]].drop(columns=["p_holm"]).reset_index(drop=True)
    alone = comparison.with_holm(alone)
    assert rows["detectable"].iloc[0] > 1.15 * alone["detectable"].iloc[0]
    assert "at the level of 0.0083 that Holm leaves" in rows["verdict"].iloc[0]


def test_p_values_have_no_floor_that_a_large_family_could_not_pass():
    rng = np.random.default_rng(0)
    strong = paired.sign_flip(rng.uniform(0.2, 1, 60), np.arange(60))
    assert 0 < strong < 0.05 / 1_000
    assert paired.sign_flip(np.ones(40), np.arange(40)) == pytest.approx(2.0**-39)


def windows(n=20, per_cluster=5, seed=0):
    """(lengths, clusters, differences): all questions of a window go up or down together."""
    rng = np.random.default_rng(seed)
    found = []
    for length in (1024, 2048, 4096, 8192):
        for cluster in range(n // per_cluster):
            value = rng.choice([-1.0, 1.0])
            found += [(length, cluster, value)] * per_cluster
    return (np.array(column) for column in zip(*found, strict=True))


def test_a_slope_is_no_surer_for_more_questions_to_a_window():
    few = trend.trend(*windows(n=4, per_cluster=1), draws=50)
    many = trend.trend(*windows(n=200, per_cluster=50), draws=50)
    assert (few.clusters, many.clusters) == (4, 4)
    assert few.slope == pytest.approx(many.slope)
    assert few.slope_high - few.slope_low == pytest.approx(many.slope_high - many.slope_low)


def test_a_slope_of_two_lengths_has_the_interval_of_the_tables_difference():
    """With one pair per item: the change over a doubling is the mean of the items' changes."""
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(10), 4)
    changes = rng.integers(-1, 2, 40).astype(float)
    lengths = np.r_[np.full(40, 1024), np.full(40, 2048)]
    found = trend.trend(lengths, np.tile(clusters, 2), np.r_[np.zeros(40), changes], draws=50)
    half = intervals.cluster_t(changes, clusters)
    assert found.slope == pytest.approx(changes.mean())
    assert found.slope_high - found.slope == pytest.approx(half)


def test_a_slope_of_equal_differences_is_not_known_exactly():
    lengths, clusters, values = windows()
    found = trend.trend(lengths, clusters, 0 * values, draws=50)
    assert found.slope == 0
    assert found.slope_high - found.slope_low > 0.05


def test_slopes_cover_the_truth_with_few_windows():
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        lengths, clusters, _ = windows(n=40, per_cluster=5)
        effect = rng.normal(0, 0.3, (8, 4))
        at = np.log2(lengths / 1024).astype(int)
        noise = rng.normal(0, 0.2, len(lengths))
        found = trend.trend(lengths, clusters, 0.05 * at + effect[clusters, at] + noise, draws=2)
        covered += found.slope_low <= 0.05 <= found.slope_high
    assert covered / 300 > 0.92


def test_linked_rows_share_a_context_or_an_item():
    clusters = ["w0", "w0", "w1", "w2", "w3"]
    items = ["a", "b", "b", "c", "d"]
    assert intervals.linked(clusters, items).tolist() == [0, 0, 0, 1, 2]
    assert intervals.linked(clusters).tolist() == [0, 0, 1, 2, 3]


def test_the_crossover_panel_counts_windows_and_draws_none_of_four():
    made = frames.frame(methods=("rag", "rlm"), n=20, per_cluster=5)
    frame = summary.prepare(made)
    figure, data = distributions.crossover(frame, summary.summarise(frame))
    assert data["clusters"].tolist() == [4]
    assert "crossover" not in data
    said = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "too few clusters" in said
    made = frames.frame(methods=("rag", "rlm"), n=40, per_cluster=2)
    frame = summary.prepare(made)
    _, data = distributions.crossover(frame, summary.summarise(frame))
    assert data["clusters"].tolist() == [20]
    assert data["ahead_share"].notna().all()
