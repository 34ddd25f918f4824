"""Tables and figures for a paper: pivots, LaTeX, Table 1, looks that stay, widths."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from shutil import which

import made_frames as frames
import matplotlib as mpl
import matplotlib.style
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rlm_eval.report import looks, summary, wording
from rlm_eval.report.figures import (
    behaviour,
    captions,
    distributions,
    files,
    heatmaps,
    multiples,
    panels,
    style,
)
from rlm_eval.report.tables import assembled, comparison, pivots, standard
from rlm_eval.report.tables.latex import latex
from rlm_eval.report.tables.table import Table, applying, marked
from rlm_eval.suites.paper_table import paper_table
from rlm_eval.suites.plan import Place
from rlm_eval.suites.schema import Published, load, published


def prepared(**changes: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = summary.prepare(frames.frame(**changes))  # type: ignore[arg-type]
    return frame, summary.summarise(frame)


def renamed(names: dict[str, str], **changes: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The synthetic methods under other names."""
    records = frames.frame(**changes)  # type: ignore[arg-type]
    frame = summary.prepare(records.assign(method=records["method"].replace(names)))
    return frame, summary.summarise(frame)


# ---- looks


def test_a_method_keeps_its_look_whatever_else_was_run() -> None:
    alone = style.looks(renamed({"rlm": "mine"}, methods=("rlm",), n=2)[0])["mine"]
    beside = style.looks(renamed({"rlm": "mine"}, n=2)[0])
    assert beside["mine"] == alone
    assert (beside["long_context"].colour, beside["long_context"].marker) == looks.SHIPPED[
        "long_context"
    ]


def test_no_two_methods_look_the_same() -> None:
    assert len(set(looks.SHIPPED.values())) == len(looks.SHIPPED)
    names = [*looks.SHIPPED, "rlm_own_d0", "rlm_own_d2", *(f"method_{i}" for i in range(60))]
    found = looks.pairs(names)
    assert len(set(found.values())) == len(names)
    assert looks.pairs(["rlm_own_d0"])["rlm_own_d0"] == found["rlm_own_d0"]
    few = looks.pairs(["method_3", "method_4"])
    assert few["method_3"] != few["method_4"]


def test_every_shipped_method_has_a_look_of_its_own() -> None:
    configs = Path(__file__).parents[2] / "configs" / "method"
    names = {path.stem for path in configs.glob("*.yaml")} - {"rlm", "rag"}
    assert names <= looks.SHIPPED.keys()


def test_series_of_one_method_share_colour_family_and_marker() -> None:
    one, other = style.looks(prepared(methods=("rlm",), roots=("a", "b"), n=2)[0]).values()
    assert one.marker == other.marker
    assert one.colour != other.colour
    assert (one.line, one.fill) != (other.line, other.fill)


def test_the_style_is_in_the_package_and_can_be_named() -> None:
    with mpl.style.context("rlm_eval.report.figures.rlm_eval"):
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["font.size"] == 8


# ---- figures


def test_few_series_have_bands_and_more_have_error_bars() -> None:
    few, _ = panels.accuracy_by_task(*prepared(n=12))
    many, _ = panels.accuracy_by_task(*prepared(n=12, roots=("a", "b")))
    bands = [
        [c for c in figure.axes[0].collections if isinstance(c, mpl.collections.PolyCollection)]
        for figure in (few, many)
    ]
    assert [len(found) for found in bands] == [3, 0]


def test_the_picture_has_no_caption_and_a_width_of_a_journal(tmp_path: Path) -> None:
    frame, table = prepared(tasks=("s_niah", "oolong"), n=12)
    wide, _ = panels.accuracy_by_task(frame, table)
    with style.widths(narrow=True):
        narrow, _ = panels.accuracy_by_task(frame, table)
    assert [figure.get_size_inches()[0] for figure in (wide, narrow)] == [6.8, 3.3]
    words = [text.get_text() for text in wide.findobj(mpl.text.Text)]
    assert max(map(len, words)) < 60
    saved = files.save(narrow, tmp_path, "one", "A title", table)
    told = (tmp_path / "one.caption.txt").read_text()
    assert told == f"A title. {saved.caption}\n"
    assert "95 % interval" in told
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", (tmp_path / "one.pdf").read_bytes())
    assert box is not None
    assert float(box[1]) == pytest.approx(3.3 * 72, abs=0.5)


