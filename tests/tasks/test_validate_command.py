import json

from rlm_eval.cli import main


def test_named_tasks_are_proved(capsys):
    assert main(["validate", "s_niah", "ledger", "tokenizer=approx4", "n=3", "length=2k"]) == 0
    out = capsys.readouterr().out
    assert "s_niah: ok   gold scores 1: 3 samples" in out
    assert "ledger:      baseline no_model:" in out
    assert "FAIL" not in out


def test_a_users_own_rows(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"context": "c", "question": "q", "answer": ""}) + "\n")
    assert main(["validate", "custom", f"task.path={path}", "tokenizer=approx4"]) == 2
    # a row whose answer was left out in the file: no answer would score 1
    assert "row 1, answer: empty gold answer" in capsys.readouterr().err


def test_what_cannot_be_had_is_an_error_where_it_was_named(capsys):
    assert main(["validate", "mrcr_v2", "tokenizer=approx4"]) == 2
    assert "task.path" in capsys.readouterr().err
