"""Means of further scorers, tokens and repeats: of the whole cell, or none."""

import made_frames
import pandas as pd

from rlm_eval.report import summary
from rlm_eval.report.tables import standard


def tables_of(made):
    frame = summary.prepare(made)
    table = summary.summarise(frame)
    built = {t.name: t.rows for t in standard.build(frame, table, pd.DataFrame())}
    return table, built


def made_of(n=20, methods=("rlm",)):
    return made_frames.frame(n=n, lengths=(1000,), methods=methods)


def test_a_scorer_has_bounds_where_the_headline_has_them():
    made = made_of()
    made["score_lenient"] = made["score_official"]
    made.loc[::4, "outcome"] = "provider_error"
    made.loc[::4, ["score", "score_official", "score_lenient"]] = pd.NA
    table, built = tables_of(made)
    row, line = table.iloc[0], built["accuracy"].iloc[0]
    assert line["official %"] == line["lenient %"] == line["score %"]
    assert " to " in line["score %"]
    assert pd.isna(row["score_official"])
    assert (row["bound_low_official"], row["bound_high_official"]) == (
        row["bound_low"], row["bound_high"],
    )  # fmt: skip


def test_scorers_average_repeats_first_and_an_imported_overflow_counts_zero():
    made = made_of(4)
    made["score"] = made["score_official"] = [1.0, 0.0, 1.0, 1.0]
    again = pd.concat([made.iloc[[0]].assign(epoch=k) for k in (1, 2, 3)])
    made = pd.concat([made, again], ignore_index=True)
    made["score_lenient"] = made["score_official"]
    made["imported"] = "rows"
    made.loc[3, "outcome"], made.loc[3, "score"] = "context_overflow", 0.0
    made.loc[3, ["score_official", "score_lenient"]] = pd.NA
    row = tables_of(made)[0].iloc[0]
    assert row["score_official"] == row["score_lenient"] == row["accuracy"] == 0.5


def test_a_scorer_of_some_questions_states_how_many():
    made = made_of()
    made["score_relative"] = made["score_official"].where(made["index"] < 5)
    table, built = tables_of(made)
    assert table["n_relative"].tolist() == [5]
    assert built["accuracy"]["relative %, n"].tolist() == [5]


def test_tokens_of_some_samples_are_not_the_cells_and_coverage_states_its_samples():
    made = made_of()
    made.loc[::4, ["input_tokens", "output_tokens", "coverage"]] = pd.NA
    table, built = tables_of(made)
    assert table[["mean_input_tokens", "mean_output_tokens"]].isna().all(axis=None)
    assert built["cost"]["tokens in"].tolist() == ["unknown"]
    assert built["cost"]["of them cached"].tolist() != ["unknown"]
    assert built["behaviour"]["coverage %, n"].tolist() == [15]


def test_pass_at_k_needs_all_repeats_of_every_sample():
    made = made_of(40)
    made["score"] = 1.0
    part = pd.concat([made, made[:2].assign(epoch=1)], ignore_index=True)
    table, built = tables_of(part)
    assert table["pass_at"].isna().all()
    assert built["outcomes"]["repeats"].tolist() == ["1 to 2"]
    whole = pd.concat([made, made.assign(epoch=1)], ignore_index=True)
    assert tables_of(whole)[0]["pass_hat"].tolist() == [1.0]
