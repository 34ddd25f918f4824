"""Variants of the known artefacts, made up: each is found, and its clean twin raises no alarm."""

import gzip
import json
import random
import zipfile

import made_logs
import made_runs
import pandas as pd
import pytest

from rlm_eval.cli import main
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import referee
from rlm_eval.storage.cell_store import CellStore

MAP = "task: =t\nmethod: arm\nitem: id\nanswer: said\nscore: ok\noutput_tokens: out\n"


def table(n=10, arms=("direct", "rlm"), **more):
    """Rows of two arms over the same questions; `more` sets or replaces fields."""
    draw = random.Random(0)
    rows = []
    for arm in arms:
        for i in range(n):
            row = {"arm": arm, "id": f"q{i}", "said": f"answer {i}", "ok": float(i % 3 > 0),
                   "out": draw.randrange(40, 3000) * 2 + 1, "question": f"Question {i}?",
                   "gold": f"gold{i:05d}"}  # fmt: skip
            rows.append(row | {name: value(arm, i) for name, value in more.items()})
    return rows


def page_of(tmp_path, rows, mapped=MAP, kind="rows"):
    log = made_logs.lines(tmp_path / "rows.jsonl", rows)
    own = made_logs.dump(tmp_path / "own.yaml", mapped)
    run = tmp_path / "run"
    assert main(["import", kind, str(log), "--map", str(own), "-o", str(run)]) == 0
    return referee(Evidence.of([run]))


def findings(page, check, level="alarm"):
    return [f.text for f in page.findings if f.check == check and f.level == level]


def test_the_clean_table_has_no_alarm(tmp_path):
    assert page_of(tmp_path, table()).alarms == 0


@pytest.mark.parametrize(
    ("more", "mapped", "where"),
    [
        ({"length": lambda _, i: 1000 * 2**i}, "length: length\n", "all lengths together"),
        ({"set": lambda _, i: f"set{i}"}, "", "all tasks together"),
    ],
)
def test_a_cap_shows_though_no_cell_has_rows_enough(tmp_path, capsys, more, mapped, where):
    cut = {"out": lambda arm, i: 512 if arm == "direct" and i < 9 else 701 + 2 * i}
    text = (MAP if mapped else MAP.replace("=t", "set")) + mapped
    page = page_of(tmp_path, table(**cut, **more), text)
    assert "9 of 10 answers end on exactly 512" in (said := capsys.readouterr().out)
    assert where in said
    assert len(findings(page, "cut answers and prompts")) == (1 if mapped else 9)
    assert all("512 output tokens" in text for text in findings(page, "cut answers and prompts"))


def test_failed_rows_do_not_hide_a_cap(tmp_path):
    rows = table(
        n=20, out=lambda arm, i: (0 if i < 12 else 512) if arm == "direct" else 701 + 2 * i,
        error=lambda arm, i: "gone" if arm == "direct" and i < 12 else None,
    )  # fmt: skip
    page = page_of(tmp_path, rows, MAP + "error: error\n")
    assert "8 of 20 answers end on exactly 512" in findings(page, "cut answers and prompts")[0]


def test_a_cap_of_calls_without_finish_reason_is_suspected(tmp_path):
    tree = made_logs.inspect_tree()
    (sample,) = tree["samples"]
    samples = []
    for number in range(6):
        one = json.loads(json.dumps(sample)) | {"id": number}
        last = one["events"][2]["output"]
        last["usage"]["output_tokens"] = 1024
        last["choices"][0]["stop_reason"] = one["output"]["choices"][0]["stop_reason"] = "unknown"
        samples.append(one)
    log = made_logs.dump(tmp_path / "log.json", tree | {"samples": samples})
    assert main(["import", "inspect", str(log), "-o", str(tmp_path / "run")]) == 0
    records = pd.read_parquet(tmp_path / "run" / RECORDS)
    assert set(records["outcome"]) == {"unknown"}
    (cell,) = (tmp_path / "run" / "cells").iterdir()
    calls = {attempt.trajectory.answer.call for attempt in CellStore(cell).attempts.values()}
    assert calls == {1}  # the solver's last one; the judge's call 2 is no answer


