"""One server for many jobs: registered, attached to, restarted, ended when all is done."""

import asyncio
import dataclasses
import os
import stat
import subprocess
import sys
import time

import fake_vllm
import pytest
from runs import ROOT, cells_of, overrides, records, run_here

from rlm_eval.cluster import serve_job, serving
from rlm_eval.cluster.jobs import Cluster, write_jobs
from rlm_eval.core.errors import ConfigError, EndpointGone, EndpointUnusable, RlmEvalError
from rlm_eval.models import EndpointInfo
from rlm_eval.models.servers import registry
from rlm_eval.models.servers.managed import LOGS
from rlm_eval.models.servers.registry import Registration, Registry, Shared
from rlm_eval.storage.plan import plan


def shared(folder, patience_s=5.0):
    return Shared(Registry(folder, "a"), "m", EndpointInfo("m"), patience_s, "key")


def test_the_key_is_made_once_and_its_owner_alone_may_read_it(tmp_path):
    keys = {registry.run_key(tmp_path / "shared") for _ in range(3)}
    (path,) = (tmp_path / "shared").iterdir()
    assert keys == {path.read_text()}
    assert len(path.read_text()) == 48
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(EndpointUnusable, match="chmod 600"):
        registry.run_key(tmp_path / "shared")


async def test_a_reader_follows_a_server_that_comes_back_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_LOOK_S", 0.0)
    host = shared(tmp_path)
    waits = asyncio.create_task(host.ensure())
    told = ""
    while "m: waiting for a shared server (rlm-eval serve)" not in told:
        await asyncio.sleep(0.01)
        told += capsys.readouterr().err
    first = Registration(tmp_path, "a")
    Registration(tmp_path, "b").renew("http://other/v1")
    first.renew("http://one/v1")
    await waits
    assert host.base_url == "http://one/v1"
    first.end()
    assert host.base_url == "http://one/v1"  # until there is another
    Registration(tmp_path, "a").renew("http://two/v1")
    assert host.base_url == "http://two/v1"
    with pytest.raises(EndpointGone, match="start one with: rlm-eval serve"):
        await Shared(Registry(tmp_path, "none"), "m", EndpointInfo("m"), 0.0, "k").ensure()


async def test_a_server_that_does_not_start_is_known_at_once(tmp_path, monkeypatch):
    """Of two that start, the second one's failure counts only when the first has ended."""
    monkeypatch.setattr(registry, "_LOOK_S", 0.0)
    first, second = Registration(tmp_path, "a"), Registration(tmp_path, "a")
    first.renew("")
    second.renew("")
    waits = asyncio.create_task(shared(tmp_path, 60.0).ensure())
    await asyncio.sleep(0.05)
    second.fail("vllm did not start: out of memory")
    await asyncio.sleep(0.3)
    assert not waits.done()
    first.end()
    with pytest.raises(EndpointGone, match=r"did not start: vllm did not start: out of memory"):
        await asyncio.wait_for(waits, 60)
    registry.forget_failure(tmp_path, "a")
    assert Registry(tmp_path, "a").failure() is None


def test_a_job_of_servers_that_fails_before_their_start_tells_it(tmp_path):
    with pytest.raises(RlmEvalError, match="no model here has a server"):
        serve_job.run_servers(tmp_path, {"configs": [], "serves": ["a"], "bind": None})
    told = Registry(registry.place(tmp_path / "servers"), "a").failure()
    assert told.startswith("serve: no model here has a server of its own")


def test_a_server_whose_counter_stands_still_counts_no_more(tmp_path, monkeypatch):
    one = Registration(tmp_path, "a")
    one.renew("http://one/v1")
    reader = Registry(tmp_path, "a")
    assert reader.addresses() == ["http://one/v1"]
    monkeypatch.setattr(registry, "STALE_S", 0.0)
    assert reader.addresses() == []
    monkeypatch.setattr(registry, "STALE_S", 60.0)
    one.renew("http://one/v1")
    assert reader.addresses() == ["http://one/v1"]


