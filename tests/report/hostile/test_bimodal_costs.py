"""Costs of two kinds: the mean is what somebody pays; unlike lengths are never pooled (item 8)."""

import made_frames as frames
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from rlm_eval.report import summary
from rlm_eval.report.figures import contrasts, distributions, draw, heatmaps, panels, style
from rlm_eval.report.tables import comparison, standard
from rlm_eval.stats import intervals


def bimodal(**changes):
    """Seven in ten trajectories of `rlm` take 1,000 tokens, three 81,000: 25,000 on average."""
    made = frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048), n=20, **changes)
    dear = (made["method"] == "rlm") & (made["index"] % 10 >= 7)
    made.loc[made["method"] == "rlm", "input_tokens"] = 1_000 - made["output_tokens"]
    made.loc[dear, "input_tokens"] = 81_000 - made["output_tokens"]
    made["cost_cold"] = (made["input_tokens"] + made["output_tokens"]) * 1e-6
    frame = summary.prepare(made)
    return frame, summary.summarise(frame)


def test_the_panel_shows_the_mean_with_its_interval_and_the_median_as_a_dash():
    frame, table = bimodal()
    figure, _ = panels.length_panels(frame, table)
    axis = figure.axes[1]
    look = [line for line in axis.lines if line.get_marker() == "v"]
    assert [y for line in look for y in line.get_ydata()] == pytest.approx([0.025, 0.025])
    dashes = [line for line in axis.lines if line.get_marker() == "_"]
    assert [y for line in dashes for y in line.get_ydata()][-2:] == pytest.approx([0.001, 0.001])
    row = table[table["series"] == "rlm"].iloc[0]
    assert row["cost_mean_low"] < 0.025 < row["cost_mean_high"]
    assert "Cost: mean with its 95 % interval" in style.caption_of(figure)
    shown = standard.build(frame, table, frame.head(0))[2].rows
    assert (
        shown[shown["method"] == "rlm"]["USD mean"].str.match(r"0\.025 \[0\.0\d+, 0\.0\d+\]").all()
    )


def test_the_front_has_the_tables_interval_of_the_mean():
    frame, table = bimodal()
    _, data = contrasts.pareto(frame, table)
    both = data.merge(table, on=["series", "length"])
    assert (both["cost_low"] == both["cost_mean_low"]).all()


def test_an_interval_of_amounts_knows_clusters_and_is_none_without_a_spread():
    amounts = np.repeat([1.0, 2.0, 4.0, 30.0], 5)
    labels = np.repeat(np.arange(4), 5)
    low, high = intervals.amount_interval(amounts, labels)
    alone = intervals.amount_interval(amounts, np.arange(20))
    assert low < alone[0] < 9.25 < alone[1] < high
    assert low > 0
    assert np.isnan(intervals.amount_interval([2.0, 2.0], [0, 1])).all()
    assert np.isnan(intervals.amount_interval([2.0, 3.0], [0, 0])).all()


def test_the_mean_of_a_long_tail_is_covered():
    rng = np.random.default_rng(0)
    truth, covered = np.exp(0.5), 0
    for _ in range(200):
        low, high = intervals.amount_interval(rng.lognormal(0, 1, 30), np.arange(30))
        covered += low <= truth <= high
    assert covered / 200 > 0.88  # t alone: 0.86


def lengths_of(data):
    return sorted(set(data["length"]))


@pytest.mark.slow
def test_no_figure_pools_lengths():
    made = frames.frame(
        methods=("rag", "rlm"), lengths=(1024, 4096, 16384, 65536), n=12, roots=("a", "b"),
        subs=("x",),
    )  # fmt: skip
    made["wall_seconds"] = made["length"].astype(float) / 1024
    frame = summary.prepare(made)
    table = summary.summarise(frame)
    for plot in (distributions.quartiles, distributions.run_times, heatmaps.model_grid):
        figure, data = plot(frame, table)
        assert lengths_of(data) == [1024, 16384, 65536]
        titles = " ".join(axis.get_title().replace("\u00a0", " ") for axis in figure.axes)
        assert all(f"{name}" in titles for name in ("1k", "16k", "64k"))
        assert "all lengths together" not in style.caption_of(figure)
    _, data = distributions.quartiles(frame, table)
    wall = data[data["what"] == "wall"]
    assert (wall["median"] == wall["length"] / 1024).all()


def test_pyplot_keeps_no_figure_of_a_report():
    """It keeps what it made until it is closed, and warns from the 21st figure on."""
    frame, table = bimodal()
    found = comparison.against(frame, "rag")
    before = pyplot.get_fignums()
    figures = [plot()[0] for _, _, plot in draw._chosen(frame, table, found, None)]
    assert len(figures) > 5
    assert pyplot.get_fignums() == before
    assert draw.numbers(frame, table, found).keys()
    assert pyplot.get_fignums() == before


def test_counts_are_of_samples_in_every_table():
    """Two repeats of 12 samples are 12 samples in panels, quartiles, run times and maps."""
    one = frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048), n=12, depths=(0, 1))
    frame = summary.prepare(pd.concat([one, one.assign(epoch=1)], ignore_index=True))
    table = summary.summarise(frame)
    assert set(table["n"]) == set(table["n_priced"]) == set(table["n_timed"]) == {12}
    assert set(distributions.quartiles(frame, table)[1]["n"]) == {12}
    assert set(distributions.run_times(frame, table)[1]["n"]) == {12}
    figure, _ = heatmaps.depth_by_length(frame, table)
    assert all(text.get_text().endswith("(12)") for text in figure.axes[0].texts)
