"""Ends of the scale through the whole harness: the gold scores 1, a constant scores chance."""

import pandas as pd
import pytest
from runs import run_here

from rlm_eval.records.baselines import joined
from rlm_eval.records.build import write_records
from rlm_eval.report.summary import prepare, summarise
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.standard import _accuracy as accuracy

TASKS = (
    "browsecomp_gen_mini,codeqa_gen,codeqa_gen_changes,codeqa_gen_sets,contract_clauses,graphwalks_gen,ledger,"
    "ledger_contract,ledger_server_log,mrcr_v2_gen,ruler_cwe_gen,ruler_fwe_close_gen,ruler_qa_gen,"
    "server_log_incident,"
    "niah_gen_multikey_3,niah_gen_multiquery,niah_gen_multivalue,oolong_gen,oolong_pairs_gen,"
    "oolong_gen_claims,oolong_gen_formal,oolong_gen_request,oolong_gen_sentiment,"
    "oolong_gen_subject,"
    "ruler_fwe_gen,ruler_vt_gen,s_niah_multikey,s_niah_paper,s_niah_paraphrase"
)


def records(folder) -> pd.DataFrame:
    return pd.read_parquet(write_records(folder / "floors"))


@pytest.mark.slow
async def test_the_gold_scores_one_in_every_generated_task(tmp_path):
    given = [f"task={TASKS}", "method=floor_oracle", "model@root=scripted", "tokenizer=approx4"]
    summary = await run_here([*given, "length=4k", "n=2", "name=floors", f"results={tmp_path}"])
    table = records(tmp_path)
    assert not summary.unfinished
    assert table["task"].nunique() == len(TASKS.split(","))
    assert table["score"].eq(1.0).all()
    assert set(table["outcome"]) == {"ok"}
    assert table["n_calls"].eq(0).all()


async def test_a_constant_scores_chance(tmp_path):
    given = ["task=codeqa_gen", "method=floor_constant", "model@root=scripted", "tokenizer=approx4"]
    given += ["method.text='(B)'", "length=4k", "n=40", "name=floors", f"results={tmp_path}"]
    await run_here(given)
    table = records(tmp_path)
    recommended = table["score_recommended"].astype(float).mean()
    assert 0.1 <= recommended <= 0.4  # four choices, letters balanced
    assert table["score"].eq(0.0).all()  # the official scorer wants its whole sentence


async def test_a_cell_keeps_its_baselines_and_a_report_makes_those_of_an_older_one(tmp_path):
    given = ["task=s_niah", "method=floor_constant", "method.text=x", "n=10"]
    given += ["model@root=scripted", "tokenizer=approx4", "length=1k", "name=floors"]
    await run_here([*given, f"results={tmp_path}"])
    [cell] = (tmp_path / "floors" / "cells").iterdir()
    table = records(tmp_path)
    assert table["baseline_skimmer"].eq(1.0).all()
    assert table["baseline_read"].lt(0.15).all()
    assert table["baseline_prior"].eq(0.0).all()
    (cell / "baselines.json").unlink()
    bare = records(tmp_path)
    assert "baseline_skimmer" not in bare
    again = joined(bare, [tmp_path / "floors"])
    assert again["baseline_skimmer"].tolist() == table["baseline_skimmer"].tolist()
    frame = prepare(again)
    lines = summarise(frame)
    assert accuracy(lines).rows["skimmer %"].str.startswith("100.0 (reads ").all()
    assert accuracy(lines).rows["text needed %"].eq("none (prior)").all()
    told = " ".join(caveats(frame, lines))
    assert "a search or a program solves it by design" in told
    unknown = summarise(prepare(bare))
    assert accuracy(unknown).rows["skimmer %"].eq("not computed").all()


async def test_a_method_that_does_not_exceed_a_baseline_is_named(tmp_path):
    given = ["task=oolong_gen_claims", "method=floor_constant", "method.text=x", "n=10"]
    given += ["model@root=scripted", "tokenizer=approx4", "length=2k", "name=floors"]
    await run_here([*given, f"results={tmp_path}"])
    frame = prepare(records(tmp_path))
    told = " ".join(caveats(frame, summarise(frame)))
    assert "Not shown to exceed a baseline" in told
    assert "oolong_gen_claims" in told
