"""A published folder whose records lack baselines: `baselines.json` beside them has the means."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import made_frames as frames
import pandas as pd
import pytest

from rlm_eval.report import summary
from rlm_eval.report.figures import panels
from rlm_eval.report.tables import baselines
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.standard import _accuracy as accuracy
from rlm_eval.suites.evidence.bundle import Bundle

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
STEP = {"name": "empty", "score": 0.0, "read": 0.0}


def entry(task: str, length: int, methods: tuple[str, ...]) -> dict[str, Any]:
    return {
        "task": task,
        "length": length,
        "samples_published": 12,
        "samples_made_again": 11,
        "solved_by_code": False,
        "kinds": {
            "prior": STEP,
            "no_model": {"name": "a_rule", "score": 0.99, "read": 1.0},
            "skimmer": {"name": "a_skimmer", "score": 0.25, "read": 0.2},
        },
        "frontier": [STEP, STEP, STEP, {"name": "a_skimmer", "score": 0.25, "read": 0.2}],
        "method_minus_baseline": {
            name: {"n": 11, "skimmer": [30.0, 10.0, 50.0], "no_model": [-40.0, -60.0, -20.0]}
            for name in methods
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cells = [entry("s_niah", 1024, ("rag", "rlm"))]
    (tmp_path / "baselines.json").write_text(json.dumps({"cells": cells}))
    return tmp_path


def test_the_file_fills_what_the_records_lack(folder: Path) -> None:
    frame = summary.prepare(frames.frame(methods=("rag", "rlm"), lengths=(1024, 2048), n=12))
    table = baselines.with_published(summary.summarise(frame), [folder])
    short, long = (table[table["length"] == length] for length in (1024, 2048))
    assert short["base_no_model"].tolist() == [0.99, 0.99]
    assert short["base_skimmer_rule"].tolist() == ["a_skimmer"] * 2
    assert short["base_n"].tolist() == [11, 11]
    assert short["base_no_model_high"].tolist() == [-0.2, -0.2]
    assert long["base_prior"].isna().all()
    assert list(accuracy(table).rows["no model %"]) == ["99.0", "99.0", *["not computed"] * 2]
    told = " ".join(caveats(frame, table))
    assert "s_niah 1k, rlm against no model 99.0: -40.0 [-60.0, -20.0]" in told
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.PerformanceWarning)
        figure, _ = panels.accuracy_by_task(frame, table)
        table.assign(another=1)  # no warning of a fragmented table
    assert "no model baseline" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_records_with_baselines_and_several_variants_stay(folder: Path) -> None:
    records = frames.frame(methods=("rag",), lengths=(1024,), n=12)
    known = dict.fromkeys(("prior", "no_model", "skimmer", "read"), 0.5)
    own = records.assign(**{f"baseline_{name}": value for name, value in known.items()})
    table = summary.summarise(summary.prepare(own))
    assert baselines.with_published(table, [folder])["base_no_model"].tolist() == [0.5]
    other = records.assign(task_variant="density=2", cell_id="other")
    both = summary.summarise(summary.prepare(pd.concat([records, other])))
    assert baselines.with_published(both, [folder])["base_prior"].isna().all()


def test_no_published_baseline_is_left_out_of_a_published_table() -> None:
    table = Bundle(PUBLISHED / "length_sweep").prepared.table
    assert table["base_no_model"].notna().all()
    labels = table[(table["task"] == "oolong_gen") & (table["length"] == 1024)]
    assert labels["base_no_model"].round(3).tolist() == [0.615] * 5
    assert (labels["base_no_model_high"] < 0).all()
