"""The report says what the records allow, and no more; every file it promises is there."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from html import escape
from pathlib import Path
from types import SimpleNamespace

import made_frames as frames
import made_runs as runs
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Role
from rlm_eval.records.record import load_records
from rlm_eval.report import power, report, summary, wording
from rlm_eval.report.exports import files
from rlm_eval.report.figures import contrasts, distributions, draw, style
from rlm_eval.report.figures import files as files_of_figures
from rlm_eval.report.figures import panels as figures
from rlm_eval.report.tables import comparison, standard
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.formats import latex, markdown
from rlm_eval.report.tables.table import row_dicts
from rlm_eval.report.viewer import trajectories
from rlm_eval.stats import intervals


def made(**changes: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = summary.prepare(frames.frame(**changes))  # type: ignore[arg-type]
    return frame, summary.summarise(frame)


def with_outcome(frame: pd.DataFrame, outcome: str, share: float, score: float | None) -> None:
    chosen = frame["index"] < share * frame["index"].max()
    frame.loc[chosen, "outcome"] = outcome
    frame.loc[chosen, "score"] = score


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    runs.write(folder)
    report([folder], folder / "out", context_of=runs.context_of)
    return folder / "out"


def test_every_promised_file_is_there(written: Path) -> None:
    for name in ("outcomes", "accuracy", "cost", "latency", "behaviour", "comparisons"):
        for ending in ("csv", "md", "tex"):
            assert (written / "tables" / f"{name}.{ending}").stat().st_size > 50
    listed = (written / "figures" / "README.md").read_text()
    page = (written / "report.html").read_text()
    for name in ("length_panels", "difference", "pareto", "quartiles", "behaviour"):
        for ending in ("pdf", "svg", "png", "csv", "caption.txt"):
            assert (written / "figures" / f"{name}.{ending}").stat().st_size > 50
        caption = (written / "figures" / f"{name}.caption.txt").read_text()
        words = caption.partition(". ")[2].strip()
        assert words in listed
        assert escape(words) in page
    card = (written / "CARD.md").read_text()
    assert "rlm-eval run x=1" in card
    assert "**outcomes**: ok 10, truncated 2" in card
    assert re.search(r"records.parquet\*\*: [0-9a-f]{64}", card)


def test_the_page_needs_no_network_and_escapes_what_models_wrote(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert runs.HOSTILE not in page
    assert page.count("<script") == 2
    body = page.split("<body>")[1].split('<script type="application/json"')[0]
    assert not re.search(r'(?:src|href)="https?:', body)
    assert "default-src 'none'" in page
    assert "SCRIPTED REPLIES" in page


def test_fonts_are_embedded_as_truetype(written: Path) -> None:
    pdf = (written / "figures" / "length_panels.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert set(re.findall(rb"/FontName /[A-Z]+\+([\w-]+)", pdf)) == {b"rlm_eval-Sans"}


def test_letters_that_the_small_font_lacks_come_from_the_whole_one(tmp_path: Path) -> None:
    frame, table = made(methods=("rag",), n=12)
    frame["series"] = table["series"] = "поиск"
    figure, data = distributions.quartiles(frame, table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        files_of_figures.save(figure, tmp_path, "letters", "Letters", data)
    pdf = (tmp_path / "letters.pdf").read_bytes()
    fonts = set(re.findall(rb"/FontName /[A-Z]+\+([\w-]+)", pdf))
    assert fonts == {b"rlm_eval-Sans", b"DejaVuSans"}


def test_outcomes_come_before_scores() -> None:
    frame, table = made()
    names = [t.name for t in standard.build(frame, table, pd.DataFrame())]
    assert names[:2] == ["outcomes", "accuracy"]


def test_the_error_analysis_counts_every_answer_that_was_not_right() -> None:
    frame, _ = made(methods=("rag",), lengths=(1024,), n=10)
    frame["failure"] = ["wrong"] * 2 + ["cut_off"] * 5 + ["", None, None]
    [row] = standard._failures(frame).rows.to_dict("records")
    assert (row["not right"], row["wrong"], row["cut_off"]) == (7, 2, 5)


def test_cut_samples_turn_a_score_into_bounds() -> None:
    frame = frames.frame(methods=("rlm",), lengths=(1024, 2048), n=20)
    with_outcome(frame, "truncated", 0.2, 1.0)
    ready = summary.prepare(frame)
    table = summary.summarise(ready)
    assert table["as_bounds"].all()
    assert (table["bound_high"] - table["bound_low"]).round(3).eq(0.2).all()
    accuracy = standard.build(ready, table, pd.DataFrame())[1].rows
    assert accuracy["score %"].str.contains(" to ").all()
    assert accuracy["95 % interval"].eq("bounds").all()
    assert any("bounds" in line for line in caveats(ready, table))


def test_missing_samples_are_not_wrong_ones() -> None:
    frame = frames.frame(methods=("rlm",), lengths=(1024,), n=20)
    with_outcome(frame, "provider_error", 0.2, None)
    row = summary.summarise(summary.prepare(frame)).iloc[0]
    assert (row["n"], row["n_scored"], row["missing"]) == (20, 16, 4)
    assert row["bound_high"] - row["bound_low"] == pytest.approx(0.2)


def test_unknown_price_plots_tokens_and_says_so() -> None:
    frame, table = made(priced=False)
    figure, _ = figures.length_panels(frame, table)
    assert figure.axes[1].get_ylabel().startswith("tokens")
    assert "not money" in style.caption_of(figure)
    costs = standard.build(frame, table, pd.DataFrame())[2].rows
    assert costs["USD mean"].eq("unknown").all()


def test_one_unpriced_sample_makes_the_cells_cost_unknown() -> None:
    frame = frames.frame(methods=("rlm",), lengths=(1024,))
    frame.loc[3, "cost_cold"] = None
    assert np.isnan(summary.summarise(summary.prepare(frame)).iloc[0]["cost_mean"])


def test_no_tokens_at_all_is_said_in_the_panel() -> None:
    frame = frames.frame(priced=False)
    frame["input_tokens"] = None
    ready = summary.prepare(frame)
    figure, _ = figures.length_panels(ready, summary.summarise(ready))
    assert "not reported" in figure.axes[1].texts[0].get_text()


def test_the_figure_states_scripts_generators_prompts_and_recursion() -> None:
    frame = frames.frame()
    frame["scripted"] = True
    frame.loc[frame["method"] == "rlm", "used_recursion"] = False
    ready = summary.prepare(frame)
    figure, _ = figures.length_panels(ready, summary.summarise(ready))
    drawn = " ".join(text.get_text() for text in figure.texts)
    assert drawn == "n = 20 per point  ·  scripted replies, no model answered  ·  generated data"
    for phrase in (
        "Replies are scripted", "own generator", "prompt own_short",
        "0 of 60 samples made a sub-call", "code search, not recursion", "context_overflow 20",
    ):  # fmt: skip
        assert phrase in style.caption_of(figure)
    assert figure.axes[0].get_ylim() == (-4, 104)


def test_what_must_be_said_of_a_model_is_said_once_in_figure_and_page() -> None:
    frame = frames.frame(methods=("rlm", "rag"), lengths=(1024,), n=10)
    frame["remark"] = ["A small model. Its prompt was selected.", "A small model."] * 10
    ready = summary.prepare(frame)
    table = summary.summarise(ready)
    figure, _ = figures.length_panels(ready, table)
    caption = style.caption_of(figure)
    assert caption.count("A small model.") == 1
    assert "Its prompt was selected." in caption
    assert caveats(ready, table)[:2] == ["A small model.", "Its prompt was selected."]


def test_what_an_rlm_has_to_beat_and_searches_without_a_hit_are_said() -> None:
    frame = frames.frame(methods=("rlm", "rag"), lengths=(1024,), n=10)
    of_rag = frame["method"].eq("rag")
    frame["note_empty_retrieval"] = [True if rag else None for rag in of_rag]
    frame["note_empty_searches"] = [3 if rag else None for rag in of_rag]
    frame["note_searches"] = [4 if rag else None for rag in of_rag]
    ready = summary.prepare(frame)
    said = caveats(ready, summary.summarise(ready))
    assert any(line.startswith("rag: for 10 samples the search found no chunk") for line in said)
    assert "rag: 30 of 40 searches found nothing." in said
    assert not any("has to beat" in line for line in said)
    frame.loc[of_rag, "method"] = "program_matched"
    frame.loc[of_rag, "sub"] = frame["root"]
    ready = summary.prepare(frame)
    table = summary.summarise(ready)
    (line,) = (line for line in caveats(ready, table) if "has to beat" in line)
    score = dict(zip(table["method"], table["accuracy"], strict=True))
    assert line.startswith("s_niah at 1k: what an RLM has to beat is program_matched")
    assert f"{100 * score['program_matched']:.1f} %; here rlm" in line
    assert f"{100 * score['rlm']:.1f} %. An RLM" in line


def test_the_window_is_marked_and_the_overflow_hatched() -> None:
    frame, table = made(lengths=(1024, 2048, 4096, 8192))
    axis = figures.accuracy_by_task(frame, table)[0].axes[0]
    assert any(line.get_linestyle() == ":" for line in axis.lines)
    assert any(patch.get_hatch() for patch in axis.patches)


def test_a_figure_leaves_the_callers_settings_alone() -> None:
    before = dict(mpl.rcParams)
    figures.length_panels(*made())
    assert dict(mpl.rcParams) == before


def test_repeats_do_not_add_samples() -> None:
    frame = frames.frame(methods=("rlm",), lengths=(1024,), n=20)
    again = frame.assign(epoch=1)
    row = summary.summarise(summary.prepare(pd.concat([frame, again], ignore_index=True))).iloc[0]
    assert (row["n"], row["repeats"], row["rows"]) == (20, 2, 40)


def test_repeats_tell_right_once_and_right_always() -> None:
    frame = frames.frame(methods=("rlm",), lengths=(1024,), n=4).assign(score=1.0)
    again = frame.assign(epoch=1, score=[1.0, 0.0, 0.0, 1.0])
    ready = summary.prepare(pd.concat([frame, again], ignore_index=True))
    accuracy = standard.build(ready, summary.summarise(ready), pd.DataFrame())[1].rows.iloc[0]
    assert (accuracy["pass@K %"], accuracy["pass^K %"]) == ("100.0", "50.0")


def test_a_median_has_its_order_statistic_interval() -> None:
    frame, table = made(methods=("rlm",), lengths=(1024,), n=50)
    costs = sorted(frame["cost_cold"])
    assert table["cost_median_low"].iloc[0] == costs[17]
    assert table["cost_median_high"].iloc[0] == costs[32]
    shown = standard.build(frame, table, pd.DataFrame())[2].rows["median"].iloc[0]
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", shown)


def test_repeats_are_no_further_samples_of_cost_and_time() -> None:
    once = frames.frame(methods=("rlm",), lengths=(1024,), n=20)
    again = once.assign(epoch=1, cost_cold=3 * once["cost_cold"])
    both = pd.concat([once, again], ignore_index=True)
    row = summary.summarise(summary.prepare(both)).iloc[0]
    costs = sorted(2 * once["cost_cold"])
    low, high = intervals.quantile_ranks(20, 0.5)
    assert row["cost_median_low"] == pytest.approx(costs[low - 1])
    assert row["cost_median_high"] == pytest.approx(costs[high - 1])
    assert row["cost_median"] == pytest.approx(np.median(costs))
    assert row["cost_max"] == pytest.approx(3 * once["cost_cold"].max())
    assert row["cost_total"] == pytest.approx(4 * once["cost_cold"].sum())
    assert row["wall_median_low"] == sorted(once["wall_seconds"])[low - 1]


def test_cells_of_different_settings_are_never_merged() -> None:
    one = frames.frame(methods=("rag",), lengths=(1024,))
    two = one.assign(cell_id="other")
    both = pd.concat([one, two], ignore_index=True)
    manifests = [
        {"identity": one["cell_id"].iloc[0], "config": {"method": {"top_k": 4}}},
        {"identity": "other", "config": {"method": {"top_k": 8}}},
    ]
    ready = summary.prepare(both, manifests)
    assert sorted(ready["series"].unique()) == ["rag [top_k=4]", "rag [top_k=8]"]
    assert summary.prepare(both)["series"].nunique() == 2


def own_rlm(**changes: object) -> pd.DataFrame:
    """Records of `rlm`, and of a user's method of the same name that asks the root alone."""
    one = frames.frame(methods=("long_context", "rlm"), lengths=(1024,), n=12)
    own = one[one["method"] == "rlm"].assign(**{"sub": None, "cell_id": "own"} | changes)
    return pd.concat([one, own], ignore_index=True)


