"""Logs of Inspect: one scorer for each, invalid samples, settings, judges, sub-calls."""

import json

import made_logs
import pandas as pd
import pytest

from rlm_eval.cli import main
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.report.profile.measure import measured
from rlm_eval.report.profile.table import profile_table
from rlm_eval.report.referee.evidence import Evidence
from rlm_eval.report.referee.page import referee


def sample(number, scores, **more):
    stated = {name: {"value": value, "answer": "A"} for name, value in scores.items()}
    said = {"message": {"role": "assistant", "content": "A"}, "stop_reason": "stop"}
    return {"id": number, "epoch": 1, "input": f"Question {number}?", "target": "A",
            "output": {"choices": [said]}, "scores": stated, "metadata": {}, "events": [],
            **more}  # fmt: skip


def log(path, samples, scorers, model="m", head=None, **more):
    about = {"task": "qa", "model": model, "solver": "generate", "task_args": {},
             "scorers": [{"name": name} for name in scorers],
             "dataset": {"samples": len(samples)}, **(head or {})}  # fmt: skip
    tree = {"version": 2, "status": "success", "eval": about, "samples": samples, **more}
    return made_logs.dump(path, tree)


def imported(run, *logs, more=(), code=0):
    assert main(["import", "inspect", *map(str, logs), "-o", str(run), *more]) == code
    return pd.read_parquet(run / RECORDS) if code == 0 else None


def model(start, messages, said="ok", **more):
    """A model event; `messages` are texts of a user and the assistant in turn."""
    asked = [
        {"role": "assistant" if n % 2 else "user", "content": text}
        for n, text in enumerate(messages)
    ]
    reply = {"message": {"role": "assistant", "content": said}, "stop_reason": "stop"}
    return {"event": "model", "model": "m", "working_start": start, "working_time": 0.5,
            "input": asked, "output": {
                "choices": [reply], "usage": {"input_tokens": 10, "output_tokens": 3}},
            **more}  # fmt: skip


def begin(name, kind, parent=None, **more):
    return {"event": "span_begin", "id": name, "type": kind, "name": name, "parent_id": parent,
            **more}  # fmt: skip


def end(name):
    return {"event": "span_end", "id": name}


def test_logs_scored_by_different_scorers_are_no_one_task(tmp_path, capsys):
    logs = [
        log(tmp_path / f"{name}.json", [sample(i, {name: value}) for i in range(8)], [name], arm)
        for name, value, arm in (("exact", "I", "m1"), ("includes", "C", "m2"))
    ]
    imported(tmp_path / "run", *logs, code=2)
    told = capsys.readouterr().err
    assert "2 scorers: exact (exact.json, sample 0); includes" in told
    assert "--their-scorer NAME" in told
    runs = [tmp_path / "one", tmp_path / "other"]
    for run, path in zip(runs, logs, strict=True):
        imported(run, path)
    page = referee(Evidence.of(runs))
    (alarm,) = [f for f in page.findings if f.level == "alarm"]
    assert "its scores are of 2 scorers (theirs: exact, theirs: includes)" in alarm.text
    (claim,) = page.claims
    assert "cannot be compared on qa: their scores are of different scorers" in claim.sentence


def test_a_sample_without_the_scorer_of_its_log_is_not_scored(tmp_path, capsys):
    samples = [
        sample(i, {"rouge": 0.9} if i > 1 else {"exact": "I", "rouge": 0.9}) for i in range(8)
    ]
    path = log(tmp_path / "log.json", samples, ["exact", "rouge"])
    records = imported(tmp_path / "run", path)
    assert records["score"].dropna().tolist() == [0.0, 0.0]
    assert set(records["note_their_scorer"]) == {"exact"}
    assert "6 of 8 rows: the log has no score of exact" in capsys.readouterr().out
    chosen = imported(tmp_path / "chosen", path, more=["--their-scorer", "rouge"])
    assert set(chosen["score"]) == {0.9}
    (cell,) = (tmp_path / "chosen" / "cells").iterdir()
    assert json.loads((cell / "manifest.json").read_text())["facts"]["their_scorer"] == "rouge"
    imported(tmp_path / "none", path, more=["--their-scorer", "judge"], code=2)
    assert "no log has scores of 'judge'; they have: exact, rouge" in capsys.readouterr().err


