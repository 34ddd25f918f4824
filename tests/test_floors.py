"""Ends of the scale through the whole harness: the gold scores 1, a constant scores chance."""

import pandas as pd
from runs import run_here

from rlm_eval.results import write_records

TASKS = (
    "browsecomp_gen_mini,codeqa_gen,codeqa_gen_sets,contract_clauses,graphwalks_gen,ledger,"
    "ledger_contract,ledger_server_log,mrcr_v2_gen,ruler_cwe,ruler_fwe_close,ruler_qa,"
    "server_log_incident,"
    "niah_gen_multikey_3,niah_gen_multiquery,niah_gen_multivalue,oolong_gen,oolong_pairs_gen,"
    "ruler_fwe,ruler_vt,s_niah_multikey,s_niah_paper,s_niah_paraphrase"
)


def records(folder) -> pd.DataFrame:
    return pd.read_parquet(write_records(folder / "floors"))


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
