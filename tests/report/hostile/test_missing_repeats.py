"""A repeat without a score is missing: it widens the bounds, and may take a verdict away."""

import made_frames as frames
import pandas as pd
import pytest

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report import per_sample, summary
from rlm_eval.report.conclusion import conclusion
from rlm_eval.report.figures import heatmaps
from rlm_eval.report.tables import ablations, caveats, comparison
from rlm_eval.report.tables.comparison import compare_text


def repeated(epochs=4, n=40, lost=lambda epoch, index: epoch > 0):
    """`rlm` always right, `rag` on three quarters; `rlm` lacks the repeats that `lost` names."""
    once = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=n)
    rag = once["method"] == "rag"
    once["score"], once["cost_cold"] = 1.0, 2.0
    once.loc[rag, "cost_cold"] = 1.0
    once.loc[rag & (once["index"] % 4 == 0), "score"] = 0.0
    made = pd.concat([once.assign(epoch=e) for e in range(epochs)], ignore_index=True)
    gone = (made["method"] == "rlm") & lost(made["epoch"], made["index"])
    made.loc[gone, ["score", "outcome", "cost_cold"]] = [None, "provider_error", None]
    return made


def line(records, method="rlm"):
    table = summary.summarise(summary.prepare(records))
    return table[table["method"] == method].iloc[0]


def test_missing_repeats_are_counted_and_bounded():
    row = line(repeated())
    assert (row["n"], row["missing"], row["as_bounds"]) == (40, 40, True)
    assert (row["bound_low"], row["bound_high"]) == (0.25, 1.0)
    row = line(repeated(lost=lambda epoch, index: (epoch == 3) & (index < 10)))
    assert row["missing"] == 10
    assert (row["bound_low"], row["bound_high"]) == pytest.approx((1 - 2.5 / 40, 1.0))


def test_missing_repeats_take_the_verdict_that_they_could_turn():
    text = compare_text(repeated(), "rlm", "rag", margin=0.5)
    assert "no verdict: 40 pairs lack a score; with them the difference is between -50.0 " in text
    assert "; 40 lack the score of a repeat" in text
    assert "left out" not in text
    assert "at most 50 pp below B: not shown" in text
    assert "cost ratio: unknown" in text
    few = repeated(lost=lambda epoch, index: (epoch == 3) & (index < 3))
    assert "A higher" in compare_text(few, "rlm", "rag")


def test_missing_repeats_take_a_verdict_on_a_published_score():
    text = compare_text(repeated(), "rlm", "50%")
    assert "no verdict: 40 samples have no score; with them between 25.0 and 100.0 %" in text
    assert compare_text(repeated(lost=lambda epoch, _: epoch > 9), "rlm", "50%").endswith("higher")


def test_a_cost_is_unknown_where_that_of_a_repeat_is():
    made = repeated(lost=lambda epoch, _: epoch > 9)
    assert "cost A / B: " in compare_text(made, "rlm", "rag")
    first = (made["method"] == "rlm") & (made["epoch"] == 0) & (made["index"] == 0)
    made.loc[first, "cost_cold"] = None
    assert "cost ratio: unknown (a price is missing)" in compare_text(made, "rlm", "rag")


def test_samples_with_all_their_repeats_have_the_mean_itself():
    made = repeated(lost=lambda epoch, _: epoch > 9)
    made["score"] = [0.1 * (i % 7) for i in range(len(made))]
    samples = per_sample.units(summary.prepare(made))
    assert not samples[["missing", "lost"]].any(axis=None)
    assert samples["least"].equals(samples["score"])
    assert samples["most"].equals(samples["score"])
    assert per_sample.score_bounds(samples)[0] == samples["score"].sum() / len(samples)


