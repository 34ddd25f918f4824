"""Chaos: a resumed sample has the times and habits of one that nobody disturbed."""

import asyncio
import time

import pytest
from runs import (
    FIRST,
    LAST,
    RULES,
    overrides,
    records,
    run_here,
    server_process,
    start,
)

THREADS = FIRST.replace(
    'found = llm_query_batched([c + " KEY=\\1" for c in chunks])',
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(4) as pool:\n"
    '    found = list(pool.map(lambda c: llm_query(c + " KEY=\\1"), chunks))',
)
LOOP = FIRST.replace(
    'found = llm_query_batched([c + " KEY=\\1" for c in chunks])',
    'found = [llm_query(c + " KEY=\\1") for c in chunks]',
)
assert LAST not in (THREADS, LOOP)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("code", [FIRST, THREADS, LOOP], ids=["batch", "threads", "loop"])
def test_chaos_a_killed_sample_keeps_its_times_and_batches(tmp_path, monkeypatch, code):
    monkeypatch.setattr("runs.RULES", [RULES[0], {**RULES[1], "reply": code}, *RULES[2:]])
    how = ["n=1", "length=1k", "max_samples=1", "root.concurrency=8"]
    with server_process(tmp_path, "--latency", "0.25") as server:
        asyncio.run(run_here(overrides(tmp_path / "calm", server.url, *how)))
        (calm,) = records(tmp_path / "calm")
        given = overrides(tmp_path / "killed", server.url, *how)
        process = start(given)
        end = time.monotonic() + 60
        journal = tmp_path / "killed" / "test" / "cells"
        while sum(p.read_bytes().count(b'"k":"call"') for p in journal.glob("*/journal.jsonl")) < 3:
            assert time.monotonic() < end
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert start(given).wait(60) == 0
    (row,) = records(tmp_path / "killed")
    assert row["n_replayed_calls"] >= 3
    assert (row["outcome"], row["score"]) == ("ok", 1.0)
    for name in ("habit_n_batches", "habit_max_batch", "n_calls", "habit_turn_strategies"):
        assert row[name] == calm[name], name
    for name in ("critical_path_seconds", "wall_seconds"):
        assert row[name] == pytest.approx(calm[name], rel=0.5), name