def test_a_silent_cap_of_a_run_of_ours_is_an_alarm(tmp_path):
    run = made_runs.write(tmp_path / "run", n=8)
    page = Evidence.of([run])
    assert not [t for t in findings(referee(page), "cut answers and prompts") if "silently" in t]
    one = page.frame["method"] == page.frame["method"].iloc[0]
    page.frame.loc[one, "n_calls"] = 1
    page.frame.loc[one & (page.frame["outcome"] == "ok"), "output_tokens"] = 512
    told = [t for t in findings(referee(page), "cut answers and prompts") if "silently" in t]
    assert "answers end on exactly 512 output tokens" in told[0]


def test_context_that_a_client_dropped_is_an_alarm(tmp_path):
    folder = made_logs.pr160(tmp_path / "logs")
    path = folder / "direct" / "i0.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"extras": {"dropped_tokens": 9000}}))
    assert main(["import", "pr160", str(folder), "-o", str(tmp_path / "run")]) == 0
    told = findings(referee(Evidence.of([tmp_path / "run"])), "cut answers and prompts")
    assert told == [
        "direct on sniah: 1 of 2 prompts lack a part of the context, which the log says was "
        "dropped (up to 9,000 tokens)."
    ]


@pytest.mark.parametrize(
    ("variant", "is_labelled"),
    [("labelled", True), ("with_labels=True", True), ("pre_labeled", True),
     ("unlabelled", False), ("not labelled", False), ("with_labels=False", False),
     ("without labels", False), ("label_column=coarse_label", False)],
)  # fmt: skip
def test_only_labelled_contexts_are_called_so(tmp_path, variant, is_labelled):
    page = page_of(tmp_path, table(n=3), MAP + f"task_variant: '={variant}'\n")
    assert bool(findings(page, "labelled contexts")) == is_labelled


def test_labels_are_seen_in_the_text_of_the_contexts(tmp_path):
    def context(show):
        return lambda _, i: "\n".join(
            f"Message {i} {k}: hello" + (f" || Label: {'spam' if k % 3 else 'ham'}" if show else "")
            for k in range(20)
        )

    asked = {"question": lambda _, i: f"Question {i}: how many have the label spam?"}
    mapped = MAP + "question: question\ncontext: context\n"
    for show in (True, False):
        (tmp_path / str(show)).mkdir()
        page = page_of(tmp_path / str(show), table(**asked, context=context(show)), mapped)
        assert bool(findings(page, "labelled contexts")) == show


def test_rows_without_a_score_are_missing_and_not_left_out_silently(tmp_path):
    rows = table(ok=lambda arm, i: None if arm == "rlm" and i > 3 else float(i in (0, 1, 5, 6, 7)))
    (told,) = findings(page_of(tmp_path, rows), "missing rows")
    assert "6 of 20 rows have no result" in told
    assert "Some methods miss many more than others" in told


def test_a_log_without_any_score_has_no_missing_rows(tmp_path):
    rows = table(ok=lambda *_: None)
    page = page_of(tmp_path, rows, MAP + "gold: gold\n")
    assert not findings(page, "missing rows")


@pytest.mark.parametrize(("mapped", "level"), [("", "note"), ("context_chars: chars\n", "alarm")])
def test_one_question_under_two_ids_is_found_without_a_name_of_its_context(tmp_path, mapped, level):
    rows = table(
        question=lambda _, i: f"Which is it, {i % 5}?", gold=lambda _, i: f"gold{i % 5:05d}",
        chars=lambda _, i: 40_000 + i % 5,
    )  # fmt: skip
    page = page_of(tmp_path, rows, MAP + "question: question\ngold: gold\n" + mapped)
    (told,) = findings(page, "distinct samples", level)
    assert "5 of 10 samples ask the same question with the same gold" in told


