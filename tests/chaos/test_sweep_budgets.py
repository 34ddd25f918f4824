"""Chaos: several processes of one run directory spend one budget, whoever started them."""

import os
import random
import subprocess
import sys
import time

import pytest
from runs import ROOT, asked, overrides, server_process, start

from rlm_eval.budget.limits import Limits
from rlm_eval.commands.submit import main as submit
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.storage.budget_ledger import balance

SMALL = ["root.concurrency=2", "root.backoff_s=0.01"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def served(server) -> int:
    return sum(asked(server.get("/_log")).values())


def all_ended(processes) -> list[str]:
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert {process.returncode for process in processes} <= {0, 1, 2}, told
    return told


@pytest.mark.slow
def test_chaos_two_runs_at_once_keep_to_one_budget(tmp_path):
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = [*overrides(tmp_path, server.url, *SMALL), "n=6", "budget.calls=40"]
        told = all_ended([start([*given, f"length={length}"]) for length in ("1k", "2k")])
        assert 36 <= served(server) <= 40
        assert any(
            "sweep: 40 calls made; raise it and run the same command again" in t for t in told
        )
        before = served(server)
        told = all_ended([start([*given, "length=1k,2k"])])
        assert served(server) <= 40 or before == 40
        # With room again the same command goes on, and ends.
        more = [*overrides(tmp_path, server.url, *SMALL), "n=6", "budget.calls=400", "length=1k,2k"]
        assert start(more).wait(120) == 0
    assert f"calls 400: {served_of(tmp_path)} spent, 0 held" in balance(tmp_path / "test")


def served_of(folder) -> int:
    found = balance(folder / "test", Limits(calls=10**6))
    return int(found.partition(": ")[2].partition(" ")[0].replace(",", ""))


@pytest.mark.slow
def test_chaos_shards_by_hand_keep_to_one_budget(tmp_path):
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = [*overrides(tmp_path, server.url, *SMALL), "n=8", "length=1k", "budget.calls=30"]
        all_ended([start([*given, f"shard={k}/4"]) for k in (1, 2, 3, 4)])
        assert 26 <= served(server) <= 30


@pytest.mark.slow
def test_chaos_token_budgets_hold_over_processes(tmp_path):
    caps = ["root.sampling.max_output_tokens=200", "budget.tokens=9000"]
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = [*overrides(tmp_path, server.url, *SMALL, *caps), "n=6"]
        all_ended([start([*given, f"length={length}"]) for length in ("1k", "2k")])
        totals = server.get("/_totals")
    tokens = sum(t["prompt_tokens"] + t["completion_tokens"] for t in totals.values())
    assert 5000 < tokens <= 9000


@pytest.mark.slow
def test_chaos_jobs_planned_twice_keep_to_one_budget(tmp_path):
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = [*overrides(tmp_path, server.url, *SMALL), "n=6", "length=1k,2k", "budget.calls=30"]
        for _ in range(2):
            assert submit(["--plan", *given, "cluster=slurm", "cluster.executor=slurm"]) == 0
        jobs = [
            subprocess.Popen(
                [sys.executable, "-m", "rlm_eval", "job", str(tmp_path / "test"), str(number)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(4)
        ]
        all_ended(jobs)
        assert 26 <= served(server) <= 30


@pytest.mark.slow
def test_chaos_submit_needs_squeue(tmp_path, monkeypatch):
    given = overrides(tmp_path, "http://127.0.0.1:9/v1", "cluster=slurm", "length=1k")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RlmEvalError, match="squeue is not on the PATH: the state of the submitted jobs is unknown"
    ):
        submit(given)
    assert not list((tmp_path / "test").glob("jobs/*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_chaos_processes_killed_at_random_keep_to_one_budget(tmp_path, seed):
    """Two runs of one directory, killed and started again; what was in flight may be billed."""
    draw = random.Random(seed)
    with server_process(tmp_path, "--latency", "0.05") as server:
        given = [*overrides(tmp_path, server.url, *SMALL), "n=8", "budget.calls=70"]
        for _ in range(6):
            running = [start([*given, f"length={length}"]) for length in ("1k", "2k")]
            time.sleep(draw.uniform(1.5, 4.0))
            for process in running:
                if draw.random() < 0.8:
                    process.kill()
            for process in running:
                process.communicate(timeout=120)
        assert served(server) <= 70
    told = balance(tmp_path / "test", Limits(calls=70))
    assert served_of(tmp_path) <= 70, told


def hydra_app(*arguments: str, cwd):
    return subprocess.run(
        [sys.executable, "-m", "rlm_eval.runner.hydra_app", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_chaos_hydra_multirun_keeps_to_one_budget(tmp_path):
    with server_process(tmp_path) as server:
        given = overrides(tmp_path, server.url, "n=3", "budget.calls=20", "length=1k,2k")
        done = hydra_app("--multirun", *given, cwd=tmp_path)
        assert done.returncode == 1
        assert "sweep: 20 calls made" in done.stderr
        assert served(server) == 20


@pytest.mark.slow
def test_chaos_hydra_submitit_launcher_keeps_to_one_budget(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = overrides(tmp_path, server.url, "n=3", "budget.calls=40", "length=1k,2k,3k")
        done = hydra_app("--multirun", "hydra/launcher=submitit_local", *given, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert 30 <= served(server) <= 40


@pytest.mark.slow
def test_chaos_hydra_asks_before_all_its_jobs_together(tmp_path):
    given = overrides(
        tmp_path, "http://127.0.0.1:9/v1", "root.price=gpt-4o", "n=20", "length=1k,2k,4k,8k"
    )
    done = hydra_app("--multirun", *given, "confirm_above=0.5", cwd=tmp_path)
    assert done.returncode == 1
    assert "over $0.5: raise confirm_above" in done.stderr
    assert not (tmp_path / "test").exists()