def test_two_methods_of_one_name_have_two_names_and_are_never_pooled() -> None:
    both = own_rlm()
    assert summary.prepare(both)["series"].unique().tolist() == [
        "long_context", "rlm (model-a > model-a)", "rlm (model-a > no sub)",
    ]  # fmt: skip
    with pytest.raises(RlmEvalError, match="several series on a side"):
        comparison.compare_text(both, "long_context", "rlm")
    text = comparison.compare_text(both, "long_context", "rlm (model-a > no sub)")
    assert "n = 12 pairs" in text
    settings: list[dict[str, object]] = [{"class": "rlm.RLM"}, {"class": "mine.RLM"}]
    manifests = [
        {"identity": name, "settings": {"method": told}}
        for name, told in zip(both["cell_id"].unique()[1:], settings, strict=True)
    ]
    assert summary.prepare(both, manifests)["series"].unique().tolist() == [
        "long_context", "rlm [class=rlm.RLM]", "rlm [class=mine.RLM]",
    ]  # fmt: skip


def test_another_prompt_tells_methods_of_one_name_apart() -> None:
    assert summary.prepare(own_rlm(prompt=None))["series"].unique().tolist() == [
        "long_context", "rlm prompt own_short", "rlm prompt none",
    ]  # fmt: skip


