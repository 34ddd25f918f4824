"""GPUs without GPUs: lists as sites set them, who gets which, two processes, two models on one."""

import asyncio
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from runs import ROOT

from rlm_eval.config.builder import build
from rlm_eval.core.errors import ConfigError
from rlm_eval.models.servers import devices, placement
from rlm_eval.models.servers.devices import Need, choose, visible
from rlm_eval.models.servers.placement import Asked, Placement, key_of, needs_of


@pytest.fixture(autouse=True)
def _own_notes(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_DEVICES", str(tmp_path))
    monkeypatch.setattr(devices, "_POLL_S", 0.02)
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "ids", "vendor"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ("2", "3"), "cuda"),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ("0",), "cuda"),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, (), "cuda"),
        ({"CUDA_VISIBLE_DEVICES": ""}, (), "cuda"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}, ("MIG-a", "MIG-b"), "cuda"),
        ({"HIP_VISIBLE_DEVICES": "1"}, ("1",), "hip"),
        ({"ROCR_VISIBLE_DEVICES": "4,7"}, ("0", "1"), "hip"),
        ({"ROCR_VISIBLE_DEVICES": "4,7", "HIP_VISIBLE_DEVICES": "1"}, ("1",), "hip"),
    ],
)
def test_a_list_of_the_site_is_respected(environment, ids, vendor):
    seen = visible(environment)
    assert (seen.ids, seen.vendor) == (ids, vendor)
    if vendor == "hip":
        assert set(seen.variables(ids).values()) == {",".join(ids)}


def test_without_a_list_the_driver_is_asked_and_mig_instances_count(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -L ]; then\n'
        "echo 'GPU 0: NVIDIA A100 (UUID: GPU-aa)'\n"
        "echo '  MIG 3g.40gb     Device  0: (UUID: MIG-x)'\n"
        "echo '  MIG 3g.40gb     Device  1: (UUID: MIG-y)'\n"
        "echo 'GPU 1: NVIDIA A100 (UUID: GPU-bb)'\n"
        "else echo '0, GPU-aa, 81920'; echo '1, GPU-bb, 40960'; fi\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert visible({}).ids == ("MIG-x", "MIG-y", "1")
    assert devices.memory_gib(("0", "GPU-bb")) == 40.0
    assert devices.memory_gib(("MIG-x",)) is None


@pytest.mark.parametrize(
    ("need", "sums", "chosen"),
    [
        (Need(1), {}, ("0",)),
        (Need(2), {"0": 1.0}, ("1", "2")),
        (Need(2), {"0": 1.0, "1": 0.4}, None),
        (Need(1, 0.5), {"0": 1.0, "1": 0.4}, ("1",)),
        (Need(1, 0.7), {"1": 0.4}, ("0",)),
        (Need(1), {"0": 0.1, "1": 0.1, "2": 0.1}, None),
    ],
)
def test_whole_devices_stay_free_for_those_that_need_one(need, sums, chosen):
    assert choose(("0", "1", "2"), need, sums) == chosen


ROOT_KEY, SUB_KEY = ("root", "a", None), ("sub", "b", None)


