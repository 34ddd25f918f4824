"""What is asked of a cluster, checked, recorded; a simulated `sbatch` refuses as sites do."""

import json
import os
import sys

import fake_vllm
import pytest
from runs import cells_of, overrides

from rlm_eval.cluster import submission
from rlm_eval.cluster.job_states import jobs_of
from rlm_eval.cluster.jobs import Cluster, at_the_same_time
from rlm_eval.commands.status import main as status
from rlm_eval.commands.submit import main as submit
from rlm_eval.core.errors import ConfigError, MissingDependency, RlmEvalError
from rlm_eval.models.servers import devices
from rlm_eval.runner.planning import gpu_plan

URL = "http://127.0.0.1:9/v1"
POLICY = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
    "limit, user's size and/or time limits)"
)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's commands as scripts; `sbatch` refuses from the call on that `refuses` holds."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "squeue": f"cat {folder}/queue 2>/dev/null",
        "srun": "true",
        "scontrol": "echo 'MaxArraySize            = 2'",
        "sbatch": (
            f"n=$(ls {folder}/sent 2>/dev/null | wc -l)\nmkdir -p {folder}/sent\n"
            f'if [ -f {folder}/refuses ] && [ "$n" -ge "$(cat {folder}/refuses)" ]; then\n'
            f"cat <<'X' >&2\n{POLICY}\nX\nexit 1; fi\n"
            f'cp "$1" {folder}/sent/$n; echo "Submitted batch job 10$n"\n'
            f'for k in "" _0 _1; do echo "10$n$k|PENDING|Priority" >> {folder}/queue; done'
        ),
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def small(folder, *more):
    given = overrides(folder, URL, "method=long_context", "n=1", "length=1k,2k,3k,4k")
    return [*given, "cluster=slurm", "cluster.pack=1", *more]