def test_only_models_with_an_engine_are_served(tmp_path):
    with pytest.raises(ConfigError, match="no model here has a server of its own"):
        serving.models_of(cells_of(overrides(tmp_path, "http://x/v1")))


def test_a_run_is_done_when_every_planned_cell_is(tmp_path):
    assert not serving.is_done(tmp_path)
    for name in ("one", "two/1-of-2"):
        (tmp_path / "plan").mkdir(exist_ok=True)
        (tmp_path / "plan" / name.replace("/", "%2F")).touch()
    assert not serving.is_done(tmp_path)
    for folder in ("cells/one", "shards/two/1-of-2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "DONE").touch()
    assert serving.is_done(tmp_path)
    assert not serving.runs_now(tmp_path)


def test_a_run_is_not_done_where_a_job_wants_more_of_a_finished_cell(tmp_path):
    (cell,) = cells_of(overrides(tmp_path, "http://x/v1", "n=2"))
    plan(tmp_path, [cell])
    (tmp_path / cell.folder).mkdir(parents=True)
    (tmp_path / cell.folder / "DONE").write_text('{"samples": 2, "epochs": 1, "n": 2}')
    write_jobs(tmp_path, [[cell]], Cluster())
    assert serving.is_done(tmp_path)
    write_jobs(tmp_path, [cells_of(overrides(tmp_path, "http://x/v1", "n=3"))], Cluster())
    assert not serving.is_done(tmp_path)


def test_the_nodes_address_is_used_only_where_it_is_one(monkeypatch):
    monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.1.1")
    with pytest.raises(ConfigError, match="--bind ADDRESS"):
        serving.node_address("")
    assert serving.node_address("10.0.0.7") == "10.0.0.7"


@pytest.mark.slow
async def test_serve_tells_why_its_server_did_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_GPUS", str(tmp_path / "gpus"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("RLM_EVAL_DEVICES", str(tmp_path / "notes"))
    monkeypatch.setenv("FAKE_CACHE", "16")
    python = fake_vllm.environment(tmp_path / "env")
    (cell,) = cells_of([
        "task=s_niah", "method=long_context", "length=1k", "name=x", "model@root=qwen3-8b",
        f"root.engine.python={python}", f"root.engine.source={tmp_path}",
    ])  # fmt: skip
    with pytest.raises(EndpointUnusable, match="KV cache is needed"):
        await serving.serve(tmp_path, serving.models_of([cell]))
    LOGS.set(tmp_path / "servers")
    one = dataclasses.replace(cell.models["root"], server="shared")
    with pytest.raises(EndpointGone, match=r"did not start: .*(?s:.)*KV cache is needed"):
        async with one.open():
            pass


@pytest.mark.slow
def test_a_run_attaches_to_the_server_of_another_process(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_GPUS", str(tmp_path / "gpus"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("RLM_EVAL_DEVICES", str(tmp_path / "notes"))
    monkeypatch.setattr(registry, "RENEW_S", 0.5)
    python = fake_vllm.environment(tmp_path / "env")
    given = [word for word in overrides(tmp_path, "http://x/v1", "method=long_context", "n=1")
             if not word.startswith(("root.", "model@"))]  # fmt: skip
    given += ["model@root=qwen3-8b", f"root.engine.python={python}"]
    given += [f"root.engine.source={tmp_path}"]
    command = [sys.executable, "-m", "rlm_eval", "serve", *given]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        summary = asyncio.run(run_here([*given, "root.server=shared"]))
        assert summary.finished
        assert len(records(tmp_path)) == 1
        assert server.communicate(timeout=60)[0] == "serve: every planned cell is done\n"
    finally:
        server.kill()
    starts = (tmp_path / "env" / "calls").read_text().count(" serve ")
    assert starts == 1
    end = time.monotonic() + 10
    while list((tmp_path / "test" / "servers" / "shared").glob("*.json")):
        assert time.monotonic() < end
    assert not (tmp_path / "test" / "servers" / "shared" / "key").exists()
