"""What rows decide together: golds, scales, scorers; and totals that contradict themselves."""

import json
import re

import made_logs
import pandas as pd
import pytest
from test_made_artefacts import MAP, findings, page_of, table

from rlm_eval.cli import main
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.report.profile.measure import measured
from rlm_eval.report.profile.table import profile_table
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import referee

SCORED = MAP + "gold: gold\nscorer: ruler_all\n"


def imported(tmp_path, rows, mapped=SCORED, more=()):
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    own = made_logs.dump(tmp_path / "own.yaml", mapped)
    run = tmp_path / "run"
    assert main(["import", "rows", str(log), "--map", str(own), "-o", str(run), *more]) == 0
    return pd.read_parquet(run / RECORDS)


def refused(tmp_path, capsys, rows, mapped=SCORED):
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    own = made_logs.dump(tmp_path / "own.yaml", mapped)
    assert main(["import", "rows", str(log), "--map", str(own), "-o", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()
    return capsys.readouterr().err


def test_a_log_of_percentages_has_no_score_and_not_that_of_its_wrong_answers(tmp_path, capsys):
    def percent(arm, i):
        return 100 * (i % 2) if arm == "direct" else i % 2

    records = imported(tmp_path, table(ok=percent), MAP)
    assert records["score"].isna().all()  # 100 was left out and 0 was not: the mean was 0.0 %
    assert "all 20 stated scores of t count as not scored" in capsys.readouterr().out


def test_a_reward_that_counts_turns_is_not_averaged_over_its_ones(tmp_path, capsys):
    """Its scale is its own: the weighted sum and the other rewards keep their values."""
    episodes = []
    for number, turns in enumerate((1, 5, 7, 1, 6, 8)):
        [line] = made_logs.verifiers(tmp_path / "one.jsonl").read_text().splitlines()[:1]
        episode = json.loads(line)
        episode |= {"id": f"e{number}"}
        episode["task"] |= {"hash": f"h{number}"}
        episode["traces"][0]["rewards"] = {
            "correct": {"score": float(number % 2), "weight": 1.0},
            "turns": {"score": turns, "weight": 0.0},
        }
        episodes.append(episode)
    log, run = made_logs.lines(tmp_path / "traces.jsonl", episodes), tmp_path / "run"
    assert main(["import", "verifiers", str(log), "-o", str(run)]) == 0
    told = capsys.readouterr().out
    assert "4 values of reward_turns are not in [0, 1] (e.g. 5): all 6 values of" in told
    records = pd.read_parquet(run / RECORDS)
    assert records["score_reward_turns"].isna().all()  # two 1s had the mean 100 %
    assert records["score_reward_correct"].mean() == records["score"].mean() == 0.5


def test_a_sum_of_weighted_rewards_may_end_above_1_by_its_last_digit(tmp_path):
    records = imported(tmp_path, table(ok=lambda _, i: 1.0000000000000002 if i else 0), MAP)
    assert records["score"].mean() == 0.9


def test_one_headline_is_of_one_scorer(tmp_path, capsys):
    def own(_, i):
        return f"gold{i:05d}"

    half = table(said=own, ok=lambda _, i: None if i % 2 else 1)
    records = imported(tmp_path, half)
    assert set(records["scorer"]) == {"theirs"}
    assert records["score"].notna().sum() == 10
    assert "10 of 20 rows have no score, and others of their task" in capsys.readouterr().out


def test_our_headline_leaves_out_what_only_the_log_scored(tmp_path):
    rows = table(gold=lambda _, i: f"gold{i:05d}" if i % 2 else None)
    records = imported(tmp_path, rows, more=["--score", "ours"])
    assert set(records["scorer"]) == {"ruler_all"}
    assert records["score"].notna().sum() == 10


@pytest.mark.parametrize("gold", ["", "  ", [], ["", None], {}])
def test_a_blank_gold_is_none_and_not_in_every_answer(tmp_path, gold):
    records = imported(tmp_path, table(gold=lambda *_: gold))
    assert "score_ruler_all" not in records or records["score_ruler_all"].isna().all()


def test_arms_whose_rows_lack_the_gold_answer_the_same_questions(tmp_path):
    def told(_, i):
        return f"gold{i:05d}"

    told_to = {"gold": lambda arm, i: told(arm, i) if arm == "rlm" else None}
    rows = table(said=told, ok=lambda *_: 1, **told_to)
    records = imported(tmp_path, rows)
    assert records["sample_id"].nunique() == 10
    page = referee(Evidence.of([tmp_path / "run"]))
    assert page.alarms == 0  # there were two: other samples, and answers of other samples
    assert page.claims[0].n == 10


def test_a_number_written_as_integer_and_as_float_names_one_question(tmp_path):
    rows = table(id=lambda arm, i: i if arm == "rlm" else float(i))
    assert imported(tmp_path, rows)["sample_id"].nunique() == 10


@pytest.mark.parametrize("nothing", [False, 0, "", " ", "None", "nan", [], {}])
def test_what_logs_write_where_there_was_no_error_is_none(tmp_path, nothing):
    records = imported(tmp_path, table(error=lambda *_: nothing), SCORED + "error: error\n")
    assert set(records["outcome"]) == {"ok"}


def test_booleans_of_a_table_of_texts_are_scores(tmp_path):
    records = imported(tmp_path, table(ok=lambda _, i: str(i % 2 > 0)), MAP)
    assert records["score"].mean() == 0.5


@pytest.mark.parametrize(
    ("part", "whole"), [("cached_tokens", "input_tokens"), ("reasoning_tokens", "output_tokens")]
)
def test_a_part_of_the_tokens_does_not_exceed_its_whole(tmp_path, capsys, part, whole):
    mapped = MAP.replace("output_tokens: out\n", "") + f"{part}: part\n{whole}: whole\n"
    rows = table(part=lambda *_: 50, whole=lambda *_: 49)
    told = refused(tmp_path, capsys, rows, mapped)  # a cost below 0 was computed
    assert f"line 1: {part} 50 exceed {whole} 49" in told


@pytest.mark.parametrize("first", [b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\x00", b"PAR1"])
def test_packed_tables_are_named_as_such(tmp_path, capsys, first):
    log = tmp_path / "rows.jsonl"
    log.write_bytes(first + b"\xff\x00\x12")
    own = made_logs.dump(tmp_path / "own.yaml", MAP)
    assert main(["import", "rows", str(log), "--map", str(own), "-o", str(tmp_path / "run")]) == 2
    assert "(gzip is read as it is)" in capsys.readouterr().err


def test_an_answer_that_took_no_tokens_is_not_recorded(tmp_path):
    page = page_of(tmp_path, table(out=lambda arm, i: 0 if arm == "rlm" and i < 3 else 301 + 2 * i))
    found = [f for f in page.findings if f.check == "zeros that mean nothing"]
    assert found[0].rows == ("rlm: output_tokens is 0 in 3 rows with an answer",)


@pytest.mark.parametrize(("factor", "level"), [(1, "fine"), (1000, "note"), (0.0001, "note")])
def test_times_in_another_unit_than_seconds_are_noted(tmp_path, factor, level):
    rows = table(took=lambda *_: 12.5 * factor, out=lambda _, i: 401 + 2 * i)
    page = page_of(tmp_path, rows, MAP + "seconds: took\n")
    assert findings(page, "unit of the times", level)


def test_stated_sub_calls_are_recursion_in_the_profile(tmp_path):
    mapped = MAP + "sub_calls: subs\n"
    imported(tmp_path, table(subs=lambda arm, i: i % 2 if arm == "rlm" else None), mapped)
    lines = profile_table(measured([tmp_path / "run"])).rows.set_index("method")
    assert lines.loc["rlm", "recurse %"].startswith("50 [")
    assert lines.loc["direct", "recurse %"] == "?"
    assert set(lines["fan-out"]) == set(lines["depth"]) == {"?"}


@pytest.mark.parametrize("change", [{"total_time": 10**400}, None, "samples"])
def test_a_number_beyond_floats_and_samples_of_another_shape_are_one_line(tmp_path, capsys, change):
    tree = made_logs.inspect_tree()
    if isinstance(change, dict):
        tree["samples"][0] |= change
    else:
        tree["samples"] = [1] if change is None else {"a": 1}
    log = made_logs.dump(tmp_path / "log.json", tree)
    assert main(["import", "inspect", str(log), "-o", str(tmp_path / "run")]) == 2
    assert "Inspect" in capsys.readouterr().err


def test_numbers_beyond_floats_in_traces_are_one_line(tmp_path, capsys):
    for kind, made, then in (
        ("rlms", made_logs.rlms, '"iteration_time": 1.0'),
        ("verifiers", made_logs.verifiers, '"start": 100.0'),
    ):
        log = made(tmp_path / f"{kind}.jsonl")
        text = log.read_text()
        assert then in text
        log.write_text(text.replace(then, f"{then.partition(':')[0]}: {10**400}"))
        assert main(["import", kind, str(log), "-o", str(tmp_path / "run")]) == 2
        assert f"not as {kind} writes it (OverflowError" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-500", '"many"', "2.5", "true"])
def test_a_calls_number_of_tokens_that_cannot_be_is_one_line(tmp_path, capsys, value):
    log = made_logs.verifiers(tmp_path / "log.jsonl")
    text = log.read_text()
    assert '"completion_tokens": 2' in text
    log.write_text(text.replace('"completion_tokens": 2', f'"completion_tokens": {value}'))
    assert main(["import", "verifiers", str(log), "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert re.search(r"a call has .* output tokens; a number of tokens is a whole number", error)
    assert not (tmp_path / "run" / "cells").exists()


ASKED = SCORED + "question: q\n"


@pytest.mark.parametrize("lacking", [False, True])
def test_ids_that_are_positions_of_a_shuffled_set_pair_no_different_questions(
    tmp_path, capsys, lacking
):
    """The gold is the same throughout: nothing but the text tells the questions apart."""

    def asked(arm, i):
        return f"Question {i if arm == 'rlm' else (i + 3) % 10}?"

    rows = table(q=asked, gold=lambda *_: "yes", ok=lambda _, i: i % 2)
    if lacking:
        rows.append({**rows[0], "arm": "other", "q": None})
    records = imported(tmp_path, rows, ASKED)
    assert "10 ids stand for different questions" in capsys.readouterr().out
    samples = pd.read_json(
        next(tmp_path.glob("run/cells/*rlm*/samples.jsonl")), lines=True, dtype=False
    ).set_index("id")["question"]
    others = pd.read_json(
        next(tmp_path.glob("run/cells/*direct*/samples.jsonl")), lines=True, dtype=False
    ).set_index("id")["question"]
    assert samples.to_dict() == others.to_dict()
    assert records["sample_id"].nunique() == 10 + lacking


def test_ids_of_runs_imported_apart_pair_no_different_questions(tmp_path):
    runs = []
    for arm in ("direct", "rlm"):
        rows = table(arms=[arm], q=lambda arm, i: f"{arm} asks {i}?", gold=lambda *_: "yes")
        folder = tmp_path / arm
        folder.mkdir()
        imported(folder, rows, ASKED)
        runs.append(folder / "run")
    page = referee(Evidence.of(runs))
    assert not page.claims
    assert len(page.untested) == 1


def test_a_row_without_the_text_of_its_id_is_of_the_same_sample(tmp_path):
    rows = table(q=lambda arm, i: f"Question {i}?" if arm == "rlm" else None)
    assert imported(tmp_path, rows, ASKED)["sample_id"].nunique() == 10


@pytest.mark.parametrize("form", [float, str, lambda i: f"{i}.0", lambda i: [i]])
def test_golds_and_ids_are_equal_whether_written_as_numbers_or_as_texts(tmp_path, form):
    def written(arm, i):
        return i if arm == "rlm" else form(i)

    named = {} if form(1) == [1] else {"id": written}
    assert imported(tmp_path, table(gold=written, **named))["sample_id"].nunique() == 10


def test_an_id_with_two_golds_is_named(tmp_path, capsys):
    records = imported(tmp_path, table(gold=lambda arm, i: f"{arm} {i}"))
    told = capsys.readouterr().out
    assert "10 ids have several golds" in told
    assert "'direct 0'" in told
    assert "'rlm 0'" in told
    assert records["sample_id"].nunique() == 20


def test_answers_that_were_graded_twice_are_an_alarm(tmp_path):
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = table(ok=lambda arm, i, name=name: float(name == "one" or i < 3))
        imported(tmp_path / name, rows, MAP)
        runs.append(tmp_path / name / "run")
    page = referee(Evidence.of(runs))
    (alarm,) = findings(page, "one verdict")
    assert "14 equal answers of direct, rlm to one sample have two scores" in alarm
    assert not findings(referee(Evidence.of(runs[:1])), "one verdict")
