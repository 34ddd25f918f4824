"""A sweep's budget over jobs: shares at submission, nothing spent twice, nothing lost silently."""

import asyncio
import time

import orjson
import pytest
from runs import asked, cells_of, overrides, server_process

from rlm_eval.cluster import Cluster, write_jobs
from rlm_eval.commands.run import main as run_cells
from rlm_eval.commands.status import main as status
from rlm_eval.commands.submit import main as submit
from rlm_eval.errors import RlmEvalError
from rlm_eval.lease import Lease
from rlm_eval.limits import Limits
from rlm_eval.plan import plan
from rlm_eval.shares import left_by_jobs, pot, shares

URL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def test_shares_follow_samples_and_length(tmp_path):
    small, large = cells_of(overrides(tmp_path, URL, "length=1k,3k", "n=4"))
    budget = Limits(tokens=8000, cost=4.0, calls=9)
    assert shares(tmp_path / "test", budget, [[small], [large]]) == [
        {"tokens": 2000, "cost": 1.0, "calls": 4},
        {"tokens": 6000, "cost": 3.0, "calls": 4},
    ]
    with pytest.raises(
        RlmEvalError, match="too little is free for 2 jobs: calls 1: 0 spent, 0 held"
    ):
        shares(tmp_path / "test", Limits(calls=1), [[small], [large]])


async def test_what_a_running_job_holds_is_not_handed_out_again(tmp_path):
    run = tmp_path / "test"
    cells = cells_of(overrides(tmp_path, URL, "length=1k,2k", "n=4"))
    run.mkdir()
    plan(run, cells)
    budget = Limits(calls=10)
    write_jobs(
        run, [[cell] for cell in cells], Cluster(), shares(run, budget, [[c] for c in cells])
    )
    assert pot(run, budget).free("calls") == 10  # two files, nothing runs
    folder = run / cells[0].folder
    folder.mkdir(parents=True)
    async with Lease(folder):
        assert str(pot(run, budget)) == "calls 10: 0 spent, 5 held by 1 jobs, 5 free"
        assert shares(run, budget, [[cells[1]]])[0]["calls"] == 5
        # Submitted again after a job was killed: the lease is that of the second one.
        write_jobs(run, [cells[:1]], Cluster(), [{"calls": 7, "tokens": None, "cost": None}])
        assert str(pot(run, budget)) == "calls 10: 0 spent, 7 held by 1 jobs, 3 free"
        # `run` beside the job keeps to the rest, and begins nothing where there is none.
        assert left_by_jobs(run, Limits(calls=10, cost=1.0)) == Limits(calls=3, cost=1.0)
        given = overrides(tmp_path, URL, "length=2k", "n=4", "budget.calls=7")
        with pytest.raises(
            RlmEvalError, match="1 waiting or running jobs .* hold all of its calls"
        ):
            await asyncio.to_thread(run_cells, given)


async def test_a_second_run_of_one_budget_is_refused(tmp_path):
    given = overrides(tmp_path, URL, "length=1k,2k", "n=4")
    folder = tmp_path / "test" / cells_of(given)[1].folder
    folder.mkdir(parents=True)
    async with Lease(folder):
        with pytest.raises(RlmEvalError, match="spends from the same budget: wait for it, or"):
            await asyncio.to_thread(run_cells, [*given, "budget.calls=7"])
    assert not list(tmp_path.rglob("journal.jsonl"))


def test_jobs_keep_to_their_shares_and_leftovers_are_handed_out_again(tmp_path, capsys):
    pytest.importorskip("submitit")
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = overrides(
            tmp_path, server.url, "method=long_context", "cluster=local", "cluster.pack=1",
            "max_samples=1",
        )  # fmt: skip

        def submitted(*more: str) -> tuple[str, int]:
            submit([*given, *more])
            end = time.monotonic() + 120
            busy = ("running", "queued", "held by 1", "held by 2")
            while any(word in (told := say(capsys, tmp_path)) for word in busy):
                assert time.monotonic() < end, told
                time.sleep(0.5)
            return told, sum(asked(server.get("/_log")).values())

        told, calls = submitted("length=1k,2k", "n=4", "budget.calls=6")
        assert calls == 6
        assert told.count("this job's share of the sweep's budget: 3 calls made") == 2
        assert "budget: calls 6: 6 spent, 0 held by 0 jobs, 0 free; `rlm-eval submit`" in told
        # One cell needs one call more, the other four: what the first leaves over comes back.
        told, calls = submitted("length=1k", "n=4", "budget.calls=20")
        assert calls == 7
        assert "budget: calls 20: 7 spent, 0 held by 0 jobs, 13 free" in told
        told, calls = submitted("length=1k,2k", "n=4", "budget.calls=20")
        assert calls == 8
        assert "2 of 2 cells done" in told
        jobs = sorted((tmp_path / "test" / "jobs").glob("*.json"))
        budgets = [orjson.loads(path.read_bytes())["budget"]["calls"] for path in jobs]
        assert budgets == [3, 3, 17, 16]  # what they had spent, and what was free then


def say(capsys, folder) -> str:
    capsys.readouterr()
    status([str(folder / "test")])
    return capsys.readouterr().out
