"""Real jobs on a real one-node Slurm (`scripts/slurm_one_node.sh`): as root on Debian or Ubuntu."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

import fake_vllm
import fetched
import psutil
import pytest
from runs import (
    ROOT,
    RULES,
    asked,
    cell_folder,
    cells_of,
    contexts,
    overrides,
    prompts_in,
    records,
    server_process,
)

from rlm_eval.cluster.job_states import cell_jobs
from rlm_eval.commands.status import main as status
from rlm_eval.commands.submit import main as submit
from rlm_eval.core.paths import cache_dir
from rlm_eval.storage.jsonl import read_lines

pytestmark = pytest.mark.slow
WEIGHTS = cache_dir() / "weights"
SCRIPT = ROOT / "scripts" / "slurm_one_node.sh"


@contextmanager
def one_node(folder, **settings: str):
    """A one-node Slurm in `folder`; `settings` are the script's own. Skips where it cannot be."""
    if os.geteuid() != 0 or not (shutil.which("slurmctld") or shutil.which("apt-get")):
        pytest.skip("a one-node Slurm is started as root, and installed by apt")
    pytest.importorskip("submitit")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setenv("SLURM_TEST_DIR", str(folder))
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PYTHONPATH", str(ROOT))
        started = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, timeout=300)
        if started.returncode != 0:
            pytest.skip(f"Slurm does not start here: {started.stderr[-300:]}")
        try:
            yield
        finally:
            subprocess.run([SCRIPT, "down"], check=False, timeout=60)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def small(folder, url, *more: str) -> list[str]:
    """One processor, little memory, 10 s for what is in flight at a warning."""
    own = ("cluster=slurm", "cluster.cpus=1", "cluster.mem_gb=1", "cluster.warning_s=20")
    return overrides(folder, url, *own, *more)


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, squeue()
        time.sleep(0.3)


