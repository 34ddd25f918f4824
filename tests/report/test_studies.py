"""Tables that only a study makes: they are there with it, and absent without it."""

import made_runs as runs
import numpy as np
import pandas as pd
from made_frames import frame

from rlm_eval.report import report, series, summary
from rlm_eval.report.tables import ablations


def prepared(records):
    return summary.prepare(records)


def worded(rates, n=60, method="rag", **facts):
    """Records of one method under several prompts, with these success rates."""
    parts = []
    for number, (prompt, rate) in enumerate(rates.items()):
        one = frame(methods=[method], lengths=(2048,), n=n, seed=number)
        one["prompt"] = prompt
        one["cell_id"] = prompt
        one["score"] = (np.arange(n) < rate * n).astype(float)
        for name, value in facts.items():
            one[name] = value
        parts.append(one)
    return pd.concat(parts, ignore_index=True)


def test_a_report_without_prompts_or_sub_calls_has_neither_table():
    found = ablations.build(prepared(frame(methods=["rag"])))
    assert [table.name for table in found] == []


def test_the_prompts_of_a_method_are_spread_out():
    table = ablations.prompts(prepared(worded({"rag/plain": 0.8, "rag/framed": 0.5, "rag/x": 0.7})))
    [row] = table.rows.to_dict("records")
    assert (row["method"], row["prompts"], row["n"]) == ("rag", 3, 60)
    assert (row["mean %"], row["worst %"], row["best %"]) == ("66.7", "50.0", "80.0")
    assert (row["worst prompt"], row["best prompt"]) == ("rag/framed", "rag/plain")
    assert row["range, pp"] == "30.0"
    assert 0 < float(row["by chance, pp"]) < 30
    assert row["verdict"] == "the wording matters"


def test_a_prompt_that_was_cut_off_has_no_verdict():
    records = worded({"rag/plain": 0.8, "rag/framed": 0.5})
    records.loc[records["prompt"] == "rag/framed", "outcome"] = "truncated"
    [row] = ablations.prompts(prepared(records)).rows.to_dict("records")
    assert row["verdict"] == "no verdict: more than 5 % cut off"


def test_only_samples_that_every_prompt_answered_count_and_lengths_are_put_together():
    both = pd.concat([worded({"rag/plain": 0.8, "rag/framed": 0.5}).assign(length=size)
                      .assign(sample_id=lambda f, size=size: f["sample_id"] + f"-{size}")
                      for size in (1024, 2048)], ignore_index=True)  # fmt: skip
    lost = (both["prompt"] == "rag/plain") & (both["length"] == 1024) & (both["index"] == 0)
    both.loc[lost, "score"] = np.nan
    rows = ablations.prompts(prepared(both)).rows
    assert rows["length"].tolist() == ["1k", "2k", "all"]
    assert rows["n"].tolist() == [59, 60, 119]
    assert rows["clusters"].tolist() == [59, 60, 60]


def test_budgets_are_what_the_methods_spend_and_beyond_them_nothing_counts():
    records = frame(methods=["long_context", "rag"], lengths=(2048,), n=10)
    is_rag = (records["method"] == "rag").to_numpy()
    records["score"] = 1.0
    records["cost_cold"] = np.where(is_rag, 1.0, 4.0)
    records.loc[records.index[~is_rag][:2], "cost_cold"] = 0.5
    rows = ablations.budgets(prepared(records)).rows
    assert rows["budget"].tolist() == ["enough for rag", "enough for long_context"]
    assert rows["per sample"].tolist() == ["1", "4"]
    assert [text.split(" ")[0] for text in rows["long_context"]] == ["20.0", "100.0"]
    assert [text.split(" ")[0] for text in rows["rag"]] == ["100.0", "100.0"]
    assert set(rows["unit"]) == {"USD"}


def test_of_alike_budgets_the_largest_pays_for_all_of_their_methods():
    records = frame(methods=["long_context", "rag", "rlm"], lengths=(2048,), n=10)
    records["cost_cold"] = records["method"].map({"long_context": 1.0, "rag": 1.1, "rlm": 1.2})
    records["score"] = 1.0
    rows = ablations.budgets(prepared(records)).rows
    assert rows["budget"].tolist() == ["enough for long_context, rag", "enough for rlm"]
    assert rows["per sample"].tolist() == ["1.1", "1.2"]
    assert [text.split(" ")[0] for text in rows["rag"]] == ["100.0", "100.0"]


def test_a_program_without_a_root_stands_beside_the_root_whose_sub_model_it_asks():
    records = frame(methods=["rlm"], lengths=(2048,), roots=("big", "other"), subs=("small",))
    program = frame(methods=["rag"], lengths=(2048,), subs=("small",))
    program["root"] = pd.NA
    both = pd.concat([records, program], ignore_index=True)
    rows = ablations.budgets(prepared(both)).rows
    assert set(rows["root"]) == {"big", "other"}
    assert (rows[["rlm", "rag"]] != "").all(axis=None)


def test_without_prices_budgets_are_in_tokens_and_without_those_there_are_none():
    records = frame(methods=["long_context", "rag"], lengths=(2048,), priced=False)
    assert set(ablations.budgets(prepared(records)).rows["unit"]) == {"tokens"}
    records["input_tokens"] = pd.NA
    assert ablations.budgets(prepared(records)).rows.empty


def test_a_context_overflow_costs_nothing_and_scores_nothing():
    records = frame(methods=["long_context", "rag"], lengths=(4096,))
    over = records["outcome"] == "context_overflow"
    records.loc[over, "cost_cold"] = pd.NA
    rows = ablations.budgets(prepared(records)).rows
    assert rows["budget"].tolist() == ["enough for rag"]
    assert rows["long_context"].str.startswith("0.0 [").all()


def test_right_and_wrong_answers_of_those_that_recurse():
    records = frame(methods=["rag", "rlm"], lengths=(2048,), n=40)
    right = (records["score"] >= 0.5).to_numpy()
    records["n_sub_calls"] = np.where(right, 3, 11)
    records["n_child_calls"] = 0
    records["habit_syntax_error_blocks"] = np.where(right, 0, 2)
    [row] = ablations.right_and_wrong(prepared(records)).rows.to_dict("records")
    assert row["method"] == "rlm"
    assert (row["sub-calls, right"], row["sub-calls, wrong"]) == ("3.00", "11.00")
    assert (row["syntax error %, right"], row["syntax error %, wrong"]) == ("0.0", "100.0")
    assert row["right"] + row["wrong"] == 40


def test_a_report_carries_the_tables_of_its_study(tmp_path):
    runs.write(tmp_path)
    report([tmp_path], tmp_path / "out")
    assert "Score within equal budgets" in (tmp_path / "out" / "report.html").read_text()
    text = (tmp_path / "out" / "tables" / "budgets.md").read_text()
    assert "enough for rlm" in text
    assert not (tmp_path / "out" / "tables" / "prompts.md").exists()


def test_a_renamed_prompt_has_its_present_name_in_tables():
    names = ["rlm/own", "rlm/survey", None]
    frame = pd.DataFrame({"method": "rlm_own", "prompt": names, "prompt_hash": ["a", "b", None]})
    series.tell_prompts_apart(frame)
    assert list(frame["prompt"].dropna()) == ["rlm/search", "rlm/survey"]
