"""A judge that is a contestant is a caveat with a count (item 13)."""

import made_frames as frames
import pytest

from rlm_eval.report import summary
from rlm_eval.report.tables.caveats import caveats


def said(judge, *, asked=1, root="model-a", sub="model-b"):
    made = frames.frame(methods=("rlm",), lengths=(1024,), n=6, roots=(root,), subs=(sub,))
    frame = summary.prepare(made.assign(judge=judge, n_judge_calls=asked))
    return " ".join(caveats(frame, summary.summarise(frame)))


@pytest.mark.parametrize("judge", ["model-a", "model-b", "model-a [thinking]"])
def test_a_judge_of_its_own_answers_is_named(judge):
    assert f"{judge.split()[0]} judged 6 answers of trajectories that it took part in" in said(
        judge
    )


def test_another_judge_or_none_is_not():
    assert "judged" not in said("model-c")
    assert "judged" not in said(None)
    assert "judged" not in said("model-a", asked=0)
