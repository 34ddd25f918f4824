"""Whole runs over servers that go away, ask for a pause, or refuse the protocol's turns."""

import asyncio
import os
import signal
import time

import orjson
import pytest
from fake_server import FakeServer, Fault, rules
from runs import (
    RULES,
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
from test_resume import answered, until, wait_for

from rlm_eval.core.errors import EndpointUnusable
from rlm_eval.records.build import write_records
from rlm_eval.records.record import load_records
from rlm_eval.report.summary import prepare
from rlm_eval.report.tables import card
from rlm_eval.storage.jsonl import read_lines


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_servers_that_stay_away_stop_the_cell_and_the_same_command_resumes(tmp_path):
    given = []
    with server_process(tmp_path, "--latency", "0.2") as server:
        given = overrides(tmp_path, server.url, "root.patience_s=2", "root.concurrency=2")
        run = start(given)
        wait_for(lambda: answered(tmp_path) >= 3)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 1
    assert told.count("waiting up to 2 s (patience_s) for it") == 1
    assert "UNFINISHED" in told
    assert "unreachable for" in told
    assert "the same command resumes" in told
    assert "Traceback" not in told
    assert not [r for r in records(tmp_path) if r["outcome"] != "ok"]  # nobody's wrong answer
    lines = read_lines(cell_folder(tmp_path) / "journal.jsonl")
    assert all(line.get("attempts", 1) for line in lines if line["k"] == "call")
    paid = prompts_in(cell_folder(tmp_path) / "journal.jsonl", contexts(given))
    port = server.url.rpartition(":")[2].partition("/")[0]
    with server_process(tmp_path, "--port", port) as server:
        run = start(given)
        _, told = run.communicate(timeout=120)
        assert run.returncode == 0, told
        again = asked(server.get("/_log"))
    assert not set(paid) & set(again)
    assert [r["score"] for r in records(tmp_path)] == [1.0] * 4


async def test_servers_that_come_back_cost_no_sample_and_no_time_limit(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES), latency=0.05) as first:
        given = overrides(tmp_path, first.url, "limits.seconds=4", "root.backoff_s=0.1")
        run = asyncio.create_task(run_here(given))
        await until(lambda: len(first.log) >= 6)
        await first.__aexit__()
        await asyncio.sleep(5)
        async with FakeServer(reply=rules(RULES), port=first.port):
            assert not (await run).unfinished
    rows = records(tmp_path)
    assert [(r["outcome"], r["score"]) for r in rows] == [("ok", 1.0)] * 4
    assert max(r["wall_seconds"] for r in rows) < 4.5
    assert "answers again after" in capsys.readouterr().err


@pytest.mark.parametrize("gone", [False, True])
async def test_the_first_ctrl_c_ends_samples_that_wait_and_keeps_what_is_paid(tmp_path, gone):
    pause = Fault("status", 429, retry_after="300")
    async with FakeServer(reply=rules(RULES), latency=0.02) as server:
        given = overrides(tmp_path, server.url)
        run = asyncio.create_task(run_here(given))
        await until(lambda: len(server.log) >= 6)
        if gone:
            await server.__aexit__()
            port = server.port
        else:
            server.faults = lambda _n, _request: pause
        await asyncio.sleep(0.5)
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)
        (why,) = (await run).unfinished.values()
        assert time.monotonic() - began < 60  # of 300 s
        assert why.endswith("not run")
    assert not [r for r in records(tmp_path) if r["outcome"] != "ok"]
    paid = prompts_in(cell_folder(tmp_path) / "journal.jsonl", contexts(given))
    assert paid
    async with FakeServer(reply=rules(RULES), port=port if gone else 0) as server:
        given = overrides(tmp_path, server.url)
        assert not (await run_here(given)).unfinished
        assert not set(paid) & set(asked(server.log))
    assert [r["score"] for r in records(tmp_path)] == [1.0] * 4


async def test_the_first_ctrl_c_waits_for_calls_beside_one_that_waits(tmp_path):
    """Sub-calls of one batch: what is in flight is paid for, so that its replies are kept."""
    met = []

    def pause_one(_number, request):
        is_sub = "KEY=" in request["messages"][-1]["content"]
        if not is_sub or met:
            return None
        met.append(request)
        return Fault("status", 429, retry_after="300")

    async with FakeServer(reply=rules(RULES), latency=0.5, faults=pause_one) as server:
        run = asyncio.create_task(run_here(overrides(tmp_path, server.url, "n=1")))
        await until(lambda: met and server.in_flight)
        flying = server.in_flight
        os.kill(os.getpid(), signal.SIGINT)
        (why,) = (await run).unfinished.values()
        assert "1 not run" in why
        assert server.total["lost_requests"] == 0
    lines = list(read_lines(cell_folder(tmp_path) / "journal.jsonl"))
    calls = [line for line in lines if line["k"] == "call" and not line.get("error")]
    assert flying
    assert len(calls) >= 1 + flying  # the root's, and the sub-calls'
    assert not [line for line in lines if line.get("lost")]


async def test_servers_that_are_not_there_cost_each_cell_a_moment(tmp_path):
    given = overrides(tmp_path, "http://127.0.0.1:9/v1", "root.retries=1")
    began = time.monotonic()
    (why,) = (await run_here(given)).unfinished.values()
    assert "Cannot connect" in why
    assert time.monotonic() - began < 60  # of patience_s=600


def strict(request):
    """Mistral's first template: turns alternate, and a system message counts as one."""
    roles = [m["role"] for m in request["messages"]]
    return roles == (["user", "assistant"] * len(roles))[: len(roles)]


class StrictServer(FakeServer):
    """Refuses what its template cannot render."""

    async def _refuse(self, http, fault, model, shape):
        if not strict(self.log[-1]["request"]):
            told = "Conversation roles must alternate user/assistant/user/assistant/..."
            from fake_server import _json

            return _json(shape.error(told, "BadRequestError"), 400)
        return await super()._refuse(http, fault, model, shape)


async def test_servers_that_refuse_the_protocols_turns_are_found_before_money_is_spent(tmp_path):
    async with StrictServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url)
        with pytest.raises(EndpointUnusable, match="root.merge_turns=true"):
            await run_here(given)
        assert len(server.log) == 1
        with pytest.raises(EndpointUnusable, match="root.fold_system=true"):
            await run_here([*given, "root.merge_turns=true"])
        both = [*given, "root.merge_turns=true", "root.fold_system=true"]
        assert not (await run_here(both)).unfinished
    folder = cell_folder(tmp_path)
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert manifest["config"]["root"]["fold_system"] is True
    rows = records(tmp_path)
    assert [r["score"] for r in rows] == [1.0] * 4
    assert {r["root"] for r in rows} == {"fake [fold_system, merge_turns]"}
    run = tmp_path / "test"
    write_records(run)
    (series,) = set(prepare(load_records([run]), card.manifests([run]))["series"])
    assert series == "rlm (fake [fold_system, merge_turns])"


async def test_servers_that_refuse_turns_later_stop_the_cell_not_each_sample(tmp_path):
    async with StrictServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "root.preflight=false", "n=8")
        (why,) = (await run_here(given)).unfinished.values()
    assert "root." in why
    assert "=true" in why
    assert len(server.log) <= 2  # of two samples at a time
    assert not records(tmp_path)
