"""Which file a gold is of, which log is whole, and what a map does not list."""

import json

import made_logs
import pandas as pd
import pytest
from test_made_artefacts import MAP, table

from rlm_eval.cli import main
from rlm_eval.importers.rows import sources
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import referee

STATUS = MAP + "outcome: {from: status, values: {done: ok, late: 'limit:time'%s}}\n"


def run_of(tmp_path, kind, *files, more=()):
    run = tmp_path / "run"
    assert main(["import", kind, *map(str, files), "-o", str(run), *more]) == 0
    return pd.read_parquet(run / RECORDS)


def rows_of(tmp_path, rows, mapped, *more):
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    own = made_logs.dump(tmp_path / "own.yaml", mapped)
    command = ["import", "rows", str(log), "--map", str(own), "-o", str(tmp_path / "run"), *more]
    return main(command)


def trace(path, day=1):
    text = made_logs.rlms(path).read_text()
    path.write_text(text.replace("2026-03-01", f"2026-03-{day:02d}"))
    return path


def test_a_log_that_ends_before_its_last_turn_is_missing_and_not_wrong(tmp_path, capsys):
    trace(tmp_path / "logs" / "whole.jsonl")
    died = trace(tmp_path / "logs" / "died.jsonl", 2)
    died.write_text("".join(died.read_text().splitlines(keepends=True)[:3]))
    records = run_of(tmp_path, "rlms", tmp_path / "logs")
    assert sorted(records["outcome"]) == ["cancelled", "ok"]
    assert records["score"].isna().all()
    told = capsys.readouterr().out
    assert "1 answers count as missing, not as wrong: their logs end early" in told
    assert "died.jsonl, line 1: the log ends without an answer after turn 2 of at most 6" in told
    assert "1 of 2 rows have no result" in " ".join(
        map(str, referee(Evidence.of([tmp_path / "run"])).findings)
    )


@pytest.mark.parametrize(("most", "outcome"), [(3, "no_answer"), (4, "cancelled")])
def test_only_the_last_turn_without_an_answer_is_no_answer(tmp_path, most, outcome):
    log = trace(tmp_path / "a.jsonl")
    text = "".join(log.read_text().splitlines(keepends=True)[:-1])
    log.write_text(text.replace('"max_iterations": 6', f'"max_iterations": {most}'))
    assert run_of(tmp_path, "rlms", log)["outcome"].tolist() == [outcome]


def test_an_outcome_that_the_map_does_not_list_is_refused(tmp_path, capsys):
    rows = table(status=lambda _, i: "crashed" if i == 3 else "done")
    assert rows_of(tmp_path, rows, STATUS % "") == 2
    error = capsys.readouterr().err
    assert "rows.jsonl, line 4: outcome: 'crashed' is not under `values` of the map" in error
    assert not (tmp_path / "run").exists()
    assert rows_of(tmp_path, rows, STATUS % ", crashed: provider_error") == 0
    records = pd.read_parquet(tmp_path / "run" / RECORDS)
    assert (records["outcome"] == "provider_error").sum() == 2


def test_another_value_that_the_map_does_not_list_is_counted(tmp_path, capsys):
    mapped = MAP.replace("score: ok", "score: {from: grade, values: {good: 1, bad: 0, none: null}}")
    assert "grade" in mapped
    grades = ["good", "bad", "none", "fair"]
    assert rows_of(tmp_path, table(grade=lambda _, i: grades[i % 4]), mapped) == 0
    told = capsys.readouterr().out
    assert "score: in 4 of 20 rows its value 'fair' is not under `values` of the map" in told
    assert "'none'" not in told


@pytest.mark.parametrize("given", [("yes", "no"), (True, False), ("010", "8"), (3.0, 4.0)])
def test_keys_of_a_map_are_read_as_they_are_written(tmp_path, capsys, given):
    keys = {"010": "010: 1, 8: 0", 3.0: "3: 1, 4: 0"}.get(given[0], "yes: 1, no: 0")
    mapped = MAP.replace("score: ok", f"score: {{from: verdict, values: {{{keys}}}}}")
    assert rows_of(tmp_path, table(verdict=lambda _, i: given[i % 2]), mapped) == 0
    assert pd.read_parquet(tmp_path / "run" / RECORDS)["score"].mean() == 0.5
    assert "not under `values`" not in capsys.readouterr().out


@pytest.mark.parametrize("wanted", ["1", "'1'", "yes"])
def test_a_condition_holds_for_a_text_of_a_table(tmp_path, wanted):
    mapped = MAP + f"answer_type: {{from: =x, when: {{flag: {wanted}}}}}\n"
    assert rows_of(tmp_path, table(flag=lambda *_: wanted.strip("'")), mapped) == 0
    samples = (tmp_path / "run" / "cells").rglob("samples.jsonl")
    assert all('"answer_type":"x"' in file.read_text().replace(" ", "") for file in samples)


def golds(tmp_path, value):
    return ["--golds", str(made_logs.dump(tmp_path / "golds.json", value))]


def gold_by_file(tmp_path):
    found = {}
    for cell in (tmp_path / "run" / "cells").iterdir():
        samples = map(json.loads, (cell / "samples.jsonl").read_text().splitlines())
        targets = {sample["id"]: sample["target"] for sample in samples}
        records = pd.read_parquet(tmp_path / "run" / RECORDS)
        for row in records.to_dict("records"):
            found[row["source_row"].partition(",")[0]] = targets[row["sample_id"]]
    return found


