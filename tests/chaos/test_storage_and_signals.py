"""Chaos: a run directory that goes away or fills up ends the run at once; signals by exit code."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from fake_server import FakeServer, rules
from runs import (
    ROOT,
    RULES,
    asked,
    cell_folder,
    overrides,
    records,
    run_here,
    server_process,
    start,
)

from rlm_eval.records.build import rows
from rlm_eval.storage import jsonl
from rlm_eval.storage.jsonl import read_lines


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["deleted", "moved", "cells", "journals"])
@pytest.mark.parametrize("method", ["rlm", "long_context"])
def test_chaos_a_deleted_run_directory_stops_the_run(tmp_path, how, method):
    run = tmp_path / "test"
    with server_process(tmp_path, "--latency", "0.1") as server:
        given = overrides(tmp_path, server.url, f"method={method}", "n=12", "length=1k,2k")
        process = start([*given, "max_samples=2", "root.concurrency=2"])
        wait_for(lambda: sum(asked(server.get("/_log")).values()) >= 5)
        if how == "deleted":
            shutil.rmtree(run)
        elif how == "moved":
            run.rename(tmp_path / "elsewhere")
        elif how == "cells":
            shutil.rmtree(run / "cells")
        else:
            for journal in run.glob("cells/*/journal.jsonl"):
                journal.unlink()
        before = sum(asked(server.get("/_log")).values())
        _, told = process.communicate(timeout=60)
        after = sum(asked(server.get("/_log")).values())
    assert process.returncode == 1, told
    assert "was deleted or moved" in told
    assert "Traceback" not in told
    assert after - before <= 2  # what was on its way to the server
    assert not (run / "cells").exists() or how == "journals"
    if how in ("deleted", "moved"):
        assert not run.exists()  # it is not made anew
        assert f"put {run} back" in told  # the same command alone would pay for all of it again
    assert told.count("UNFINISHED") == 1


@pytest.mark.slow
def test_chaos_a_full_disk_stops_the_run_before_more_is_paid(tmp_path):
    """A limit on the size of files, as a full disk has it, met in the middle of the first cell."""
    with server_process(tmp_path) as server:
        given = overrides(tmp_path, server.url, "n=6", "length=1k,2k", "max_samples=1")
        given.append("root.concurrency=1")
        process = subprocess.Popen(
            [sys.executable, "-m", "rlm_eval", "run", "--no-report", *given],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: (
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
            ),
        )
        _, told = process.communicate(timeout=90)
        sent = sum(asked(server.get("/_log")).values())
        journal = list(read_lines(next((tmp_path / "test").glob("cells/*/journal.jsonl"))))
    assert process.returncode == 1, told
    assert "free some disk space and run the same command again" in told
    assert told.count("UNFINISHED") == 1
    answered = sum(line["k"] == "call" for line in journal)
    assert sent - answered <= 1  # of the last call the line did not fit


async def test_chaos_a_read_only_file_system_stops_the_run(tmp_path, monkeypatch):
    real, writes = os.write, 0

    def write(file, data):
        nonlocal writes
        writes += data.startswith(b'{"k":"sent"')
        if writes > 3:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(file, data)

    async with FakeServer(reply=rules(RULES)) as server:
        monkeypatch.setattr(jsonl.os, "write", write)
        given = overrides(tmp_path, server.url, "n=4", "length=1k,2k", "max_samples=1")
        summary = await run_here(given)
        monkeypatch.setattr(jsonl.os, "write", real)
        assert sum(asked(server.log).values()) <= 3
        why = list(summary.unfinished.values())
        assert "Read-only file system" in why[0]
        assert why[1] == "stopped before it began"
        assert not (await run_here(given)).unfinished
    for cell in (tmp_path / "test" / "cells").iterdir():
        assert [row["score"] for row in rows(cell)] == [1.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_chaos_a_signal_shows_in_the_exit_code(tmp_path, number, code):
    with server_process(tmp_path, "--latency", "0.1") as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=12", "max_samples=2")
        process = start(given)
        wait_for(lambda: sum(asked(server.get("/_log")).values()) >= 3)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == code, told
        assert told.count("UNFINISHED") == 1
        assert "the same command resumes" in told
        last = start(given)
        assert last.wait(timeout=60) == 0
    assert len(records(tmp_path)) == 12


HYDRA = ("-m", "rlm_eval.runner.hydra_app", "--multirun")
ASK = ("-m", "rlm_eval", "ask")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "times"), [(HYDRA, 1), (HYDRA, 2), (ASK, 2)])
def test_chaos_a_signal_shows_in_the_exit_code_of_every_command(tmp_path, command, times):
    (tmp_path / "text.txt").write_text("A text. " * 400)
    with server_process(tmp_path, "--latency", "0.5") as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1")
        if command is ASK:
            own = ("task=", "length=", "n=", "max_samples=", "name=")
            given = ["text.txt", "What?", *(g for g in given if not g.startswith(own))]
        else:
            given = [("length=1k,2k" if g == "length=2k" else g) for g in given]
        process = subprocess.Popen(
            [sys.executable, *command, *given],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: asked(server.get("/_log")))
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert "Traceback" not in told
        assert "Ctrl-C again stops at once" in told


async def test_chaos_a_spent_budget_is_told_once(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES), latency=0.02) as server:
        given = overrides(tmp_path, server.url, "n=8", "max_samples=8", "budget.calls=9")
        await run_here(given)
    told = capsys.readouterr().err
    assert told.count("sweep: 9 calls made") == 1
    assert told.count("stopping: the budget of the run is spent") == 1
    assert cell_folder(tmp_path).exists()