def test_series_that_no_name_tells_apart_are_refused() -> None:
    both = own_rlm(variant="fast", sub="model-a")
    both.loc[both["method"] == "long_context", "method"] = "rlm [fast]"
    both["prompt"] = "plain"
    with pytest.raises(RlmEvalError, match=r"rlm \[fast\]: the name of more than one series"):
        summary.prepare(both)


LONG = ("gpt-5", "qwen3-coder-480b-a35b-instruct")


@pytest.mark.slow
def test_long_names_overlap_nothing(tmp_path: Path) -> None:
    """Six series of long model names: no title leaves its figure, no panel meets another."""
    frame = summary.prepare(frames.frame(
        tasks=("s_niah", "browsecomp_gen"), methods=("rag", "rlm"), lengths=(16_384, 1_048_576),
        n=12, roots=LONG, subs=LONG[1:], depths=(1, 2),
    ))  # fmt: skip
    frame["meta_documents"] = frame["length"] // 6_200
    table = summary.summarise(frame)
    found = comparison.against(frame, summary.series_order(frame)[0])
    names = []
    for name, _, plot in draw._chosen(frame, table, found, None):
        figure, _ = plot()
        figure.canvas.draw()
        page = figure.bbox
        panels = [axis for axis in figure.axes if axis.get_visible()]
        for axis in panels:
            title = axis.title.get_window_extent()
            assert page.x0 - 5 <= title.x0, (name, axis.get_title())
            assert title.x1 <= page.x1 + 5, (name, axis.get_title())
        boxes = [axis.bbox for axis in panels]
        assert all(box.width > 40 and box.height > 15 for box in boxes), name
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :]), name
        names.append(name)
    assert set(names) == {
        "length_panels", "accuracy_by_task", "documents", "difference", "pareto", "quartiles",
        "run_times", "behaviour", "crossover", "model_grid", "depth_by_length",
        "position_by_length",
    }  # fmt: skip


