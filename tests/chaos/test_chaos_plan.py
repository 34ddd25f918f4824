"""Processes that start one run at the same moment: no crash, no lost cell, no draft left."""

import multiprocessing
import os
from types import SimpleNamespace

import orjson
import pandas as pd
import pytest
from surroundings import process

from rlm_eval.commands.status import main as status
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.plan import plan, planned

PROCESSES, CELLS = 8, 12


def cells(process: int) -> list[SimpleNamespace]:
    """Half of them are everyone's, the others are this process's own; some are shards."""
    own = [f"cell-{process}-{i}/{i + 1}-of-{CELLS}" for i in range(CELLS // 2)]
    return [
        SimpleNamespace(plan_id=name)
        for name in [*own, *(f"common-{i}" for i in range(CELLS // 2))]
    ]


def together(work, *arguments) -> list[int]:
    """Exit codes of processes that begin `work` at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES)

    def begin(number: int) -> None:
        barrier.wait()
        work(number, *arguments)
        os._exit(0)

    started = [context.Process(target=begin, args=(number,)) for number in range(PROCESSES)]
    for one in started:
        one.start()
    for one in started:
        one.join(60)
    return [one.exitcode for one in started]


def test_parallel_starts_of_one_run_lose_no_cell(tmp_path):
    def work(number):
        for cell in cells(number):
            plan(tmp_path, [cell])

    assert together(work) == [0] * PROCESSES
    wanted = {cell.plan_id for number in range(PROCESSES) for cell in cells(number)}
    assert set(orjson.loads((tmp_path / "plan.json").read_bytes())["cells"]) == wanted
    assert sorted(planned(tmp_path)) == sorted(wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan", "plan.json"]


def test_a_file_that_many_replace_at_once_is_one_of_theirs_and_no_draft_stays(tmp_path):
    path = tmp_path / "state.json"

    def work(number):
        for _ in range(30):
            write_json(path, {"who": number, "text": "x" * 5000 * number})

    assert together(work) == [0] * PROCESSES
    read = orjson.loads(path.read_bytes())
    assert len(read["text"]) == 5000 * read["who"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_plan_of_an_older_release_goes_on_and_keeps_its_order(tmp_path):
    (tmp_path / "plan.json").write_bytes(orjson.dumps({"cells": ["b", "a"]}))
    assert planned(tmp_path) == ["b", "a"]
    plan(tmp_path, [SimpleNamespace(plan_id=name) for name in ("a", "z", "c")])
    assert planned(tmp_path) == ["b", "a", "z", "c"]
    assert orjson.loads((tmp_path / "plan.json").read_bytes())["cells"] == ["b", "a", "z", "c"]


def test_files_of_other_programs_are_no_cells(tmp_path):
    (tmp_path / "plan").mkdir()
    for name in ("one", ".nfs0000000000012f", ".DS_Store"):
        (tmp_path / "plan" / name).touch()
    assert planned(tmp_path) == ["one"]


@pytest.mark.slow
def test_parallel_runs_of_one_name_make_one_run(tmp_path):
    """Each with a cell of its own: plan, records and report are shared."""
    (cache := tmp_path / "cache").mkdir()
    given = ["debug=scripted", "method=long_context", "n=2", f"results={tmp_path}", "name=test"]
    runs = [
        process(
            "import sys; from rlm_eval.cli import main; sys.exit(main(sys.argv[1:]))",
            "run",
            *given,
            f"length={length + 1}k",
            env={"RLM_EVAL_CACHE": str(cache)},
        )
        for length in range(5)
    ]
    told = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0] * 5, told
    run = tmp_path / "test"
    assert len(pd.read_parquet(run / "records.parquet")) == 10
    assert status([str(run)]) == 0
    left = {path.name for path in run.rglob("*") if path.name.startswith((".", "lease"))}
    assert not left