def test_without_names_in_the_header_the_most_common_scorer_is_taken(tmp_path):
    samples = [sample(i, {"b": 1.0} if i else {"a": 0.0, "b": 1.0}) for i in range(3)]
    records = imported(tmp_path / "run", log(tmp_path / "log.json", samples, []))
    assert records["score"].tolist() == [1.0, 1.0, 1.0]


def test_samples_marked_as_invalid_are_missing_and_counted(tmp_path, capsys):
    marked = {"invalidation": {"author": "me", "reason": "network down"}}
    samples = [
        sample(i, {"exact": "I" if i < 4 else "C"}, **(marked if i < 4 else {})) for i in range(8)
    ]
    path = log(tmp_path / "log.json", samples, ["exact"], invalidated=True)
    records = imported(tmp_path / "run", path)
    assert records["score"].dropna().tolist() == [1.0] * 4
    assert set(records.loc[records["score"].isna(), "outcome"]) == {"cancelled"}
    told = "4 of 8 samples are marked as invalid in the log"
    assert told in capsys.readouterr().out
    assert records["remark"].str.contains(told).all()
    plain = log(tmp_path / "b.json", [sample(1, {"exact": "C"})], ["exact"], invalidated=True)
    assert imported(tmp_path / "b", plain)["remark"].str.contains("none of them is marked").all()