def test_a_cell_that_overflowed_throughout_has_a_known_cost_of_nothing() -> None:
    frame = frames.frame(methods=("long_context", "rlm"), lengths=(1024, 4096))
    frame.loc[frame["outcome"] == "context_overflow", ["cost_cold", "cost_observed"]] = 0.0
    ready = summary.prepare(frame)
    assert figures.money_of(summary.summarise(ready))[0] == "cost"


def test_every_figure_draws_on_a_full_grid(tmp_path: Path) -> None:
    records = frames.frame(
        methods=("rag", "rlm"), lengths=(1024, 2048), n=10, depths=(0, 1),
        roots=("big",), subs=("mid", "small"),
    )  # fmt: skip
    frame = summary.prepare(records)
    table = summary.summarise(frame)
    found = comparison.against(frame, summary.series_order(frame)[0])
    names = {name: plot for name, _, plot in draw._chosen(frame, table, found, None)}
    assert {"model_grid", "depth_by_length", "position_by_length", "crossover"} <= set(names)
    for name in ("model_grid", "depth_by_length", "crossover"):
        figure, data = names[name]()
        saved = files_of_figures.save(figure, tmp_path, name, name, data)
        assert saved.image.read_bytes().startswith(b"\x89PNG")
        assert len(data)


@pytest.mark.parametrize("letters", ["million", "mammoth", "WWW"])
def test_a_caption_asked_for_stands_below_the_figure_and_within_it(letters: str) -> None:
    figure = Figure(figsize=(style.COLUMN, 1))
    axis = figure.add_subplot()
    frame = summary.prepare(frames.frame(lengths=(1024,), n=2))
    legend = {"rlm": style.looks(frame)["rlm"]}
    style.finish(figure, frame=frame, caption=" ".join([letters] * 60), legend=legend)
    before = axis.bbox.height, figure.legends[0].get_window_extent().height
    files_of_figures._burn_in(figure, style.caption_of(figure))
    lines = [text for text in figure.texts if letters in text.get_text()]
    boxes = [line.get_window_extent() for line in lines]
    assert sum(line.get_text().count(letters) for line in lines) == 60
    assert 0.8 < max(box.x1 for box in boxes) / figure.bbox.width <= 1
    after = axis.bbox.height, figure.legends[0].get_window_extent().height
    assert after == pytest.approx(before)
    assert max(box.y1 for box in boxes) < axis.bbox.y0
    assert axis.bbox.y1 < figure.legends[0].get_window_extent().y0 < figure.bbox.y1


