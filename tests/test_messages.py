"""`--quiet`, `--log-level`, `--log-file`, the time left, and the line every 30 s."""

import io
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from runs import ROOT

from rlm_eval.cli import main
from rlm_eval.core.messages import configured, say, warn
from rlm_eval.core.secrets import SECRETS
from rlm_eval.runner import progress
from rlm_eval.runner.eta import Kind, Pace, in_words, pace_of, seconds_left

RUN = ["run", "debug=scripted", "method=long_context", "length=1k", "n=2", "--no-report"]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) \S")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_quiet_prints_results_only_and_the_log_has_every_message(here, capsys):
    assert main([*RUN, "--quiet", "--log-file", "logs/run.log"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "records.parquet" in out
    (line,) = Path("logs/run.log").read_text().splitlines()
    assert LINE.match(line)
    assert "s_niah 1024 long_context scripted" in line
    assert "2/2  ok:2" in line
    assert main([*RUN, "--log-file=logs/run.log"]) == 0  # appended; printed too, as without --quiet
    assert "from the journal" in capsys.readouterr().err
    assert len(Path("logs/run.log").read_text().splitlines()) == 2


def test_an_error_is_printed_and_logged_at_any_level(here, capsys):
    assert main(["run", "task=none_such", "--log-level", "error", "--log-file", "x.log"]) == 2
    assert "no such task" in capsys.readouterr().err
    assert re.search(r"Z ERROR rlm-eval run: .*no such task", Path("x.log").read_text())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--log-level", "loud"], "--log-level loud: the levels are debug, info, warning, error"),
        (["--quiet", "--log-level=debug"], "--quiet and --log-level debug: give one of them"),
        (["--log-file"], "--log-file: name a file"),
        (["--log-file", "."], "--log-file .: Is a directory; name another file"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(here, capsys, options, why):
    assert main([*RUN, *options]) == 2
    assert why in capsys.readouterr().err
    assert not Path("results").exists()


def test_levels_choose_what_is_printed(capsys, tmp_path):
    """Also of the package's loggers; afterwards everything is as before."""
    log = tmp_path / "log"
    with configured(
        ["--log-level", "warning", "--log-file", str(log), "n=1", "--", "--quiet"]
    ) as x:
        assert x == ["n=1", "--", "--quiet"]
        say("one")
        warn("two\rover\nfour")
        logging.getLogger("rlm_eval.some.module").info("three")
        logging.getLogger("rlm_eval.some.module").warning("a %s", "warning")
    assert capsys.readouterr().err == "two\\u000dover\nfour\na warning\n"
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines() if "Z " in line] == [
        "INFO one", "WARNING two\\u000dover", "INFO three", "WARNING a warning",
    ]  # fmt: skip
    say("again")
    assert capsys.readouterr().err == "again\n"
    assert "again" not in log.read_text()


def test_the_log_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.setattr(SECRETS, "text", lambda text: text.replace("s3cret-key", "***"))
    with configured(["--log-file", str(tmp_path / "log")]):
        say("key s3cret-key")
    assert "s3cret-key" not in (tmp_path / "log").read_text()


def closed_while_running():
    """A terminal whose window is closed once the run's table was shown on it."""
    ours, theirs = os.openpty()

    def close():
        seen = b""
        while b"cells done" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)

    threading.Thread(target=close, daemon=True).start()
    terminal = os.fdopen(theirs, "w")
    return terminal, terminal


def full():
    """A file on a full disk that keeps nothing back to write when it is closed."""
    return io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)


def full_disk():
    return sys.stdout, full()


def not_open():
    """As after `2>&-`."""
    return sys.stdout, None


