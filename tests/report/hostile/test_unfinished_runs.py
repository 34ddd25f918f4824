"""A run whose cells are all unfinished is said to be one, with its number of cells."""

from types import SimpleNamespace

import pytest

from rlm_eval.cli import main
from rlm_eval.records.record import FILE
from rlm_eval.storage.plan import plan

RESUME = "run the same command again to resume"
COMMANDS = (
    ("report",), ("view",), ("score",), ("replay",), ("referee",), ("profile",),
    ("export", "tables", "-o", "out"), ("compare", "rlm", "rag", "--run"),
)  # fmt: skip


def planned(run, count):
    run.mkdir()
    plan(run, [SimpleNamespace(plan_id=f"cell-{k}") for k in range(count)])
    return run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_no_cell_has_begun(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = planned(tmp_path / "run", 3)
    assert main([*command, str(run)]) == 2
    told = capsys.readouterr().err
    assert f"{run}: 3 cells, all unfinished; {RESUME}" in told
    assert "no cells here" not in told


def test_shards_of_one_cell_are_one_cell(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    plan(run, [SimpleNamespace(plan_id=f"cell/{k}-of-2") for k in (1, 2)])
    assert main(["report", str(run)]) == 2
    assert f"{run}: 1 cell, unfinished; {RESUME}" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path}: no cells here; name a run directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*COMMANDS, ("status",)], ids=lambda words: words[0])
def test_a_folder_that_is_not_there_and_a_file(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for name, words in (("gone", "no such folder"), ("file", "a file, no folder")):
        assert main([*command, name]) == 2
        assert f"{name}: {words}; name a run directory" in capsys.readouterr().err


def test_records_that_were_not_made_yet_are_no_missing_run(tmp_path, capsys):
    import made_runs

    run = made_runs.write(tmp_path / "run", lengths=(1024,))
    (run / FILE).unlink()
    assert main(["compare", "rlm", "long_context", "--run", str(run)]) == 2
    assert f"no {FILE} yet; `rlm-eval report {run}` makes it" in capsys.readouterr().err