def squeue() -> str:
    command = ["squeue", "--noheader", "--array", "--format=%i %T %r"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def say(capsys, folder) -> str:
    capsys.readouterr()
    status([str(folder / "test")])
    return capsys.readouterr().out


def calls_in(folder) -> int:
    paths = list((folder / "test" / "cells").glob("*/journal.jsonl"))
    return sum(line["k"] == "call" for path in paths for line in read_lines(path))


def requests_in(folder, texts) -> set[str]:
    return set(prompts_in(cell_folder(folder) / "journal.jsonl", texts))


def start_requeued(job: str) -> None:
    """Slurm holds a requeued job for two minutes; a test need not.

    Not at once: a node refuses a job started in the second in which its credential was revoked.
    """
    wait(lambda: "BeginTime" in squeue() or "PENDING" in squeue(), 60)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now+3"], check=True)


def test_an_array_with_one_failing_cell(slurm, tmp_path, capsys):
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = small(tmp_path, server.url, "method=long_context", "n=2", "length=1k,2k,3k")
        submit(given)
        bad = [text for text in given if not text.startswith(("root.base_url", "length"))]
        submit([*bad, "root.base_url=http://127.0.0.1:9/v1", "root.retries=0", "length=4k"])
        wait(lambda: not squeue().strip())
        told = say(capsys, tmp_path)
    assert told.count("done  2 of 2 samples") == 3
    assert "failed  " in told
    assert "3 of 4 cells done" in told


@pytest.mark.parametrize("how", ["preempted", "warned"])
def test_a_job_is_queued_again_and_resumes(slurm, tmp_path, capsys, how):
    with server_process(tmp_path, "--latency", "0.3") as server:
        given = small(tmp_path, server.url, "n=12", "root.concurrency=2", "cluster.partition=low")
        texts = contexts(given)
        submit(given)
        wait(lambda: calls_in(tmp_path) >= 6)
        job = squeue().split()[0]
        assert "running" in say(capsys, tmp_path)
        if how == "preempted":
            whole = f"--cpus-per-task={os.cpu_count()}"
            high = ["sbatch", "--partition=high", whole, "--mem=100", "--output=/dev/null"]
            subprocess.run([*high, "--wrap", "sleep 3"], check=True)
        else:
            subprocess.run(["scancel", "--signal=USR2", job], check=True)
        wait(lambda: f"{job} PENDING" in squeue(), 60)
        done = requests_in(tmp_path, texts)
        before = len(server.get("/_log"))
        assert "queued" in say(capsys, tmp_path)
        wait(lambda: "high" not in squeue(), 60)
        start_requeued(job)
        wait(lambda: not squeue().strip(), 180)
        log = server.get("/_log")
        assert "1 of 1 cells done" in say(capsys, tmp_path)
    assert len(done) >= 6
    assert not done & set(asked(log[before:]))
    assert [r["score"] for r in records(tmp_path)] == [1.0] * 12


def test_a_job_killed_by_sigkill_is_submitted_again(slurm, tmp_path, capsys):
    with server_process(tmp_path, "--latency", "0.3") as server:
        given = small(tmp_path, server.url, "n=8", "root.concurrency=2")
        texts = contexts(given)
        submit(given)
        wait(lambda: calls_in(tmp_path) >= 6)
        lines = cell_folder(tmp_path) / "lease.json"
        psutil.Process(next(read_lines(lines))["pid"]).kill()
        wait(lambda: not squeue().strip(), 60)
        assert "has ended; see jobs/log and submit again" in say(capsys, tmp_path)
        done = requests_in(tmp_path, texts)
        before = len(server.get("/_log"))
        submit(given)
        wait(lambda: not squeue().strip(), 120)
        assert "1 of 1 cells done" in say(capsys, tmp_path)
        log = server.get("/_log")
    assert not done & set(asked(log[before:]))
    assert [r["score"] for r in records(tmp_path)] == [1.0] * 8


def test_a_plain_sbatch_script_runs_a_planned_sweep(slurm, tmp_path, monkeypatch, capsys):
    """The command that `--plan` prints, as it is printed."""
    monkeypatch.setenv("RLM_EVAL", f"{sys.executable} -m rlm_eval")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    with server_process(tmp_path, "--latency", "0.02") as server:
        submit(["--plan", *small(tmp_path, server.url, "n=2", "cluster.shards=2")])
        shown = capsys.readouterr().out.splitlines()
        (command,) = [line.removeprefix("all: ") for line in shown if line.startswith("all: ")]
        subprocess.run(shlex.split(command), check=True, cwd=tmp_path)
        wait(lambda: not squeue().strip(), 120)
        told = say(capsys, tmp_path)
    assert "shards merged" in told
    assert "2 of 2 cells done" in told


def simulated(tmp_path, monkeypatch, models, *more: str) -> list[str]:
    """A small sweep whose models are served by a simulated vLLM (`fake_vllm`)."""
    python = fake_vllm.environment(tmp_path / "env")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(RULES))
    for name, value in (("GPUS", tmp_path / "gpus"), ("RULES", rules), ("CACHE", 1 << 20)):
        monkeypatch.setenv(f"FAKE_{name}", str(value))
    given = [word for word in small(tmp_path, "http://x/v1", *more)
             if not word.startswith(("root.", "model@", "cluster.mem"))]  # fmt: skip
    given += ["cluster.cpus_per_gpu=0", "cluster.mem_per_gpu_gb=0", "cluster.mem_gb=2"]
    for slot, model in models.items():
        given += [f"model@{slot}={model}", f"{slot}.engine.python={python}"]
        given += [f"{slot}.engine.source={tmp_path}"]
    return given


def starts_in(tmp_path) -> list[str]:
    """The GPUs and arguments of every start of a simulated vLLM."""
    calls = (tmp_path / "env" / "calls").read_text().splitlines()
    return [line for line in calls if " serve " in line]


