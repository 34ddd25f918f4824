"""What a run holds and asks outside its samples: device-seconds, prefix caches, first requests."""

import asyncio
import json
from dataclasses import dataclass, field

import pandas as pd
import pytest
from fake_server import FakeServer, Out, rules
from runs import RULES, overrides, records, run_here

from rlm_eval.budget.prices import table
from rlm_eval.commands.status import main as status
from rlm_eval.models import EndpointInfo, ServerUsage
from rlm_eval.models.scripted import ScriptedModel
from rlm_eval.records.build import outside_samples
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_store import write_json
from rlm_eval.storage.spend import first_requests

PRICE = sorted(table())[0]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def spawned(folder, *more: str) -> list[str]:
    """An RLM cell on a fake server of our own that says that it holds two GPUs."""
    path = folder / "rules.json"
    path.write_text(json.dumps(RULES))
    engine = f"{{_target_:tests.models.test_servers.FakeEngine,gpus:2,latency:0.3,reply:{path}}}"
    own = ["root.server=spawn", f"+root.engine={engine}", "root.concurrency=4"]
    return overrides(folder, "http://127.0.0.1:1/v1", *own, *more)


def shares_and_idle(run) -> tuple[float, float, float]:
    """(GPU-seconds of all samples by their records, idle, held)."""
    held, idle = server_usage.device_seconds(server_usage.servers(run))["GPU"]
    return sum(row["gpu_seconds"] for row in records(run.parent)), idle, held


@pytest.mark.slow
async def test_shares_and_idle_time_add_up_to_what_the_servers_held(tmp_path):
    run, ready = tmp_path / "test", asyncio.get_running_loop().time
    before = ready()
    given = spawned(tmp_path)
    await run_here([*given, "n=2"])
    first, idle, held = shares_and_idle(run)
    assert first + idle == pytest.approx(held, rel=0.05)
    assert 0.1 < idle / held < 0.9
    await asyncio.sleep(0.5)  # nobody holds a server now
    # More samples in a second process: its server is another one.
    await run_here([*given, "n=5", "root.gpu_hour_usd=3.6"])
    assert len(server_usage.servers(run)) == 2
    both, idle, held = shares_and_idle(run)
    assert both > first
    assert both + idle == pytest.approx(held, rel=0.05)
    assert held < 2 * (ready() - before - 0.5)
    rows = records(tmp_path)
    assert sum(row["service_seconds"] for row in rows) > 1.3 * both / 2  # several at a time
    assert {row["core_seconds"] for row in rows} == {None}
    assert {row["cost_cold"] for row in rows} == {None}
    for row in rows:  # 3.60 dollars an hour are a tenth of a cent a second
        assert row["cost_with_gpu"] == pytest.approx(row["gpu_seconds"] / 1000)
    tell_all(run)
    # A price that was learnt later needs no call.
    assert not (await run_here([*given, "n=5", "root.gpu_hour_usd=7.2"])).attempted
    assert records(tmp_path)[0]["cost_with_gpu"] == pytest.approx(rows[0]["cost_with_gpu"] * 2)


def tell_all(run):
    """The report says whose money it is, and what was held for nothing."""
    from rlm_eval.records.build import write_records
    from rlm_eval.records.record import load_records
    from rlm_eval.report import summary as cells
    from rlm_eval.report.figures import panels
    from rlm_eval.report.tables import card, standard

    write_records(run)
    frame = cells.prepare(load_records([run]))
    table = cells.summarise(frame)
    column, label, note = panels.money_of(table)
    assert (column, label) == ("cost", "GPU time (USD)")
    assert "fake: GPU time at the price given per hour, idle time left out" in note
    shown = next(t for t in standard.build(frame, table, pd.DataFrame()) if t.name == "cost")
    assert "GPU time at the price given" in shown.note
    assert float(shown.rows["GPU s"].iloc[0]) == pytest.approx(frame["gpu_seconds"].mean(), 0.01)
    told = card.facts([run], table, [])
    assert "from ready to stop" in told["GPU-seconds held"]
    assert told["preflight requests"].startswith("2 calls")


@pytest.mark.slow
async def test_a_killed_process_leaves_what_it_held_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(server_usage, "PERIOD_S", 0.05)
    run = tmp_path / "test"
    task = asyncio.create_task(run_here(spawned(tmp_path, "n=4")))
    async with asyncio.timeout(60):
        while not any(s["cells"] for s in server_usage.servers(run)):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.4)
    (server,) = server_usage.servers(run)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (part,) = server["cells"].values()
    assert 0 < part["busy_s"] <= server["held_s"]
    assert part["slots"] == ["root", "sub"]
    assert part["model_s"] > part["busy_s"] > 0
    (after,) = server_usage.servers(run)
    assert after["held_s"] > server["held_s"]


async def test_a_share_without_a_gpu_is_core_seconds():
    part = {"slots": ["root"], "busy_s": 10.0, "model_s": 40.0}
    local = {"gpus": 0, "cores": 4, "held_s": 20.0, "cells": {"c": part}}
    graphics = {"gpus": 2, "cores": None, "held_s": 6.0,
                "cells": {"c/1-of-2": {"slots": ["sub"], "busy_s": 5.0, "model_s": 5.0},
                          "d": {"slots": ["root"], "busy_s": 1.0, "model_s": 1.0}}}  # fmt: skip
    elsewhere = {"gpus": None, "cores": None, "held_s": None, "cells": {}}
    known = [local, graphics, elsewhere]
    found = server_usage.shares(known, "c", {"root": 9.0, "sub": None})
    assert found == {
        "root": server_usage.DeviceRate(gpu_s=None, core_s=1.0, gpu_usd=None),
        "sub": server_usage.DeviceRate(gpu_s=2.0, core_s=None, gpu_usd=None),
    }
    assert server_usage.device_seconds(known) == {"core": (80.0, 40.0), "GPU": (12.0, 0.0)}