def test_a_title_is_not_parted_within_the_size() -> None:
    figure = Figure(figsize=(1.5, 1))
    axis = figure.add_subplot(title="a_long_name_of_a_task: score, n = 1,015 to 2,040")
    style.finish(figure, frame=summary.prepare(frames.frame(lengths=(1024,), n=2)), caption="Why.")
    assert "n = 1,015 to 2,040" in axis.get_title().replace("\u00a0", " ").splitlines()


def test_comparison_text() -> None:
    records = frames.frame(lengths=(1024,), n=40)
    text = comparison.compare_text(records, "rlm", "rag", margin=0.1)
    assert "exploratory" in text
    assert "n = 40 pairs" in text
    assert re.search(r"cost A / B: [23]\.\d+ \[", text)
    assert "compatible" in comparison.compare_text(records, "rlm", "92%")
    assert comparison.compare_text(records, "rlm", "0.1").endswith("higher")
    with pytest.raises(RlmEvalError, match="near: rlm"):
        comparison.compare_text(records, "rlmm", "rag")
    with pytest.raises(RlmEvalError, match="name two sides without common results"):
        comparison.compare_text(records, "rlm", "rlm")
    assert comparison.select(summary.prepare(records), "rlm:model-a")["method"].eq("rlm").all()


def test_a_p_value_is_never_nothing() -> None:
    assert [wording.probability(p) for p in (1, 0.04321, 0.0001, 0.0000214)] == [
        "1.0000", "0.0432", "0.0001", "2e-05",
    ]  # fmt: skip


