"""Where missing samples could turn it, no verdict: in compare as in the table (item 3)."""

import made_frames as frames
import numpy as np
import pandas as pd
import pytest

from rlm_eval.report import summary
from rlm_eval.report.figures import distributions
from rlm_eval.report.tables import ablations, comparison
from rlm_eval.report.tables.comparison import compare_text


def records(lost, n=40, right_a=1.0, right_b=0.3):
    """`rlm` right on the share `right_a`, `rag` on `right_b`; `lost` samples of `rag` failed."""
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=n)
    share = np.where(made["method"] == "rlm", right_a, right_b)
    made["score"] = (made["index"] < n * share).astype(float)
    gone = (made["method"] == "rag") & (made["index"] >= n - lost)
    made.loc[gone, "outcome"] = "provider_error"
    made.loc[gone, "score"] = None
    return made


def test_sixteen_missing_of_forty_give_no_verdict_but_the_bounds():
    made = records(0)
    rlm, late = made["method"] == "rlm", made["index"] >= 24
    made.loc[~rlm, "score"] = late[~rlm].astype(float)  # right exactly where A is missing
    made.loc[rlm & late, ["outcome", "score"]] = ["provider_error", None]
    text = compare_text(made, "rlm", "rag")
    assert "p = 6e-08" in text
    assert "A higher" not in text
    assert "no verdict: 16 pairs lack a score; with them the difference is between " in text
    assert "between +20.0 and +60.0 pp" in text
    assert "n = 24 pairs" in text
    assert "(16 pairs without both scores left out)" in text


def test_a_few_missing_ones_that_cannot_turn_it_leave_the_verdict():
    assert "A higher" in compare_text(records(2), "rlm", "rag")


def test_missing_ones_that_could_show_a_difference_are_no_sign_of_none():
    text = compare_text(records(12, right_a=0.3, right_b=0.3), "rlm", "rag")
    assert "not shown to differ" not in text
    assert "no verdict" in text


def test_both_sides_missing_the_same_sample_is_one_pair():
    made = records(4)
    made.loc[made["index"] >= 36, ["outcome", "score"]] = ["provider_error", None]
    [row] = comparison.against(summary.prepare(made), "rag").to_dict("records")
    assert (row["n"], row["missing"], row["unpaired"]) == (36, 4, 0)


def test_a_published_number_meets_the_same_rule():
    assert compare_text(records(0), "rag", "90%").endswith("lower")
    assert "no verdict: 30 samples have no score; with them between" in compare_text(
        records(30), "rag", "90%"
    )
    assert compare_text(records(2), "rag", "90%").endswith("lower")


def test_a_wording_of_which_much_is_missing_is_not_judged():
    one, two = records(0), records(16)
    both = [made[made["method"] == "rag"] for made in (one, two)]
    both[1] = both[1].assign(prompt="other", cell_id="other")
    rows = ablations.prompts(summary.prepare(pd.concat(both, ignore_index=True))).rows
    assert rows["verdict"].tolist() == ["no verdict: more than 5 % missing"]


def test_a_crossover_is_not_drawn_from_what_is_left():
    made = frames.frame(methods=("rag", "rlm"), n=20)
    gone = (made["method"] == "rlm") & (made["length"] > 1024) & (made["index"] < 5)
    made.loc[gone, ["outcome", "score"]] = ["provider_error", None]
    frame = summary.prepare(made)
    assert distributions.crossover(frame, summary.summarise(frame))[1].empty


@pytest.mark.parametrize("lost", [0, 16])
def test_the_table_prints_bounds_where_compare_gives_no_verdict(lost):
    frame = summary.prepare(records(lost))
    table = summary.summarise(frame).set_index("series")
    assert bool(table.loc["rag", "as_bounds"]) == bool(lost)
