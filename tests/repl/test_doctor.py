"""`rlm-eval doctor` tells what was tried and what held."""

import subprocess
import sys

import pytest

from rlm_eval.cli import main
from rlm_eval.repl import SandboxError, sandbox
from rlm_eval.repl import doctor as examined


def test_doctor_prints_layers_attempts_and_advice():
    done = subprocess.run(
        [sys.executable, "-m", "rlm_eval.cli", "doctor"], capture_output=True, text=True, check=True
    )
    rows = {line[:40].strip(): line[40:].split() for line in done.stdout.splitlines()}
    for attempt in sandbox.CANARIES:
        assert set(rows[attempt][3:]) <= {"held", "-"}, attempt  # the tiers
    assert "WORKS" in rows["send a UDP packet"]  # Landlock alone does not cover it
    assert rows["send a UDP packet"][2] == "held"  # seccomp does
    assert "repl.isolation=strict uses tier" in done.stdout
    assert "repl.backend=rlm_eval.repl.docker.DockerPool" in done.stdout


@pytest.mark.parametrize(("refused", "code"), [((), 0), (("strict",), 1), (("strict", "best"), 1)])
def test_the_exit_code_tells_whether_a_strict_run_would_start(monkeypatch, capsys, refused, code):
    pool = examined.open_pool

    def opened(config):
        if config.isolation in refused and "Docker" not in config.backend:
            raise SandboxError("no tier works")
        return pool(config)

    async def no_table(config):
        return []

    monkeypatch.setattr(examined, "open_pool", opened)
    monkeypatch.setattr(examined, "_table", no_table)
    assert main(["doctor"]) == code
    told = capsys.readouterr().out
    assert ("repl.isolation=strict: refused. no tier works" in told) == bool(code)