def test_sides_of_several_series_are_paired_like_with_like() -> None:
    one = frames.frame(lengths=(1024,), roots=("big", "small"), n=12)
    two = frames.frame(lengths=(1024,), roots=("big", "small"), n=12, seed=1).assign(run="later")
    both = pd.concat([one, two], ignore_index=True)
    assert comparison.compare_text(one, "rlm", "rag").count("n = 12 pairs") == 2
    assert comparison.compare_text(one, "big", "small").count("n = 12 pairs") == 3
    assert comparison.compare_text(both, "synthetic", "later").count("n = 12 pairs") == 6
    several = frames.frame(lengths=(1024,), methods=("rlm",), roots=("big",), subs=("x", "y"))
    with pytest.raises(RlmEvalError, match="name one of"):
        comparison.compare_text(pd.concat([several, one]), "big", "small")


def test_few_clusters_are_said_to_show_nothing() -> None:
    records = frames.frame(lengths=(1024,), n=20, per_cluster=5, methods=("rag", "rlm"))
    text = comparison.compare_text(records, "rlm", "rag")
    assert "not shown to differ; 4 clusters are too few to show any difference" in text
    frame = summary.prepare(records)
    found = comparison.against(frame, "rag")
    assert found["detectable"].isna().all()
    for shown, words in ((found, "too few to show any"), (found.assign(detectable=0.2), "20 pp")):
        figure, _ = contrasts.difference_by_length(frame, summary.summarise(frame), shown)
        caption = style.caption_of(figure)
        assert words in caption
        assert "nan" not in caption


def test_no_verdict_where_samples_were_cut_off() -> None:
    records = frames.frame(lengths=(1024,), n=40)
    records.loc[(records["method"] == "rlm") & (records["index"] < 5), "outcome"] = "limit:turns"
    assert "no verdict" in comparison.compare_text(records, "rlm", "rag")
    assert "no verdict" in comparison.compare_text(records, "rlm", "50%")


def test_power_text() -> None:
    assert "17.3 pp" in power(n=50)
    assert "155 samples" in power(difference=0.1)
    with pytest.raises(RlmEvalError, match="either"):
        power()


def test_tables_escape_their_formats() -> None:
    rows = pd.DataFrame({"a|b": ["x|y"], "c_d": ["5 % & <1>"]})
    assert "x\\|y" in markdown(rows)
    assert r"5 \% \& $<$1$>$" in latex(standard.Table("t", "T", "n", rows))


def test_protected_text_stays_in_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    runs.write(folder, protected=True)
    frame = summary.prepare(load_records([folder]))
    page = str(trajectories.embed([folder], frame, runs.context_of))
    assert len(trajectories.embed([folder], frame, runs.context_of)["items"]) == 12
    files.KINDS["hub"]([folder], tmp_path / "hub")
    files.KINDS["chat"]([folder], tmp_path / "chat", context_of=runs.context_of)
    calls = pd.read_parquet(next((tmp_path / "hub" / "data").glob("calls*")))
    for text in ("red door", "llm_query", "gate keeper"):
        assert text not in page
    assert calls["reply"].isna().all()
    assert (tmp_path / "chat" / "chat.jsonl").read_text() == ""


