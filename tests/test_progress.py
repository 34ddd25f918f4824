"""The line of a cell: what it has done, what it cost so far, what it will have cost."""

import contextlib
import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console
from runs import ROOT, cells_of

from rlm_eval.core.types import Answer, Call, Outcome, Prompt, Role, Score, Times, Trajectory, Usage
from rlm_eval.runner.progress import Progress
from rlm_eval.storage.cell_store import CellStore, RolloutResult


def finished(sample: str, outcome: Outcome, value: float) -> RolloutResult:
    usage = Usage(input=100_000, cached=0, output=1_000)
    call = Call(0, None, 0, Role.ROOT, 0, "t0", "root", "gpt-5", Prompt(()), "7", "", "stop",
                usage, Times(0, 0, None, 1), 1)  # fmt: skip
    trajectory = Trajectory(sample, 0, Answer("7"), outcome, (call,), (), 1.0)
    return RolloutResult(0, trajectory, (Score("official", value),), 0, 0)


def test_a_line_counts_outcomes_accuracy_tokens_and_money(tmp_path, capsys):
    (cell,) = cells_of(
        ["model@root=gpt-5", "task=s_niah", "method=long_context", "tokenizer=approx4", "n=4"]
    )
    samples = list(cell.task.samples())
    todo = [(sample, 0) for sample in samples]
    line = Progress().cell(cell, CellStore(tmp_path), samples, todo)
    line.finished(finished("a", Outcome.OK, 1.0))
    assert "acc 100% [21%, 100%]" in line.text()
    line.finished(finished("b", Outcome.TRUNCATED, 0.0))
    assert "2/4" in line.text()
    assert "ok:1 truncated:1" in line.text()
    assert "acc 50% to 100%" in line.text()  # what was cut off is not wrong: bounds
    assert "202,000 tok" in line.text()
    assert "$0.27 of about $0.54" in line.text()  # 100k in at 1.25, 1k out at 10 dollars a million
    line.finished(finished("c", Outcome.PROVIDER_ERROR, 0.0))
    assert "provider_error" in capsys.readouterr().err


def shown(progress: Progress, width: int = 150) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(progress.table())
    return console.export_text()


def test_a_table_tells_the_state_of_every_cell(tmp_path):
    cells = cells_of(
        ["model@root=gpt-5", "method=long_context", "tokenizer=approx4", "n=4", "length=1k,2k,4k"]
    )
    progress = Progress(cells)
    samples = list(cells[1].task.samples())
    todo = [(sample, 0) for sample in samples]
    progress.cell(cells[0], CellStore(tmp_path), samples, []).done("from the journal")
    line = progress.cell(cells[1], CellStore(tmp_path), samples, todo)
    line.finished(finished("a", Outcome.OK, 1.0))
    head, one, two, three, total, *_ = shown(progress).splitlines()
    assert head.split() == ["cell", "done", "outcomes", "accuracy", "tokens", "spent", "time"]
    assert one.startswith("s_niah 1024 long_context gpt-5")
    assert one.rstrip().endswith("from the journal")
    assert "1/4" in two
    assert "$0.14 of about $0.54" in two
    assert two.rstrip().endswith("running")
    assert three.rstrip().endswith("waiting")
    assert total.startswith("1 of 3 cells done, 1 of 8 samples run, 101,000 tokens, $0.14, about ")
    assert total.rstrip().endswith(" left")
    progress.problem(cells[1].plan_id, "the server is gone")
    assert shown(progress).splitlines()[2].rstrip().endswith("unfinished")


@pytest.mark.slow
def test_on_a_terminal_the_table_is_live_and_stays(tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "rlm_eval", "run", "debug=scripted", "--no-report",
         "root.latency_s=0.4"],  # long enough to be seen running
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "130",
             "LINES": "7", "RLM_EVAL_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
        while part := os.read(ours, 65536):
            written += part
    os.close(ours)
    results, _ = done.communicate(timeout=60)
    assert done.returncode == 0
    assert "records.parquet" in results  # standard output is for results
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    assert "0 of 6 cells done" in told
    assert "running" in told
    assert "6 of 6 cells done" in told
    final = told.rpartition("cell ")[2]
    assert final.count(" 2/2 ") == 6  # more than the terminal's seven lines hold