def test_a_refused_array_forgets_none_that_were_sent(slurm, tmp_path, capsys):
    (slurm / "refuses").write_text("1")
    with pytest.raises(RlmEvalError) as told:
        submit(small(tmp_path))
    text = str(told.value)
    assert "QOSMaxSubmitJobPerUserLimit" in text
    assert "2 of 4 jobs were sent before and are recorded; the same command sends the rest" in text
    assert "cluster.pack=0" in text
    ids = [job.get("submitted", {}).get("id") for job in jobs_of(tmp_path / "test")]
    assert ids == ["100_0", "100_1", None, None]
    capsys.readouterr()
    (slurm / "refuses").unlink()
    assert submit(small(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "4 cells, 2 of them done, queued or running" in shown
    cells = [name for job in jobs_of(tmp_path / "test") if "submitted" in job
             for name in job["cells"]]  # fmt: skip
    assert len(cells) == len(set(cells)) == 4


def test_the_job_asks_for_gpus_cores_and_memory_of_both_models(slurm, tmp_path, capsys):
    python = fake_vllm.environment(tmp_path / "env")
    given = [word for word in small(tmp_path) if not word.startswith(("root.", "model@", "length"))]
    given += ["method=rlm", "length=1k", "model@root=rlm-qwen3-8b", "model@sub=qwen3-8b"]
    given += [f"{slot}.engine.python={python}" for slot in ("root", "sub")]
    site = ["cluster.partition=gpu", "cluster.account=lab", "cluster.qos=long",
            "cluster.gpu_type=a100", "cluster.scratch='/local/$SLURM_JOB_ID'",
            "cluster.slurm={constraint: nvlink, srun_args: ['--mpi=none']}"]  # fmt: skip
    assert submit(["--plan", *given, *site, "name=plan"]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("all:")]
    assert submit([*given, *site]) == 0
    sent = (slurm / "sent" / "0").read_text()
    for name, value in (
        ("partition", "gpu"), ("account", "lab"), ("qos", "long"), ("gres", "gpu:a100:2"),
        ("cpus-per-task", "8"), ("constraint", "nvlink"), ("time", "240"),
    ):  # fmt: skip
        assert f"#SBATCH --{name}={value}" in sent
        assert f"--{name}={value}" in line
    assert "--mem=65536M" in line
    assert "#SBATCH --mem=65536M" in sent
    assert "--cpus-per-task=8 --mpi=none" in sent.partition("srun ")[2]
    assert 'export TMPDIR="/local/$SLURM_JOB_ID"' in sent
    assert "sbatch --array=0-0%1" in line
    assert line.endswith(f"scripts/rlm_eval.sbatch {tmp_path}/plan 0")


def test_one_job_holds_the_servers_and_the_others_begin_after_it(slurm, tmp_path, capsys):
    python = fake_vllm.environment(tmp_path / "env")
    given = [word for word in small(tmp_path) if not word.startswith(("root.", "model@", "length"))]
    given += ["model@root=qwen3-8b", f"root.engine.python={python}", "--serve"]
    site = ["cluster.partition=cpu", "cluster.gpus=1", "cluster.serve={partition: gpu, gpus: 2}"]
    assert submit([*given, *site, "length=1k,2k"]) == 0
    told = capsys.readouterr()
    assert "servers of qwen3-8b: job 100" in told.out
    assert "add --bind node" in told.err
    servers, cells = ((slurm / "sent" / name).read_text() for name in "01")
    assert "#SBATCH --partition=gpu" in servers
    assert "#SBATCH --gpus-per-node=2" in servers
    assert "dependency" not in servers
    assert "#SBATCH --partition=cpu" in cells
    assert "gpus-per-node" not in cells
    assert "#SBATCH --dependency=after:100" in cells
    held, *jobs = jobs_of(tmp_path / "test")
    assert (held["cells"], len(held["configs"])) == ([], 1)
    assert {job["configs"][0]["root"]["server"] for job in jobs} == {"shared"}
    assert submit([*given, *site, "length=3k"]) == 0  # the server is there
    assert [bool(job.get("serves")) for job in jobs_of(tmp_path / "test")] == [True, *3 * [False]]
    assert "--dependency=after:100" in (slurm / "sent" / "2").read_text()
    capsys.readouterr()
    status([str(tmp_path / "test")])
    assert "servers of qwen3-8b  job 100: pending (Priority)" in capsys.readouterr().out
    assert submit(["--plan", *given, *site, "length=4k", "name=plan"]) == 0
    shown = capsys.readouterr().out
    assert "first, the servers: sbatch --array=0-0%1" in shown
    assert shown.count("--gpus-per-node") == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["cluster.serve={partitions: gpu}"], "cluster.serve: .*partitions"),
        (["cluster.serve={gpus: 0}"], "too few GPUs: qwen3-8b 1"),
        (["model@root=scripted"], "no model here has a server of its own"),
        (["cluster.serve={time_min: 3}"], "cluster.serve: time_min=3: .*raise time_min to 4"),
        (["cluster.serve={time_min: 30}"], "qwen3-8b: .*raise cluster.serve.time_min to 33"),
        (["cluster.serve={slurm: {qos: x}}"], "cluster.serve: slurm.qos: set cluster.qos"),
    ],
)
def test_a_job_of_servers_that_cannot_be_is_an_error_before_anything_is_sent(tmp_path, more, why):
    given = ["task=s_niah", "method=long_context", "tokenizer=approx4", "length=1k", "name=x",
             "model@root=qwen3-8b", f"results={tmp_path}", "cluster=slurm"]  # fmt: skip
    with pytest.raises(ConfigError, match=why):
        submit(["--plan", "--serve", *given, *more])
    assert not (tmp_path / "x" / "jobs").exists()