def test_jobs_follow_the_server_of_another_job_through_its_restart(
    slurm, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FAKE_LATENCY", "0.5")
    given = simulated(tmp_path, monkeypatch, {"root": "qwen3-8b"}, "length=2k", "n=16",
                      "method=long_context", "max_samples=1")  # fmt: skip
    submit(["--serve", *given])
    wait(lambda: calls_in(tmp_path) >= 3)
    told = say(capsys, tmp_path)
    job = told.partition("servers of qwen3-8b  job ")[2].partition(":")[0]
    assert f"job {job}: running" in told
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    wait(lambda: f"{job} PENDING" in squeue(), 60)
    start_requeued(job)
    wait(lambda: "1 of 1 cells done" in say(capsys, tmp_path), 240)
    assert [r["outcome"] for r in records(tmp_path)] == ["ok"] * 16
    wait(lambda: not squeue().strip(), 60)  # the server's job ends when every cell is done
    starts = starts_in(tmp_path)
    assert [line.split()[0] for line in starts] == ["0", "0"]  # the other jobs started none
    assert not (tmp_path / "test" / "servers" / "shared" / "key").exists()


def test_slurm_hands_out_gpus_to_root_and_sub(slurm, tmp_path, monkeypatch, capsys):
    """GPUs without hardware; a simulated vLLM refuses a device that is full."""
    models = {"root": "rlm-qwen3-8b", "sub": "qwen3-8b"}
    given = simulated(tmp_path, monkeypatch, models, "n=1", "length=1k,2k")
    submit(given)  # two jobs of two GPUs each, and two GPUs: one after the other
    wait(lambda: not squeue().strip(), 480)
    assert "2 of 2 cells done" in say(capsys, tmp_path)
    assert sorted(line.split()[0] for line in starts_in(tmp_path)) == ["0", "0", "1", "1"]


def test_packed_cells_share_the_server_that_their_job_starts(slurm, tmp_path, capsys):
    own = ["cluster=slurm", "cluster.cpus=1", "cluster.mem_gb=2", "cluster.warning_s=40",
           "cluster.pack=0", "task=s_niah", "method=long_context", "tokenizer=approx4", "n=4",
           "max_samples=1", "length=512,1k", "model@root=smollm2", "name=test",
           "root.sampling.max_output_tokens=8", f"results={tmp_path}"]  # fmt: skip
    other = [*own, "root.sampling.temperature=0.0"]  # other models, as far as a job is concerned
    WEIGHTS.mkdir(parents=True, exist_ok=True)  # nothing can be fetched into a link to nowhere
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").symlink_to(WEIGHTS)
    fetched.weights(cells_of(own)[0].models["root"])
    calm, warned = ([tmp_path / "test" / c.folder for c in cells_of(g)] for g in (own, other))
    submit(own)
    submit(other)
    assert len(list((tmp_path / "test" / "jobs").glob("*.json"))) == 2
    wait(lambda: any(read_lines(warned[0] / "trajectories.jsonl")), 300)
    servers = {server_of(warned[0])}
    job = cell_jobs(tmp_path / "test")[warned[0].name][0]
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    wait(lambda: f"{job} PENDING" in squeue(), 120)
    start_requeued(job)
    wait(lambda: not squeue().strip(), 480)
    assert "4 of 4 cells done" in say(capsys, tmp_path)
    assert server_of(calm[0]) == server_of(calm[1])
    servers |= {server_of(calm[0]), server_of(warned[1])}
    assert len(servers) == 3  # the job that was queued again started one of its own
    for folder in (*calm, *warned):
        outcomes = [line["outcome"] for line in read_lines(folder / "trajectories.jsonl")]
        assert len(outcomes) == 4
        assert not {"provider_error", "cancelled"} & set(outcomes)
    for port in servers:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "a server outlived its job"


def server_of(folder) -> int:
    """Port of the server that a cell was run on."""
    url = json.loads((folder / "manifest.json").read_text())["endpoints"]["root"]["base_url"]
    return int(url.rpartition(":")[2].split("/")[0])
