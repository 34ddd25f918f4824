"""One writer per cell."""

import asyncio
import dataclasses
import os
import subprocess
import sys

import orjson
import pytest

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.storage import lease
from rlm_eval.storage.lease import STALE_SECONDS, Lease, holder_of
from rlm_eval.storage.lease_holder import Holder


async def test_the_second_one_is_told_who_and_since_when(tmp_path):
    async with Lease(tmp_path):
        with pytest.raises(RlmEvalError, match=rf"process {os.getpid()} on .* since \d{{4}}-"):
            async with Lease(tmp_path):
                pass
    assert holder_of(tmp_path) is None
    async with Lease(tmp_path):
        pass


async def test_a_dead_process_holds_nothing(tmp_path):
    code = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from rlm_eval.storage.lease import Lease\n"
        "async def main():\n"
        "    async with Lease(Path(sys.argv[1])):\n"
        "        os._exit(9)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert (tmp_path / "lease.json").exists()
    async with Lease(tmp_path):
        pass


async def test_of_two_that_find_a_dead_holder_one_gets_the_cell(tmp_path, monkeypatch):
    async with Lease(tmp_path):
        left = (tmp_path / "lease.json").read_bytes()
    (tmp_path / "lease.json").write_bytes(left.replace(b'"pid":', b'"pid":1000000'))
    first, remove = Lease(tmp_path), Lease._remove
    entered = []

    def slowly(self, seen):
        """While the second one has judged and not yet removed, the first one takes the cell."""
        if not entered:
            entered.append(True)
            assert first._try() == 0
        remove(self, seen)

    monkeypatch.setattr(Lease, "_remove", slowly)
    with pytest.raises(RlmEvalError, match="is being written by"):
        async with Lease(tmp_path):
            pass
    assert (tmp_path / "lease.json").read_bytes() == first._mine
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lease.json"]


async def test_another_machines_lease_goes_stale(tmp_path):
    async with Lease(tmp_path):
        path = tmp_path / "lease.json"
        path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "host": "elsewhere"}))
        assert holder_of(tmp_path) is not None
        old = path.stat().st_mtime - STALE_SECONDS - 1
        os.utime(path, (old, old))
        assert holder_of(tmp_path) is None


async def test_the_same_cluster_job_takes_over_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    async with Lease(tmp_path):
        path = tmp_path / "lease.json"
        path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "host": "elsewhere"}))
        async with Lease(tmp_path):
            pass


async def test_another_task_of_the_same_job_is_no_predecessor(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    async with Lease(tmp_path):
        with pytest.raises(RlmEvalError, match="is being written"):
            async with Lease(tmp_path):
                pass
        path = tmp_path / "lease.json"
        path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "host": "elsewhere"}))
        monkeypatch.setenv("SLURM_STEP_ID", "0")
        monkeypatch.setenv("SLURM_PROCID", "1")  # `srun -N 2` starts one on each node
        with pytest.raises(RlmEvalError, match="is being written"):
            async with Lease(tmp_path):
                pass


async def test_whoever_lost_the_cell_stops_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    path = tmp_path / "lease.json"

    async def write() -> None:
        async with Lease(tmp_path):
            path.write_bytes(path.read_bytes().replace(b'"host":"', b'"host":"else-'))
            await asyncio.sleep(10)

    with pytest.raises(RlmEvalError, match="lease lost: another one took over.*stopped writing"):
        await write()
    assert b"else-" in path.read_bytes()


def test_a_process_that_proc_does_not_show_may_live(tmp_path, monkeypatch):
    """`/proc` with `hidepid`: those of other users look as if they had ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    gone = dataclasses.replace(Holder.me(), pid=ended.pid)
    (tmp_path / "lease.json").write_bytes(gone.stored())
    assert holder_of(tmp_path) is None

    def not_allowed(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", not_allowed)
    assert holder_of(tmp_path) is not None, "its lease is not old"
