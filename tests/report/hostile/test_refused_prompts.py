"""A prompt longer than the window: no cost, no latency, marked whoever told the window (item 2)."""

import made_frames as frames
import made_runs
import orjson
import pytest
from runs import overrides, run_here, server_process

from rlm_eval.records.build import rows, write_records
from rlm_eval.records.record import load_records
from rlm_eval.report import summary
from rlm_eval.report.figures import contrasts, distributions, panels, style
from rlm_eval.report.tables import ablations, card, comparison, standard

LENGTHS = (1024, 2048, 4096)


def prepared(window=3000, **changes):
    """`long_context` is refused at 4k; the server's log gives a refusal 20 ms."""
    records = frames.frame(methods=("long_context", "rlm"), lengths=LENGTHS, n=20, **changes)
    records["root_window"] = window
    over = records["outcome"] == "context_overflow"
    records.loc[over, ["wall_seconds", "critical_path_seconds", "service_seconds"]] = 0.02
    frame = summary.prepare(records)
    return frame, summary.summarise(frame)


def refused_line(table):
    return table[(table["series"] == "long_context") & (table["length"] == 4096)].iloc[0]


caption = style.caption_of


def test_a_refusal_is_no_fast_and_cheap_answer():
    frame, table = prepared()
    row = refused_line(table)
    assert (row["refused"], row["n"], row["n_timed"], row["n_priced"]) == (20, 20, 0, 0)
    assert (
        row[["wall_median", "path_mean", "cost_mean", "mean_service", "mean_input_tokens"]]
        .isna()
        .all()
    )
    assert row["accuracy"] == 0.0
    figure, _ = panels.length_panels(frame, table)
    for axis in figure.axes[1:3]:
        drawn = [line for line in axis.lines if line.get_marker() == "o"]
        assert [round(x / 1024) for line in drawn for x in line.get_xdata()] == [1, 2]
    assert "n = 20 per point" in figure.texts[0].get_text()
    assert "20 prompts were refused as longer than the window" in caption(figure)
    cost, latency = standard.build(frame, table, comparison.against(frame, "long_context"))[2:4]
    for found in (cost, latency):
        assert "20 prompts that were refused as too long are left out" in found.note
        line = found.rows[(found.rows["method"] == "long_context") & (found.rows["length"] == "4k")]
        assert "refused" in line.iloc[0].to_list()
        assert "unknown" not in line.iloc[0].drop(["of them cached"], errors="ignore").to_list()


def test_no_figure_has_a_point_of_cost_or_time_for_what_was_refused():
    frame, table = prepared()
    for plot in (distributions.quartiles, distributions.run_times, contrasts.pareto):
        figure, data = plot(frame, table)
        if "samples" in data:
            data = data[data["samples"] > 0]
        here = data[(data["length"] == 4096) & (data["series"] == "long_context")]
        assert here.empty, plot
        assert "20 prompts were refused" in caption(figure)


def test_the_ratio_of_costs_leaves_refused_pairs_out():
    frame, _ = prepared()
    for row in comparison.against(frame, "long_context").to_dict("records"):
        said = comparison.lines(row, None)[-1]
        if row["length"] == 4096:
            assert said.strip().startswith("cost ratio: none (every pair has a prompt that was ref")
        else:
            assert "cost A / B" in said


@pytest.mark.parametrize("window", [3000, None, 8192])
def test_the_overflow_is_marked_whoever_told_the_window(window):
    frame, table = prepared(window=window)
    figure, _ = panels.length_panels(frame, table)
    axis = figure.axes[0]
    [hatched] = [patch for patch in axis.patches if patch.get_hatch()]
    assert hatched.get_x() < 4096 < hatched.get_x() + hatched.get_width()
    assert hatched.get_x() > 2048
    crosses = [line for line in axis.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in crosses] == [[0.0]]
    assert "x: more than half of a point's samples overflowed it" in caption(figure)
    assert any(line.get_linestyle() == ":" for line in axis.lines) == (window == 3000)


def test_an_overflow_after_answered_calls_has_their_cost():
    records = frames.frame(methods=("rlm",), lengths=(1024,), n=4)
    records["outcome"] = "context_overflow"
    frame = summary.prepare(records)
    assert not frame["refused"].any()
    assert summary.summarise(frame).iloc[0]["cost_total"] == pytest.approx(
        records["cost_cold"].sum()
    )
    spent, unit = ablations._spent(frame)
    assert (unit, spent.sum()) == ("USD", pytest.approx(records["cost_cold"].sum()))


@pytest.mark.parametrize(
    ("tokens", "calls", "failed", "refused"),
    [
        (0, 1, 1, True),
        (0, 0, 0, True),
        (None, 1, None, True),  # an old record: its only call was the one refused
        (None, 3, None, False),
        (None, 3, 3, True),
        (900, 1, 1, False),  # the provider billed it
        (900, 5, 1, False),
    ],
)
def test_refused_is_told_from_what_a_record_knows(tokens, calls, failed, refused):
    records = frames.frame(methods=("long_context",), lengths=(4096,), n=1)
    records["input_tokens"], records["n_calls"] = tokens, calls
    records["n_failed_calls"] = failed
    assert summary.prepare(records)["refused"].item() is refused


def test_the_window_that_the_server_told_stands_in_the_records(tmp_path):
    run = made_runs.write(tmp_path / "run", lengths=(1024,), n=1)
    manifest = run / "cells" / "rlm-1024" / "manifest.json"
    facts = orjson.loads(manifest.read_bytes())
    facts["facts"]["root_window"] = None
    assert rows_window(manifest, facts) == [None]
    facts["endpoints"] = {"root": {"window": 4096}}
    assert rows_window(manifest, facts) == [4096]
    facts["facts"]["root_window"] = 2048  # what the user stated stands
    assert rows_window(manifest, facts) == [2048]


def rows_window(manifest, facts):
    manifest.write_bytes(orjson.dumps(facts))
    return [row["root_window"] for row in rows(manifest.parent)]


@pytest.mark.parametrize("stated", ["root.window=4096", "root.window=null"])
async def test_a_real_run_against_a_server_with_a_window(tmp_path, monkeypatch, stated):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    given = ["method=long_context", "length=1k,8k", "n=2", stated]
    with server_process(tmp_path, "--window", "4096") as server:
        await run_here(overrides(tmp_path, server.url, *given))
    [run] = [path.parent for path in tmp_path.rglob("plan.json")]
    write_records(run)
    frame = summary.prepare(load_records([run]), card.manifests([run]))
    assert set(frame["root_window"]) == {4096}
    assert frame.groupby("length")["refused"].all().to_dict() == {1024: False, 8192: True}
    table = summary.summarise(frame)
    assert table["wall_median"].notna().tolist() == [True, False]
    assert table["mean_coverage"].tolist() == [1.0, 0.0]
