"""The recursion profile: strategies from code, their confusion, measures, what is unknown."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_counterfactual import given, original, run  # noqa: F401 - a fixture

from rlm_eval.cli import main
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report.profile import agreement, measure
from rlm_eval.report.profile.codebook import STRATEGIES, UNKNOWN
from rlm_eval.report.profile.strategies import of_trajectory, strategy
from rlm_eval.report.profile.table import figure, profile_table
from rlm_eval.report.viewer.trajectories import attempts

LABELS = Path(__file__).parent.parent / "benchmarks" / "strategy_labels"


@pytest.mark.parametrize(
    ("label", "blocks"),
    [
        (UNKNOWN, []),
        (UNKNOWN, [""]),
        ("none", ["this is no python"]),
        ("none", ["print(context[:100])", 'answer["content"] = "4"']),
        ("search", ["import re\nprint(re.findall('x.*', context))"]),
        ("search", ["for l in context.splitlines():\n    if 'key' in l: print(l)"]),
        ("compute", ["print(sum(int(x) for x in context.split()))"]),
        ("compute", ["n = 0\nfor l in context.split('\\n'):\n    if 'a' in l: n += 1\nprint(n)"]),
        ("map", ["print([llm_query(c) for c in context.split('\\n\\n')])"]),
        ("map", ["def f(c):\n    return llm_query(c)\nprint(list(map(f, context.split())))"]),
        ("map", ["print(llm_query('all of it: ' + context))"]),
        ("none", ["print(llm_query('a riddle without any text'))"]),
        ("filter-then-read", ["i = context.find('key')\nprint(llm_query(context[i:i + 99]))"]),
        ("filter-then-read", ["print(context.find('k'))", "llm_query(context[500:900])"]),
        ("map", ["llm_query(context[500:900])"]),  # nothing was searched before
        (
            "filter-then-read",
            ["x = [l for l in context.split('\\n') if 'k' in l]\nllm_query(x[0])"],
        ),
        ("map", ["x = [l for l in context.split('\\n') if l.strip()]\nllm_query_batched(x)"]),
        ("divide", ["rlm_query(context[:500], 'what?')"]),
        ("divide", ["llm_query(context)", "rlm_query_batched([context], 'what?')"]),
    ],
)
def test_the_strategy_of_blocks(label, blocks):
    assert strategy(blocks) == label


@pytest.mark.parametrize(
    "code", ["f(" * 500 + ")" * 500, "x = " + "[" * 90, "\0", "def f(): return f()\nf()"]
)
def test_odd_code_is_no_error(code):
    assert strategy([code]) in STRATEGIES


def test_agreement_and_confusion_of_the_labels_are_those_of_the_page(capsys):
    """Recomputed from the stored trajectories; docs/profile.md shows the same."""
    rows = agreement.read(LABELS)
    assert len(rows) == 60
    assert {row.first for row in rows} == set(STRATEGIES)
    assert main(["profile", "--labels", str(LABELS)]) == 0
    told = capsys.readouterr().out.strip()
    assert told in (LABELS.parent.parent / "docs" / "profile.md").read_text()
    assert "first and second pass: 57 of 60, kappa 0.94" in told
    assert "second labeller and first pass: 58 of 60, kappa 0.96" in told
    assert "classifier and second labeller: 60 of 60" in told


def test_kappa_and_confusion():
    pairs = [("map", "map")] * 3 + [("map", "search")] + [("search", "search")] * 4
    assert agreement.kappa(pairs) == pytest.approx(0.75)
    assert agreement.kappa([("map", "map")]) is None
    table = agreement.confusion(pairs)
    names = list(agreement.LABELS)
    assert table[names.index("map")][names.index("search")] == 1
    assert sum(map(sum, table)) == 8


def test_labels_that_do_not_fit_are_one_clear_error(tmp_path):
    with pytest.raises(RlmEvalError, match="no labels that can be read"):
        agreement.read(tmp_path)
    (tmp_path / "trajectories.jsonl").write_text('{"id": "a", "source": "s", "blocks": []}\n')
    (tmp_path / "labels.csv").write_text("id,first,second\nb,map,map\n")
    with pytest.raises(RlmEvalError, match="different ids"):
        agreement.read(tmp_path)
    (tmp_path / "labels.csv").write_text("id,first,second\na,map,guess\n")
    with pytest.raises(RlmEvalError, match="guess is none of"):
        agreement.read(tmp_path)
    (tmp_path / "labels.csv").write_text("id,first,second\na,map,map\n")
    assert "second labeller" not in agreement.told(agreement.read(tmp_path))
    (tmp_path / agreement.OTHER).write_text("id,label\nb,map\n")
    with pytest.raises(RlmEvalError, match="different ids"):
        agreement.read(tmp_path)
    (tmp_path / agreement.OTHER).write_text("id,label\na,guess\n")
    with pytest.raises(RlmEvalError, match="second_labeller.csv: guess is none of"):
        agreement.read(tmp_path)


def test_a_run_is_measured(original, tmp_path, capsys):  # noqa: F811
    frame = measure.measured([original])
    assert list(frame.columns) == list(measure.COLUMNS)
    first = frame.iloc[0]
    assert first["strategy"] == "map"  # llm_query over the first characters of the context
    assert first["recursed"]
    assert (first["fanout"], first["depth"], first["sub_calls"]) == (3, 1, 4)
    assert first["sub_succeeded"] == 1.0
    assert first["cost_by"] == "tokens"
    assert first["cost_root"] + first["cost_deeper"] == pytest.approx(1)
    assert first["sub_context_chars"] <= first["sub_chars"]
    assert main(["profile", str(original), "-o", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "Some replies are scripted" in told
    names = {path.name for path in tmp_path.iterdir()}
    assert {"recursion_profile.md", "recursion_profile.csv", "recursion_profile.tex",
            "trajectories.csv", "strategy-scripted.png"} <= names  # fmt: skip
    rows = list(csv.DictReader(io.StringIO((tmp_path / "recursion_profile.csv").read_text())))
    assert [(row["n"], row["map"], row["search"]) for row in rows] == [("2", "100", "0")]
    drawn = pd.read_csv(tmp_path / "strategy-scripted.csv")
    assert drawn.groupby("length")["percent"].sum().tolist() == [100.0]


def test_unknown_stays_unknown(original):  # noqa: F811
    """Of a log without calls nothing is known but its totals; without code no strategy."""
    manifest, sample, attempt = next(attempts(original))
    bare = replace(attempt, trajectory=replace(attempt.trajectory, calls=(), steps=()))
    row = measure.row_of(manifest, sample, bare)
    assert row["strategy"] == UNKNOWN
    known = {"task", "length", "method", "variant", "root", "sub", "sample", "epoch", "cluster",
             "scripted", "generated", "strategy"}  # fmt: skip
    assert {name for name, value in row.items() if value is not None} == known
    no_code = replace(attempt, trajectory=replace(attempt.trajectory, steps=()))
    assert of_trajectory(no_code.trajectory) == UNKNOWN
    table = profile_table(pd.DataFrame([row]))
    assert table.rows.loc[0, "recurse %"] == "?"
    assert table.rows.loc[0, "unknown"] == "100"
    assert {table.rows.loc[0, name] for name in STRATEGIES} == {"?"}
    assert table.rows.loc[0, "coverage %"] == "?"


def test_a_run_that_is_named_twice_has_no_repeats(original):  # noqa: F811
    once = measure.measured([original])
    pd.testing.assert_frame_equal(measure.measured([original, original]), once)


def test_stability_counts_pairs_of_repeats():
    rows = [("a", "map"), ("a", "map"), ("a", "search"), ("b", "none"), ("c", UNKNOWN)]
    frame = pd.DataFrame(rows, columns=["sample", "strategy"])
    assert measure.stability(frame) == (pytest.approx(1 / 3), 3)
    assert measure.stability(frame[frame["sample"] == "b"]) == (None, 0)


def test_options_and_empty_runs(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["profile"])
    assert main(["profile", str(tmp_path)]) == 2
    assert "no cells here" in capsys.readouterr().err
    assert figure.__doc__