def test_logs_of_one_task_with_other_settings_are_variants(tmp_path, capsys):
    logs = [
        log(tmp_path / f"{length}{heat}.json", [sample(i, {"exact": score}) for i in range(4)],
            ["exact"], head={"task_args": {"length": length, "split": "test"},
                             "model_generate_config": {"temperature": heat, "max_retries": heat}})
        for length, heat, score in ((4096, 0, "C"), (131072, 0, "I"), (4096, 1, "I"))
    ]  # fmt: skip
    records = imported(tmp_path / "run", *logs)
    means = records.groupby(["task_variant", "variant"])["score"].mean()
    assert means.to_dict() == {
        ("length=4096", "temperature=0"): 1.0,
        ("length=131072", "temperature=0"): 0.0,
        ("length=4096", "temperature=1"): 0.0,
    }
    assert "task qa: its logs have different settings (length)" in capsys.readouterr().out
    alone = imported(tmp_path / "alone", logs[0])
    assert alone[["task_variant", "variant"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("scorer", "more", "tokens"),
    [("exact", {}, 1000), ("model_graded_qa", {}, None), ("my_scorer", {}, None),
     ("exact", {"role_usage": {"grader": {"input_tokens": 900}}}, None)],
)  # fmt: skip
def test_tokens_that_may_be_a_judges_are_unknown(tmp_path, scorer, more, tokens):
    usage = {"m": {"input_tokens": 1000, "output_tokens": 100}}
    one = sample(1, {scorer: "C"}, model_usage=usage, **more)
    row = imported(tmp_path / "run", log(tmp_path / "log.json", [one], [scorer])).iloc[0]
    assert row["input_tokens"] == tokens if tokens else pd.isna(row["input_tokens"])


def nested(follow):
    """A root agent whose tool starts another agent; `follow` are the messages of its last call."""
    return [
        begin("rlm", "agent"),
        model(0, ["Q"], "call it"),
        begin("sub_llm", "tool", "rlm"),
        begin("reader", "agent", "sub_llm"),
        model(1, ["read chunk 1"], "nothing", span_id="reader"),
        end("reader"),
        end("sub_llm"),
        {"event": "tool", "id": "x", "function": "sub_llm", "arguments": {"prompt": "read"},
         "result": "nothing", "working_time": 0.6, "span_id": "rlm"},
        model(3, follow, "A", span_id="rlm"),
        end("rlm"),
    ]  # fmt: skip


def test_agents_inside_tools_are_children_and_their_arguments_no_code(tmp_path):
    samples = [
        sample(i, {"exact": "C"}, events=nested(["Q", "call it", "nothing"])) for i in range(4)
    ]
    row = imported(tmp_path / "run", log(tmp_path / "log.json", samples, ["exact"])).iloc[0]
    assert (row["n_root_calls"], row["n_child_calls"], row["max_depth"]) == (2, 1, 1)
    assert (row["used_recursion"], row["turns"]) == (True, 2)
    table = profile_table(measured([tmp_path / "run"])).rows.iloc[0]
    assert table["recurse %"].startswith("100 ")
    assert (table["none"], table["unknown"]) == ("?", "100")  # a tool's arguments are no program


@pytest.mark.parametrize("spans", [True, False])
def test_calls_that_nothing_places_are_no_turns_of_the_root(tmp_path, spans):
    events = [model(0, ["Q"], "I ask"), model(1, ["read chunk 1"]), model(2, ["Q", "I ask", "ok"])]
    if spans:
        events = [begin("solver", "solver"), *events, end("solver")]
    samples = [sample(i, {"exact": "C"}, events=events) for i in range(2)]
    row = imported(tmp_path / "run", log(tmp_path / "log.json", samples, ["exact"])).iloc[0]
    assert (row["n_calls"], row["input_tokens"]) == (3, 30)
    columns = ["used_recursion", "n_sub_calls", "n_child_calls", "n_root_calls", "turns",
               "max_depth", "max_fanout", "root_input_tokens", "sub_input_tokens"]  # fmt: skip
    assert row[columns].isna().all()
    table = profile_table(measured([tmp_path / "run"])).rows.iloc[0]
    assert (table["recurse %"], table["depth"], table["none"]) == ("?", "?", "?")


def test_sub_calls_inside_the_tool_events_of_older_logs_are_read(tmp_path):
    tool = {"event": "tool", "id": "x", "function": "python", "arguments": {"code": "ask(1)"},
            "result": "ok", "working_time": 1.0,
            "events": [model(1, ["chunk 1"]), model(2, ["chunk 2"])]}  # fmt: skip
    events = [model(0, ["Q"], "code"), tool, model(3, ["Q", "code", "ok"], "A")]
    path = log(tmp_path / "log.json", [sample(1, {"exact": "C"}, events=events)], ["exact"])
    row = imported(tmp_path / "run", path).iloc[0]
    assert (row["n_root_calls"], row["n_sub_calls"], row["max_fanout"]) == (2, 2, 2)


def test_a_number_beyond_tables_leaves_nothing_behind(tmp_path, capsys):
    for number, more in enumerate((
        {"events": [model(0, ["Q"])]},
        {"model_usage": {"m": {"input_tokens": 10**20, "output_tokens": 1}}},
        {"metadata": {"size": 10**20}},
    )):  # fmt: skip
        if "events" in more:
            more["events"][0]["output"]["usage"]["input_tokens"] = 10**20
        path = log(tmp_path / f"{number}.json", [sample(1, {"exact": "C"}, **more)], ["exact"])
        imported(tmp_path / "run", path, code=2)
        assert "9,007,199,254,740,992" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_an_import_whose_records_cannot_be_made_is_absent(tmp_path, monkeypatch):
    def fail(run):
        assert (run / "cells").is_dir()
        raise OverflowError("too large for a table")

    path = log(tmp_path / "log.json", [sample(1, {"exact": "C"})], ["exact"])
    monkeypatch.setattr("rlm_eval.records.build.write_records", fail)
    with pytest.raises(OverflowError):
        main(["import", "inspect", str(path), "-o", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "score"),
    [("yes", 1), ("No", 0), ("true", 1), ("0.75", 0.75), (True, 1), ("P", 0.5), ([1], 1)],
)
def test_scores_are_read_as_inspect_reads_them(tmp_path, value, score):
    path = log(tmp_path / "log.json", [sample(i, {"exact": value}) for i in range(2)], ["exact"])
    assert imported(tmp_path / "run", path)["score"].tolist() == [score] * 2


def test_values_that_are_no_numbers_are_counted_and_named(tmp_path, capsys):
    values = ["C", "fail", "fail", float("nan"), "inf"]
    samples = [sample(i, {"judge": value}) for i, value in enumerate(values)]
    records = imported(tmp_path / "run", log(tmp_path / "log.json", samples, ["judge"]))
    assert records["score"].dropna().tolist() == [1.0]
    told = capsys.readouterr().out
    assert "scorer judge: in 2 of 5 samples its value 'fail' is not a number" in told
    assert "in 1 of 5 samples its value 'inf'" in told
    assert "nan" not in told
    stored = "".join(p.read_text() for p in (tmp_path / "run").rglob("scores.jsonl"))
    assert "the value 'fail' of judge is not a number" in stored


@pytest.mark.parametrize(
    ("value", "names", "part"), [({"acc": 1, "f1": 0.5}, "acc, f1", "f1"), ([1, 0.5], "0, 1", "1")]
)
def test_one_of_several_values_of_a_score_is_chosen(tmp_path, capsys, value, names, part):
    path = log(tmp_path / "log.json", [sample(i, {"two": value}) for i in range(2)], ["two"])
    imported(tmp_path / "run", path, code=2)
    told = capsys.readouterr().err
    assert f"the score of two has several values ({names})" in told
    assert "--their-scorer two." in told
    records = imported(tmp_path / "run", path, more=["--their-scorer", f"two.{part}"])
    assert set(records["score"]) == {0.5}
    assert set(records["note_their_scorer"]) == {f"two.{part}"}
    imported(tmp_path / "none", path, more=["--their-scorer", "two.z"], code=2)


@pytest.mark.parametrize(
    ("kind", "outcome"), [("operator", "cancelled"), ("custom", "unknown"), ("time", "limit:time")]
)
def test_only_the_limits_of_a_log_are_its_samples_ends(tmp_path, kind, outcome):
    one = sample(1, {"exact": "I"}, limit={"type": kind, "limit": 1})
    row = imported(tmp_path / "run", log(tmp_path / "log.json", [one], ["exact"])).iloc[0]
    assert row["outcome"] == outcome
    assert pd.isna(row["score"]) == (outcome == "cancelled")


def test_calls_from_the_cache_of_inspect_have_no_times(tmp_path, capsys):
    def one(number, cache):
        events = [model(1.0, ["Question?"], retries=0, cache=cache)]
        return sample(number, {"exact": "C"}, events=events, total_time=5.0)

    path = log(tmp_path / "log.json", [one(1, "read"), one(2, "write"), one(3, None)], ["exact"])
    records = imported(tmp_path / "run", path).sort_values("source_row")
    assert records["wall_seconds"].isna().tolist() == [True, False, False]
    assert records["service_seconds"].isna().tolist() == [True, False, False]
    assert records["input_tokens"].tolist() == [10, 10, 10]
    assert records["note_cached_calls"].sum() == 1
    assert "1 of 3 calls were read from Inspect's cache" in capsys.readouterr().out


def test_runs_imported_apart_are_told_apart_by_their_settings(tmp_path, capsys):
    """Nothing in each run alone says that the other one has another length or temperature."""
    runs = []
    for name, length, heat in (("a", 65536, 0), ("b", 4096, 0), ("c", 4096, 1)):
        head = {"task_args": {"length": length}, "model_generate_config": {"temperature": heat},
                "solver": "base" if name == "a" else "rlm"}  # fmt: skip
        samples = [sample(i, {"exact": "I" if name == "a" else "C"}) for i in range(4)]
        imported(tmp_path / name, log(tmp_path / f"{name}.json", samples, ["exact"], head=head))
        runs.append(tmp_path / name)
    page = referee(Evidence.of(runs))
    assert set(page.arms["task"]) == {"qa (length=65536)", "qa (length=4096)"}
    assert set(page.arms["method"]) == {"base", "rlm [temperature=0]", "rlm [temperature=1]"}
    (claim,) = page.claims
    assert claim.task == "qa (length=4096)"
    (alarm,) = [f for f in page.findings if f.check == "settings of the tasks"]
    assert alarm.level == "alarm"
    assert "different settings (length)" in alarm.text
    capsys.readouterr()
    assert main(["compare", "base", "rlm", "--run", str(runs[0]), "--run", str(runs[1])]) == 2
    told = "share no scored sample (A has qa (length=65536); B has qa (length=4096))"
    assert told in capsys.readouterr().err