def test_array_indices_stay_below_the_sites_limit(slurm, tmp_path, capsys):
    assert submit(["--plan", *small(tmp_path)]) == 0
    lines = [one for one in capsys.readouterr().out.splitlines() if one.startswith("all:")]
    assert [line.split()[2] for line in lines] == ["--array=0-1%2", "--array=0-1%2"]
    assert [line.split()[-1] for line in lines] == ["0", "2"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["cluster.gpus=1"], "too few GPUs|the memory of the GPU is not known"),
        (["cluster.gpus=1", "cluster.gpu_gib=40"], "too little GPU memory"),
        (["cluster.gpus=1", "cluster.gpu_gib=80"], None),
        (["cluster.gpus=1", "root.engine.gpu_memory=0.5", "sub.engine.gpu_memory=0.4"], None),
        (["cluster.gpus=2", "root.engine.tensor_parallel=4"], "ask for 5"),
        (["cluster.gpus_of={rlm-qwen3-8b: 1, qwen3-8b: 0}"], None),
        (["cluster.slurm={gres: gpu:1}", "cluster.gpus=0"], None),
        (["cluster.slurm={exclude: gpu7, gres: 'lscratch:10'}", "cluster.gpus=0"], "too few GPUs"),
        ([], None),
    ],
)
def test_too_few_gpus_are_an_error_before_anything_is_sent(tmp_path, more, why):
    given = ["task=s_niah", "method=rlm", "tokenizer=approx4", "length=1k", "name=x",
             "model@root=rlm-qwen3-8b", "model@sub=qwen3-8b", f"results={tmp_path}",
             "cluster=slurm", "--plan", *more]  # fmt: skip
    if why is None:
        assert submit(given) == 0
        return
    with pytest.raises(ConfigError, match=why):
        submit(given)
    assert not (tmp_path / "x" / "jobs").exists()


def test_an_engine_that_is_missing_is_told_before_the_queue(slurm, tmp_path):
    given = [word for word in small(tmp_path) if not word.startswith(("root.", "model@"))]
    given += ["model@root=qwen3-8b", f"root.engine.python={sys.executable}"]
    with pytest.raises(MissingDependency, match="has no vllm; install it there"):
        submit(given)
    assert not (slurm / "sent").exists()


def test_a_job_is_not_warned_while_its_server_may_still_start(tmp_path):
    given = ["task=s_niah", "method=long_context", "tokenizer=approx4", "length=1k", "name=x",
             "model@root=qwen3-8b", f"results={tmp_path}", "cluster=slurm", "--plan"]  # fmt: skip
    with pytest.raises(ConfigError, match="engine.startup_s.*raise cluster.time_min to 33 or more"):
        submit([*given, "cluster.time_min=32"])
    assert not (tmp_path / "x" / "jobs").exists()
    assert submit([*given, "cluster.time_min=33"]) == 0
    assert submit([*given, "cluster.time_min=10", "root.engine.startup_s=300", "name=y"]) == 0
    assert submit([*given, "cluster.time_min=10", "root.server=shared", "name=z"]) == 0


def test_cores_and_memory_follow_the_gpus():
    site = Cluster()
    assert (site.cpus_for(0), site.mem_gb_for(0)) == (4, 16)
    assert (site.cpus_for(8), site.mem_gb_for(8)) == (32, 256)
    assert Cluster(cpus_per_gpu=1).cpus_for(8) == 2 + 8 + 2  # vLLM's least, and the harness
    assert Cluster(cpus_per_gpu=0, mem_per_gpu_gb=0).cpus_for(8) == 4
    assert Cluster(cpus=64).cpus_for(2) == 64


def test_the_estimate_prints_what_fits(tmp_path):
    given = ["task=s_niah", "method=rlm", "tokenizer=approx4", "length=1k,2k", "name=x"]
    cells = cells_of([*given, "model@root=rlm-qwen3-8b", "model@sub=qwen3-8b"])
    text = "\n".join(gpu_plan.table(cells))
    assert "qwen3-8b: 1 GPU(s); each: weights 15.3 GiB, cache 5.6 GiB" in text
    assert "24 GB: too little for the window (35,128 cache tokens)" in text
    assert "80 GB: 410,285 cache tokens, 10.0 whole windows at once" in text
    assert gpu_plan.gpus_of(cells) == 2
    assert gpu_plan.table(cells_of([*given, "model@root=scripted"])) == []


def test_local_jobs_get_the_list_of_the_shell(monkeypatch):
    for value in ("2,3", None):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if value:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        devices.keep()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # submitit's own, the same for all jobs
        devices.give_back()
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == value


def test_jobs_that_may_run_at_the_same_time():
    assert [at_the_same_time(24, Cluster(at_once=n)) for n in (4, 100)] == [4, 24]


def test_a_job_of_an_older_release_is_still_sent(tmp_path):
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "0.json").write_text(json.dumps({"gpus": 1}))
    assert submission.arrays_of(tmp_path, [0], 10) == [(1, 1, [0])]