@pytest.mark.parametrize(("chars", "is_short"), [(3_000, True), (400_000, False)])
def test_contexts_are_short_by_the_size_that_the_log_states(tmp_path, chars, is_short):
    page = page_of(tmp_path, table(chars=lambda *_: chars), MAP + "context_chars: chars\n")
    told = findings(page, "size of the contexts")
    assert bool(told) == is_short
    assert not told or "is 750 tokens in the middle" in told[0]


@pytest.mark.parametrize(("context", "level"), [("=one", "note"), ("id", "alarm")])
def test_the_gold_of_a_question_about_the_same_context_is_no_leak(tmp_path, context, level):
    said = {"said": lambda _, i: f"gold{3 if i == 2 else i:05d}"}
    mapped = MAP + f"question: question\ngold: gold\ncontext_id: {context}\n"
    page = page_of(tmp_path, table(**said), mapped)
    assert len(findings(page, "answers of other samples", level)) == 1
    other = {"note": "alarm", "alarm": "note"}[level]
    assert not findings(page, "answers of other samples", other)


def test_an_id_that_holds_the_gold_is_not_the_question(tmp_path):
    rows = made_logs.minrlm(tmp_path / "eval.json", range(1, 7))
    assert main(["import", "minrlm", str(rows), "-o", str(tmp_path / "run")]) == 0
    page = referee(Evidence.of([tmp_path / "run"]))
    (found,) = [f for f in page.findings if f.check == "gold in the question"]
    assert found.level == "unknown"


def test_a_seed_without_a_row_of_the_direct_arm_is_read(tmp_path):
    path = made_logs.minrlm(tmp_path / "eval.json", range(1, 7))
    rows = [row for row in json.loads(path.read_text()) if row["runner_name"] == "ours"]
    rows[0]["metadata"]["context_window_id"] = 9
    made_logs.dump(path, rows)
    assert main(["import", "minrlm", str(path), "-o", str(tmp_path / "run")]) == 0
    assert pd.read_parquet(tmp_path / "run" / RECORDS)["sample_id"].nunique() == 2


def test_a_trajectory_without_an_answer_is_wrong_and_not_left_out(tmp_path):
    log = made_logs.rlms(tmp_path / "a.jsonl")
    text = "".join(log.read_text().splitlines(keepends=True)[:-1])
    log.write_text(text.replace('"max_iterations": 6', '"max_iterations": 3'))  # all its turns
    golds = made_logs.dump(tmp_path / "golds.json", {"a": "60"})
    run = tmp_path / "run"
    more = ["--golds", str(golds), "--scorer", "ruler_all", "-o", str(run)]
    assert main(["import", "rlms", str(log), *more]) == 0
    assert pd.read_parquet(run / RECORDS)[["outcome", "score"]].values.tolist() == [
        ["no_answer", 0]
    ]
    assert main(["score", str(run)]) == 0
    assert pd.read_parquet(run / RECORDS)["score"].tolist() == [0]


def test_an_overflow_without_a_row_of_its_own_is_not_called_unscored(tmp_path, capsys):
    row = {"system": "baseline", "model": "m", "query_id": "Q1", "rep": 1, "subset": "C3"}
    log = made_logs.dump(tmp_path / "a.json", row | {"status": "SKIPPED_CONTEXT_LIMIT"})
    assert main(["import", "thesis", str(log), "-o", str(tmp_path / "run")]) == 0
    assert "count as not scored" not in capsys.readouterr().out
    assert pd.read_parquet(tmp_path / "run" / RECORDS)["score"].tolist() == [0.0]


def test_an_arm_that_ran_weeks_later_is_said(tmp_path):
    rows = table(at=lambda arm, i: f"2026-06-{20 if arm == 'rlm' else 1:02d}T10:00:{i:02d}")
    page = page_of(tmp_path, rows, MAP + "timestamp: at\n")
    (found,) = [f for f in page.findings if f.check == "when it ran"]
    assert found.level == "note"
    assert found.rows == (
        "t: direct ran 19.0 days before rlm: the model behind their name may have changed between "
        "them",
    )


