"""`rlm-eval doctor` tells what was tried and what held."""

import subprocess
import sys

from rlm_eval.repl import sandbox


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