def test_a_caption_names_only_what_is_drawn() -> None:
    frame, table = prepared(tasks=("s_niah", "oolong"), n=12)
    bands = "25 to 75 % (dark)"
    assert bands in captions.spread_note(style.looks(frame), table)
    assert bands not in captions.spread_note(
        style.looks(frame), table[table["length"] == table["length"].min()]
    )
    assert captions.baselines_note(table) == ""
    known = table["task_label"] == "oolong"
    some = table.assign(
        base_prior=table["n"].where(known), base_no_model=table["n"].where(known),
        base_bag_of_words=table["n"].where(known),
    )  # fmt: skip
    told = captions.baselines_note(some)
    assert "the best rule without a model and a bag of words" in told
    assert "skimmer" not in told
    assert "Baselines not computed: s_niah." in told
    assert "bag of words" not in captions.baselines_note(some, ("skimmer", "no_model"))


def test_a_map_of_positions_names_the_series_that_it_leaves_out() -> None:
    frame, table = prepared(roots=("a", "b"), lengths=(1024, 2048), n=12)
    figure, data = heatmaps.position_by_length(frame, table)
    shown = set(data["series"])
    assert len(shown) == 3
    left = [name for name in summary.series_order(frame) if name not in shown]
    assert left
    assert f"Not drawn, to keep the maps readable: {', '.join(left)}." in style.caption_of(figure)


@pytest.mark.parametrize("lengths", [(1024, 2048), tuple(1024 * 2**k for k in range(8))])
def test_the_numbers_of_a_map_do_not_overlap(lengths: tuple[int, ...]) -> None:
    """Many lengths leave no room for the n of every field: it stands in the caption."""
    frame, table = prepared(lengths=lengths, n=40)
    figure, data = heatmaps.position_by_length(frame, table)
    figure.canvas.draw()
    told = style.caption_of(figure)
    assert ("n = 8 per field" in told) == (len(lengths) > 2)
    assert ("In brackets: n of the field" in told) == (len(lengths) == 2)
    for axes in figure.axes[: data.groupby(["task_label", "series"]).ngroups]:
        rows: dict[float, list[tuple[float, float]]] = {}
        for text in axes.texts:
            box = text.get_window_extent()
            rows.setdefault(text.get_position()[1], []).append((box.x0, box.x1))
        assert len(rows) == 5
        for boxes in rows.values():
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(boxes)))


def test_the_labels_of_a_low_figure_do_not_overlap() -> None:
    for methods in (("rag", "rlm"), ("long_context", "rag", "rlm")):
        frame, table = prepared(methods=methods, lengths=(1024,), n=12)
        figure, _ = distributions.quartiles(frame, table)
        figure.canvas.draw()
        boxes = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
        tops = sorted((box.y0, box.y1) for box in boxes)
        assert all(upper[0] >= lower[1] for lower, upper in itertools.pairwise(tops))


def _shown(figure: Figure, axis: str) -> list[bool]:
    """Whether each visible panel has tick labels along this axis."""
    side = {"x": "labelbottom", "y": "labelleft"}[axis]
    panels = [one for one in figure.axes if one.get_visible()]
    return [bool(getattr(one, f"{axis}axis").get_tick_params()[side]) for one in panels]


def test_panels_of_one_scale_have_its_tick_labels_once() -> None:
    frame = summary.prepare(frames.frame(tasks=["a", "b"], lengths=[1024, 4096], n=12))
    figure, _ = panels.length_panels(frame, summary.summarise(frame))
    assert _shown(figure, "x") == [False] * 3 + [True] * 3
    assert _shown(figure, "y") == [True] * 6  # score, cost and seconds: three scales


def test_panels_of_other_lengths_keep_their_tick_labels() -> None:
    own = [
        frames.frame(tasks=[t], lengths=x, n=12)
        for t, x in {"a": [1024, 4096], "b": [1024, 8192]}.items()
    ]
    frame = summary.prepare(pd.concat(own, ignore_index=True))
    figure, _ = panels.length_panels(frame, summary.summarise(frame))
    assert all(_shown(figure, "x"))


def test_behaviour_joins_no_points_of_two_tasks() -> None:
    frame, table = prepared(tasks=("s_niah", "oolong"), methods=("rag", "rlm"), n=5)
    figure, data = behaviour.behaviour(frame, table)
    lengths = table["length"].nunique()
    lines = [line for axis in figure.axes[:6] for line in axis.lines]
    assert {len(line.get_xdata()) for line in lines} == {lengths}
    assert len(lines) == 2 * 3 * 2  # tasks, measures, series
    assert set(data["task_label"]) == {"s_niah", "oolong"}


def test_many_series_become_small_multiples() -> None:
    frame, table = prepared(methods=("rag", "rlm"), roots=tuple("abcde"), lengths=(1024, 2048), n=4)
    assert frame["series"].nunique() > style.MANY
    groups = multiples.groups(frame)
    assert max(map(len, groups)) <= style.BANDS
    assert sorted(name for own in groups for name in own) == sorted(frame["series"].unique())
    figure, _ = multiples.of_measure(frame, table, "score")
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == len(groups)
    grey = [line for line in shown[0].lines if line.get_color() == "#D0D0D0"]
    assert len(grey) == frame["series"].nunique() - len(groups[0])


# ---- tables


def test_method_by_length_has_half_widths_marks_and_the_test() -> None:
    frame, table = prepared(n=40)
    compared = comparison.against(frame, "long_context")
    [found] = pivots.by_length(table, compared)
    row = table[(table["series"] == "rlm") & (table["length"] == 4096)].iloc[0]
    half = 50 * (row["high"] - row["low"])
    cell = found.rows.set_index("method").loc["rlm", "4k"]
    assert cell.startswith(f"{100 * row['accuracy']:.1f} ± {half:.1f}")
    shown = compared[(compared["a"] == "rlm") & (compared["length"] == 4096)]["shown"].iloc[0]
    assert cell.endswith("*") == shown
    numbers = found.csv.set_index("method").loc["rlm"]
    assert (numbers["4k"], numbers["4k n"]) == (round(100 * row["accuracy"], 4), 40)
    for words in ("n = 40 per cell", "95 % interval", "after Holm", "McNemar", "Wilson"):
        assert words in found.note


def test_the_star_is_explained_only_where_it_stands() -> None:
    frame, table = prepared(tasks=("a_task", "b_task"), n=40)
    compared = comparison.against(frame, "long_context")
    stars = {True: 0, False: 0}
    for shown in stars:
        for found in pivots.build(frame, table, compared.assign(shown=shown)):
            text = found.rows.to_csv() + found.note
            assert ("*" in text) == ("* differs from long_context" in found.note) == shown
            stars[shown] += text.count("*")
    assert stars[True] > 0


def test_method_by_task_has_cost_only_where_a_price_is_known() -> None:
    for priced in (True, False):
        frame, table = prepared(tasks=("a_task", "b_task"), priced=priced, n=12)
        built = assembled.tables(frame, table, pd.DataFrame(), [])
        by_name = {one.name: one for one in built}
        columns = list(by_name["score_by_task"].rows)
        assert any("USD" in name for name in columns) == priced
        assert any("USD" in name for name in by_name["cost"].rows) == priced
        assert "USD mean" in by_name["cost"].note or priced


def test_two_lengths_with_the_same_rounded_label_keep_their_columns() -> None:
    frame, table = prepared(methods=("rag", "rlm"), lengths=(2048, 2050, 4096), n=6)
    [found] = pivots.by_length(table, comparison.against(frame, "rag"))
    assert list(found.rows) == ["method", "2,048", "2,050", "4k"]
    assert {"2,048 n", "2,050 n", "4k n"} <= set(found.csv)


def test_a_method_without_a_cell_at_the_longest_length_is_named() -> None:
    frame, table = prepared(tasks=("a_task", "b_task"), lengths=(1024, 2048), n=6)
    part = table[(table["series"] != "rag") | (table["length"] == 1024)]
    found = pivots.by_task(part, comparison.against(frame, "long_context"))
    assert list(found.rows["method"]) == ["long_context", "rlm"]
    assert "Not run at these lengths: rag." in found.note
    [by_length] = pivots.by_length(part, pd.DataFrame())
    assert list(by_length.rows.loc[by_length.rows["method"] == "rag", "2k"]) == ["not run"] * 2
    assert by_length.csv["2k n"].dropna().tolist() == [6] * 4
    assert ".0," not in by_length.csv[["2k n"]].to_csv(index=False)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.000001234, "0.00000123"), (0.01236, "0.0124"), (12.3, "12.3"), (999.7, "1000"),
     (1018.4, "1,018"), (1.2e6, "1,200,000"), (float("inf"), "inf")],
)  # fmt: skip
def test_an_amount_is_never_a_power_of_ten(value: float, words: str) -> None:
    assert wording.three_digits(value) == words


