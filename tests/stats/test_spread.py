"""The range over wordings: what chance gives, what an effect gives, clusters kept together."""

import numpy as np
import pytest

from rlm_eval.stats.paired import mcnemar
from rlm_eval.stats.prompt_sensitivity import spread


def test_means_and_range():
    seen = spread([[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]], ["a", "b", "c", "d"])
    assert seen.means == (1.0, 0.25, 0.25)
    assert (seen.n, seen.clusters) == (4, 4)
    assert seen.range == 0.75
    assert seen.mean == 0.5


def test_equal_scores_have_no_range_and_no_evidence():
    seen = spread(np.ones((20, 3)), np.arange(20))
    assert (seen.range, seen.by_chance, seen.p) == (0.0, 0.0, 1.0)


def test_two_wordings_agree_with_the_exact_paired_test():
    scores = np.array([[1, 0]] * 9 + [[0, 1]] * 2 + [[1, 1]] * 30)
    seen = spread(scores, np.arange(len(scores)), draws=20_000)
    assert seen.p == pytest.approx(mcnemar(9, 2)[0], abs=0.006)


def test_the_level_holds_where_the_wording_does_not_matter():
    rng = np.random.default_rng(1)
    ps = [
        spread((rng.random((40, 3)) < 0.5).astype(float), np.arange(40), draws=200, seed=i).p
        for i in range(300)
    ]
    assert 0.02 <= np.mean(np.array(ps) < 0.05) <= 0.08


def test_samples_of_a_cluster_move_together():
    """Ten questions on each of two windows: two units are no evidence, twenty would be."""
    scores = np.array([[1, 0]] * 20)
    assert spread(scores, np.repeat([0, 1], 10)).p == pytest.approx(0.5, abs=0.05)
    assert spread(scores, np.arange(20)).p < 0.001


@pytest.mark.parametrize("scores", [[], [[1.0]], [1.0, 0.0]])
def test_fewer_than_two_wordings_is_an_error(scores):
    with pytest.raises(ValueError, match="samples x wordings"):
        spread(scores, np.arange(len(scores)))