def test_a_gold_is_that_of_one_file(tmp_path, capsys):
    for day, name in enumerate(("q1", "q2"), 1):
        trace(tmp_path / "logs" / name / "trace.jsonl", day)
    command = ["import", "rlms", str(tmp_path / "logs"), "-o", str(tmp_path / "run")]
    assert main([*command, *golds(tmp_path, {"trace.jsonl": "7"})]) == 2
    error = capsys.readouterr().err
    assert "--golds: trace.jsonl names two files" in error
    assert "e.g. q2/trace.jsonl" in error
    given = golds(tmp_path, {"q1/trace": "7", "q2/trace.jsonl": "8", "q3": "9"})
    assert main([*command, *given]) == 0
    told = capsys.readouterr().out
    assert 'golds: q1/trace.jsonl: "7"; q2/trace.jsonl: "8"' in told
    assert "1 golds are of no file here: q3" in told
    assert gold_by_file(tmp_path) == {"q1/trace.jsonl": "7", "q2/trace.jsonl": "8"}


def test_golds_in_order_follow_the_numbers_of_the_names(tmp_path, capsys):
    for number in (1, 2, 10):
        trace(tmp_path / "logs" / f"log_{number}.jsonl", number)
    run_of(tmp_path, "rlms", tmp_path / "logs", more=golds(tmp_path, ["1", "2", "10"]))
    assert gold_by_file(tmp_path) == {f"log_{n}.jsonl": str(n) for n in (1, 2, 10)}
    assert (
        'golds: log_1.jsonl: "1"; log_2.jsonl: "2"; log_10.jsonl: "10"' in capsys.readouterr().out
    )


@pytest.mark.parametrize("as_files", [True, False])
def test_two_runs_of_one_question_in_files_of_one_name_are_repeats(tmp_path, as_files):
    logs = [trace(tmp_path / f"run{n}" / "trace.jsonl", n) for n in (1, 2)]
    # An answer of its own: an equal row would be a copy.
    logs[1].write_text(logs[1].read_text().replace('"final_answer": "60"', '"final_answer": "61"'))
    records = run_of(tmp_path, "rlms", *(log if as_files else log.parent for log in logs))
    assert sorted(records["epoch"]) == [0, 1]
    places = {place.partition(",")[0] for place in records["source_row"]}
    assert places == {"run1/trace.jsonl", "run2/trace.jsonl"}


def test_equal_files_are_different_rows_where_the_map_reads_their_names(tmp_path, capsys):
    for arm in ("direct", "rlm"):
        for name in ("q1", "q2"):
            made_logs.dump(tmp_path / "logs" / arm / f"{name}.json", {"answer": "x", "score": 1})
    mapped = "task: =t\nmethod: file.folder\nitem: file.stem\nanswer: answer\nscore: score\n"
    own = made_logs.dump(tmp_path / "own.yaml", mapped)
    records = run_of(tmp_path, "rows", tmp_path / "logs", more=["--map", str(own)])
    assert records.groupby("method").size().to_dict() == {"direct": 2, "rlm": 2}
    about = json.loads((tmp_path / "run" / "imported.json").read_text())
    assert [(file["name"], file["rows"]) for file in about["files"]] == [
        ("direct/q1.json", 1), ("direct/q2.json", 1), ("rlm/q1.json", 1), ("rlm/q2.json", 1),
    ]  # fmt: skip
    again = ["import", "rows", str(tmp_path / "logs"), str(tmp_path / "logs" / "rlm" / "q1.json")]
    assert main([*again, "--map", str(own), "-o", str(tmp_path / "other")]) == 2
    assert "name each file once" in capsys.readouterr().err


def test_files_are_named_by_as_many_folders_as_tell_them_apart(tmp_path):
    paths = [tmp_path / "a" / "x" / "log.jsonl", tmp_path / "b" / "x" / "log.jsonl"]
    for path in (*paths, tmp_path / "c.jsonl"):
        made_logs.dump(path, f'{{"at": "{path}"}}')
    found = [source.name for source in sources([*paths, tmp_path / "c.jsonl"])]
    assert found == ["a/x/log.jsonl", "b/x/log.jsonl", "c.jsonl"]


def test_what_scores_zero_does_so_in_every_column_and_by_score(tmp_path, capsys):
    # As `id,said,status,ok`: two overflows, one without a verdict, and a crash that the log scored.
    given = [("x", "ok", 1), ("x", "context_overflow", 0), ("x", "context_overflow", None),
             ("y", "ok", 0), ("x", "repl_crash", 1)]  # fmt: skip
    rows = [
        {"arm": "a", "id": i, "said": said, "gold": "x", "status": status, "ok": ok}
        for i, (said, status, ok) in enumerate(given)
    ]
    mapped = (
        "task: =t\nmethod: arm\nitem: id\nanswer: said\ngold: gold\nscore: ok\noutcome: status\n"
        "scorer: ruler_all\n"
    )
    assert rows_of(tmp_path, rows, mapped) == 0
    names = ["score", "score_theirs", "score_ruler_all"]
    before = pd.read_parquet(tmp_path / "run" / RECORDS)[names].mean().tolist()
    assert before == pytest.approx([0.2, 0.2, 0.2])
    capsys.readouterr()
    for name in ("theirs", "ruler_all"):
        assert main(["score", str(tmp_path / "run"), "--scorer", name]) == 0
        assert f"{name}: 0.2000" in capsys.readouterr().out
        after = pd.read_parquet(tmp_path / "run" / RECORDS)[names].mean().tolist()
        assert after == pytest.approx(before)
