"""Submitting: what becomes a job, what a job does, what status says. Local jobs are processes."""

import json
import os
import subprocess
import sys
import time

import pytest
from runs import cells_of, overrides, server_process

from rlm_eval.cluster.job_states import job_states, jobs_of
from rlm_eval.cluster.jobs import Cluster, packed, write_jobs
from rlm_eval.cluster.sending import _unsent
from rlm_eval.commands.run import main as run
from rlm_eval.commands.status import main as status
from rlm_eval.commands.submit import main as submit
from rlm_eval.config.builder import build
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import CONFIG_DIR, expand
from rlm_eval.core.errors import ConfigError, RlmEvalError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("path", sorted((CONFIG_DIR / "cluster").glob("*.yaml")))
def test_every_site_builds(path):
    (config,) = expand(
        [f"cluster={path.stem}", "cluster.gpus_of={a: 2}", "cluster.slurm.nodelist=x"]
    )
    cluster = build(config.cluster, "cluster")
    assert isinstance(cluster, Cluster)
    assert (cluster.gpus_of, cluster.slurm) == ({"a": 2}, {"nodelist": "x"})


def test_a_wrong_value_of_a_site_names_its_key():
    (config,) = expand(["cluster=slurm", "cluster.partitoin=x"])
    with pytest.raises(ConfigError, match="cluster.partitoin: unknown key of Cluster; near: part"):
        build(config.cluster, "cluster")
    (config,) = expand(["cluster=slurm", "cluster.executor=pbs"])
    with pytest.raises(ConfigError, match="one of slurm, local"):
        build(config.cluster, "cluster")


def test_only_cells_of_the_same_models_share_a_job(tmp_path):
    one = cells_of(overrides(tmp_path, URL, "length=1k,2k,4k"))
    two = cells_of(overrides(tmp_path, URL, "root.model=other", "length=1k,2k"))
    mixed = [one[0], two[0], one[1], two[1], one[2]]
    assert packed(mixed, 0) == [one, two]
    assert packed(mixed, 2) == [one[:2], one[2:], two]
    assert packed(mixed, 1) == [[c] for c in (*one, *two)]


def test_cells_that_use_one_server_in_one_slot_or_in_two_share_a_job(tmp_path):
    cells = cells_of(overrides(tmp_path, URL, "method=long_context,rlm,program_map"))
    assert sorted(len(cell.models) for cell in cells) == [1, 1, 2]
    assert packed(cells, 0) == [cells]


def test_gpus_follow_the_models_of_a_job(tmp_path):
    (cell,) = cells_of(
        [*overrides(tmp_path, URL), "model@sub=openai", "sub.model=small", f"sub.base_url={URL}"]
    )
    cluster = Cluster(gpus=8, gpus_of={"fake": 4, "small": 1})
    assert cluster.gpus_for([cell]) == 5
    assert Cluster(gpus=8, gpus_of={"else": 4}).gpus_for([cell]) == 8


def test_a_job_keeps_the_configuration_that_was_submitted(tmp_path):
    cells = cells_of(overrides(tmp_path, URL, "n=3"))
    (number,) = write_jobs(tmp_path / "run", [cells], Cluster())
    (again,) = write_jobs(tmp_path / "run", [cells], Cluster())
    assert (number, again) == (0, 1)
    content = json.loads((tmp_path / "run" / "jobs" / "0.json").read_text())
    assert content["configs"][0]["n"] == 3
    assert content["cells"] == [cells[0].id]


