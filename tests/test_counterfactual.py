"""Counterfactual replay: what is shared, what is new, what it costs, and that nothing is pooled."""

import re
import shutil
from collections import Counter
from pathlib import Path

import orjson
import pandas as pd
import pytest
from runs import cells_of

from rlm_eval.cli import main
from rlm_eval.config.cell import build_cell, run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.models.scripted import ScriptedClient
from rlm_eval.records.build import write_records
from rlm_eval.records.record import load_records
from rlm_eval.report import compare
from rlm_eval.report import summary as cells
from rlm_eval.report.tables import card, comparison
from rlm_eval.runner.counterfactual import effect
from rlm_eval.runner.counterfactual.change import planned, slug
from rlm_eval.runner.counterfactual.shared import SharedReplies, unit
from rlm_eval.runner.runner import Runner
from rlm_eval.storage.cell_store import read_manifest
from rlm_eval.storage.journal import FROM, JournalReader, StoredReplies
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.storage.spend import spent

TURNS = [
    *["the prompt's own two examples"] * 2,  # the script counts the assistant's messages
    "```python\nprint(len(context))\n```",
    "```python\na = llm_query('first? ' + context[:40])\nprint(len(a) > 0)\n```",
    "```python\nb = llm_query_batched(['x ' + a[:0], 'y', 'z ' + context[:9]])\n```",
    '```python\nanswer["content"] = b[0]\nanswer["ready"] = True\n```',
]

QUOTED = ",".join('"' + turn.replace('"', '\\"') + '"' for turn in TURNS)


def given(place: Path, *more: str) -> list[str]:
    return [
        "task=s_niah", "method=rlm", "model@root=scripted", "root.program=replies",
        f"root.replies=[{QUOTED}]", "model@sub=scripted", "sub.name=sub-a",
        "sub.program=replies", "sub.replies=[one]", "tokenizer=approx4", "length=1k", "n=2",
        "name=first", f"results={place}", *more,
    ]  # fmt: skip


