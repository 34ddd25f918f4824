"""Half a character, which a model's code can make, stops no report, export or view of a run."""

import dataclasses
import importlib.util
import json
import urllib.request
from threading import Thread

import made_runs
import pandas as pd
import pytest
from fake_server import FakeServer
from runs import cell_folder, overrides, run_here

from rlm_eval.core.types import Answer
from rlm_eval.core.whole_text import whole_text
from rlm_eval.records.record import FILE, to_frame
from rlm_eval.report import report as write_report
from rlm_eval.report.exports.files import KINDS
from rlm_eval.report.viewer.server import open_server
from rlm_eval.suites.evidence.answers import hashed, written

HALF = "\ud800"
CODE = (
    "```python\nprint('out \\ud800')\nanswer['content'] = 'is \\ud800'\nanswer['ready'] = True\n```"
)


@pytest.fixture
def halves(monkeypatch):
    """Runs made by `made_runs` with half a character in each answer, output and reply."""
    answered = made_runs.answered

    def with_halves(done, reply):
        done = answered(done, reply)
        steps = tuple(dataclasses.replace(s, stdout=f"{HALF}{s.stdout}") for s in done.steps)
        answer = dataclasses.replace(done.answer, text=f"7000 {HALF}")
        return dataclasses.replace(done, answer=answer, steps=steps)

    monkeypatch.setattr(made_runs, "answered", with_halves)


def test_each_half_becomes_one_mark():
    assert whole_text(f"a{HALF}b\U0001f600") == "a?b\U0001f600"
    assert whole_text({HALF: [HALF, 1, None]}) == {"?": ["?", 1, None]}
    frame = to_frame([{"task": HALF, "note_a": HALF, "meta_b": 1}])
    assert list(frame.loc[0, ["task", "note_a", "meta_b"]]) == ["?", "?", 1]


def test_a_run_is_reported_exported_and_viewed(tmp_path, halves):
    run = made_runs.write(tmp_path, lengths=(1024,), n=3, reply=f"it is {HALF}")
    stored = (run / "cells/rlm-1024/trajectories.jsonl").read_text()
    assert stored.count(r"7000 \ud800") == 3
    write_report([run], tmp_path / "report")
    assert (tmp_path / "report/report.html").read_text(encoding="utf-8")
    for kind, export in KINDS.items():
        if kind == "inspect" and importlib.util.find_spec("inspect_ai") is None:
            continue
        out = tmp_path / kind
        paths = export([run], out, context_of=made_runs.context_of)
        assert all(path.exists() for path in paths), kind
    replies = pd.read_parquet(tmp_path / "hub/data/calls-00000-of-00001.parquet")["reply"]
    assert "it is ? done" in set(replies)
    assert "it is ?" in (tmp_path / "chat/chat.jsonl").read_text(encoding="utf-8")

    server, address = open_server([run])
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with urllib.request.urlopen(address, timeout=30) as page:
            assert page.status == 200
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_code_that_makes_one_ends_in_a_report(tmp_path):
    async with FakeServer(reply=lambda _: CODE) as server:
        await run_here(overrides(tmp_path, server.url, "n=2"))
    stored = (cell_folder(tmp_path) / "trajectories.jsonl").read_text()
    assert r"is \ud800" in stored
    run = tmp_path / "test"
    if not (run / FILE).exists():
        from rlm_eval.records.build import write_records

        write_records(run)
    write_report([run], tmp_path / "report")
    assert (tmp_path / "report/report.html").exists()


def test_published_answers_hold_any_value_of_a_models_code():
    said = {"text": f"is {HALF}", "value": 2**70}
    assert json.loads(written([said])) == said
    assert hashed(said) != hashed({**said, "value": 2**71})
    assert Answer(said["text"]).text == said["text"]