@pytest.mark.parametrize(
    ("root", "sub", "count", "gib", "found"),
    [
        (Asked("a", 1), Asked("b", 1), 2, None, (1.0, 1.0)),
        (Asked("a", 2), Asked("b", 1), 3, None, (1.0, 1.0)),
        (Asked("a", 1, 0.5), Asked("b", 1, 0.4), 2, None, (0.5, 0.4)),
        (Asked("a", 1, 0.6), Asked("b", 1, 0.3), 1, None, (0.6, 0.3)),
        (Asked("a", 1, strict=False), Asked("b", 1, strict=False), 1, None, (0.5, 0.5)),
        (Asked("a", 1, 0.6), Asked("b", 1, strict=False), 1, None, (0.6, 0.4)),
        (Asked("a", 1, None, 22.9), Asked("b", 1, None, 22.9), 1, 80.0, (0.459, 0.459)),
        (Asked("a", 2, None, 10), Asked("b", 1, None, 30), 2, 80.0, (0.334, 0.584)),
        (Asked("a", 1, None, 22.9), Asked("b", 1, None, 22.9), 1, 40.0, "too little GPU memory"),
        (Asked("a", 1), Asked("b", 1, None, 20), 1, 80.0, "the size of a is not known"),
        (Asked("a", 1, None, 9), Asked("b", 1, None, 9), 1, None, "memory of the GPU is not known"),
        (Asked("a", 1, 0.6), Asked("b", 1, 0.6), 1, None, r"add up to 1\.20"),
        (Asked("a", 4), Asked("b", 1), 2, 80.0, "too few GPUs: a 4, b 1; 2 can be seen; ask for 5"),
    ],
)
def test_two_models_get_gpus_of_their_own_or_shares_that_fit(root, sub, count, gib, found):
    group = {ROOT_KEY: root, SUB_KEY: sub}
    if isinstance(found, str):
        with pytest.raises(ConfigError, match=found):
            needs_of(group, count, gib)
        return
    needs = needs_of(group, count, gib)
    assert (needs[ROOT_KEY].share, needs[SUB_KEY].share) == pytest.approx(found, abs=2e-3)


def model(name, **fields):
    node = OmegaConf.load(ROOT / "configs" / "model" / f"{name}.yaml")
    return build(OmegaConf.merge(node, fields), "root")


@pytest.mark.parametrize("visible_list", ["0,1", "5"])
async def test_root_and_sub_of_a_cell_are_placed_together(monkeypatch, visible_list):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible_list)
    monkeypatch.setattr(devices, "memory_gib", lambda ids: 80.0)
    root, sub = model("rlm-qwen3-8b"), model("qwen3-8b")
    plan = Placement([[root, sub], [root]])
    keys = [key_of(m.engine, m.model, m.window) for m in (root, sub)]
    async with plan.hold(root.engine, "a", keys[0]) as first:
        assert devices.held_shares().keys() == set(visible_list.split(","))  # both, at once
        async with plan.hold(sub.engine, "b", keys[1]) as second:
            found = [first.ids, second.ids]
            assert found == ([("0",), ("1",)] if visible_list == "0,1" else [("5",), ("5",)])
            assert second.environment == {"CUDA_VISIBLE_DEVICES": second.ids[0]}
            if visible_list == "5":
                assert first.share + second.share <= placement.SHARE
                assert first.sharing == 2
            else:
                assert first.share is None
    assert devices.held_shares() == {}


async def test_a_server_for_more_gpus_than_the_job_has_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    wide = model("qwen3-8b", engine={"tensor_parallel": 2})
    with pytest.raises(ConfigError, match=r"too few GPUs: qwen3-8b 2; 1 can be seen"):
        async with Placement([[wide]]).hold(
            wide.engine, wide.name, key_of(wide.engine, wide.model, wide.window)
        ):
            pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    with pytest.raises(ConfigError, match="one MIG instance"):
        async with Placement().hold(wide.engine, "x", key_of(wide.engine, "m", 1)):
            pass


async def test_a_second_process_waits_for_the_first_ones_gpu(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    other = (
        "import asyncio\nfrom rlm_eval.models.servers.devices import Need, reserved\n"
        "async def main():\n"
        "    async with reserved(Need(1), 'other'):\n"
        "        print('holds', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    holder = subprocess.Popen(  # noqa: ASYNC220 - it starts nothing that blocks
        [sys.executable, "-c", other], stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"holds\n"

    async def mine():
        async with devices.reserved(Need(1), "mine") as ids:
            return ids

    task = asyncio.create_task(mine())
    await asyncio.sleep(0.1)
    assert not task.done()
    holder.kill()  # its note counts no more
    holder.wait()
    assert await task == ("0",)
    told = capsys.readouterr().err
    assert f"mine: waiting for 1 GPU(s) held by process {holder.pid}" in told
