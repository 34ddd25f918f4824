"""Foreign logs become runs: what they say is there, what they do not say is unknown, never 0."""

import gzip
import io
import json
import zipfile

import made_logs
import pandas as pd
import pytest
import yaml

from rlm_eval.cli import main
from rlm_eval.config.contexts import ContextSource
from rlm_eval.core.types import Role, Slice
from rlm_eval.importers import fieldmap
from rlm_eval.importers.caps import is_round
from rlm_eval.importers.rows import BadLog
from rlm_eval.importers.scoring import disagreements
from rlm_eval.report import summary
from rlm_eval.report.tables import comparison, standard
from rlm_eval.report.viewer import server
from rlm_eval.report.viewer.trajectories import attempts

UNKNOWN = [
    "n_calls", "n_sub_calls", "used_recursion", "max_depth", "n_truncated_calls", "coverage",
    "reread", "evidence_seen", "cost_cold", "cost_observed", "cached_tokens", "reasoning_tokens",
    "root_input_tokens", "sub_input_tokens", "critical_path_seconds", "service_seconds",
    "queue_seconds", "n_steps", "re_rolls", "n_lost_attempts", "lost_tokens_estimated", "tokens",
    "judge_cost", "failed_cost", "n_failed_calls", "n_runaway_calls", "isolation", "prompt",
]  # fmt: skip


def imported(run, kind, *files, more=()):
    assert main(["import", kind, *map(str, files), "-o", str(run), *more]) == 0
    return pd.read_parquet(run / "records.parquet")


@pytest.fixture
def wang(tmp_path):
    return tmp_path / "run", imported(tmp_path / "run", "wang", made_logs.wang(tmp_path / "logs"))


def test_a_row_log_says_no_more_than_it_holds(wang):
    _, records = wang
    assert len(records) == 12
    assert records[UNKNOWN].isna().all().all()
    depth1 = records[records["method"] == "depth1"]
    assert depth1["input_tokens"].tolist() == [600 + i for i in range(6)]
    assert set(depth1["wall_seconds"]) == {3.5}
    assert set(records["imported"]) == {"wang"}
    assert records["provenance"].eq("imported").all()
    assert records["source_sha256"].str.len().eq(64).all()
    assert records["source_row"].str.contains("row").all()


def test_a_suspected_cap_makes_outcomes_unknown_and_scores_bounds(wang):
    _, records = wang
    plain = records[records["method"] == "plain_llm"]
    assert set(plain["outcome"]) == {"unknown"}
    assert "6 of 6 answers end on exactly 512 output tokens" in plain["remark"].iloc[0]
    assert set(records.loc[records["method"] == "depth1", "outcome"]) == {"ok"}
    table = summary.summarise(summary.prepare(records)).set_index("method")
    assert table.loc["plain_llm", ["bound_low", "bound_high"]].tolist() == [0.0, 1.0]
    assert not table.loc["depth1", "as_bounds"]
    against = comparison.against(summary.prepare(records), "plain_llm")
    assert against["verdict"].tolist() == ["no verdict: more than 5 % cut off"]
    assert [n for n in (100, 256, 300, 512, 800, 1000, 1024, 1023, 20) if is_round(n)] == [
        256, 300, 512, 800, 1000, 1024,
    ]  # fmt: skip


def test_no_table_prints_a_zero_for_what_is_unknown(wang):
    _, records = wang
    frame = summary.prepare(records)
    table = summary.summarise(frame)
    built = standard.of_imports(
        standard.build(frame, table, comparison.against(frame, "depth1")), frame
    )
    by_name = {one.name: one for one in built}
    for one in built:
        assert one.note.startswith("IMPORTED, not run here (wang, 2 files, SHA-256")
    behaviour = by_name["behaviour"].rows
    asked = ["calls", "sub-calls", "with a sub-call", "coverage %", "prompt", "isolation"]
    assert (behaviour[asked] == "unknown").all().all()
    outcomes = by_name["outcomes"].rows
    counts = ["calls cut at output cap", "failed calls", "re-rolled"]
    assert (outcomes[counts] == "unknown").all().all()
    assert (by_name["latency"].rows["queued s"] == "unknown").all()
    assert "failures" not in by_name or "not_parsed" not in by_name["failures"].rows