def test_tables_of_tokens_and_seconds_have_no_power_of_ten() -> None:
    frame, table = prepared(priced=False, n=12)
    slow = table.assign(wall_median=1234.5, wall_max=98765.4)
    built = assembled.tables(frame, slow, pd.DataFrame(), [])
    by_name = {one.name: one.rows.astype(str) for one in built}
    assert by_name["budgets"]["per sample"].str.fullmatch(r"[\d,.]+").all()
    assert "98,765" in by_name["latency"].to_string()
    for name in ("budgets", "latency", "cost"):
        assert not re.search(r"\de[+-]\d", by_name[name].to_string())


def test_root_by_sub_model() -> None:
    frame, table = prepared(methods=("rlm",), lengths=(1024,), roots=("big",), subs=("m", "s"), n=9)
    [found] = [t for t in pivots.build(frame, table, pd.DataFrame()) if t.name == "model_pairs"]
    [row] = found.rows.to_dict("records")
    assert row["root model"] == "big"
    assert {"m: score %", "m: USD", "s: score %", "s: USD"} <= row.keys()


def test_how_an_interval_was_made_is_a_footnote_mark() -> None:
    marks, notes = marked(["t", "Wilson", "t"])
    assert marks == ["ᵃ", "ᵇ", "ᵃ"]
    assert notes == "ᵃ t. ᵇ Wilson."
    assert marked(["t", "t"]) == (["", ""], "Interval: t.")
    every, notes = marked([f"kind {number}" for number in range(40)])
    assert len(set(every)) == 40
    assert "" not in every
    assert all(f"{mark} kind {number}." in notes for number, mark in enumerate(every))
    sized = [{"as_bounds": False, "interval": f"Wilson at n = {n}"} for n in (59.1, 60.0)]
    assert {standard.how_kind(row) for row in sized} == {"Wilson at n/deff"}
    frame, table = prepared(n=12)
    scores = assembled.tables(frame, table, pd.DataFrame(), [])[1]
    assert "how" not in scores.rows
    assert scores.csv["how"].str.len().gt(0).all()


def test_a_column_that_says_nothing_is_left_out_and_named() -> None:
    rows = pd.DataFrame({"task": ["a", "b"], "x": ["unknown"] * 2, "y": ["unknown", "1"]})
    found = applying(Table("t", "T", "Note.", rows))
    assert list(found.rows) == ["task", "y"]
    assert found.note == "Note. Columns left out: x (not known of any line)."


HOSTILE = r"50 % & a_b {c} \d #1 ~ ^ $ < > | \" λ"


def made_table() -> Table:
    rows = pd.DataFrame({
        "method": [HOSTILE, "rlm"], "1k": ["62.5 ± 15.0ᵃ*", "7.5 to 12.5ᵇ"],
        "oolong: score %": ["0.0 ± 4.4", "not run"], "oolong: USD": ["1,394.5", "unknown"],
        "p": ["0.0386*", "9e-05"], "n": [12, 7], "change": ["-2.5", "+13.0"],
    })  # fmt: skip
    return Table("some_table", "Scores & more", "n = 40; 95 % interval, mid-p McNemar.", rows)


def test_latex_has_booktabs_number_columns_a_caption_and_escapes() -> None:
    text = latex(made_table())
    for part in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\cmidrule(lr)",
        r"\label{tab:some-table}",
    ):
        assert part in text
    assert r"\caption{Scores \& more. n = 40; 95 \% interval, mid-p McNemar.}" in text
    assert r"62.5 & 15.0{\textsuperscript{a}$^{*}$}" in text
    assert r"\multicolumn{2}{c}{7.5 to 12.5\textsuperscript{b}}" in text
    assert "S[table-format=4.1]" in text
    assert "1394.5" in text
    assert "{unknown}" in text
    assert r"50 \% \& a\_b \{c\} \textbackslash{}d \#1 \textasciitilde{}" in text
    preamble, *body = re.findall(r"\\begin\{tabular\}\{(.*)\}|^(.* \\\\)$", text, re.M)
    columns = len(re.findall(r"S\[|l", re.sub(r"\{[^{}]*\}|table", "", preamble[0])))
    for _, line in body:
        spans = sum(int(k) - 1 for k in re.findall(r"\\multicolumn\{(\d)\}", line))
        assert len(re.findall(r"(?<!\\)&", line)) + spans + 1 == columns


