"""Runs killed at random moments, against a server that fails at random, resumed until done.

At the end the records equal those of a run that nobody disturbed, and no call whose reply had been
written was sent again.
"""

import asyncio
import random
import signal
import time

import pytest
from runs import (
    asked,
    cell_folder,
    contexts,
    overrides,
    prompts_in,
    records,
    run_here,
    server_process,
    start,
)

CHANGES = (
    "seconds",  # times
    "retried",  # faults hit other calls
    "lost",
    "replayed",
    "run",
)
"""Parts of the names of columns that may differ between two undisturbed runs as well."""
FAULTS = ("status", "drop", "reset", "bad_json")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def comparable(rows):
    return {
        row["sample_id"]: {k: v for k, v in row.items() if not any(c in k for c in CHANGES)}
        for row in rows
    }


def give_faults(server, draw: random.Random) -> None:
    """The next requests: one in five fails, in one of the ways that a client must retry."""
    plan = [{"kind": draw.choice(FAULTS)} if draw.random() < 0.2 else None for _ in range(400)]
    server.set_faults({"in_order": plan})


def disturbed(tmp_path, server, undisturbed, seed: int, most: int) -> int:
    """One run of random kills; the number of kills."""
    draw = random.Random(seed)
    folder = tmp_path / f"run{seed}"
    folder.mkdir()
    given = overrides(folder, server.url, "n=6", "root.concurrency=3", "root.retries=8")
    texts = contexts(given)
    written: set[str] = set()
    kills = 0
    while True:
        give_faults(server, draw)
        before = len(server.get("/_log"))
        process = start(given)
        if kills < most:
            journal = folder / "test" / "cells"
            while process.poll() is None and not list(journal.glob("*/journal.jsonl")):
                time.sleep(0.02)
            time.sleep(draw.uniform(0.0, 1.2))
        if kills < most and process.poll() is None:
            process.send_signal(draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            if draw.random() < 0.5:
                time.sleep(draw.uniform(0.0, 0.1))
                process.kill()
            kills += 1
        _, told = process.communicate(timeout=180)
        again = written & set(asked([e for e in server.get("/_log")[before:] if not e["fault"]]))
        assert not again, f"seed {seed}: sent again although their replies were written"
        written = set(prompts_in(cell_folder(folder) / "journal.jsonl", texts))
        if process.returncode == 0:
            break
        assert process.returncode in (1, 143, -signal.SIGKILL, -signal.SIGTERM), told
    assert comparable(records(folder)) == undisturbed, f"seed {seed}"
    return kills


def chaos(tmp_path, seeds: range, most: int) -> int:
    with server_process(tmp_path, "--latency", "0.06") as server:
        calm = tmp_path / "calm"
        asyncio.run(
            run_here(overrides(calm, server.url, "n=6", "root.concurrency=3", "root.retries=8"))
        )
        undisturbed = comparable(records(calm))
        assert {row["score"] for row in undisturbed.values()} == {1.0}
        return sum(disturbed(tmp_path, server, undisturbed, s, most) for s in seeds)


@pytest.mark.slow
def test_killed_twice(tmp_path):
    assert chaos(tmp_path, range(1), most=2) == 2


@pytest.mark.slow
def test_twenty_runs_killed_at_random_moments(tmp_path):
    assert chaos(tmp_path, range(100, 120), most=4) >= 40