def test_our_scorers_score_again_and_disagreements_are_listed(tmp_path, capsys):
    records = imported(tmp_path / "run", "minrlm", made_logs.minrlm(tmp_path / "eval.json"))
    told = capsys.readouterr().out
    assert "8 answers scored again: 4 of the stated scores differ from ours" in told
    assert "theirs 1, oolong_official 0" in told
    assert records["score"].eq(1).all()
    assert main(["score", str(tmp_path / "run"), "--score", "ours"]) == 0
    again = pd.read_parquet(tmp_path / "run" / "records.parquet")
    assert set(again["scorer"]) == {"oolong_official"}
    assert again.groupby("method")["score"].mean().to_dict() == {"ours": 0.0, "vanilla": 1.0}
    with pytest.raises(SystemExit):
        main(["score", str(tmp_path / "run"), "--score", "mine"])
    assert main(["score", str(tmp_path / "run"), "--scorer", "oolong"]) == 2
    assert "near: oolong_" in capsys.readouterr().err


def test_seeds_that_drew_one_question_again_are_repeats(tmp_path):
    records = imported(tmp_path / "run", "minrlm", made_logs.minrlm(tmp_path / "eval.json"))
    assert records["sample_id"].nunique() == 2
    assert records.groupby("method")["epoch"].apply(sorted).tolist() == [[0, 0, 1, 1]] * 2
    assert records["turns"].notna().groupby(records["method"]).all().to_dict() == {
        "ours": True,
        "vanilla": False,
    }


def test_missing_rows_have_no_score_and_no_tokens(tmp_path, capsys):
    records = imported(tmp_path / "run", "pr160", made_logs.pr160(tmp_path / "logs"))
    lost = records[records["method"] == "rlm_a2"]
    assert set(lost["outcome"]) == {"provider_error"}
    assert lost[["score", "input_tokens", "output_tokens", "note_their_cost"]].isna().all().all()
    direct = records[records["method"] == "direct"]
    assert direct["input_tokens"].tolist() == [9000, 9000]
    known = records[records["n_sub_calls"].notna()]  # 0 of an RLM arm means: not recorded
    assert set(known["method"]) == {"direct"}
    assert set(known["used_recursion"]) == {False}
    assert direct["score_ruler_all"].tolist() == [1.0, 1.0]
    assert records["meta_gold_inferred"].all()
    assert "2 rows with the error" in capsys.readouterr().out


def test_rlms_logs_keep_their_whole_call_tree(tmp_path):
    run = tmp_path / "run"
    golds = made_logs.dump(tmp_path / "golds.json", {"log": "60"})
    log = made_logs.rlms(tmp_path / "log.jsonl")
    more = ("--golds", str(golds), "--scorer", "ruler_all")
    records = imported(run, "rlms", log, more=more)
    row = records.iloc[0]
    assert (row["n_calls"], row["n_sub_calls"], row["n_child_calls"], row["turns"]) == (8, 3, 1, 4)
    assert (row["used_recursion"], row["max_depth"], row["depth_limit"]) == (True, 1, 2)
    assert (row["n_steps"], row["n_error_steps"], row["score"]) == (4, 1, 1.0)
    # Root tokens are in no file; a batch has the usage of one call; ends are not logged.
    lacking = ["input_tokens", "cost_cold", "n_truncated_calls", "service_seconds", "isolation"]
    assert row[lacking].isna().all()
    assert row["note_batch_usage"] == 2
    assert 0 < row["coverage"] < 1
    _, sample, attempt = next(attempts(run))
    calls = attempt.trajectory.calls
    assert [(c.parent, c.depth, c.role) for c in calls] == [
        (None, 0, Role.ROOT), (None, 0, Role.ROOT), (1, 1, Role.SUB), (1, 1, Role.SUB),
        (1, 1, Role.SUB), (None, 0, Role.ROOT), (5, 1, Role.CHILD_ROOT), (None, 0, Role.ROOT),
    ]  # fmt: skip
    assert [c.usage.input for c in calls[2:5]] == [None, None, 9]
    assert any(isinstance(p, Slice) for _, parts in calls[2].prompt.messages for p in parts)
    assert attempt.trajectory.answer.provenance == "variable"
    assert sample.question == "How many lamps?"
    assert [s.error for s in attempt.trajectory.steps] == [None, None, "NameError", None]
    assert calls[1].times.end - calls[1].times.start == pytest.approx(0.75)
    assert "secret" not in (run / "imported.json").read_text()
    shelf = server.ViewerData([run], ContextSource(runs=[run]))
    shown = shelf.trajectory({"sample": shelf.addresses[0]})
    assert [call["times"][2] is None for call in shown["item"]["calls"]].count(True) == 2
    assert (
        shelf.context({"sample": shelf.addresses[0], "start": "0", "end": "7"})["text"] == "Shelf 0"
    )
    json.dumps(shown, allow_nan=False)