async def test_first_requests_are_charged_apart_and_to_the_budget(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES)) as server:
        more = [f"root.price={PRICE}", "method=long_context", "n=1"]
        more.append("root.sampling.max_output_tokens=50")
        given = overrides(tmp_path, server.url, *more)
        await run_here(given)
        before = server.total
        await run_here([*given, "n=2"])
        proof = before["prompt_tokens"] + before["completion_tokens"]
        proof -= records(tmp_path)[0]["input_tokens"] + records(tmp_path)[0]["output_tokens"]
    told = first_requests(tmp_path / "test")
    assert (told.calls, told.tokens, told.unpriced) == (2, 2 * proof, 0)
    assert status([str(tmp_path / "test")]) == 0
    assert f"preflight requests: {told}" in capsys.readouterr().out
    # Both processes' proofs leave no room in a budget of just these tokens.
    async with FakeServer(reply=rules(RULES)) as server:
        url = f"root.base_url={server.url}"
        spent = sum(r["input_tokens"] + r["output_tokens"] for r in records(tmp_path))
        summary = await run_here([*given, url, "n=3", f"budget.tokens={spent + 2 * proof + 1}"])
        assert not summary.attempted
    all_told = spent + 3 * proof  # the last one's own too
    assert f"sweep: {all_told} of" in capsys.readouterr().err


async def test_the_prefix_cache_of_a_server_is_counted_over_the_run(tmp_path):
    out = Out("none", cached=7)
    async with FakeServer(reply=lambda _: out, metrics=True) as server:
        await run_here(overrides(tmp_path, server.url, "method=long_context"))
        proof = server_usage.checks(tmp_path / "test")[0][2]
        asked = server.total["prompt_tokens"] - proof.input
    (told,) = server_usage.servers(tmp_path / "test")
    assert told["prefix_cache"] == {"queries": asked, "hits": 4 * 7}
    assert told["held_s"] is None
    assert records(tmp_path)[0]["gpu_seconds"] is None


@dataclass
class Telling:
    """A client of which only the server's counters are asked."""

    counts: list[float] = field(default_factory=list)

    async def account(self) -> ServerUsage:
        value = self.counts.pop(0)
        return ServerUsage("s", 1.0, 0.5, 0.5, {"queries": 2 * value, "hits": value})


async def test_a_restarted_server_counts_on(tmp_path):
    kept = server_usage.ServerUsageLog(tmp_path)
    client = Telling([100, 100, 160, 30, 50])
    await kept.opened("m", ScriptedModel(), client, EndpointInfo("m", gpus=0, cores=1))
    for _ in range(3):
        await kept.write()
    (told,) = server_usage.servers(tmp_path)
    assert told["prefix_cache"] == {"queries": 2 * 110, "hits": 110}


async def test_a_file_that_could_not_be_written_once_costs_the_cell_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(server_usage, "PERIOD_S", 0.01)
    kept, tries = server_usage.ServerUsageLog(tmp_path), []
    client = Telling([1.0] * 100)
    await kept.opened("m", ScriptedModel(), client, EndpointInfo("m", gpus=0, cores=1))

    def fails_once(path, value):
        tries.append(path)
        if len(tries) == 1:
            raise OSError("no room for a moment")
        write_json(path, value)

    monkeypatch.setattr(server_usage, "write_json", fails_once)
    async with kept.cell("c", {"root": client}):
        await asyncio.sleep(0.1)
    (told,) = server_usage.servers(tmp_path)
    assert (len(tries), list(told["cells"])) == (2, ["c"])


async def test_a_cells_budget_ends_that_cell_alone(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "length=1k,2k")
        summary = await run_here([*given, "max_samples=1", "cell_budget.calls=3"])
        assert summary.attempted == 6
        assert all("cell: 3 calls made; raise it" in why for why in summary.unfinished.values())
        summary = await run_here([*given, "max_samples=1", "cell_budget.calls=3"])
        assert summary.attempted == 0  # what the first process spent counts
        assert not (await run_here([*given, "cell_budget.calls=4"])).unfinished
    assert len(list((tmp_path / "test" / "cells").glob("*/DONE"))) == 2


def test_a_run_of_scripts_writes_no_accounts(tmp_path):
    given = ["debug=scripted", f"results={tmp_path}", "name=test", "method=long_context"]
    assert not asyncio.run(run_here(given)).unfinished
    assert not (tmp_path / "test" / server_usage.FOLDER).exists()


def test_the_prefix_caches_of_a_models_servers_are_added_up(tmp_path):
    caches = [("a", {"queries": 100.0, "hits": 40.0}), ("a", {"queries": 900.0, "hits": 0.0}),
              ("b", {"queries": 5.0, "hits": 1.0}), ("c", None)]  # fmt: skip
    for number, (model, cache) in enumerate(caches):
        server = {"models": [model], "held_s": None, "prefix_cache": cache, "cells": {}}
        folder = tmp_path / server_usage.FOLDER
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{number}.json", {"checks": [], "servers": {"1": server}})
    assert outside_samples(tmp_path) == {
        "prefix cache of a": "40 of 1,000 prompt tokens found",
        "prefix cache of b": "1 of 5 prompt tokens found",
    }
