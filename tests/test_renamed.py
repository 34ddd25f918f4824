"""A run of before methods were renamed goes on in its folders, and is read with today's names."""

import pandas as pd
import pytest
from runs import ROOT, cells_of, run_here

from rlm_eval import evaluate
from rlm_eval.methods.rag import Rag
from rlm_eval.methods.rlm import RLM
from rlm_eval.records.build import write_records
from rlm_eval.records.record import load_records
from rlm_eval.report import compare
from rlm_eval.storage.plan import planned
from rlm_eval.suites.evidence.verify import Options, verify


@pytest.fixture
def before(monkeypatch):
    """The names as earlier releases printed them; `undo` makes them today's."""
    for cls in (Rag, RLM):
        monkeypatch.setattr(cls, "name", cls.former_name)
    return monkeypatch


def given(folder, methods="rag,rlm", *more):
    return [
        "debug=scripted", "sweep=null", "length=1k", f"method={methods}", "n=1", "name=old",
        f"results={folder}", *more,
    ]  # fmt: skip


def folders(run):
    return sorted(path.name.rsplit("-", 1)[0] for path in (run / "cells").iterdir())


OLD = ["s_niah-1024-rag_bm25-scripted", "s_niah-1024-rlm_own-scripted"]


async def test_a_run_of_before_goes_on_in_its_folders(tmp_path, before):
    run = tmp_path / "old"
    assert (await run_here(given(tmp_path))).attempted == 2
    assert folders(run) == OLD
    before.undo()
    done = await run_here(given(tmp_path))
    assert (done.attempted, len(done.finished)) == (0, 2)
    assert (await run_here(given(tmp_path, "rag,rlm", "n=2"))).attempted == 2
    settings = {"length": "1k", "tokenizer": "approx4", "n": 2}
    by_api = await evaluate("s_niah", ["rag", "rlm"], root="scripted", folder=run, **settings)
    assert (by_api.attempted, by_api.unfinished) == (0, {})
    assert folders(run) == OLD
    assert len(planned(run)) == 2

    assert set(by_api.records["method"]) == {"rag", "rlm"}
    told = compare([run], "rlm_own", "rag_bm25")
    said = told.replace("A = rlm_own, B = rag_bm25", "A = rlm, B = rag")
    assert said == compare([run], "rlm", "rag")


async def test_a_cell_that_was_planned_before_has_its_folder(tmp_path, before):
    old = given(tmp_path, "rlm")
    (cell,) = cells_of(old)
    mark = tmp_path / "old" / "plan" / cell.id
    mark.parent.mkdir(parents=True)
    mark.touch()
    before.undo()
    assert [cell.id for cell in cells_of(old)] == [mark.name]
    (elsewhere,) = cells_of([*old, "name=new"])
    assert elsewhere.id.startswith("s_niah-1024-rlm-scripted-")
    assert elsewhere.identity == cell.identity
    assert mark.name.rpartition("-")[2] == elsewhere.id.rpartition("-")[2]


async def test_shards_and_earlier_versions_of_before_are_found(tmp_path, before):
    old = given(tmp_path, "rag", "n=2", "shard=1/2")
    assert (await run_here(old)).attempted == 1
    earlier, *_ = cells_of(old)[0].earlier_ids()
    before.undo()
    assert (await run_here(old)).attempted == 0
    assert len(list((tmp_path / "old" / "shards").iterdir())) == 1
    assert earlier in cells_of(given(tmp_path, "rag", "name=new"))[0].earlier_ids()


async def test_stored_records_of_before_are_read_with_both_names(tmp_path, before):
    run = tmp_path / "old"
    await run_here(given(tmp_path, "rlm"))
    before.undo()
    path = write_records(run)
    frame = pd.read_parquet(path)
    assert set(frame["method"]) == {"rlm"}
    frame.assign(method="rlm_own", remark="The prompt of rlm_own was chosen.").to_parquet(path)
    read = load_records([run])
    assert (set(read["method"]), set(read["remark"])) == (
        {"rlm"},
        {"The prompt of rlm was chosen."},
    )
    assert set(load_records([run], stored_names=True)["method"]) == {"rlm_own"}


@pytest.mark.slow
def test_published_tables_and_figures_of_before_are_recomputed():
    found = verify(ROOT / "results" / "published" / "smoke", Options(figures=True))
    assert [one.line() for one in found if not one.passed] == []
