"""The `@hydra.main` entry: the same configuration, Hydra's launchers, no outputs/ folder."""

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from runs import ROOT

from rlm_eval.config.grid import expand

SMALL = ["model@root=scripted", "tokenizer=approx4", "length=1k", "n=1"]


def hydra_app(*arguments: str, cwd):
    return subprocess.run(
        [sys.executable, "-m", "rlm_eval.runner.hydra_app", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "RLM_EVAL_CACHE": str(cwd / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_composes_what_run_composes(tmp_path):
    shown = hydra_app("--cfg", "job", *SMALL, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert OmegaConf.create(shown.stdout) == OmegaConf.create(
        OmegaConf.to_yaml(expand(SMALL)[0], resolve=False)
    )


def test_a_multirun_leaves_nothing_outside_the_run_directory(tmp_path):
    done = hydra_app("--multirun", *SMALL, "method=long_context,rag", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"results", "cache"}
    assert len(list((tmp_path / "results/runs/scratch/cells").glob("*/DONE"))) == 2


def test_the_submitit_launcher_composes(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"]
    shown = hydra_app("--cfg", "hydra", *SMALL, *launcher, cwd=tmp_path)
    assert "SlurmLauncher" in shown.stdout
    assert "partition: gpu" in shown.stdout
