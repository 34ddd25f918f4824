"""The referee prints no claim that its own interval, or `compare`, does not bear out."""

import made_frames as frames
import numpy as np

from rlm_eval.report import summary
from rlm_eval.report.referee.claims import claims
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import _numbers


def claim(of_a, of_b, *, per_cluster=1, missing=()):
    """The one claim about `rlm` (scores `of_a`) against `long_context` (`of_b`)."""
    n = len(of_a)
    made = frames.frame(
        methods=("long_context", "rlm"), lengths=(1024,), n=n, per_cluster=per_cluster
    )
    rlm = made["method"] == "rlm"
    made.loc[rlm, "score"], made.loc[~rlm, "score"] = of_a, of_b
    lost = rlm & made["index"].isin(missing)
    made.loc[lost, ["score", "outcome"]] = [None, "provider_error"]
    frame = summary.prepare(made)
    [found] = claims(Evidence((), frame, []))
    return found


def test_graded_scores_are_tested_as_scores():
    found = claim(np.where(np.arange(60) < 20, 1.0, 0.84), np.full(60, 0.9))
    assert found.graded
    assert (found.only_a, found.only_b) == (20, 0)
    assert found.low < 0 < found.high
    assert found.p > 0.5
    assert "do not show that rlm and long_context differ" in found.sentence
    assert "McNemar" not in found.sentence
    assert "sign flips p = " in _numbers(found)


def test_graded_scores_of_one_context_have_a_p_over_questions():
    found = claim(np.full(20, 0.9), np.linspace(0.1, 0.5, 20), per_cluster=20)
    assert found.p < 0.001
    assert found.p_clusters == 1
    assert "(sign flips, p = " in found.sentence
    assert np.isnan(found.detectable)


def right(*wrong, n=40):
    scores = np.ones(n)
    scores[list(wrong)] = 0
    return scores


def test_missing_scores_that_could_take_the_significance_leave_no_claim():
    of_a, of_b = right(8), right(*range(8))
    assert "cannot be compared" not in claim(of_a, of_b).sentence
    found = claim(of_a, of_b, missing=(36, 37, 38, 39))
    assert found.p_holm < 0.05
    assert found.could_turn
    assert not found.sign_open
    assert found.sentence.endswith("with them it is open whether a difference is shown.")


def test_missing_scores_that_could_show_a_difference_leave_no_claim():
    found = claim(right(), right(*range(8)), missing=(0, 1, 2))
    assert found.p_holm > 0.05
    assert found.could_turn
    assert found.sentence.startswith("rlm and long_context cannot be compared")


def test_missing_scores_that_change_nothing_leave_the_claim():
    found = claim(right(), right(*range(20)), missing=(38, 39))
    assert not found.could_turn
    assert found.sentence.startswith("rlm scored more than long_context")


def test_one_context_shows_no_difference_of_any_size():
    of_a, of_b = right(*range(4), n=20), right(*range(4, 12), n=20)
    assert claim(of_a, of_b).detectable > 0
    assert np.isnan(claim(of_a, of_b, per_cluster=20).detectable)
