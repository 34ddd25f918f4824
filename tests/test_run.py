"""The whole main job, as its user types it, on the scripted model."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


def rlm_eval(*arguments: str, cwd: Path, env: dict[str, str] | None = None):
    return subprocess.run(
        [sys.executable, "-m", "rlm_eval", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_scripted_main_job_runs_offline_and_says_what_it_is(tmp_path):
    done = rlm_eval("run", "debug=scripted", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results/runs/debug-scripted"
    table = pd.read_parquet(run / "records.parquet")
    assert len(table) == 12
    assert set(table["outcome"]) == {"ok"}
    assert table["scripted"].all()
    assert set(table["method"]) == {"long_context", "rag", "rlm"}
    items = [set(table[table["length"] == length]["item"]) for length in (1024, 2048)]
    assert items[0] == items[1]  # common random numbers
    report = (run / "report" / "report.html").read_text()
    assert "scripted" in report
    assert list((run / "report").glob("**/*.png"))
    again = rlm_eval("run", "debug=scripted", "--no-report", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stderr.count("from the journal") == 6


@pytest.mark.slow
def test_a_run_in_which_no_sample_can_end_says_why_and_reports_nothing(tmp_path):
    """An engine that is not there is no wrong answer."""
    (tmp_path / "run_mine.py").write_text("raise SystemExit(3)")
    given = ["method=external", "method.engine=mine", f"method.runner={tmp_path}/run_mine.py"]
    done = rlm_eval("run", "debug=scripted", *given, "length=1k", "n=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "external_mine: " in done.stderr
    assert "lacks the engine" in done.stderr
    assert "Traceback" not in done.stderr
    for command in ("report", "view"):
        done = rlm_eval(command, "results/runs/debug-scripted", cwd=tmp_path)
        assert done.returncode == 2
        assert "1 cell, unfinished; run the same command again to resume" in done.stderr


@pytest.mark.slow
def test_a_missing_environment_is_told_before_anything_is_called(tmp_path):
    given = ["method=external_rlms", "method.python=/nowhere/python", "length=1k", "n=1"]
    done = rlm_eval("run", "debug=scripted", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert "/nowhere/python: no such interpreter; scripts/engine_env.sh rlms" in done.stderr
    assert "nothing was called" in done.stderr
    assert not list(tmp_path.glob("results/runs/*/cells/*"))