@pytest.mark.slow
def test_a_sweep_as_local_jobs_with_one_failing_cell(tmp_path, capsys):
    pytest.importorskip("submitit")
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = overrides(
            tmp_path, server.url, "method=long_context", "n=2", "cluster=local", "cluster.pack=1"
        )
        bad = [text for text in given if not text.startswith("root.base_url")]
        assert submit([*given, "cluster.shards=2"]) == 0
        assert "2 cells\n" in capsys.readouterr().out
        assert submit([*bad, f"root.base_url={URL}", "root.retries=0", "length=1k"]) == 0
        end = time.monotonic() + 120
        busy = ("running", "queued", "not merged")  # the last job merges after its cell is done
        while any(word in (told := say(capsys, tmp_path)) for word in busy):
            assert time.monotonic() < end, told
            time.sleep(0.5)
        assert told.count("done  1 of 1 samples") == 2
        assert "shards merged" in told
        assert "failed" in told
        assert "2 of 3 cells done; spent: 2 calls" in told
        submit([*given, "cluster.shards=2"])
        assert "2 of them done" in capsys.readouterr().out


def say(capsys, folder) -> str:
    capsys.readouterr()
    status([str(folder / "test")])
    return capsys.readouterr().out


@pytest.mark.parametrize(("more", "count"), [("n=3", 0), ("n=40", 1), ("epochs=2", 1)])
def test_a_finished_cell_is_sent_again_where_more_is_asked_of_it(tmp_path, more, count):
    given = ["debug=scripted", "sweep={}", "task=s_niah", "method=rlm", "length=1024", "n=4", more]
    (cell,) = [build_cell(config) for config in expand(given)]
    run = tmp_path / "test"
    (run / cell.folder).mkdir(parents=True)
    (run / cell.folder / "DONE").write_text('{"samples": 4, "epochs": 1, "n": 4}')
    assert len(_unsent(run, [cell])) == count


def test_a_submission_that_the_site_refuses_loses_no_finished_cell(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    given = ["debug=scripted", "sweep={}", "task=s_niah", "method=rlm", "length=1024",
             f"results={tmp_path}", "name=test"]  # fmt: skip
    assert run([*given, "n=2", "--no-report"]) == 0
    tools = {"sbatch": "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1",
             "squeue": "true", "srun": "true"}  # fmt: skip
    for name, line in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RlmEvalError, match="QOSMaxSubmitJobPerUserLimit"):
        submit([*given, "n=4", "cluster=slurm", "--yes"])
    assert "done  2 of 2 samples" in say(capsys, tmp_path)


def test_an_unknown_outcome_names_the_known_ones():
    with pytest.raises(ConfigError, match="outcomes are all, ok, truncated"):
        run(["--redo", "outcome=truncted"])


def test_a_job_has_ended_only_where_somebody_says_so(tmp_path, monkeypatch):
    def job(executor: str, of: int, at: float) -> dict[str, object]:
        return {"number": 0, "submitted": {"executor": executor, "id": str(of), "at": at}}

    now = time.time()
    assert job_states([job("local", os.getpid(), now)]) == {0: "running"}
    assert job_states([job("local", os.getpid(), 1.0)]) == {0: None}  # another one's number
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    squeue.write_text("#!/bin/sh\necho '12|PENDING|Priority'\n")
    squeue.chmod(0o755)
    assert job_states([job("slurm", 12, now)]) == {0: "pending (Priority)"}
    assert job_states([job("slurm", 13, now)]) == {0: None}
    squeue.write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    with pytest.raises(RlmEvalError, match="squeue: no controller; try again"):
        job_states([job("slurm", 12, now)])


@pytest.mark.slow
def test_chaos_two_submits_at_once_send_each_cell_once(tmp_path):
    """Without a lock both numbered from 0, and one overwrote the other's jobs."""
    pytest.importorskip("submitit")
    with server_process(tmp_path) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=1", "length=1k,2k,4k")
        given += ["cluster=local", "cluster.pack=1"]
        command = [sys.executable, "-m", "rlm_eval", "submit", *given]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        shown = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], shown
        jobs = jobs_of(tmp_path / "test")
        assert [job["number"] for job in jobs] == [0, 1, 2], shown
        assert len({name for job in jobs for name in job["cells"]}) == 3
        assert all("submitted" in job for job in jobs)
        end = time.monotonic() + 120
        while any(job_states(jobs).values()):
            assert time.monotonic() < end
            time.sleep(0.2)