def test_a_map_and_the_budgets_show_the_bounds_of_missing_repeats():
    frame = summary.prepare(repeated())
    fields = heatmaps._fields(frame, ["series"]).set_index("series")
    assert fields.loc["rlm", ["bound_low", "bound_high", "as_bounds"]].tolist() == [0.25, 1, True]
    assert not fields.loc["rag", "as_bounds"]
    rows = ablations.budgets(frame).rows
    assert rows["rlm"].iloc[-1] == "25.0 to 100.0"


def test_a_caveat_counts_samples_that_lack_a_repeat():
    def told(records):
        frame = summary.prepare(records)
        return " ".join(caveats.caveats(frame, summary.summarise(frame)))

    assert "40 samples have no result of a repeat or of all (provider" in told(repeated())
    once = repeated(epochs=1, lost=lambda _, index: index < 2)
    assert "2 samples have no result (provider" in told(once)


def test_right_every_time_is_unknown_where_a_repeat_is_missing():
    row = line(repeated(lost=lambda epoch, index: (epoch == 3) & (index < 10)))
    assert row[["pass_at", "pass_hat"]].isna().all()
    assert line(repeated(lost=lambda epoch, _: epoch > 9))["pass_hat"] == 1


def test_non_inferiority_holds_for_every_outcome_of_the_missing_scores():
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=100)
    rlm, index = made["method"] == "rlm", made["index"]
    made["score"] = 1.0
    made.loc[(rlm & (index < 10)) | (~rlm & index.between(10, 19)), "score"] = 0.0
    assert "10 pp below B: shown" in compare_text(made, "rlm", "rag", margin=0.1)
    made.loc[rlm & (index > 95), ["score", "outcome"]] = [None, "provider_error"]
    [row] = comparison.against(summary.prepare(made), "rag").to_dict("records")
    assert row["low"] > -0.1 > row["low_worst"]
    assert row["comparable"]
    assert not comparison.at_most_below(row, 0.1)
    assert "10 pp below B: not shown" in compare_text(made, "rlm", "rag", margin=0.1)


def test_a_published_score_stands_beside_each_series():
    made = frames.frame(methods=("rlm",), roots=("a", "b"), lengths=(1024,), n=40)
    made["score"] = (made["root"] == "a").astype(float)
    told = compare_text(made, "rlm", "50%").splitlines()[-2:]
    assert [text.partition(" [")[0] for text in told] == [
        "s_niah at 1k, rlm (a): 100.0 %",
        "s_niah at 1k, rlm (b): 0.0 %",
    ]
    assert [text.rpartition(": ")[2] for text in told] == ["higher", "lower"]


def test_without_a_score_there_is_no_number():
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048), n=12)
    made.loc[made["length"] == 1024, "score"] = None
    text = compare_text(made, "rlm", "50%")
    assert "s_niah at 1k, rlm: no verdict: 12 samples without a score" in text
    assert "nan" not in text
    with pytest.raises(RlmEvalError, match="none of its samples has a score"):
        compare_text(made.assign(score=None), "rlm", "50%")


def test_one_context_shows_no_difference_of_any_size():
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=20, per_cluster=20)
    made["score"] = (made["index"] % 3 > 0).astype(float)
    made.loc[made["method"] == "rag", "score"] = (made["index"] % 2).astype(float)
    frame = summary.prepare(made)
    rows = comparison.against(frame, "rag")
    assert rows["detectable"].isna().all()
    said = conclusion(frame, summary.summarise(frame), rows, []).may_not[0].text
    assert said.endswith("This does not show equality: 1 has almost no power.")
    limits = " ".join(caveats.caveats(frame, summary.summarise(frame)))
    assert "n is as small as 20 per cell: hardly any difference can be shown." in limits
    text = compare_text(made, "rlm", "rag")
    assert "not shown to differ; 1 cluster is too few to show any difference" in text
    assert "cost A / B: " in text
    assert "(no interval: 1 cluster)" in text
    assert "nan" not in text


def test_a_cost_of_zero_is_known():
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=20).assign(cost_cold=0.0)
    assert "cost ratio: none (a side cost nothing)" in compare_text(made, "rlm", "rag")
