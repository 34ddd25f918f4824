"""Files of a run that were cut, emptied, edited or replaced: one line that names the file."""

import shutil

import pytest

from rlm_eval.cli import main
from rlm_eval.report.viewer import server
from rlm_eval.report.viewer.shelf import ViewerData

CELL = "cells/a_cell/"
READERS = {
    "report": ("report", "run", "-o", "out"),
    "compare": ("compare", "rlm", "long_context", "--run", "run"),
    "score": ("score", "run"),
    "view": ("view", "run"),
    "export": ("export", "hub", "run", "-o", "out"),
    "referee": ("referee", "run", "-o", "out"),
    "replay": ("replay", "run"),
    "status": ("status", "run"),
    "profile": ("profile", "run", "-o", "out"),
}
FROM_CELLS = ("report", "score", "export", "referee", "replay", "profile")
"""Commands that read the logs of the cells; the others read the records."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    given = ["debug=scripted", "method=rlm,long_context", "length=1k", "n=2", "name=run"]
    assert main(["run", "--no-report", *given, f"results={place}"]) == 0
    (cell,) = place.glob("run/cells/*rlm*")
    cell.rename(place / "run" / CELL)
    return place / "run"


@pytest.fixture
def run(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda runs, **_: ViewerData(runs).list({}))
    shutil.copytree(whole, tmp_path / "run")
    capsys.readouterr()
    return tmp_path / "run"


def told(capsys, command):
    """The one line of an error."""
    assert main(READERS[command]) == 2, command
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert "; " in lines[0], "the next step"
    return lines[0]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "of a newer layout": lambda path: path.write_bytes(
        path.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 99')
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_manifest(how, run, capsys):
    DAMAGE[how](run / CELL / "manifest.json")
    for command in READERS:
        if how != "a folder" or command in ("compare", "view", "referee"):
            line = told(capsys, command)
            assert f"{CELL}manifest.json: " in line, command


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("journal.jsonl", b'{"k": "call"}'),
        ("trajectories.jsonl", b'{"t": 0, "w": "1.0"}'),
        ("scores.jsonl", b'{"t": 0}'),
    ],
)
def test_a_log_with_half_a_record(log, line, run, capsys):
    path = run / CELL / log
    path.write_bytes(line + b"\n" + path.read_bytes())
    for command in FROM_CELLS:
        assert f"{CELL}{log}: damaged (lacks " in told(capsys, command), command


@pytest.mark.parametrize(
    "log", ["samples.jsonl", "journal.jsonl", "trajectories.jsonl", "scores.jsonl"]
)
def test_a_log_with_lines_of_another_program(log, run, capsys):
    path = run / CELL / log
    path.write_bytes(b'{"a": 1}\n' + path.read_bytes())
    for command in FROM_CELLS:
        if (log, command) == ("samples.jsonl", "score"):  # it needs every sample whole
            assert f"{CELL}{log}: damaged (lacks " in told(capsys, command)
        else:
            assert main(READERS[command]) == 0, command


def test_windows_line_ends_do_no_harm(run, capsys):
    for path in run.glob("cells/*/*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert main(READERS["profile"]) == 0
    assert main(READERS["export"]) == 0


def test_records_that_are_a_folder(run, capsys):
    DAMAGE["a folder"](run / "records.parquet")
    line = told(capsys, "score")
    assert "run/records.parquet" in line
    assert "move it or choose another path" in line


@pytest.mark.parametrize("how", ["cut", "empty", "a list"])
def test_records(how, run, capsys):
    DAMAGE[how](run / "records.parquet")
    for command in ("compare", "view"):
        line = told(capsys, command)
        assert "run/records.parquet" in line
        assert "`rlm-eval report run` makes it" in line


@pytest.mark.parametrize("how", ["cut", "empty", "a list", "not UTF-8"])
@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("suite.json", ("report",)),
        ("plan.json", ("status",)),
        ("imported.json", ("referee", "status")),
        ("endpoints/1.json", ("report", "export")),
        (f"{CELL}baselines.json", ("report", "export")),
    ],
)
def test_other_files(name, commands, how, run, capsys):
    path = run / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"cells": ["a_cell"], "kind": "wang", "and": "so on, for forty bytes"}')
    DAMAGE[how](path)
    for command in commands:
        assert f"{name}: damaged (" in told(capsys, command), command


@pytest.mark.parametrize("command", ["report", "referee", "export", "profile"])
def test_an_output_folder_that_is_a_file(command, run, tmp_path, capsys):
    (tmp_path / "out").write_text("x")
    assert "cannot be written (" in (line := told(capsys, command))
    assert "name another with" in line


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_published_scores_that_cannot_be_read(content, run, tmp_path, capsys):
    file = tmp_path / "expected.csv"
    if content is not None:
        file.write_bytes(content)
    assert main(["report", "run", "-o", "out", "--published", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
