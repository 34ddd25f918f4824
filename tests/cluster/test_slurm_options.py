"""Options in `cluster.slurm`: what is refused, what reaches `sbatch`, printed and submitted."""

import shlex

import pytest
from runs import cells_of, overrides

from rlm_eval.cluster import submission
from rlm_eval.cluster.jobs import Cluster, write_jobs
from rlm_eval.config.builder import build
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError


def asked(gpus=2, after=(), **site):
    return submission.options(Cluster(**site), gpus, 1, after)


@pytest.mark.parametrize(
    ("slurm", "why"),
    [
        ("{partition: x}", "cluster: slurm.partition: set cluster.partition instead"),
        ("{time: 1-00:00:00}", "set cluster.time_min"),
        ("{cpus_per_task: 3}", "set cluster.cpus "),
        ("{cpus_per_gpu: 8}", "set cluster.cpus_per_gpu"),
        ("{mem: 0}", "set cluster.mem_gb"),
        ("{mem_per_gpu: 40G}", "set cluster.mem_per_gpu_gb"),
        ("{setup: [module load x]}", "set cluster.setup"),
        ("{signal_delay_s: 3}", "set cluster.warning_s"),
        ("{array_parallelism: 3}", "set cluster.at_once"),
        ("{additional_parameters: {mem-per-gpu: 40G}}", "slurm.mem-per-gpu: set cluster.mem_per"),
        ("{additional_parameters: [a]}", "slurm.additional_parameters=.*: give a mapping"),
        ("{nodes: 2}", "slurm.nodes=2: a job is one task on one node"),
        ("{ntasks: 4}", "a job is one task on one node"),
        ("{gres: {gpu: 2}}", "slurm.gres: give a text"),
        ("{srun_args: '--mpi=none'}", "slurm.srun_args='--mpi=none': give a list of texts"),
        ("{teardown: [1]}", "slurm.teardown=.*: give a list of texts"),
    ],
)
def test_an_option_that_would_be_lost_or_misread_is_refused(slurm, why):
    (config,) = expand(["cluster=slurm", f"cluster.slurm={slurm}"])
    with pytest.raises(ConfigError, match=why):
        build(config.cluster, "cluster")


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ({"time_min": 1}, "time_min=1: .* raise time_min to 4, or lower warning_s"),
        ({"time_min": 60, "warning_s": 3600}, "raise time_min to 62"),
        ({"gpus": -1}, "gpus=-1: 0 or more"),
        ({"gpus_of": {"a": -1}}, "gpus_of.a=-1: 0 or more"),
        ({"mem_gb": -1, "mem_per_gpu_gb": -2}, "mem_gb=-1, mem_per_gpu_gb=-2: 0 or more"),
        ({"gpu_type": "a100:2"}, "gpu_type=a100:2: only the type's name"),
    ],
)
def test_resources_that_no_job_can_have_are_refused(site, why):
    with pytest.raises(ValueError, match=why):
        Cluster(**site)
    Cluster(time_min=4)
    Cluster(time_min=3, warning_s=20)


@pytest.mark.parametrize(
    "slurm",
    [
        {"gres": "gpu:h100:2"},
        {"gpus": 2},
        {"gpus-per-node": 2},
        {"gpus_per_task": 2},
        {"gpus_per_socket": 1},
        {"tres_per_task": "gres/gpu:2"},
        {"additional_parameters": {"gres": "gpu:h100:2"}},
        {"additional_parameters": {"gpus-per-node": 2}},
    ],
)
def test_a_request_for_gpus_in_slurms_words_is_the_only_one(slurm):
    found = asked(slurm=slurm)
    assert Cluster(slurm=slurm).asks_gpus_itself
    assert len([name for name in found if "gpu" in name or "tres" in name or name == "gres"]) == 1


@pytest.mark.parametrize(
    "slurm",
    [
        {"exclude": "gpu[1-3]"},
        {"gpu_bind": "closest"},
        {"mem_per_cpu": "4G"},
        {"gpus_per_node": None, "additional_parameters": None},
        {"tres_per_task": "cpu:8"},
    ],
)
def test_other_options_leave_the_request_for_gpus(slurm):
    assert asked(slurm=slurm)["gpus_per_node"] == 2
    assert asked(slurm=slurm, gpu_type="a100")["gres"] == "gpu:a100:2"


def test_values_are_written_as_sbatch_reads_them():
    found = asked(
        slurm={"exclude": ["n1", "n2"], "exclusive": True, "oversubscribe": False, "nodes": 1,
               "mem_per_cpu": "4G", "gres": "lscratch:10", "dependency": "afterok:1",
               "additional_parameters": {"requeue": False, "mail-user": "a@b"}},
        gpu_type="a100", after=["7", "8"],
    )  # fmt: skip
    assert found == {
        "time": 240, "cpus_per_task": 8, "signal": "USR2@120", "exclude": "n1,n2",
        "exclusive": True, "nodes": 1, "mem_per_cpu": "4G", "gres": "lscratch:10,gpu:a100:2",
        "dependency": "afterok:1,after:7:8", "mail_user": "a@b",
    }  # fmt: skip


def test_the_plan_and_submitits_script_have_the_same_options(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    for name, script in {"srun": "true", "sbatch": f'cp "$1" {tmp_path}/sent; echo job 7'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    site = Cluster(
        gpus=2, account="lab", setup=["source env"], scratch="/local/x", python="/env/bin/python",
        slurm={"exclude": ["n1", "n2"], "constraint": "a100&nvlink", "exclusive": True,
               "srun_args": ["--mpi=none"], "teardown": ["rm -r $TMPDIR"],
               "additional_parameters": {"mail-user": "a@b"}},
    )  # fmt: skip
    run = tmp_path / "run"
    numbers = write_jobs(run, [cells_of(overrides(tmp_path, "http://x/v1"))], site)
    (planned,) = submission.planned_commands(run, numbers, site, "run")
    assert submission.submit(run, numbers, site) == {0: "7"}
    sent = (tmp_path / "sent").read_text()
    of_sent = {shlex.split(line)[1] for line in sent.splitlines() if line.startswith("#SBATCH")}
    own = ("--array", "--job-name", "--output", "--error", "--open-mode", "--nodes=1", "--wckey")
    of_plan = {word for word in shlex.split(planned) if word.startswith("--")}
    assert {word for word in of_plan if not word.startswith(own)} == {
        word for word in of_sent if not word.startswith(own)
    }
    assert " --cpus-per-task=8 --mpi=none /env/bin/python -u " in sent
    before = ["source env", 'export TMPDIR="/local/x"', 'mkdir -p "$TMPDIR"']
    more = "export RLM_EVAL='/env/bin/python -m rlm_eval'"
    where = "put it into scripts/rlm_eval.sbatch"
    assert submission.planned_script(site) == [
        *(f"before ({where}): {line}" for line in (*before, more)),
        "options of srun (put them into scripts/rlm_eval.sbatch): --mpi=none",
        f"after ({where}, without `exec`): rm -r $TMPDIR",
    ]
    assert set(before) | {"rm -r $TMPDIR"} <= set(sent.splitlines())
