"""Traces of verifiers: sub-calls on branches, several agents on one clock, sets of rewards."""

import made_logs
import pandas as pd
import pytest

from rlm_eval.cli import main
from rlm_eval.records.record import FILE as RECORDS


def node(parent, role, text):
    return {"parent": parent, "sampled": role == "assistant",
            "message": {"role": role, "content": text}}  # fmt: skip


def call(at, start, end):
    return {"node": at, "model": "m", "finish_reason": "stop", "error": None,
            "usage": {"prompt_tokens": 10, "completion_tokens": 2},
            "time": {"start": start, "end": end}}  # fmt: skip


def trace(name="rlm", rewards=None, **more):
    nodes = [node(None, "user", "Q"), node(0, "assistant", "A")]
    rewards = {"correct": 1.0} if rewards is None else rewards
    return {"agent": {"name": name}, "nodes": nodes, "calls": [call(1, 0.0, 1.0)],
            "rewards": {n: {"score": score, "weight": 1.0} for n, score in rewards.items()},
            "metrics": {}, "errors": [], **more}  # fmt: skip


def imported(tmp_path, *episodes, more=(), code=0):
    log = made_logs.lines(tmp_path / "traces.jsonl", [
        {"id": f"e{i}", "env": {"id": "rlm-env"}, "ok": True, "errors": [], "traces": traces,
         "task": {"hash": f"h{i}", "data": {"question": f"Q{i}", "answer": "A"}}}
        for i, traces in enumerate(episodes)
    ])  # fmt: skip
    run = tmp_path / "run"
    assert main(["import", "verifiers", str(log), "-o", str(run), *more]) == code
    return pd.read_parquet(run / RECORDS) if code == 0 else None


def branched(metrics):
    """A root that asks once, with the sub-call on a branch of its own."""
    nodes = [node(None, "user", "Q"), node(0, "assistant", "call llm_query"),
             node(None, "user", "sub question"), node(2, "assistant", "sub reply"),
             node(1, "user", "output: sub reply"), node(4, "assistant", "A")]  # fmt: skip
    calls = [call(1, 0.0, 1.0), call(3, 1.0, 2.0), call(5, 2.0, 3.0)]
    return trace(nodes=nodes, calls=calls, root_reply="A", metrics=metrics)


@pytest.mark.parametrize(
    ("metrics", "subs"), [({"sub_llm_calls": 1}, 1), ({}, None), ({"sub_llm_calls": 3}, None)]
)
def test_a_branch_is_a_sub_call_where_a_metric_counts_it(tmp_path, metrics, subs):
    row = imported(tmp_path, [branched(metrics)]).iloc[0]
    columns = ["n_sub_calls", "used_recursion", "max_depth", "n_root_calls", "turns"]
    if subs is None:
        assert row[columns].isna().all()
    else:
        assert row[columns].tolist() == [1, True, 1, 2, 2]
    assert row["n_calls"] == 3


def test_sub_calls_that_only_a_metric_knows_are_not_0(tmp_path):
    row = imported(tmp_path, [trace(metrics={"sub_llm_calls": 2})]).iloc[0]
    assert row[["n_sub_calls", "used_recursion"]].isna().all()


@pytest.mark.parametrize(("name", "children"), [("sub_reader", 1), ("checker", None)])
def test_agents_of_an_episode_share_one_clock_and_few_are_children(tmp_path, name, children):
    solver = trace("solver", calls=[call(1, 1000.0, 1010.0)])
    checker = trace(name, rewards={}, calls=[call(1, 1010.0, 1025.0)])
    row = imported(tmp_path, [solver, checker]).iloc[0]
    assert row["wall_seconds"] == 25.0
    assert row["n_child_calls"] == children if children else pd.isna(row["n_child_calls"])


def test_another_set_of_rewards_is_another_measure(tmp_path, capsys):
    traces = [[trace(rewards=r)] for r in ({"exact": 1.0}, {"exact": 0.0, "form": 0.5})]
    imported(tmp_path, *traces, code=2)
    assert "2 scorers: exact (traces.jsonl, line 1); exact + form" in capsys.readouterr().err
    records = imported(tmp_path, *traces, more=["--their-scorer", "exact"])
    assert records["score"].tolist() == [1.0, 0.0]
