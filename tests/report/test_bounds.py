"""Cells known only as bounds are drawn as bounds, and nothing is read off them."""

import made_frames as frames
import numpy as np
import pandas as pd
import pytest

from rlm_eval.report import per_sample, summary, wording
from rlm_eval.report.figures import (
    behaviour,
    contrasts,
    distributions,
    heatmaps,
    multiples,
    panels,
    style,
)
from rlm_eval.report.tables import ablations, caveats, comparison, pivots


def prepared(records, cut_methods=("rlm",), lengths=(1024, 2048)):
    """Prepared records in which a quarter of these methods' answers were cut off; their table."""
    chosen = records["method"].isin(cut_methods) & records["length"].isin(lengths)
    records.loc[chosen & (records["index"] % 4 == 0), "outcome"] = "truncated"
    frame = summary.prepare(records)
    return frame, summary.summarise(frame)


def drawn(axis, marker):
    return [line for line in axis.lines if line.get_marker() == marker]


def two_methods(right, **changes):
    """The second method right throughout, the first on the share `right`; prices 1 and 2."""
    records = frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048), n=20, **changes)
    first = records["method"] == "rag"
    records["score"] = np.where(first & (records["index"] >= 20 * right), 0.0, 1.0)
    records["cost_cold"] = np.where(first, 1.0, 2.0)
    return records


def test_a_difference_without_a_verdict_is_not_drawn_as_a_finding():
    frame, table = prepared(two_methods(right=0.3), lengths=(2048,))
    found = comparison.against(frame, "rag")
    assert (found["p_holm"] < 0.05).all()
    assert found["shown"].tolist() == [True, False]
    figure, data = contrasts.difference_by_length(frame, table, found)
    [axis] = figure.axes
    assert len(drawn(axis, "x")) == 1
    filled = [line for line in axis.lines if line.get_markerfacecolor() not in ("white", "none")]
    marks = [line for line in filled if line.get_marker() not in ("x", "None", "")]
    assert [line.get_xdata()[0] for line in marks] == [1024]
    assert data["comparable"].tolist() == [True, False]


def test_a_map_of_models_stars_only_what_is_comparable():
    def note(cut):
        records = frames.frame(
            methods=("rlm",), lengths=(1024,), n=40, roots=("big",), subs=("a", "b")
        )
        records["score"] = np.where(records["sub"] == "a", 0.0, 1.0)
        records.loc[(records["sub"] == "b") & (records["index"] < cut), "outcome"] = "limit:turns"
        frame = summary.prepare(records)
        figure, _ = heatmaps.model_grid(frame, summary.summarise(frame))
        return [text.get_text() for text in figure.axes[0].texts][1]

    assert "*" in note(0)
    assert "*" not in note(10)


def test_bounds_are_bars_outside_the_front_of_score_against_cost():
    frame, table = prepared(two_methods(right=0.3))
    figure, data = contrasts.pareto(frame, table)
    assert data.groupby("series")["pareto"].all().to_dict() == {"rag": True, "rlm": False}
    ends = drawn(figure.axes[0], "_")
    assert [sorted(line.get_ydata()) for line in ends] == [[75, 100]]
    # Cheaper and better, but a bound: it must not make the other one grey either.
    dear = two_methods(right=0.3)
    dear["cost_cold"] = 3 - dear["cost_cold"]
    frame, table = prepared(dear)
    assert contrasts.pareto(frame, table)[1].set_index("series").loc["rag", "pareto"].all()


def test_a_task_of_its_own_size_has_its_panel_of_score_against_cost():
    own = frames.frame(tasks=("documents",), lengths=(1181,), n=12)
    other = frames.frame(lengths=(1024, 2048, 4096, 8192), n=12)
    frame = summary.prepare(pd.concat([own, other], ignore_index=True))
    _, data = contrasts.pareto(frame, summary.summarise(frame))
    shown = {task: set(part["length"]) for task, part in data.groupby("task")}
    assert shown == {"documents": {1181}, "s_niah": {1024, 4096, 8192}}


def test_the_crossover_leaves_out_lengths_where_a_side_was_often_cut_off():
    records = frames.frame(methods=("rag", "rlm"), n=20)
    whole = distributions.crossover(*prepared(records.copy(), ()))[1]
    assert len(whole) == 1
    figure, data = distributions.crossover(*prepared(records, lengths=(1024, 2048)))
    assert data.empty
    assert "no two shared lengths" in figure.axes[0].texts[0].get_text()


def often_cut(outcome, score, cost):
    """Records in which a quarter of the second method's samples ended so."""
    records = two_methods(right=0.3)
    chosen = (records["method"] == "rlm") & (records["index"] % 4 == 0)
    records.loc[chosen, ["outcome", "score", "cost_cold"]] = [outcome, score, cost]
    return summary.prepare(records)


@pytest.mark.parametrize(
    ("outcome", "score", "cost"),
    [("truncated", 0.0, 2.0), ("limit:cost", 1.0, 2.0), ("provider_error", np.nan, np.nan)],
)
def test_a_score_within_a_budget_is_printed_as_bounds_where_it_is_only_known_so(
    outcome, score, cost
):
    rows = ablations.budgets(often_cut(outcome, score, cost)).rows
    assert rows["per sample"].tolist() == ["1", "2"] * 2
    rows = rows[rows["per sample"] == "2"]
    assert rows["rlm"].tolist() == ["75.0 to 100.0"] * 2
    assert rows["rag"].str.startswith("30.0 [").all()