@pytest.mark.parametrize("packed", [True, False])
def test_an_evaluation_that_ended_early_lacks_samples(tmp_path, capsys, packed):
    tree = made_logs.inspect_tree() | {"status": "error"}
    tree["eval"] |= {"dataset": {"samples": 40}, "config": {"limit": 10, "epochs": 2}}
    log = made_logs.dump(tmp_path / "log.json", tree)
    if packed:
        log = tmp_path / "log.eval"
        with zipfile.ZipFile(log, "w", zipfile.ZIP_DEFLATED) as file:
            head = {name: value for name, value in tree.items() if name != "samples"}
            file.writestr("header.json", json.dumps(head))
            file.writestr("samples/1_epoch_1.json", json.dumps(tree["samples"][0]))
    assert main(["import", "inspect", str(log), "-o", str(tmp_path / "run")]) == 0
    said = f"{log.name}: its status is error; 1 of 20 samples are in the log"
    assert said in capsys.readouterr().out
    page = referee(Evidence.of([tmp_path / "run"]))
    (found,) = [f for f in page.findings if f.check == "missing rows"]
    assert found.level == "alarm"
    assert found.rows[0].startswith(said)
    remark = pd.read_parquet(tmp_path / "run" / RECORDS)["remark"].iloc[0]
    assert said in remark


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.json", '{"model": "m/x", "num_examples": 4, "rollouts_per_example": 2}'),
        ("config.toml", 'model = "m/x"\n[eval]\nnum_tasks = 4\nnum_rollouts = 2\n'),
    ],
)
def test_episodes_that_were_dropped_are_counted_by_the_configuration(tmp_path, capsys, name, text):
    rows = [{"example_id": i, "reward": 1.0, "completion": "x", "answer": "x"} for i in range(3)]
    log = made_logs.lines(tmp_path / "logs" / "results.jsonl", rows)
    made_logs.dump(log.parent / name, text)
    assert main(["import", "verifiers", str(log), "-o", str(tmp_path / "run")]) == 0
    assert "results.jsonl: 3 of 8 episodes are in the log" in capsys.readouterr().out
    assert set(pd.read_parquet(tmp_path / "run" / RECORDS)["root"]) == {"m/x"}


def test_a_file_with_fewer_rows_than_its_head_says_is_not_whole(tmp_path, capsys):
    folder = made_logs.wang(tmp_path / "logs")
    path = folder / "depth1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"planned_num_samples": 20}))
    assert main(["import", "wang", str(folder), "-o", str(tmp_path / "run")]) == 0
    assert "depth1.json: 6 of 20 rows are in the log" in capsys.readouterr().out


def test_a_packed_copy_of_a_file_is_the_same_file(tmp_path, capsys):
    log = made_logs.rlms(tmp_path / "logs" / "a.jsonl")
    (log.parent / "b.jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    assert main(["import", "rlms", str(log.parent), "-o", str(tmp_path / "run")]) == 2
    assert "the same content" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("golds", "words"),
    [
        ({"a": ["60"]}, "1 golds under a, but that file has 2 answers"),
        ({"a": "60"}, "one gold under a, but that file has 2 answers"),
        (["60", "61", "62"], "3 golds in order, but the logs have 2 answers"),
        (["60"], "1 golds, but a.jsonl has answer 2"),
    ],
)
def test_golds_that_do_not_match_the_answers_are_refused(tmp_path, capsys, golds, words):
    text = made_logs.rlms(tmp_path / "a.jsonl").read_text()
    again = text.replace("2026-03-01", "2026-03-02")
    (tmp_path / "a.jsonl").write_text(text + again)
    given = made_logs.dump(tmp_path / "golds.json", golds)
    more = ["--golds", str(given), "-o", str(tmp_path / "run")]
    assert main(["import", "rlms", str(tmp_path / "a.jsonl"), *more]) == 2
    assert words in capsys.readouterr().err
