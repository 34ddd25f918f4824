"""The table of scores by type of question and margin: made-up records, and the published study."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_frames import frame
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rlm_eval.records.record import load_records
from rlm_eval.report import report, summary
from rlm_eval.report.tables import margins, table
from rlm_eval.report.tables.meanings import meaning

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def asked(methods=("rlm",), n=24, lengths=(1024,), per_cluster=1, **facts):
    """Records with the fields of a question over labelled lines; counts unless `facts` differ."""
    made = frame(methods=methods, n=n, lengths=lengths, per_cluster=per_cluster)
    fields = {"meta_kind": "C4", "meta_margin": 0.0, "meta_close": False}
    for name, value in (fields | facts).items():
        made[name] = np.resize(value, len(made)) if isinstance(value, list) else value
    return made.assign(outcome="ok", failure=None)


def built(records):
    [found] = margins.build(summary.prepare(records))
    return found


def only(records):
    """The text and the numbers of the only line."""
    found = built(records)
    [row], [numbers] = found.rows.to_dict("records"), found.csv.to_dict("records")
    return row, numbers


def test_records_without_the_fields_have_no_table():
    made = frame(methods=["rlm"])
    assert margins.build(summary.prepare(made)) == []
    made["meta_kind"], made["meta_margin"] = "C4", 0.0  # as the records of another task
    assert margins.build(summary.prepare(made)) == []
    assert margins.build(summary.prepare(made.assign(meta_close=pd.NA))) == []


def test_counts_have_the_relative_score_beside_the_official_one():
    scores = [0.0] * 12 + [0.5] * 12
    row, numbers = only(asked(score_official=scores, score_relative=[0.25] * 6 + [0.95] * 18))
    assert row["count: n"] == "24"
    assert row["count: score %"].startswith("25.0 [")
    assert row["count: relative %"].startswith("77.5 [")
    assert (numbers["count: n"], numbers["count: contexts"]) == (24, 24)
    assert (numbers["count: score %"], numbers["count: relative %"]) == (25.0, 77.5)
    half = stats.t.ppf(0.975, 23) * np.std(scores, ddof=1) / math.sqrt(24)
    # Scores whose sum is within 10 of 0: at least Wilson's interval at n = 24.
    low, high = proportion_confint(6, 24, method="wilson")
    assert numbers["count: score low"] == pytest.approx(100 * min(0.25 - half, low), abs=1e-3)
    assert numbers["count: score high"] == pytest.approx(100 * max(0.25 + half, high), abs=1e-3)
    assert set(numbers) & {"close: n", "clear: n", "equal: n", "label: n", "other: n"} == set()


@pytest.mark.parametrize(
    ("margin", "close", "kind", "expected"),
    [
        (0, False, "C3", "equal"),
        (1, False, "C3", "close"),
        (2, False, "C3", "close"),
        (3, False, "C3", "clear"),
        (5, True, "C3", "close"),  # as the task marks it in a long window
        (18, False, "C3", "clear"),
        (0, False, "C4", "count"),
        (1, False, "C1", "label"),
        (4, False, "C2", "label"),
        (1, False, "T4", "other"),
        (2, False, "U5", "other"),
    ],
)
def test_the_type_of_a_question_is_its_kind_and_its_margin(margin, close, kind, expected):
    row, _ = only(asked(meta_margin=float(margin), meta_close=close, meta_kind=kind))
    assert [name for name in margins.TYPES if f"{name}: n" in row] == [expected]
    assert row[f"{expected}: n"] == "24"
    assert f"{expected}: {margins.TYPES[expected]}" in built(asked(meta_kind=kind,
        meta_margin=float(margin), meta_close=close)).note  # fmt: skip


def test_comparisons_of_clear_and_close_margins_are_apart():
    close = [1.0] * 12 + [5.0] * 12
    right = [1.0] * 3 + [0.0] * 9 + [1.0] * 9 + [0.0] * 3
    row, numbers = only(asked(meta_kind="C3", meta_margin=close, score_official=right))
    low, high = (f"{100 * x:.1f}" for x in proportion_confint(3, 12, method="wilson"))
    assert (row["close: n"], row["close: score %"]) == ("12", f"25.0 [{low}, {high}]")
    low, high = (f"{100 * x:.1f}" for x in proportion_confint(9, 12, method="wilson"))
    assert (row["clear: n"], row["clear: score %"]) == ("12", f"75.0 [{low}, {high}]")
    assert numbers["clear: score low"] == pytest.approx(float(low), abs=0.05)


def test_few_contexts_have_no_interval_and_missing_samples_give_bounds():
    few = asked(n=14, per_cluster=2, score_official=[1.0, 0.0])
    row, numbers = only(few)
    assert (row["count: score %"], numbers["count: contexts"]) == ("50.0", 7)
    assert math.isnan(float(numbers["count: score low"] or "nan"))
    row, _ = only(asked(n=16, per_cluster=2, score_official=[1.0, 0.0]))
    assert row["count: score %"].startswith("50.0 [")
    lost = asked(n=20, score_official=[1.0, 0.0])
    lost.loc[0, ["score", "score_official"]] = np.nan
    row, numbers = only(lost)
    assert row["count: score %"] == "45.0 to 50.0"
    assert (numbers["count: score low"], numbers["count: score high"]) == (45.0, 50.0)
    cut = asked(n=20, score_official=[1.0, 0.0])
    cut.loc[:1, "outcome"] = "truncated"
    assert only(cut)[0]["count: score %"] == "45.0 to 55.0"


def test_repeats_of_a_sample_count_once():
    one = asked(n=20, score_official=1.0)
    row, _ = only(pd.concat([one, one.assign(epoch=1, score_official=0.0)], ignore_index=True))
    assert row["count: n"] == "20"
    assert row["count: score %"].startswith("50.0 [")


def test_a_line_for_each_task_length_and_method():
    found = built(asked(methods=("rag", "rlm"), lengths=(2048, 1024), n=10))
    assert found.rows[["length", "method"]].to_numpy().tolist() == [
        ["1k", "rag"], ["1k", "rlm"], ["2k", "rag"], ["2k", "rlm"],
    ]  # fmt: skip
    assert [meaning("margins", name) for name in found.csv.columns].count(None) == 0


def test_a_report_writes_the_table_and_shows_it_among_the_scores(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    asked(n=10, score_official=1.0, score_relative=1.0).to_parquet(run / "records.parquet")
    report([run], tmp_path / "out")
    for ending in ("csv", "md", "tex"):
        assert (tmp_path / "out" / "tables" / f"margins.{ending}").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    scores = page[page.index('id="scores"') : page.index('id="outcomes"')]
    assert "Score by type of question and margin" in scores


RECURSION = {
    "long_context": ("16", 33.9797, 26.4), "program_label_each": ("16", 85.9, 88.7),
    "rlm/read": ("16", 91.0, 92.5), "rlm/search": ("16", 44.2, 42.5),
}  # fmt: skip
"""Series -> counts of the study `recursion` at 1k: n, official and relative score in percent."""


def of_study():
    """The records of the study's part `labels` at 1k, and the lines of their table."""
    records = load_records([PUBLISHED / "recursion"])
    chosen = (records["length"] == 1024) & (records["task"] == "oolong_gen_subject")
    chosen &= records["method"].isin(["long_context", "program_label_each", "rlm"])
    chosen &= records["sub"].fillna("") != "coder-0.5b"  # part `pair`
    records = records[chosen].reset_index(drop=True)
    found = table.applying(built(records))
    lines = {row["method"].removeprefix("rlm prompt "): row for row in found.csv.to_dict("records")}
    records["name"] = records["prompt"].replace({"rlm/own": "rlm/search"})
    known = {"rlm/search", "rlm/read"}
    records["name"] = records["name"].where(records["name"].isin(known), records["method"])
    return records, lines


