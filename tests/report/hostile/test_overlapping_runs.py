"""A cell in two run directories is counted once, everywhere; other replies are repeats."""

import shutil
from pathlib import Path

import made_runs
import pandas as pd
import pytest

from rlm_eval.records.build import write_records
from rlm_eval.records.record import FILE, load_records
from rlm_eval.report import summary as cells
from rlm_eval.report.exports import files
from rlm_eval.report.profile.measure import measured
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.comparison import compare_text
from rlm_eval.suites.comparisons import plans_of
from rlm_eval.suites.plan_file import SuitePlan, write_plan


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


@pytest.mark.parametrize("again", [".", "../first", "link"])
def test_a_run_named_twice_is_read_once(again, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs[0])
    (tmp_path / "link").symlink_to(runs[0])
    named = [runs[0], tmp_path / "link" if again == "link" else Path(again)]
    pd.testing.assert_frame_equal(summary(named)[1], summary(runs[:1])[1])
    assert f"{named[1]}: the same folder as {named[0]}; it is read once" in capsys.readouterr().err


def test_a_cell_copied_within_its_run_changes_no_number(runs):
    _, once = summary(runs[:1])
    shutil.copytree(runs[0] / "cells" / "rlm-1024", runs[0] / "cells" / "rlm-1024-backup")
    write_records(runs[0])
    frame, twice = summary(runs[:1])
    assert list(twice["rows"]) == list(once["rows"])
    assert "4 samples of 1 cells stand several times in first" in " ".join(caveats(frame, twice))


def test_an_answer_scored_again_in_a_copy_is_no_repeat(runs):
    change(runs[1], score=0.5)
    frame, table = summary(runs)
    pd.testing.assert_frame_equal(table, summary(runs[:1])[1])
    said = " ".join(caveats(frame, table))
    assert "also in second, 2 of them with another score; they are counted once" in said
    assert "repeats" not in said


def test_answers_without_times_that_scored_differently_are_repeats(runs):
    """An imported log may state no time: equal sizes do not prove that an answer is the same."""
    for run in runs:
        change(run, wall_seconds=None)
    change(runs[1], score=0.5)
    frame, table = summary(runs)
    assert "2 samples of 1 cells were answered in first and again in second" in " ".join(
        caveats(frame, table)
    )


def test_the_referee_reads_an_answer_of_two_runs_once(runs):
    alone = Evidence.of(runs[:1]).answers
    assert len(Evidence.of(runs).answers) == len(alone) > 0


def test_exports_and_the_profile_hold_a_trajectory_once(runs, tmp_path):
    sizes = []
    for count in (1, 2):
        files.chat(runs[:count], tmp_path / "chat", context_of=lambda *_: "x" * 10_000)
        files.hub(runs[:count], tmp_path / "hub")
        lines = (tmp_path / "chat" / "chat.jsonl").read_text().splitlines()
        calls = pd.read_parquet(tmp_path / "hub" / "data" / "calls-00000-of-00001.parquet")
        sizes.append((len(lines), len(calls), len(measured(runs[:count]))))
    assert sizes[0] == sizes[1]
    assert min(sizes[0]) > 0


def test_a_copied_suite_run_has_its_tables_once(runs):
    for run in runs:
        write_plan(run, SuitePlan("smoke", [], "2026-01-01T00:00:00+0000", [], []))
    assert [plan.suite for plan in plans_of(runs)] == ["smoke"]


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
