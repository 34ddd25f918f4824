"""A folder that cannot be written is told in one line; any other failure keeps its traceback."""

import errno
import re
import resource
import subprocess
from pathlib import Path

import pytest

from rlm_eval.cli import main
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.paths import replace_file
from rlm_eval.storage.cell_store import output_folder
from rlm_eval.suites.plan import cells_of
from rlm_eval.suites.plan_file import write_record
from rlm_eval.suites.publish import publish
from rlm_eval.suites.schema import load

QUICK = ["debug=scripted", "method=long_context", "length=1k", "n=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    assert main(["run", *QUICK, "--no-report", f"results={folder}"]) == 0
    return folder / "debug-scripted"


@pytest.fixture
def read_only(tmp_path):
    """A folder on a read-only mount, with a run in it."""
    folder = tmp_path / "mount"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    assert main(["run", *QUICK, "--no-report", f"results={folder}"]) == 0
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def refusal(capsys, *arguments) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize(
    "command",
    [
        ["run", *QUICK],
        ["submit", "--plan", *QUICK],
        ["suite", "smoke", "debug=scripted", "n=1", "method=long_context", "length=1k"],
        ["ask", __file__, "Who?", "model@root=scripted", "tokenizer=approx4"],
    ],
    ids=lambda command: command[0],
)
def test_results_below_a_file_are_refused(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    told = refusal(capsys, *command, f"results={tmp_path / 'file'}")
    assert f"{tmp_path / 'file'}/" in told
    assert "cannot be written (Not a directory); name another with results= or -o" in told


@pytest.mark.parametrize("command", [["report"], ["export", "tables"], ["export", "chat"]])
def test_a_file_is_no_output_folder(command, run, tmp_path, capsys):
    out = tmp_path / "file"
    out.touch()
    told = refusal(capsys, *command, run, "-o", out)
    assert f"{out}: cannot be written (it is not a folder); name another" in told


def test_a_read_only_mount_is_told(read_only, run, tmp_path, capsys):
    why = "cannot be written (Read-only file system)"
    assert why in refusal(capsys, "run", *QUICK, "n=2", f"results={read_only}")
    assert why in refusal(capsys, "run", *QUICK, "name=new", f"results={read_only}")
    assert why in refusal(capsys, "report", run, "-o", read_only / "report")
    assert why in refusal(capsys, "export", "hub", run, "-o", read_only)
    told = refusal(capsys, "report", read_only / "debug-scripted", "-o", run.parent / "report")
    assert f"{why}; records.parquet is made anew in it: copy the run" in told
    told = refusal(capsys, "score", read_only / "debug-scripted")
    assert f"{why}; verdicts are added to its cells: copy the run to where they can" in told
    suite = load("smoke")
    write_record(tmp_path, suite, [], cells_of(suite, [])[2])
    with pytest.raises(RlmEvalError, match=f"{re.escape(why)}; publish from a checkout"):
        publish(tmp_path, suite, read_only)


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "file" / "cache"))
    told = refusal(capsys, "validate", "s_niah", "tokenizer=approx4")
    assert told.endswith("set RLM_EVAL_CACHE=PATH to a folder that can be written\n")


def test_other_failures_are_not_taken_for_it(run, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr("rlm_eval.records.record.load_records", fails)
        with pytest.raises(PermissionError):
            main(["report", str(run), "-o", str(tmp_path)])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):  # told by the command line in its own words
        output_folder(tmp_path / "new")
    assert main(["report", str(run), "-o", str(tmp_path / "new")]) == 2


@pytest.mark.parametrize("durable", [True, False])
def test_an_error_of_a_write_names_the_file(tmp_path, durable):
    path = tmp_path / "manifest.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/manifest\.json'"):
            replace_file(path, b"x" * 1000, durable=durable)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