def test_the_published_study_is_recomputed_from_its_records():
    records, lines = of_study()
    chosen = {
        "count": records["meta_kind"] == "C4",
        "equal": (records["meta_kind"] == "C3") & (records["meta_margin"] == 0),
        "close": (records["meta_kind"] == "C3") & (records["meta_margin"] > 0),  # 1 line each
        "label": records["meta_kind"] == "C2",
    }
    assert records.loc[chosen["close"], "meta_margin"].max() == 1
    seen = 0
    for name, rows in records.groupby("name"):
        line = lines[name]
        for kind, own in chosen.items():
            part = rows[own.loc[rows.index]]
            scores = part["score_official"].astype(float)
            assert line[f"{kind}: n"] == len(part)
            assert line[f"{kind}: contexts"] == part["cluster"].nunique()
            assert line[f"{kind}: score %"] == pytest.approx(100 * scores.mean(), abs=1e-3)
            assert pd.isna(line[f"{kind}: score low"]) == (part["cluster"].nunique() < 8)
            seen += 1
        counts = rows[chosen["count"].loc[rows.index]]
        relative = 100 * counts["score_relative"].astype(float).mean()
        assert line["count: relative %"] == pytest.approx(relative, abs=1e-3)
    assert seen == 16


def test_the_intervals_of_the_published_counts_are_recomputed():
    """Cluster-robust t interval, at least Wilson's at n / design effect near 0 and n."""
    records, lines = of_study()
    for name, (n, official, relative) in RECURSION.items():
        line = lines[name]
        assert str(line["count: n"]) == n
        assert line["count: score %"] == pytest.approx(official, abs=0.05)
        assert line["count: relative %"] == pytest.approx(relative, abs=0.05)
        own = records[(records["name"] == name) & (records["meta_kind"] == "C4")]
        x = own["score_official"].astype(float).to_numpy()
        sums = pd.Series(x - x.mean()).groupby(own["cluster"].to_numpy()).sum()
        groups = len(sums)
        error = math.sqrt(groups / (groups - 1) * float((sums**2).sum())) / len(x)
        half = stats.t.ppf(0.975, groups - 1) * error
        low, high = x.mean() - half, x.mean() + half
        if min(x.sum(), len(x) - x.sum()) < 10:
            size = len(x) / max(1.0, error**2 / (x.var(ddof=1) / len(x)))
            ends = proportion_confint(x.mean() * size, size, method="wilson")
            low, high = min(low, ends[0]), max(high, ends[1])
        assert line["count: score low"] == pytest.approx(100 * max(0.0, low), abs=0.01)
        assert line["count: score high"] == pytest.approx(100 * min(1.0, high), abs=0.01)