def _zipped(tree, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        header = {k: v for k, v in tree.items() if k != "samples"}
        file.writestr("header.json", json.dumps(header))
        for sample in tree["samples"]:
            file.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_inspect_logs_tell_solver_and_judge_apart(tmp_path, packed):
    tree = made_logs.inspect_tree()
    path = tmp_path / ("log.eval" if packed else "log.json")
    path.write_bytes(_zipped(tree) if packed else json.dumps(tree).encode())
    row = imported(tmp_path / "run", "inspect", path).iloc[0]
    assert (row["n_calls"], row["n_judge_calls"], row["n_steps"]) == (2, 1, 1)
    assert (row["input_tokens"], row["cached_tokens"], row["judge_input_tokens"]) == (70, 20, 60)
    assert (row["score"], row["wall_seconds"], row["outcome"]) == (1.0, 4.0, "ok")
    assert pd.isna(row["score_other"])  # 3 is no share
    assert row["meta_level"] == "easy"
    _, sample, _ = next(attempts(tmp_path / "run"))
    assert sample.question == "How many, asked at length?"


def test_verifiers_traces_count_cache_reads_and_lose_failed_episodes(tmp_path):
    log = made_logs.verifiers(tmp_path / "traces.jsonl")
    records = imported(tmp_path / "run", "verifiers", log).set_index("outcome")
    good, lost = records.loc["ok"], records.loc["provider_error"]
    assert (good["input_tokens"], good["cached_tokens"], good["wall_seconds"]) == (100, 60, 1.5)
    assert (good["score"], good["note_metric_turns"], good["method"]) == (1.0, 1.0, "rlm")
    assert pd.isna(lost["score"])
    assert pd.isna(lost["n_calls"])
    legacy = {"example_id": 3, "prompt": "Q", "completion": [{"role": "assistant", "content": "A"}],
              "answer": "A", "reward": 1.7, "is_truncated": True,
              "token_usage": {"input_tokens": 5, "output_tokens": 6}}  # fmt: skip
    path = made_logs.lines(tmp_path / "results.jsonl", [legacy])
    row = imported(tmp_path / "old", "verifiers", path).iloc[0]
    assert row["outcome"] == "truncated"
    assert pd.isna(row["score"])  # 1.7 is not in [0, 1]
    assert row["input_tokens"] == 5


def test_every_field_of_a_whole_episode_is_read(tmp_path):
    log = made_logs.verifiers_whole(tmp_path / "traces.jsonl")
    records = imported(tmp_path / "run", "verifiers", log).set_index("outcome")
    assert sorted(records.index) == ["limit:tokens", "ok", "provider_error"]
    good = records.loc["ok"]  # its errors are those of an attempt that was made again
    assert (good["method"], good["task"], good["root"]) == ("solver", "made-env", "m/root")
    assert (good["n_calls"], good["n_failed_calls"]) == (4, 1)
    # The other agent's name does not say that it is a child of the one that was rewarded.
    assert good[["n_root_calls", "n_child_calls", "used_recursion"]].isna().all()
    assert good["note_their_scorer"] == "0.75 x exact + form"
    assert good["score"] == 0.75
    assert (good["score_reward_exact"], good["score_reward_form"]) == (1.0, 0.0)
    assert good["note_extra_usage_calls"] == 2
    assert (good["note_extra_input_tokens"], good["note_extra_output_tokens"]) == (110, 15)
    assert good["note_earlier_errors"] == 2
    assert pd.isna(records.loc["limit:tokens", "score"])  # a reward of null is not 0
    assert disagreements(next((tmp_path / "run" / "cells").iterdir())) == (0, [])  # rewards: theirs
    trajectory, target = next(
        (attempt.trajectory, sample.target)
        for _, sample, attempt in attempts(tmp_path / "run")
        if attempt.trajectory.outcome.value == "ok"
    )
    assert (trajectory.answer.text, target) == ("60", "60")  # root_reply, no last message
    root = [call for call in trajectory.calls if call.depth == 0]
    assert [call.reasoning for call in root] == ["", "I call the tool.", ""]
    assert [role for role, _ in root[2].prompt.messages] == ["system", "user", "assistant", "tool"]
    assert root[2].usage.input == 38
    assert root[2].usage.cached == 30


def test_rows_without_answer_and_score_are_named(tmp_path, capsys):
    rows = [{"arm": "a", "id": i, "said": "x" if i else "", "ok": None} for i in range(3)]
    log = made_logs.lines(tmp_path / "own.jsonl", rows)
    (tmp_path / "own.yaml").write_text(
        "task: =mine\nmethod: arm\nitem: id\nanswer: said\nscore: ok\n"
    )
    given = ["import", "rows", str(log), "--map", str(tmp_path / "own.yaml")]
    assert main([*given, "-o", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "1 of 3 rows have neither an answer nor a score nor an error" in told


OWN = (
    "task: =mine\nmethod: arm\nitem: id\nanswer: said\nscore: ok\noutput_tokens: out\ngold: gold\n"
)


def test_a_map_of_the_users_reads_csv_with_quotes_and_unicode(tmp_path):
    rows = 'arm,id,said,ok,out,gold\na,1,"x, ""y""\nzwei – 日本",1,,"é"\na,2,,0,12,z\n'
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(rows.encode("utf-8-sig")))
    own = made_logs.dump(tmp_path / "own.yaml", OWN)
    records = imported(tmp_path / "run", "rows", path, more=("--map", str(own)))
    assert records["score"].tolist() == [1.0, 0.0]
    assert records["output_tokens"].isna().tolist() == [True, False]
    _, _, attempt = next(attempts(tmp_path / "run"))
    assert attempt.trajectory.answer.text == 'x, "y"\nzwei – 日本'


@pytest.mark.parametrize("missing", ["task", "method"])
def test_an_option_completes_a_map(tmp_path, missing, capsys):
    words = {"task": "task: =kept\n", "method": "method: =kept\n"}
    del words[missing]
    own = tmp_path / "own.yaml"
    own.write_text("".join(words.values()) + "item: id\nanswer: said\nscore: ok\n")
    log = made_logs.dump(tmp_path / "a.jsonl", '{"id": 1, "said": "x", "ok": 1}\n')
    run, more = tmp_path / "run", ("--map", str(own))
    assert main(["import", "rows", str(log), *more, "-o", str(run)]) == 2
    assert f"`{missing}: =NAME` or --{missing} NAME" in capsys.readouterr().err
    records = imported(run, "rows", log, more=(*more, f"--{missing}", "given"))
    kept = {"task": "kept", "method": "kept"} | {missing: "given"}
    assert records[["task", "method"]].to_dict("records") == [kept]


def test_an_option_completes_rows_that_lack_the_field(tmp_path, capsys):
    """A shipped map may read the task from a name that is another one here."""
    log = made_logs.dump(
        tmp_path / "mine_results.json",
        '{"experiment": "depth1_plain_llm", "results": [{"question": "q", "score": 1}]}',
    )
    own = tmp_path / "own.yaml"
    own.write_text(
        "rows: results\ntask: $.task\nmethod: $.experiment\nquestion: question\nscore: score\n"
    )
    given = ["import", "rows", str(log), "--map", str(own), "-o", str(tmp_path / "run")]
    assert main(given) == 2
    assert "no task (read from $.task)" in (told := capsys.readouterr().err)
    assert "--task NAME for a log without one" in told
    assert main([*given, "--task", "given"]) == 0


def test_odd_texts_and_numbers_are_read_or_refused(tmp_path, capsys):
    own = ("--map", str(made_logs.dump(tmp_path / "own.yaml", OWN)))
    log = tmp_path / "a.jsonl"
    half = '{"arm": "a", "id": "\\ud800", "said": "<b>", "ok": NaN}\n'
    made_logs.dump(log, half + '{"arm": "a", "id": 2, "said": "x\u2028y", "ok": 55}\n')
    records = imported(tmp_path / "run", "rows", log, more=own)
    assert records["score"].isna().all()
    assert "1 stated scores are not in [0, 1] (e.g. 55)" in capsys.readouterr().out
    made_logs.dump(tmp_path / "c.json", '[{"arm":"a","id":1,"said":"x","ok":1,"out":-1}]')
    assert main(["import", "rows", str(tmp_path / "c.json"), *own, "-o", str(tmp_path / "x")]) == 2
    assert "output_tokens -1 is not a count" in capsys.readouterr().err


def test_every_shipped_map_is_short_and_loads():
    for name, path in fieldmap.maps().items():
        assert fieldmap.load(path).about, name
        assert len(yaml.safe_load(path.read_text())) <= 28


BAD = {
    "empty.json": (b"", "empty"),
    "spaces.json": (b" \n ", "empty"),
    "half.json": (b'{"experiment": "oolong_depth1", "results": [{"sample_id": 0', "half a file"),
    "other.json": (b'{"a": 1}', "no list of rows under `results`"),
    "number.json": (b"7", "not rows"),
    "list.json": (b"[1, 2]", "not an object"),
    "norows.json": (b'{"experiment": "oolong_depth1", "results": []}', "is empty"),
    "latin.json": ('{"results": "é"}'.encode("latin-1"), "not UTF-8"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "noanswer.json": (
        b'{"experiment": "oolong_depth1", "model": "m", "results": [{"sample_id": 1, "score": 1}]}',
        "no row has an answer",
    ),
    "words.json": (
        b'{"experiment": "oolong_depth1", "results": [{"sample_id": 1, "question": "q",'
        b' "rlm_response": "a", "score": "high", "gold_answer": "[1]"}]}',
        "'high' is not a number",
    ),
    "method.json": (
        b'{"experiment": "zzz", "results": [{"sample_id": 1, "rlm_response": "a", "score": 1}]}',
        "no method",
    ),
    "broken.json.gz": (b"\x1f\x8b\x08rubbish", "damaged gzip"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_clear_line_and_leave_nothing(tmp_path, capsys, name):
    data, words = BAD[name]
    good = made_logs.wang(tmp_path / "logs", n=2) / "depth1.json"
    path = tmp_path / name
    path.write_bytes(data)
    out = tmp_path / "out" / "run"
    assert main(["import", "wang", str(good), str(path), "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert name in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("kind", "name", "data", "words"),
    [
        ("rlms", "x.jsonl", b'{"type": "metadata"}\n', "no line of type `iteration`"),
        ("rlms", "x.jsonl", b'{"type": "iteration", "iteration": 1}\n{"type', "not whole"),
        ("rlms", "x.jsonl", b'{"type": "iteration", "code_blocks": [{}]}\n', "KeyError"),
        ("inspect", "x.eval", b"PK\x03\x04half", "half a ZIP"),
        ("inspect", "x.json", b'{"a": 1}', "without `eval`"),
        ("inspect", "x.json", b'{"eval": {}, "status": "started"}', "holds no samples"),
        ("verifiers", "x.jsonl", b'{"a": 1}\n', "neither `traces` nor `reward`"),
        ("verifiers", "x.jsonl", b'{"traces": 5}\n', "not as verifiers writes it"),
        ("rows", "x.json", b"[{}]", "needs --map"),
        ("nosuch", "x.json", b"[{}]", "no kind 'nosuch'"),
        ("wang", "missing.json", None, "cannot be read"),
        ("wang", "folder", "folder", "no file in this folder"),
    ],
)
def test_other_kinds_and_halves_are_named(tmp_path, capsys, kind, name, data, words):
    path = tmp_path / name
    if data == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    assert main(["import", kind, str(path), "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_duplicates_are_dropped_where_equal_and_an_error_where_not(tmp_path, capsys):
    row = {"arm": "a", "id": 1, "said": "x", "ok": 1}
    own = ("--map", str(made_logs.dump(tmp_path / "own.yaml", OWN)))
    same = made_logs.lines(tmp_path / "same.jsonl", [row, row])
    assert len(imported(tmp_path / "same", "rows", same, more=own)) == 1
    assert "1 rows are exact copies" in capsys.readouterr().out
    other = made_logs.lines(tmp_path / "other.jsonl", [row, {**row, "ok": 0}])
    assert main(["import", "rows", str(other), *own, "-o", str(tmp_path / "no")]) == 2
    assert "different rows of one sample" in capsys.readouterr().err
    last = imported(tmp_path / "last", "rows", other, more=(*own, "--last"))
    assert last["score"].tolist() == [0.0]
    assert main(["import", "rows", str(same), str(same), *own, "-o", str(tmp_path / "x")]) == 2
    assert main(["import", "rows", str(same), *own, "-o", str(tmp_path / "same")]) == 2
    assert "already there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: =a\nmethod: =b\nscor: x", "no field 'scor'; near: score"),
        ("task: =a\nmethod: =b", "neither `score` nor `scorer`"),
        ("task: =a\nscore: x", "`method` is missing"),
        ("- 1", "a field map is"),
        ("task: =a\nmethod: =b\nscore: {from: x, match: '('}", "not a regular expression"),
        ("task: =a\nmethod: =b\nscore: {from: x, as: date}", "as: one of"),
        ("task: =a\nmethod: =b\nscore: {form: x}", "unknown form"),
        ("task: =a\nmethod: =b\nscore: x\nerrors: {a: lost}", "is not an outcome"),
        ("task: [", "no field map"),
        ("task: =a\nmethod: =b\nscore: x\nerrors: [a, b]", "errors: give lines of `key: value`"),
        ("task: =a\nmethod: =b\nscore: x\nremarks: one", "remarks: give a list, not one"),
        ("task: =a\nmethod: =b\nscore: {from: x, values: [1]}", "score: values: give lines of"),
        ("task: =a\nmethod: =b\nscore: x\nborrow: {gold: id}", "borrow: gold: give lines of"),
        ("task: =a\nmethod: =b\nscore: {add: x}", "score: add: give a list, not x"),
    ],
)
def test_a_wrong_map_names_its_entry(tmp_path, text, words):
    path = made_logs.dump(tmp_path / "own.yaml", text)
    with pytest.raises(BadLog) as error:
        fieldmap.load(path)
    assert words in str(error.value)


def test_commands_that_need_the_task_say_that_it_was_imported(wang, capsys):
    run, _ = wang
    assert main(["status", str(run)]) == 0
    assert "imported (wang): 12 rows of 2 files" in capsys.readouterr().out
    assert main(["replay", str(run)]) == 2
    assert "imported from a foreign log" in capsys.readouterr().err
    assert main(["export", "tables", str(run), "-o", str(run.parent / "t")]) == 0
    assert main(["export", "hub", str(run), "-o", str(run.parent / "h")]) == 0
    assert main(["export", "chat", str(run), "-o", str(run.parent / "c")]) == 2
    assert "have no calls" in capsys.readouterr().err
    assert main(["compare", "depth1", "plain_llm", "--run", str(run)]) == 0
    assert "IMPORTED, not run here" in capsys.readouterr().out
    assert main(["import", "list"]) == 0
    assert "minrlm" in capsys.readouterr().out
    assert main(["import", "wang", "--show-map"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["rows"] == "results"


@pytest.mark.slow
def test_report_of_an_import_is_whole_and_stamped(wang):
    run, _ = wang
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "report.html").read_text()
    assert "IMPORTED, not run here" in page
    assert "a suspected output cap" in page
    card = (run / "report" / "CARD.md").read_text()
    assert "**sandbox**: unknown" in card
    assert "plain_llm.json (6 rows)" in card
    data = pd.read_csv(run / "report" / "figures" / "length_panels.csv")
    assert data["length"].isna().all()


def test_our_own_export_comes_back_equal(tmp_path):
    pytest.importorskip("inspect_ai")
    import made_runs

    run = made_runs.write(tmp_path / "run", lengths=(1024,), n=3)
    assert main(["export", "inspect", str(run), "-o", str(tmp_path / "logs")]) == 0
    before = pd.read_parquet(run / "records.parquet")
    after = imported(tmp_path / "back", "inspect", tmp_path / "logs")
    keys = ["method", "sample_id", "epoch"]
    both = before.merge(after, on=keys, suffixes=("", "_after"))
    assert len(both) == len(before) == len(after)
    for column in (
        "outcome", "score", "scorer", "length", "tokens", "chars", "item", "cluster", "coverage",
        "evidence_seen", "n_calls", "n_sub_calls", "turns", "input_tokens", "output_tokens",
        "cached_tokens", "wall_seconds", "critical_path_seconds", "service_seconds", "failure",
        "scripted", "generated", "prompt", "question_hash", "used_recursion", "max_depth",
    ):  # fmt: skip
        left, right = both[column], both[f"{column}_after"]
        same = (left == right) | (left.isna() & right.isna())
        assert same.fillna(False).all(), f"{column}: {left.tolist()} {right.tolist()}"


def test_chat_export_of_unscored_logs_is_one_clear_error(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["import", "rlms", str(made_logs.rlms(tmp_path / "a.jsonl")), "-o", str(run)]) == 0
    assert main(["export", "chat", str(run), "-o", str(tmp_path / "chat")]) == 2
    assert "1 results have no score (of imported logs" in capsys.readouterr().err


def test_golds_for_a_log_without_scores_are_scored_and_said(tmp_path, capsys):
    log = made_logs.rlms(tmp_path / "a.jsonl")
    golds = made_logs.dump(tmp_path / "golds.json", {"a.jsonl": "7"})
    more = ["--golds", str(golds), "--scorer", "ruler_all", "-o", str(tmp_path / "run")]
    assert main(["import", "rlms", str(log), *more]) == 0
    assert "- 1 answers scored; the log states no score" in capsys.readouterr().out