def test_exports(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    runs.write(folder)
    paths = files.KINDS["tables"]([folder], tmp_path / "tables")
    read = pd.read_json(paths[1], lines=True)
    assert len(read) == 12
    about = pd.read_json(paths[2], typ="series")
    assert set(read.columns) == set(about["columns"])
    assert all(about["columns"].values())
    files.KINDS["hub"]([folder], tmp_path / "hub")
    from datasets import load_dataset

    loaded = load_dataset(
        "parquet", data_files=str(tmp_path / "hub/data/calls-*.parquet"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert loaded.num_rows == 6 * 1 + 6 * 4
    (chat,) = files.KINDS["chat"]([folder], tmp_path / "chat", context_of=runs.context_of)
    lines = pd.read_json(chat, lines=True)
    assert len(lines) == 6  # of 12, those that are right and not cut off
    assert lines["messages"][0][-1]["role"] == "assistant"
    assert "gate keeper" in lines["messages"][0][0]["content"]
    (chat,) = files.KINDS["chat"](
        [folder], tmp_path / "trees", context_of=runs.context_of, sub_calls=True
    )
    lines = pd.read_json(chat, lines=True)
    roots = lines[lines["role"] == "root"]
    assert len(roots) == roots["tree"].nunique() == 6
    subs = lines[lines["role"] == "sub"]
    assert len(subs) == 4
    for tree, own in subs.groupby("tree"):
        # Every sub-call hangs below a call of its tree, and its text is whole.
        assert set(own["parent"]) <= set(range(own["call"].max() + 1))
        assert tree in set(roots["tree"])
    shown = subs["messages"].iloc[0]
    assert [message["role"] for message in shown] == ["user", "assistant"]
    assert all(isinstance(message["content"], str) for message in shown)


def test_a_child_loop_is_one_conversation() -> None:
    """Its last prompt holds the earlier turns: one line, and not one per turn."""

    def call(number: int, position: str, role: str) -> SimpleNamespace:
        return SimpleNamespace(id=number, position=position, role=Role(role), error=None)

    made = [
        call(0, "t0", "root"),
        call(1, "t0.b0/k.t0", "child_root"),
        call(2, "t0.b0/k.t0.b0", "sub"),
        call(3, "t0.b0/k.t1", "child_root"),
        call(4, "t0.b0/k-1.t0", "child_root"),
        call(5, "t1", "root"),
        call(6, "t1.last", "root"),
    ]
    attempt = SimpleNamespace(trajectory=SimpleNamespace(calls=made))
    found = {c.id for c in files._last_calls(attempt, True)}  # type: ignore[arg-type]
    assert found == {6, 3, 2, 4}
    assert [c.id for c in files._last_calls(attempt, False)] == [6]  # type: ignore[arg-type]


def test_the_command_line_module_imports_nothing_heavy() -> None:
    heavy = ("pandas", "matplotlib", "scipy")
    code = f"import sys, rlm_eval.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_of_a_table_are_the_python_values_of_pandas() -> None:
    _, table = made(lengths=(1024,), n=4)
    table["mixed"] = pd.Series([np.float64(0.1), None, "text"], dtype=object)
    assert repr(row_dicts(table)) == repr(table.to_dict("records"))


def test_documents_get_an_axis_of_their_own() -> None:
    frame = frames.frame(lengths=(75_000, 750_000))
    frame["meta_documents"] = frame["length"].astype(int) // 7_500
    ready = summary.prepare(frame)
    figure, data = figures.document_panels(ready, summary.summarise(ready))
    assert figure.axes[0].get_xlabel() == "documents"
    assert sorted(set(data["documents"])) == [10, 100]


def test_published_marks_are_hollow_and_said_to_be_approximate() -> None:
    marks = pd.DataFrame([{"task": "s_niah", "label": "~ paper RLM", "length": 2048, "score": 0.9}])
    figure, _ = figures.accuracy_by_task(*made(), marks)
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [line.get_ydata()[0] for line in hollow] == [90]
    assert "approximate" in style.caption_of(figure)
