"""`rlm-eval score-answers` on whole files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_eval.commands.score_answers import main
from rlm_eval.importers.scoring import ours
from rlm_eval.scoring.registry import SCORERS

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name):
    return json.loads((GOLDEN / name).read_text())["rows"]


@pytest.mark.parametrize(
    ("scorer", "name"),
    [
        ("oolong_official", "oolong_synth.json"),
        ("oolong_lenient", "oolong_synth_rlm_env.json"),
        ("oolong_real", "oolong_real.json"),
        ("ruler_all", "ruler.json"),
        ("ruler_part", "ruler.json"),
        ("longbench_v2", "longbench_v2.json"),
        ("mrcr_openai", "mrcr.json"),
        ("mrcr_v2", "mrcr_v2_gdm.json"),
        ("pairs_f1", "oolong_pairs_f1.json"),
    ],
)
def test_scores_in_order(scorer, name, tmp_path, capsys):
    rows = [r for r in golden(name) if not name.startswith("ruler") or r["task"] == scorer]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["--scorer", scorer, str(file)]) == 0
    got = [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()]
    assert got == pytest.approx([row["expected"] for row in rows], abs=1e-6)


def test_judge_fields_are_printed(tmp_path, capsys):
    rows = [r for r in golden("browsecomp_plus.json") if r["answer_type"] == "judge_text"]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert main(["--scorer", "browsecomp_judge", str(file)]) == 0
    for line, row in zip(capsys.readouterr().out.splitlines(), rows, strict=True):
        got = json.loads(line)
        assert got.pop("score") == float(bool(row["expected"]["correct"]))
        assert got == row["expected"]


def test_null_where_the_reference_raises(tmp_path, capsys):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"gold": "[", "answer_type": "ANSWER_TYPE.LABEL", "output": "x"}))
    assert main(["--scorer", "oolong_official", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["score"] is None


def test_list_and_near_names(tmp_path, capsys):
    assert main(["--scorer", "list"]) == 0
    assert capsys.readouterr().out.split() == list(SCORERS)
    file = tmp_path / "in.jsonl"
    file.write_text("{}\n")
    assert main(["--scorer", "olong_official", str(file)]) == 2
    assert "oolong_official" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bad", "said"),
    [("{nope", "not JSON"), ("[1]", "a JSON object"), ('{"gold": "[1]"}', "'answer_type'")],
)
def test_a_bad_line_is_named(bad, said, tmp_path, capsys):
    file = tmp_path / "in.jsonl"
    good = json.dumps({"gold": "[1]", "answer_type": "ANSWER_TYPE.NUMERIC", "output": "1"})
    file.write_text(f"{good}\n\n{bad}\n")
    assert main(["--scorer", "oolong_official", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"{file}:3: " in error
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("scorer", ["ruler_all", "ruler_part", "longbench_v2", "oolong_real"])
@pytest.mark.parametrize("gold", [None, "", " ", [], [None], ["x", ""], float("nan")])
def test_a_gold_that_is_unknown_is_an_error_and_in_no_answer(scorer, gold, tmp_path, capsys):
    file = tmp_path / "in.jsonl"
    file.write_text("\n" + json.dumps({"gold": gold, "output": "hello"}))
    assert main(["--scorer", scorer, str(file)]) == 2
    assert f"{file}:2: the gold {gold!r} is null or blank" in capsys.readouterr().err


@pytest.mark.parametrize(("scorer", "output"), [("set_f1", ""), ("pairs_f1", "None")])
def test_an_empty_set_is_a_gold_and_null_is_none(scorer, output, tmp_path, capsys):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"gold": [], "output": output}))
    assert main(["--scorer", scorer, str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["score"] == 1
    file.write_text(json.dumps({"gold": None, "output": output}))
    assert main(["--scorer", scorer, str(file)]) == 2


@pytest.mark.parametrize("gold", ["x", ["x"], ["1 and 2"], [None], float("nan")])
def test_a_gold_of_pairs_without_one_is_no_empty_list(gold, tmp_path, capsys):
    """It was taken for one: an empty answer scored 1."""
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"gold": gold, "output": ""}))
    assert main(["--scorer", "pairs_f1", str(file)]) == 2
    assert "no pair where the scorer reads pairs" in capsys.readouterr().err


def test_a_type_of_answer_of_another_form_is_an_error(tmp_path, capsys):
    """By `NUMERIC` a count that is off by one would score 0."""
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"gold": "[7]", "answer_type": "NUMERIC", "output": "8"}))
    assert main(["--scorer", "oolong_official", str(file)]) == 2
    assert "'NUMERIC': its form is that of ANSWER_TYPE.NUMERIC" in capsys.readouterr().err


def test_an_import_scores_nothing_against_an_unknown_gold():
    found = ours("ruler_all", ["x", ""], "hello", None)
    assert (found.value, found.flag) == (None, "the gold is null or blank")


def test_nothing_heavy_is_imported():
    code = (
        "import sys, rlm_eval.commands.score_answers as c; "
        "print([m for m in ('pandas', 'numpy', 'scipy', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
