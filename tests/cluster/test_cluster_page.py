"""Every command of docs/cluster.md runs as it is printed, by bash, on a one-node Slurm.

A `rlm-eval` on the PATH adds what makes a sweep small (one sample, short texts) and names the
simulated vLLM and a folder in place of its weights; `...` stands for these words. `--bind node` is
127.0.0.1, for the name of a test machine often is. `pip install` is left out, and of the command
with `...` that `--plan` prints whole, what it prints is run.
"""

import json
import os
import re
import shlex
import subprocess
import sys

import fake_vllm
import pytest
from runs import ROOT, RULES
from test_slurm import one_node, squeue, wait

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "cluster.md"
_COMMAND = re.compile(r"(rlm-eval|sbatch|python -m) ")


def commands() -> list[str]:
    """The commands of the page's blocks, comments included."""
    blocks = PAGE.read_text().split("```")[1::2]
    return [line for block in blocks for line in block.splitlines() if _COMMAND.match(line)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A Slurm whose node is as large as the page's jobs ask for, and a folder to work in."""
    folder = tmp_path_factory.mktemp("site")
    with (
        one_node(
            tmp_path_factory.mktemp("slurm"), SLURM_TEST_CPUS="32", SLURM_TEST_MEMORY="400000"
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        python = fake_vllm.environment(folder / "env")
        (folder / "rules.json").write_text(json.dumps(RULES))
        (folder / "weights").mkdir()
        (folder / "scripts").symlink_to(ROOT / "scripts")
        (folder / "bin").mkdir()
        words = [f"root.engine.python={python}", f"root.engine.source={folder / 'weights'}"]
        for name, script in (
            ("rlm-eval", f'exec {sys.executable} {ROOT}/tests/support/page_command.py "$@"'),
            ("python", f'exec {sys.executable} "$@" $PAGE_WORDS'),
        ):
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / "bin" / name).chmod(0o755)
        for name, value in (
            ("PATH", f"{folder / 'bin'}:{os.environ['PATH']}"),
            ("RLM_EVAL_CACHE", folder / "cache"),
            ("RLM_EVAL_DEVICES", folder / "notes"),
            ("FAKE_GPUS", folder / "gpus"),
            ("FAKE_RULES", folder / "rules.json"),
            ("PAGE_ENGINE", shlex.join(words)),
        ):
            patch.setenv(name, str(value))
        yield folder


def extra(number: int, line: str) -> str:
    """Words that the command of this line gets beside those that are printed."""
    if "hydra_app" in line:
        return "n=1 tokenizer=approx4 model@root=scripted"
    if "doctor" in line:
        return ""
    words = "n=1 length=1k,2k method=long_context tokenizer=approx4"
    if "rlm-eval run" in line:
        words = f"task=s_niah n=1 length=1k method=rlm tokenizer=approx4 name=run{number}"
        words += "" if "model@" in line else " model@root=rlm-qwen3-8b model@sub=qwen3-8b"
    if "rlm-eval serve" in line or "server=shared" in line:
        return f"{words} name=shared"
    return f"{words} seed={number}" if "submit" in line else words


def test_the_commands_of_the_page_run_as_printed(site):
    lines = commands()
    assert len(lines) > 12
    printed, held = "", None
    for number, line in enumerate(lines):
        command = line.split("  #")[0].split("   ")[0]
        if command.startswith("sbatch --array"):  # printed whole by --plan
            (command,) = [one[5:] for one in printed.splitlines() if one.startswith("all: ")]
            shown = [word for word in line.split() if word.startswith(("--time", "--part", "scr"))]
            assert set(shown) <= set(command.split())
        environment = {**os.environ, "PAGE_WORDS": extra(number, line)}
        if command.startswith(("rlm-eval run", "rlm-eval doctor")):
            environment["CUDA_VISIBLE_DEVICES"] = "0,1"
        done = subprocess.run(
            ["bash", "-c", command], cwd=site, env=environment, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        printed = done.stdout
        if "serve --bind" in command and "submit" not in command:
            held = re.search(r"\d+", printed)[0]
        elif "sbatch" in command or ("submit" in command and "--plan" not in command):
            wait(lambda: not squeue().strip(), 240)
    assert held is not None
    for name in ("length-sweep", "shared"):
        assert_done(site, name)
    starts = [one for one in (site / "env" / "calls").read_text().splitlines() if " serve " in one]
    assert len(starts) >= 8
    assert not list((site / "results" / "runs").glob("*/servers/shared/*.json"))


def assert_done(site, name):
    """Every planned cell of the run is done."""
    command = ["rlm-eval", "status", f"results/runs/{name}"]
    told = subprocess.run(command, cwd=site, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout
