"""A run as an Inspect log, read back by Inspect itself.

inspect_ai pins versions that are not ours, so it may live in an environment of its own that also
has this package's dependencies: `RLM_EVAL_INSPECT_PYTHON=ENV/bin/python` (scripts/inspect_env.sh).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import made_runs as runs
import pytest

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.report import export
from rlm_eval.report.exports.counted import cells

HERE = importlib.util.find_spec("inspect_ai") is not None
PYTHON = sys.executable if HERE else os.environ.get("RLM_EVAL_INSPECT_PYTHON")
missing = "inspect_ai is not here and RLM_EVAL_INSPECT_PYTHON names no interpreter"

READ_BACK = """
import json, sys
from pathlib import Path
from inspect_ai.log import read_eval_log
from rlm_eval.records.record import load_records
from rlm_eval.report import export
from rlm_eval.report.exports.counted import cells
logs = [read_eval_log(str(p)) for p in export([Path(sys.argv[1])], Path(sys.argv[2]), "inspect")]
print(json.dumps([json.loads(log.model_dump_json(exclude_none=True)) for log in logs]))
"""


def read_back(run: Path, out: Path) -> list[dict]:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [str(PYTHON), "-c", READ_BACK, str(run), str(out)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason=missing)
def test_inspect_reads_what_was_run(tmp_path: Path) -> None:
    logs = read_back(runs.write(tmp_path / "demo"), tmp_path / "out")
    assert len(logs) == 4
    log = next(log for log in logs if log["eval"]["solver"] == "rlm")
    assert (log["status"], log["eval"]["model"]) == ("success", "model-a")
    assert log["results"]["total_samples"] == 3
    assert log["results"]["scores"][0]["metrics"]["mean"]["value"] == pytest.approx(2 / 3)
    right, wrong, cut = log["samples"]
    assert [sample["epoch"] for sample in log["samples"]] == [1, 1, 1]
    assert [next(iter(s["scores"].values()))["value"] for s in (right, wrong)] == [1.0, 0.0]
    assert cut["limit"]["type"] == "custom"
    kinds = [event["event"] for event in right["events"]]
    assert (kinds.count("model"), kinds.count("tool")) == (4, 1)
    tool = next(event for event in right["events"] if event["event"] == "tool")
    assert "llm_query" in tool["arguments"]["code"]
    sub = next(event for event in right["events"] if event.get("role") == "sub")
    assert sub["input"][0]["content"].startswith("Find: [context 0 to ")
    assert sub["output"]["usage"]["total_tokens"] == 120
    assert right["role_usage"]["sub"]["output_tokens"] == 40
    assert "gate keeper" not in json.dumps(logs)  # the context's text


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason=missing)
def test_protected_text_is_not_in_the_log(tmp_path: Path) -> None:
    text = json.dumps(read_back(runs.write(tmp_path / "demo", protected=True), tmp_path / "out"))
    for words in ("red door", "llm_query", "gate keeper", "onerror", "7001"):
        assert words not in text


@pytest.mark.skipif(HERE, reason="inspect_ai is here")
def test_without_inspect_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RlmEvalError, match=r"-e '\.\[inspect\]"):
        export([tmp_path], tmp_path / "out", "inspect")


def test_a_cell_that_was_copied_is_one_log(tmp_path: Path) -> None:
    first = runs.write(tmp_path / "a" / "demo")
    shutil.copytree(first, tmp_path / "copy")
    folder = sorted((first / "cells").iterdir())[0]
    shutil.copytree(folder, folder.with_name(f"{folder.name}-copy"))
    both = [first, tmp_path / "copy"]
    found = list(cells(both, load_records(both)))
    assert len(found) == 4  # of each cell there were two, and of one three
    assert sum(len(own) for _, own in found) == 12


def test_two_runs_of_one_name_have_logs_of_their_own(tmp_path: Path) -> None:
    both = [runs.write(tmp_path / "a" / "demo"), runs.write(tmp_path / "b" / "demo", reply="other")]
    names = [name for name, _ in cells(both, load_records(both))]
    assert len(names) == len(set(names)) == 8  # the second run's replaced the first one's
    assert not any("/" in name for name in names)
