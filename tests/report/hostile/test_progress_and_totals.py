"""What a run and its commands say before and beside the report (item 13)."""

import math

import pytest
from runs import cells_of, overrides, run_here, server_process

from rlm_eval.cli import main
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Outcome, Score, Trajectory
from rlm_eval.runner.progress import Progress
from rlm_eval.stats.intervals import mean_interval
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.spend import Spend


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def attempt(sample, score, epoch=0, outcome=Outcome.OK):
    done = Trajectory(sample, epoch, Answer("7"), outcome, (), (), 1.0)
    return RolloutResult(0, done, () if score is None else (Score("official", score),), 0, 0)


def line_of(tmp_path, *attempts, per_window=5):
    (cell,) = cells_of(
        ["model@root=gpt-5", "task=oolong_gen", "method=long_context", "tokenizer=approx4",
         f"n={4 * per_window}", f"task.questions_per_window={per_window}"]
    )  # fmt: skip
    samples = list(cell.task.samples())
    line = Progress().cell(cell, CellStore(tmp_path), samples, [])
    for number, *rest in attempts:
        line.finished(attempt(samples[number].id, *rest))
    return line.cells()[2], [sample.cluster for sample in samples]


def told(values, clusters):
    found = mean_interval(values, clusters)
    return f"{found.estimate:.0%} [{found.low:.0%}, {found.high:.0%}]"


def test_the_line_of_a_run_prints_the_interval_of_the_table(tmp_path):
    scores = [1.0] * 5 + [0.0] * 5 + [0.75, 1.0, 1.0, 0.0, 0.0] + [0.0] * 5
    said, clusters = line_of(tmp_path, *enumerate(scores))
    assert len(set(clusters)) == 4
    assert said == told(scores, clusters)
    assert said != told(scores, None)


def test_repeats_narrow_no_interval(tmp_path):
    scores = [1.0, 0.0, 1.0, 1.0, 0.0]
    once, clusters = line_of(tmp_path / "a", *enumerate(scores), per_window=2)
    twice, _ = line_of(
        tmp_path / "b",
        *[(i, s, epoch) for i, s in enumerate(scores) for epoch in (0, 1)],
        per_window=2,
    )
    assert once == twice == told(scores, clusters[:5])


def test_an_overflow_is_wrong_and_a_missing_sample_opens_bounds(tmp_path):
    said, _ = line_of(
        tmp_path / "a", (0, 1.0), (1, None, 0, Outcome.CONTEXT_OVERFLOW), per_window=2
    )
    assert said.startswith("50% [")
    said, _ = line_of(
        tmp_path / "b", (0, 1.0), (1, 0.0), (2, None, 0, Outcome.PROVIDER_ERROR), (3, 0.0),
        per_window=2,
    )  # fmt: skip
    assert said == "25% to 50%"


@pytest.mark.parametrize(
    ("spent", "words"),
    [
        (Spend(calls=3, tokens=10, unpriced=3), "price unknown"),
        (Spend(calls=4, tokens=10, unpriced=3), "price unknown"),  # one failed: no bill
        (Spend(calls=4, tokens=10, cost=0.5, unpriced=3), "$0.5000 and 3 calls of unknown"),
        (Spend(calls=4, tokens=10), "$0.0000"),  # a model at no cost
    ],
)
def test_an_unknown_price_is_not_nothing(spent, words):
    assert words in str(spent)
    assert ("$0.0000" in str(spent)) == (words == "$0.0000")


@pytest.mark.parametrize("rows", ["", "\n"])
def test_data_without_rows_are_an_error_before_any_call(tmp_path, capsys, rows):
    path = tmp_path / "empty.jsonl"
    path.write_text(rows)
    more = ["task=custom", f"task.path={path}", "method=long_context"]
    (cell,) = cells_of([*overrides(tmp_path, "http://127.0.0.1:9/v1"), *more])
    with pytest.raises(ConfigError, match="has no rows"):
        list(cell.task.samples())
    with server_process(tmp_path) as server:
        code = main(["run", *overrides(tmp_path, server.url), *more, "--yes", "--no-report"])
        asked = server.get("/_log")
    assert code == 2
    assert "the file has no rows; give one row per question" in capsys.readouterr().err
    assert not asked


async def test_a_scorer_that_no_cell_has_is_an_error_and_writes_nothing(tmp_path, capsys):
    with server_process(tmp_path) as server:
        await run_here(overrides(tmp_path, server.url, "n=2", "method=long_context"))
    [run] = [path.parent for path in tmp_path.rglob("plan.json")]
    before = {path: path.read_bytes() for path in run.rglob("scores.jsonl")}
    capsys.readouterr()
    assert main(["score", str(run), "--scorer", "typo"]) == 2
    said = capsys.readouterr().err
    assert "--scorer typo: no cell of this run has it; near: " in said
    assert {path: path.read_bytes() for path in run.rglob("scores.jsonl")} == before
    known = said.rpartition("near: ")[2].split(",")[0].strip()
    assert main(["score", str(run), "--scorer", known]) == 0
    assert not math.isnan(float(capsys.readouterr().out.split(f"{known}: ")[1].split()[0]))