def test_latex_names_the_engine_that_can_set_its_names() -> None:
    rows = pd.DataFrame([{"task": "会议\u202e\x00", "score": "5.0"}])
    text = latex(Table("t", "Score", "Note.", rows))
    assert text.startswith("% Has characters that pdflatex cannot set: use xelatex or lualatex")
    assert "会议 & 5.0" in text
    plain = latex(Table("t", "Score", "±, λ, ≥ and é.", rows.assign(task="é")))
    assert plain.startswith(r"% \usepackage")


def test_a_name_in_backticks_is_typewriter_in_latex() -> None:
    rows = pd.DataFrame([{"task": "a", "method": "b"}])
    text = latex(Table("t", "Score", "See table `score_by_task`.", rows))
    assert r"See table \texttt{score\_by\_task}." in text


def test_latex_has_no_typed_comparison_and_no_row_that_the_row_above_takes() -> None:
    rows = pd.DataFrame([{"interval": "[1, 2]"}, {"interval": "*"}, {"interval": "a"}])
    text = latex(Table("t", "Score", "p95 needs n >= 72 and x <= 1.", rows))
    assert r"n $\geq$ 72 and x $\leq$ 1" in text
    assert "{}[1, 2] \\\\\n{}* \\\\\na \\\\" in text


@pytest.mark.skipif(which("pdflatex") is None, reason="needs pdflatex with siunitx")
def test_latex_compiles(tmp_path: Path) -> None:
    frame, table = prepared(tasks=("a_task", "b_task"), roots=("a", "b"), n=12)
    compared = comparison.against(frame, summary.series_order(frame)[0])
    built = [made_table(), *assembled.tables(frame, table, compared, [])]
    text = "\n\\clearpage\n".join(map(latex, built))
    (tmp_path / "all.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{textcomp}\n"
        f"\\usepackage{{booktabs,siunitx,graphicx}}\n\\begin{{document}}\n{text}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# ---- Table 1


def test_table_1_has_the_published_numbers_and_costs() -> None:
    suite = load("rlm_paper_table1")
    assert suite.closing_table
    rows = published(suite)
    [row] = [r for r in rows if (r.task, r.method, r.models, r.version[:2]) ==
             ("oolong", "rlm", "gpt-5", "v1")]  # fmt: skip
    assert (row.percent, row.cost) == (56.5, 0.43)
    frame, _ = prepared(methods=("rlm",), lengths=(1024,), n=20)
    place = Place(
        "main", "oolong", 131072, 0, "rlm", "gpt-5", "gpt-5", frame["cell_id"].iloc[0], True
    )

    def cells_of(places, row):
        return [p for p in places if (p.task, p.method, p.models) ==
                (row.task, row.method, row.models)]  # fmt: skip

    found = paper_table(
        frame, [place], rows, "Table 1", cells_of=cells_of,
        no_verdict=lambda *_: "ours are generated",
    )  # fmt: skip
    assert found.last
    # v1 calls it RLM, v3 RLM (depth=1): one row, with the latest number.
    rlm = found.rows[found.rows["method"].str.fullmatch(r"RLM( \(depth=1\))?")]
    line = rlm.set_index(["models", "method"]).loc[("gpt-5", "RLM (depth=1)")]
    assert rlm["models"].is_unique
    group = "OOLONG trec_coarse 131K"
    score = 100 * frame["score"].mean()
    assert line[f"{group}: paper"] == "56.0"
    assert line[f"{group}: ours"].startswith(f"{score:.1f} ± ")
    assert line[f"{group}: ours"].endswith("ᵃ")
    assert (line[f"{group}: paper USD"], line[f"{group}: USD"] != "--") == ("0.43", True)
    assert "ᵃ not to be compared: ours are generated." in found.note
    assert "OOLONG-Pairs 32K: ours" not in found.rows
    order = [name.partition(": ")[2] for name in found.rows if name.startswith(group)]
    assert order == ["paper", "ours", "paper USD", "USD"]


def test_a_published_cost_is_optional() -> None:
    assert Published.__dataclass_fields__["cost"].default is None
    assert all(row.cost is None for row in published(load("model_behaviour")))