def test_what_was_cut_off_beyond_a_budget_is_wrong_within_it():
    frame = often_cut("truncated", 1.0, 9.0)
    rlm = frame[frame["method"] == "rlm"]
    rows = ablations._rows(rlm.assign(spent=rlm["cost_cold"]), per_sample.units(rlm))
    spent = ablations._Spent.of(rows)
    assert spent.within(2.0).startswith("75.0 [")
    assert spent.within(9.0) == "75.0 to 100.0"


def pairs(**changes):
    """Two pairs of models with two prompts: 100 % with the first prompt, 0 % with the second."""
    made = frames.frame(methods=("rlm",), lengths=(1024,), n=20, roots=("big",), subs=("a", "b"))
    other = made.assign(prompt="other", cell_id=made["cell_id"] + "-other", score=0.0)
    both = pd.concat([made.assign(score=1.0), other], ignore_index=True)
    frame = summary.prepare(both.assign(**changes))
    return frame, summary.summarise(frame)


def test_pairs_of_models_pool_no_settings():
    frame, table = pairs()
    [found] = [t for t in pivots.build(frame, table, pd.DataFrame()) if t.name == "model_pairs"]
    rows = found.rows.set_index("settings")
    assert rows.loc["prompt own_short", "a: score %"].startswith("100.0 ±")
    assert rows.loc["prompt other", "a: score %"].startswith("0.0 ±")
    figure, data = heatmaps.model_grid(frame, table)
    shown = [[text.get_text()[:3].strip() for text in axis.texts] for axis in figure.axes[::3]]
    assert sorted(shown) == [["0", "0\nr"], ["100", "100"]]
    assert set(data["settings"]) == {"prompt own_short", "prompt other"}
    assert sorted(data["accuracy"]) == [0, 0, 1, 1]


def test_a_map_prints_bounds_where_a_score_is_known_as_bounds_only():
    frame, _ = pairs()
    frame.loc[frame["index"] < 5, ["outcome", "score"]] = ["provider_error", np.nan]
    figure, _ = heatmaps.model_grid(frame, summary.summarise(frame))
    assert {text.get_text().split("\n")[0] for text in figure.axes[0].texts} == {"0–25"}
    assert "Two numbers (a–b)" in style.caption_of(figure)

    records = frames.frame(methods=("rlm",), lengths=(1024,), n=20, depths=(0, 1))
    records["score"] = 1.0
    cut = (records["index"] < 5) & (records["depth_limit"] == 1)
    records.loc[cut, ["outcome", "score"]] = ["limit:turns", 0.0]
    frame = summary.prepare(records)
    figure, data = heatmaps.depth_by_length(frame, summary.summarise(frame))
    assert [text.get_text() for text in figure.axes[0].texts] == ["100 (20)", "75–100 (20)"]
    assert data["count"].tolist() == [20, 20]


def test_a_caption_explains_bars_of_bounds_only_where_they_are_drawn():
    frame, table = prepared(two_methods(right=0.3))
    for plot in (contrasts.pareto, panels.length_panels):
        assert "Bars with end ticks" in style.caption_of(plot(frame, table)[0])
    for plot in (distributions.quartiles, behaviour.behaviour):
        assert "Bars with end ticks" not in style.caption_of(plot(frame, table)[0])
    for measure in ("score", "cost"):
        told = style.caption_of(multiples.of_measure(frame, table, measure)[0])
        assert ("Bars with end ticks" in told) is (measure == "score")
        assert ("bands: 25 to 75 %" in told) is (measure == "cost")


def test_what_an_rlm_has_to_beat_is_no_point_where_it_is_known_as_bounds() -> None:
    records = frames.frame(methods=("rlm", "rag"), lengths=(1024,), n=20)
    program = records["method"].eq("rag")
    records.loc[program, "method"] = "program_matched"
    records.loc[program, "sub"] = records["root"]
    records["score"] = 1.0
    records.loc[records["index"] < 5, ["outcome", "score"]] = ["limit:turns", 0.0]
    frame = summary.prepare(records)
    [line] = [x for x in caveats.caveats(frame, summary.summarise(frame)) if "has to beat" in x]
    assert "is program_matched with 75.0 to 100.0 %; here rlm 75.0 to 100.0 %." in line


def test_a_cost_of_zero_is_not_an_unknown_price() -> None:
    records = frames.frame(methods=("rag", "rlm"), lengths=(1024,), n=5)
    free = summary.prepare(records.assign(cost_cold=0.0, cost_observed=0.0))
    what, _, note = panels.money_of(summary.summarise(free))
    assert (what, note) == (
        "tokens", "The cost is 0 for model-a: tokens (input and output) are shown, not money.",
    )  # fmt: skip
    unknown = summary.prepare(records.assign(cost_cold=np.nan, cost_observed=np.nan))
    note = panels.money_of(summary.summarise(unknown))[2]
    assert note.startswith("No price is known for model-a: tokens")


def test_the_placeholder_of_an_unknown_length_is_in_no_trend() -> None:
    records = frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048, 4096), n=20)
    known = summary.prepare(records[records["length"] > 1024])
    lengths = records["length"].where(records["length"] > 1024)
    mixed = summary.prepare(records.assign(length=lengths))
    assert (mixed["length"] == wording.UNKNOWN_LENGTH).any()
    slopes = [
        distributions.crossover(frame, summary.summarise(frame))[1]["slope"].tolist()
        for frame in (known, mixed)
    ]
    assert slopes[0] == pytest.approx(slopes[1])
