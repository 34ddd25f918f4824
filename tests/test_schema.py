"""A run directory of another layout is refused in one clear error, whoever opens it."""

import json

import pytest

from rlm_eval.cli import main


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 99, None])
def test_another_layout_is_refused_everywhere(tmp_path, capsys, monkeypatch, version):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    given = ["debug=scripted", "length=1k", "method=long_context", "n=1", f"results={tmp_path}"]
    assert main(["run", *given]) == 0
    folder = tmp_path / "debug-scripted"
    (path,) = folder.glob("cells/*/manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    capsys.readouterr()
    run = str(folder)
    for command in (
        ["run", *given],
        ["submit", "--plan", *given],
        ["status", run],
        ["report", run],
        ["score", run],
        ["replay", run],
        ["view", run],
        ["export", "tables", run, "-o", str(tmp_path / "out")],
        ["compare", "long_context", "rlm", "--run", run],
    ):
        assert main(command) == 2, command
        told = capsys.readouterr()
        expected = f"rlm-eval {command[0]}: {path}: written with schema version {version}, "
        assert told.err.startswith(expected), command
        assert told.err.count("\n") == 1, command
        assert not told.out, command
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
