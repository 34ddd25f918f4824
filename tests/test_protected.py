"""Protected data: nothing of a question, gold, document or reply is in plain text on the disk."""

import base64
import dataclasses
import hashlib
import json
import tempfile
from itertools import cycle
from pathlib import Path

import pytest
from runs import cells_of

from rlm_eval.commands.score import main as score
from rlm_eval.config.cell import run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.models.scripted import ScriptedModel
from rlm_eval.records.build import rows
from rlm_eval.runner.runner import Runner
from rlm_eval.storage.cell_store import CellStore
from rlm_eval.storage.jsonl import JsonlLog, read_lines

CANARY, SECRET = "a canary of the tests", "Zanzibar Quux"
PRINTS = "```python\nprint({})\n```"
METHODS = {
    "long_context": "",
    "codeact_bm25": PRINTS.format(f"SEARCH('{SECRET}')"),
    "rlm": PRINTS.format("context, llm_query(str(context))"),
}


def lock(value: object) -> object:
    """Encrypted as the benchmark's columns are."""
    if isinstance(value, str):
        key = cycle(hashlib.sha256(CANARY.encode()).digest())
        locked = bytes(b ^ k for b, k in zip(value.encode(), key, strict=False))
        return base64.b64encode(locked).decode()
    if isinstance(value, dict):
        return {name: lock(part) for name, part in value.items()}
    assert isinstance(value, list)
    return [lock(part) for part in value]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a run over two encrypted queries."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", CANARY)
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    own = [{"docid": f"e{i}", "text": f"{SECRET} is evidence {i}.", "url": "u"} for i in range(3)]
    queries = []
    for number in range(2):
        row = {"query": f"Where is {SECRET} {number}?", "answer": f"{SECRET} answer {number}"}
        row |= {"gold_docs": own[:1], "evidence_docs": own, "negative_docs": own[:1]}
        queries.append({"query_id": str(number)} | {k: lock(v) for k, v in row.items()})
    corpus = [{"docid": f"d{i}", "text": f"plain document {i}", "url": "u"} for i in range(9)]
    for name, lines in (("q", queries), ("c", corpus)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    common = ["task=browsecomp_plus", f"task.path={tmp_path}/q.jsonl", "task.documents=6"]
    common += [f"task.corpus_path={tmp_path}/c.jsonl", "task.tokenizer=approx4", "n=2"]
    common += ["model@judge=scripted", "judge.program=replies", "judge.replies=['correct: yes']"]
    return [*common, f"results={tmp_path}/runs", "name=kept", "model@root=scripted"]


@pytest.mark.parametrize("method", METHODS)
async def test_a_whole_run_leaves_no_plain_text(
    given: list[str], tmp_path: Path, method: str
) -> None:
    given = [*given, f"method={method}", *["method.max_turns=2"][: len(METHODS[method])]]
    (cell,) = cells_of(given)
    code = METHODS[method]
    root = (
        ScriptedModel(program="replies", replies=[code]) if code else ScriptedModel(program="echo")
    )
    models = {slot: m if slot == "judge" else root for slot, m in cell.models.items()}
    cell = dataclasses.replace(cell, models=models)
    config = expand(given)[0]
    folder = run_folder(config)
    summary = await Runner(folder, [cell], sweep_budget(config)).run()
    assert not summary.unfinished
    # It is all there for who has the harness: question, gold, answer, what code printed.
    stored = folder / "cells" / cell.id
    for line, attempt in CellStore(stored).load():
        assert SECRET in line["question"]
        assert SECRET in line["target"][0]
        shown = [step.stdout for step in attempt.trajectory.steps]
        assert SECRET in str([attempt.trajectory.answer.text, *shown])
    assert [row["score"] for row in rows(stored)] == [1.0, 1.0]
    score([str(folder)])
    again = await Runner(folder, [cell], sweep_budget(config)).run()
    assert not again.unfinished
    assert again.attempted == 0
    # And nothing of it for who greps the disk.
    files = list(filter(Path.is_file, tmp_path.rglob("*")))  # noqa: ASYNC240
    assert {"journal.jsonl", "samples.jsonl", "scores.jsonl"} <= {path.name for path in files}
    words = [SECRET.encode(), b"Quux"]
    assert not [p for p in files if any(word in p.read_bytes() for word in words)]


def test_an_engine_that_keeps_files_is_refused(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="browsecomp_plus is protected.*rlm_official_latest"):
        cells_of([*given, "method=external_rlms", "model@sub=scripted"])


async def test_a_sealed_line_reads_like_any_other_and_a_damaged_one_is_torn(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.jsonl"
    async with JsonlLog(path, sealed=True) as log:
        log.append({"k": "text", "v": SECRET}, {"k": "start"})
    assert list(read_lines(path)) == [{"k": "text", "v": SECRET}, {"k": "start"}]
    first, second = path.read_bytes().splitlines()
    assert SECRET.encode() not in first
    path.write_bytes(first[:30] + b'"}\n' + second + b"\n")
    assert list(read_lines(path)) == [{"k": "start"}]
