"""A cell in two run directories is counted once, everywhere; other replies are repeats."""

import shutil

import made_runs
import pandas as pd
import pytest

from rlm_eval.records.record import FILE, load_records
from rlm_eval.report import summary as cells
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.comparison import compare_text


@pytest.fixture
def runs(tmp_path):
    first = made_runs.write(tmp_path / "first", n=4)
    shutil.copytree(first, tmp_path / "second")
    return first, tmp_path / "second"


def change(run, **values):
    """Overwrite columns of the first two samples of one cell."""
    frame = pd.read_parquet(run / FILE, dtype_backend="numpy_nullable")
    at = frame.index[(frame["method"] == "rlm") & (frame["length"] == 1024)][:2]
    for name, value in values.items():
        frame.loc[at, name] = value
    frame.to_parquet(run / FILE)


def summary(runs):
    frame = cells.prepare(load_records(runs))
    return frame, cells.summarise(frame)


def test_a_copied_run_changes_no_number(runs):
    alone, once = summary(runs[:1])
    frame, twice = summary(runs)
    pd.testing.assert_frame_equal(once, twice)
    assert len(frame) == len(alone)
    assert frame["cost_cold"].sum() == alone["cost_cold"].sum()
    assert "also in second; they are counted once, as in first" in " ".join(caveats(frame, twice))


def test_other_replies_of_the_same_samples_are_repeats(runs):
    change(runs[1], score=0.0, answer_chars=99)
    frame, table = summary(runs)
    row = table[(table["method"] == "rlm") & (table["length"] == 1024)].iloc[0]
    assert (row["n"], row["rows"], row["n_scored"]) == (4, 6, 4)
    own = frame[(frame["method"] == "rlm") & (frame["length"] == 1024)]
    assert not own.duplicated(["sample_id", "epoch"]).any()
    said = " ".join(caveats(frame, table))
    assert "2 samples of 1 cells were answered in first and again in second" in said


def test_a_result_stands_for_a_failed_attempt_in_another_run(runs):
    change(runs[0], outcome="provider_error", score=None)
    _, table = summary(runs)
    row = table[(table["method"] == "rlm") & (table["length"] == 1024)].iloc[0]
    assert (row["n"], row["n_scored"], row["missing"]) == (4, 4, 0)


def test_compare_counts_every_pair_once(runs):
    text = compare_text(load_records(runs), "rlm", "long_context")
    assert text == compare_text(load_records(runs[:1]), "rlm", "long_context")