@pytest.mark.parametrize("streams", [closed_while_running, full_disk, not_open])
def test_a_run_goes_on_where_nobody_can_read_its_messages(here, monkeypatch, streams):
    out, err = streams()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    slow = ["root.latency_s=0.05", "n=2", "max_samples=1", "length=1k,2k"]
    given = ["run", "debug=scripted", "method=long_context", *slow, "name=x", "results=."]
    assert main([*given, "--no-report", "--log-file", "x.log"]) == 0
    assert len(list(Path("x/cells").glob("*/DONE"))) == 2
    lines = Path("x.log").read_text().splitlines()
    assert sum("2/2  ok:2" in line and line.endswith("  done") for line in lines) == 2
    ends = [line for line in lines if "nothing more is printed there, the command goes on" in line]
    # The closed terminal was that of the results, too.
    assert len(ends) == {closed_while_running: 2, full_disk: 1, not_open: 0}[streams]


def test_a_message_ends_no_run_of_the_library_either(tmp_path, monkeypatch):
    """Without the command line no stream is replaced."""
    with configured(["--log-file", str(tmp_path / "log")]):
        monkeypatch.setattr(sys, "stderr", full())
        say("one")
        say("two")
        monkeypatch.setattr(sys, "stderr", None)
        say("three")
        monkeypatch.undo()
    told = (tmp_path / "log").read_text()
    assert [line.rpartition(" ")[2] for line in told.splitlines() if "/dev/full" not in line] == [
        "one", "two", "three",
    ]  # fmt: skip


def test_results_that_cannot_be_written_are_an_error(here, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", full())
    assert main(RUN) == 2
    assert "No space left on device; free some disk space" in capsys.readouterr().err


def test_without_a_terminal_a_line_on_the_whole_run_comes_regularly(here, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.2)
    sweep = ["length=1k,2k", "n=4", "max_samples=1", "root.latency_s=0.2"]
    assert main(["run", "debug=scripted", "method=long_context", *sweep, "--no-report"]) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("progress: ")]
    assert len(lines) >= 4
    shape = (
        r"progress: [01] of 2 cells done, \d of 8 samples run, [\d,]+ tokens(, about \d+ s left)?"
    )
    assert all(re.fullmatch(shape, line) for line in lines)
    left = [int(found[1]) for line in lines if (found := re.search(r"about (\d+) s", line))]
    assert left
    assert left[-1] < 2


def test_the_time_left_comes_from_cells_alike():
    def kind(method, length):
        return Kind(method, ("m",), length)

    assert pace_of(kind("rag", 4096), []) is None
    one = [Pace(kind("rag", 1024), 2.0)]
    assert pace_of(kind("rag", 4096), one) == 8.0  # one length: in proportion, upwards alone
    assert pace_of(kind("rag", 512), one) == 2.0
    assert pace_of(kind("rlm", 4096), one) == 2.0  # none alike: the mean of all
    two = [*one, Pace(kind("rag", 2048), 3.0)]
    assert pace_of(kind("rag", 4096), two) == 5.0
    assert pace_of(kind("rlm", 4096), two) == 2.5
    assert seconds_left([(kind("rag", 4096), 10), (kind("rag", 1024), 5)], two) == 60.0
    assert seconds_left([(kind("rag", 1024), 0)], []) == 0.0
    assert seconds_left([(kind("rag", 1024), 1)], []) is None
    assert [in_words(s) for s in (40, 720, 12_000)] == ["40 s", "12 min", "3 h 20 min"]


@pytest.mark.slow
def test_the_line_comes_after_30_s_of_a_real_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rlm_eval", *RUN[:-1], "--no-report", "max_samples=1", "n=4",
         "root.latency_s=9"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RLM_EVAL_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("progress: ")]
    assert len(lines) == 1
    assert "0 of 1 cells done, 3 of 4 samples run" in lines[0]
    assert re.search(r"about ([1-9]|1\d) s left$", lines[0])


@pytest.mark.parametrize("option", ["--quiet", "--log-file", "--config-dir"])
def test_an_option_before_the_command_is_named_with_its_place(capsys, option):
    assert main([option, "x", "status"]) == 2
    assert f"(rlm-eval COMMAND {option} ...)" in capsys.readouterr().err