def run(overrides):
    configs = expand(overrides)
    cells = [build_cell(config) for config in configs]
    summary = Runner(run_folder(configs[0]), cells, sweep_budget(configs[0])).run_now()
    assert not summary.unfinished
    write_records(summary.folder)
    return summary.folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return run(given(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def sent(monkeypatch):
    """Models that were really asked, by name."""
    asked: Counter[str] = Counter()
    complete = ScriptedClient.complete

    async def counted(self, messages, sampling):
        asked[self.config.name] += 1
        return await complete(self, messages, sampling)

    monkeypatch.setattr(ScriptedClient, "complete", counted)
    return asked


def replayed(original, name, *arguments):
    assert main(["replay", str(original), "--name", name, *arguments]) == 0
    return original.parent / name


def cell_of(folder):
    [cell] = (folder / "cells").iterdir()
    return cell


def test_a_changed_sub_model_shares_what_came_before_its_first_call(original, sent, capsys):
    """Turns 0 and 1 of the root are shared; the sub-call of turn 1 and all behind it are new."""
    change = ["--set", "model@sub=scripted", "--set", "sub.name=sub-b"]
    change += ["--set", "sub.program=replies", "--set", "sub.replies=[two]"]
    assert main(["replay", str(original), *change, "--estimate"]) == 0
    told = capsys.readouterr().out
    assert "2 samples, 0 of them untouched; 4 calls shared, about 12 new" in told
    assert not sent
    folder = replayed(original, "sub-b", *change)
    told = capsys.readouterr().out
    assert sent == {"scripted": 2 * 2, "sub-b": 2 * 4}
    assert "calls: 16, of them 4 shared with the original; paid for: 12 calls" in told
    assert "2 pairs: 0 better, 0 worse, 2 equal" in told
    lines = [line for line in read_lines(cell_of(folder) / "journal.jsonl") if line["k"] == "call"]
    assert Counter((FROM in line, line["position"]) for line in lines) == {
        (True, "t0"): 2, (True, "t1"): 2, (False, "t1.b0"): 2, (False, "t2"): 2,
        (False, "t2.b0"): 6, (False, "t3"): 2,
    }  # fmt: skip
    assert spent(cell_of(folder)).calls == 12
    manifest = read_manifest(cell_of(folder))
    assert manifest["facts"]["variant"].startswith("counterfactual: model@sub=scripted")
    assert "Counterfactual of" in manifest["facts"]["remark"]
    assert (
        manifest["config"]["counterfactual"]["of"] == read_manifest(cell_of(original))["identity"]
    )
    sent.clear()
    replayed(original, "sub-b", *change)  # the same command resumes, and there is nothing to do
    assert not sent
    assert main(["replay", str(folder)]) == 0  # it stands alone
    assert "2 of 2 came to the stored result" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_never_pooled_with_its_original(original, sent):
    folder = replayed(original, "warm", "--set", "temperature=0.7")
    frame = load_records([original, folder])
    assert frame["cell_id"].nunique() == 2
    assert len(frame) == 4
    assert set(frame["n_replayed_calls"]) == {0}  # every request differs: nothing is shared
    told = compare([original, folder], "rlm", "counterfactual: temperature=0.7")
    assert "n = 2 pairs in 2 clusters" in told
    prepared = cells.prepare(frame, card.manifests([original, folder]))
    pair = "(scripted > sub-a)"
    assert set(cells.series_order(prepared)) == {
        f"rlm {pair}", f"rlm [counterfactual: temperature=0.7] {pair}"
    }  # fmt: skip
    assert list(cells.summarise(prepared)["n"]) == [2, 2]
    assert set(comparison.select(prepared, "rlm")["cell_id"]) == {
        read_manifest(cell_of(original))["identity"]
    }
    genuine = build_cell(expand(given(original.parent, "root.sampling.temperature=0.7"))[0])
    assert genuine.identity != read_manifest(cell_of(folder))["identity"]


@pytest.mark.slow
def test_recursion_off_shares_nothing_where_the_prompt_tells_of_it(original, sent, capsys):
    folder = replayed(original, "flat", "--set", "recursion=off", "--n", "1")
    assert sent["sub-a"] == 0
    assert load_records([folder])["n_sub_calls"].sum() == 0
    assert "counterfactual recursion=off" in capsys.readouterr().out


@pytest.mark.slow
def test_a_smaller_block_output_diverges_where_it_is_first_seen(original, sent):
    """A setting that only later turns feel: everything until then is shared, sub-calls too."""
    replayed(original, "short", "--set", "method.max_turns=3")
    assert sent == {"scripted": 2 * 1}  # asked for the answer once more, behind three shared turns


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A fixed program with 40 records per sub-call; sub-calls of several cells."""
    place = f"results={tmp_path_factory.mktemp('programs')}"
    return run([
        "task=oolong_gen", "method=program_label_count,rlm", "model@root=scripted",
        "model@sub=same", "tokenizer=approx4", "length=1k", "n=2", "name=first",
        "max_samples=1", place,
    ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("change", ["records=10", "keyed=off"])
def test_records_and_keyed_replies_cost_what_was_estimated(labelled, sent, capsys, change):
    assert main(["replay", str(labelled), "--set", change, "--estimate"]) == 0
    told = capsys.readouterr()
    assert "rlm" in told.err
    assert f"excluded: {change}: is for program_label_count" in told.err
    [expected] = re.findall(r"about (\d+) new", told.out)
    assert not sent
    folder = replayed(labelled, change.replace("=", "-"), "--set", change)
    assert sum(sent.values()) == int(expected) > 0
    assert f"paid for: {expected} calls" in capsys.readouterr().out
    records = load_records([folder])
    assert set(records["method"]) <= {"program_label_count", "program_label_count_unkeyed"}
    assert not set(records["cell_id"]) & set(load_records([labelled])["cell_id"])


def test_a_difference_of_cut_answers_is_no_verdict():
    both = pd.DataFrame({"sample_id": ["a", "b"], "epoch": [0, 0], "outcome": ["ok", "ok"]})
    cut = both.assign(outcome=["ok", "limit:turns"])
    [told] = effect._reservations(cut, both, 2)
    assert told == "  no verdict: 1 of 2 results of the counterfactual were cut off"
    assert list(effect._reservations(both, both, 1)) == ["  1 pairs lack a score and are left out"]


@pytest.mark.slow
def test_limits_hold_and_an_interrupted_replay_goes_on(original, sent, capsys):
    change = ["--set", "model@sub=scripted", "--set", "sub.name=sub-c", "--set", "budget.calls=5"]
    change += [
        "--set",
        "sub.program=replies",
        "--set",
        "sub.replies=[two]",
        "--set",
        "max_samples=1",
    ]
    assert main(["replay", str(original), "--name", "cut", *change]) == 1
    assert sum(sent.values()) <= 5
    first = sum(sent.values())
    change[change.index("budget.calls=5")] = "budget.calls=50"
    assert main(["replay", str(original), "--name", "cut", *change]) == 0
    assert sum(sent.values()) == 12  # nothing was asked twice
    assert 0 < first < 12
    frame = load_records([original.parent / "cut"])
    assert len(frame) == 2
    assert set(frame["diverged_calls"]) == {0}
    lines = read_lines(cell_of(original.parent / "cut") / "journal.jsonl")
    assert len({line["c"] for line in lines if line["k"] == "call"}) == 16
    assert "16, of them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["length=2k"], "changes the question"),
        (["n=3"], "changes the question"),
        (["temperature=1", "recursion=off"], "changes 2 things"),
        (["protocol=rlm_paper_v1", "recursion=off"], "changes 2 things"),
        (["method.max_turns=3", "method.output_chars=40"], "changes 2 things"),
        (["root.sampling.temperature=1", "root.sampling.max_output_tokens=9"], "changes 2 things"),
        (["limits.calls=3", "limits.seconds=9", "budget.calls=5"], "changes 2 things"),
        (["max_samples=1"], "nothing is changed"),
        (["recursion=on"], "only `off`"),
        (["method.depth=1"], "changes nothing"),
        (["method.depth=1", "max_samples=1"], "changes nothing"),
        (["method.dept=0"], "dept"),
        (["records=5"], "program_label_count"),
        (["records=0"], "1 or more"),
        (["records=few"], "1 or more"),
        (["model@nobody=scripted"], "slots are root, sub"),
        (["sub"], "KEY=VALUE"),
        (["protocol=rag"], "no answer protocol"),
        (["colour=red"], "unknown"),
        (["sub.replies=[two]"], "another model under the same name"),
    ],
)
def test_bad_changes_are_one_clear_error(original, changes, words):
    with pytest.raises(ConfigError, match=words):
        planned(original, changes, n=1)


def test_an_original_that_lost_calls_is_not_paid_again(original, tmp_path, sent, capsys):
    copy = tmp_path / "runs" / original.name
    shutil.copytree(original, copy)
    journal = cell_of(copy) / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"role":"sub"' not in line))
    assert main(["replay", str(copy), "--name", "lost", "--set", "temperature=0.7"]) != 0
    assert "of trajectory 0, whose result is stored (and 1 more)" in capsys.readouterr().err
    assert not sent


def test_options_that_belong_elsewhere(original, capsys):
    with pytest.raises(SystemExit):
        main(["replay", str(original), "--estimate"])
    with pytest.raises(SystemExit):
        main(["replay", str(original), "--set", "recursion=off", "--accept"])
    assert main(["replay", str(original), "--set", "recursion=off", "--name", "first"]) == 2
    assert (
        "this is the original run; give the counterfactual another name" in capsys.readouterr().err
    )
    assert slug(["model@sub=gpt-5", "a/b"]) == "model-sub-gpt-5-a-b"


@pytest.mark.parametrize(
    ("position", "found"),
    [("t0", "t0"), ("t1.b0", "t1.b0"), ("t1.b0/k-1.t3.b2", "t1.b0"), ("t2.compact", "t2"),
     ("t0.n3", "t0"), ("c12", "c"), ("answer", "answer"), ("t12.b3", "t12.b3")],
)  # fmt: skip
def test_the_unit_in_which_calls_do_not_wait_for_each_other(position, found):
    assert unit(position) == found


def line(position, request, c):
    return {"position": position, "request": request, "c": c, "times": [0, 0, 0, 1]}


def test_order_within_a_block_does_not_decide_and_what_is_behind_is_new():
    stored = StoredReplies()
    for number, where in enumerate(["t0", "t0.b0", "t0.b0", "t1", "judge"]):
        stored.add(line(where, f"r{number}", number))
    for order in (["r1", "x", "r2"], ["x", "r2", "r1"]):
        replies = SharedReplies(original=stored)
        assert replies.take("t0", "r0", 0)
        got = {request: replies.take("t0.b0", request, 0) for request in order}
        assert [bool(got[r]) for r in ("r1", "x", "r2")] == [True, False, True]
        assert replies.take("t1", "r3", 0) is None  # in equal words, but behind the divergence
        assert replies.take("judge", "r4", 0)  # a verdict on the same answer
        assert sorted(replies.taken) == [0, 1, 2, 4]
        stored.unused = 5


def test_the_share_of_an_effect():
    import numpy as np

    clusters = np.array([str(i) for i in range(40)])
    b = np.zeros(40)
    c = np.ones(40)
    a = np.array([1.0] * 10 + [0.0] * 30)
    told = effect.share_words(a, b, c, clusters)
    assert "whole effect +100.0 pp [+100.0, +100.0]; share of this change alone 25% [" in told
    assert "so no share is printed" in effect.share_words(a, b, b, clusters)


@pytest.mark.slow
def test_the_share_is_told_against_a_run_in_which_all_was_changed(original, capsys):
    both = run(given(original.parent, "name=both", "sub.replies=[three]", "sub.name=sub-d"))
    change = ["--set", "model@sub=scripted", "--set", "sub.name=sub-e"]
    change += ["--set", "sub.program=replies", "--set", "sub.replies=[three]"]
    replayed(original, "e", *change, "--effect", str(both))
    assert "its interval contains 0, so no share is printed" in capsys.readouterr().out
    assert main(["replay", str(original), "--name", "e", *change, "--effect", str(both),
                 "--effect-cell", "nothing"]) == 2  # fmt: skip
    assert "that run has no sample of" in capsys.readouterr().err
    assert len(JournalReader(cell_of(both) / "journal.jsonl")._calls) == 16
    assert orjson.loads((cell_of(both) / "DONE").read_bytes())["samples"] == 2
    assert cells_of(given(original.parent))[0].origin is None
