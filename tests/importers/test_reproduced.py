"""`benchmarks/reproduced`: the numbers of made-up logs are recomputed, others are named."""

import importlib.util
from pathlib import Path

import made_logs
import pandas as pd
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "reproduced" / "reproduce.py"


@pytest.fixture(scope="module")
def reproduce():
    spec = importlib.util.spec_from_file_location("reproduce", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(kind, files, method, metric, published):
    return {"source": "s", "kind": kind, "files": files, "task": "", "method": method, "model": "",
            "metric": metric, "published": published, "n": "", "note": ""}  # fmt: skip


def test_each_published_row_is_computed_again_or_said_to_be_missing(reproduce, tmp_path):
    made_logs.wang(tmp_path / "logs")
    made_logs.pr160(tmp_path / "logs" / "results" / "sniah")
    rows = [
        row("wang", "depth1.json", "depth1", "score_pct", "66.7"),
        row("wang", "depth1.json", "depth1", "score_pct", "70.0"),
        row("wang", "depth1.json", "depth9", "score_pct", "70.0"),
        row("pr160", "results/*/*/*.jsonl", "rlm_a2", "score_pct", "0.0"),
        row("pr160", "results/*/*/*.jsonl", "rlm_a2", "score_all_pct", "0.0"),
        row("pr160", "results/*/*/*.jsonl", "direct", "cost_all_usd", "0.1"),
        row("minrlm", "gone.json", "ours", "partial_pct", "1.0"),
        row("wang", "i0.jsonl", "direct", "score_pct", "1.0"),
    ]
    found = list(reproduce.recomputed(tmp_path / "logs", rows))
    assert [one["same"] for one in found] == [True, False, None, False, True, True, None, None]
    assert [found[i]["ours"] for i in (0, 3, 6)] == ["66.7", "no row is scored", "logs not at hand"]
    assert found[7]["ours"].startswith("not readable: ")
    assert "| NO |" in reproduce.markdown(found)


def test_tokens_of_a_question_are_those_of_both_directions(reproduce):
    records = pd.DataFrame({"input_tokens": [10, 20], "output_tokens": [1, 3]})
    assert reproduce.value(records, "tokens_mean") == 17


def test_the_shipped_table_is_whole_and_needs_a_folder(reproduce, tmp_path, capsys):
    rows = reproduce.published()
    assert len(rows) == 82
    assert all(row["metric"] and row["published"] for row in rows)
    assert reproduce.main([str(tmp_path / "none")]) == 2
    assert "RLM_EVAL_PUBLIC_LOGS" in capsys.readouterr().err
    assert reproduce.main([str(tmp_path)]) == 0
    assert "4 of 4 recomputed numbers agree; 78 logs missing" in capsys.readouterr().out
