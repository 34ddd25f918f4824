"""Leases against suspension, other namespaces, other clocks, and file systems that fail."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import threading
import time

import orjson
import pytest
from surroundings import (
    EEXIST,
    EIO,
    ENOTSUP,
    EPERM,
    ESTALE,
    FOREIGN_PROC,
    HOLD,
    OTHER_BOOT_TIME,
    OTHER_PIDS,
    Faults,
    needs,
    process,
    wait_for,
)

from rlm_eval.storage import lease
from rlm_eval.storage.lease import Lease, LeaseHeld, LeaseLost, holder_of
from rlm_eval.storage.lease_holder import Holder

SHORT = (0.2, 2.0)
"""Seconds of `renew` and `stale`, where a lease is to become stale."""
LONG = (0.2, 15.0)
"""The same where it is not to, on a machine that is busy with other tests."""


def held(folder, *arguments, **options):
    """A process that holds the folder's lease."""
    holder = process(HOLD, folder, *arguments, **options)
    assert holder.stdout.readline() == "held\n"
    return holder


def ended(holder) -> tuple[int, str]:
    _, told = holder.communicate(timeout=60)
    return holder.returncode, told


@pytest.mark.parametrize("within", [OTHER_PIDS, FOREIGN_PROC, OTHER_BOOT_TIME])
async def test_a_living_holder_is_not_taken_for_dead(tmp_path, within):
    needs(within)
    async with Lease(tmp_path):
        other = await asyncio.to_thread(process, HOLD, tmp_path, *SHORT, 0, within=within)
        code, told = await asyncio.to_thread(ended, other)
        assert code == 1
        assert f"is being written by process {os.getpid()} on" in told
        assert orjson.loads((tmp_path / "lease.json").read_bytes())["pid"] == os.getpid()


@pytest.mark.parametrize("within", [OTHER_PIDS, FOREIGN_PROC])
def test_a_living_holder_in_another_namespace_is_not_taken_for_dead(tmp_path, within):
    """Its pid means another process here, or none."""
    needs(within)
    holder = held(tmp_path, *LONG, 3, within=within)
    try:
        assert holder_of(tmp_path) is not None
        with pytest.raises(LeaseHeld, match="is being written by"), Lease(tmp_path, *LONG):
            pass
    finally:
        assert ended(holder) == (0, "")
    with Lease(tmp_path, *SHORT):
        pass


def test_a_lease_that_looks_old_but_is_renewed_is_not_taken_over(tmp_path):
    """As after a step of the clock: the next renewal shows that the holder lives."""
    needs(OTHER_PIDS)
    holder = held(tmp_path, *LONG, 8, within=OTHER_PIDS)
    old = time.time() - 3600
    os.utime(tmp_path / "lease.json", (old, old))
    with pytest.raises(LeaseHeld), Lease(tmp_path, 3.0, 15.0):
        pass
    assert ended(holder) == (0, "")


@pytest.mark.parametrize("step", [-3600, -1, 1, 3600])
def test_a_step_of_the_clock_makes_nobody_dead(tmp_path, monkeypatch, step):
    holder = held(tmp_path, 10, 60, 60)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step)
    assert holder_of(tmp_path).pid == holder.pid
    with pytest.raises(LeaseHeld), Lease(tmp_path):
        pass
    holder.kill()
    holder.wait()
    assert holder_of(tmp_path) is None
    with Lease(tmp_path) as mine:
        assert "taken over" in mine.taken_over


def test_a_killed_holder_that_nobody_reaped_is_dead(tmp_path):
    holder = held(tmp_path, 10, 60, 60)
    os.kill(holder.pid, signal.SIGKILL)
    stat = f"/proc/{holder.pid}/stat"
    wait_for(lambda: b") Z " in open(stat, "rb").read())  # noqa: PTH123, SIM115 - of a zombie
    assert holder_of(tmp_path) is None
    holder.wait()


def test_a_suspended_holder_keeps_its_lease_against_who_can_see_it(tmp_path):
    holder = held(tmp_path, *SHORT, 5)
    holder.send_signal(signal.SIGSTOP)
    time.sleep(SHORT[1] + 0.5)
    with pytest.raises(LeaseHeld), Lease(tmp_path, *SHORT):
        pass
    holder.send_signal(signal.SIGCONT)
    assert ended(holder) == (0, "")  # nobody took it: it goes on


def test_a_suspended_holder_that_was_replaced_stops_when_it_wakes(tmp_path):
    needs(OTHER_PIDS)
    holder = held(tmp_path, *SHORT, 60)
    holder.send_signal(signal.SIGSTOP)
    time.sleep(SHORT[1] + 0.2)
    other = held(tmp_path, *SHORT, 3, within=OTHER_PIDS)
    holder.send_signal(signal.SIGCONT)
    code, told = ended(holder)
    assert code == 1
    assert "LeaseLost" in told
    assert "this process was suspended for over 2 s and another one took over" in told
    assert "stopped writing" in told
    assert ended(other) == (0, "")
    assert not (tmp_path / "lease.json").exists()


async def test_a_writer_looks_at_its_lease_before_it_writes_after_a_pause(tmp_path, monkeypatch):
    """Also where the machine was frozen from outside, and only the wall clock tells."""
    for clock in ("boot", "wall"):
        async with Lease(tmp_path) as mine:
            mine.check()
            path = tmp_path / "lease.json"
            path.write_bytes(path.read_bytes().replace(b'"id":"', b'"id":"0'))
            mine.check()  # cheap: it was renewed a moment ago
            later = {"boot": 0, "wall": 0, clock: 25}
            real = lease._now()
            moved = lease._Time(real.boot + later["boot"], real.wall + later["wall"])
            with monkeypatch.context() as patch:
                patch.setattr(lease, "_now", lambda moved=moved: moved)
                with pytest.raises(LeaseLost, match="another one took over"):
                    mine.check()
        path.unlink()


@pytest.fixture
def frozen():
    """Makes a file immutable, as `chattr +i`; undone at the end."""
    files = []

    def freeze(path) -> None:
        if subprocess.run(["chattr", "+i", path], check=False, capture_output=True).returncode:
            pytest.skip("chattr +i does not work here")
        files.append(path)

    yield freeze
    for path in files:
        subprocess.run(["chattr", "-i", path], check=False)


def test_who_cannot_renew_stops_before_the_lease_can_be_taken(tmp_path, frozen):
    holder = held(tmp_path, 1.0, 6.0, 60)
    frozen(tmp_path / "lease.json")
    code, told = ended(holder)
    assert code == 1
    found = re.search(r"lease lost: it could not be renewed for (\d+) s", told)
    assert found, told
    assert int(found[1]) < 6  # by its own clock: others may take the lease from then on
    assert "(Operation not permitted); stopped writing before another process takes over" in told


@pytest.mark.slow
@pytest.mark.parametrize("number", [ESTALE, EIO, 122])  # 122: EDQUOT
def test_an_error_that_passes_does_not_end_the_renewal(tmp_path, number):
    faults = Faults(tmp_path)
    (folder := tmp_path / "cell").mkdir()
    holder = held(folder, *LONG, 4, env=faults.env)
    faults.set(("utime", number, "lease.json"))
    time.sleep(0.8)
    faults.set()
    before = (folder / "lease.json").stat().st_mtime
    wait_for(lambda: (folder / "lease.json").stat().st_mtime > before, 2)
    assert ended(holder) == (0, "")


def test_an_error_that_stays_ends_the_holder(tmp_path):
    faults = Faults(tmp_path)
    (folder := tmp_path / "cell").mkdir()
    holder = held(folder, *SHORT, 60, env=faults.env)
    faults.set(("utime", ESTALE, "lease.json"))
    code, told = ended(holder)
    assert code == 1
    assert "could not be renewed for 2 s (Stale file handle)" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [("linkdone", EEXIST, "lease.json"), ("linkdone", EIO, "lease.json")]
    + [("link", number, "lease.json") for number in (EPERM, ENOTSUP, 38)],  # 38: ENOSYS
)
def test_a_file_system_without_links_or_with_a_lost_answer_has_leases(tmp_path, fault):
    faults = Faults(tmp_path)
    faults.set(fault)
    (folder := tmp_path / "cell").mkdir()
    holder = held(folder, *SHORT, 2, env=faults.env)
    assert [path.name for path in folder.iterdir()] == ["lease.json"]
    code, told = ended(process(HOLD, folder, *SHORT, 0, env=faults.env))
    assert code == 1
    assert f"is being written by process {holder.pid} on" in told
    assert ended(holder) == (0, "")
    assert not list(folder.iterdir())
    # A dead one is replaced there, too.
    holder = held(folder, *SHORT, 60, env=faults.env)
    holder.kill()
    holder.wait()
    assert ended(held(folder, *SHORT, 0, env=faults.env)) == (0, "")


def test_a_half_written_lease_is_somebodys(tmp_path):
    """Where a lease cannot be linked into place its file is empty for a moment."""
    path = tmp_path / "lease.json"
    path.touch()
    with pytest.raises(LeaseHeld, match=r"being written by an unreadable lease\.json"):
        Lease(tmp_path).__enter__()
    old = time.time() - 100
    os.utime(path, (old, old))
    with Lease(tmp_path, 0.1, 60):
        pass


def test_of_many_that_want_a_dead_ones_folder_one_gets_it(tmp_path):
    holder = held(tmp_path, *SHORT, 60)
    holder.kill()
    holder.wait()
    many = [process(HOLD, tmp_path, 10, 60, 3) for _ in range(4)]
    codes = sorted(ended(one)[0] for one in many)
    assert codes == [0, 1, 1, 1]
    assert not list(tmp_path.iterdir())


def test_tokens_grow_whatever_is_lost(tmp_path, monkeypatch):
    drawn = itertools.count()  # at random, two of the four ids may begin alike
    monkeypatch.setattr("secrets.token_hex", lambda size: f"{next(drawn):04x}".ljust(2 * size, "0"))
    seen = []
    for _ in range(3):
        with Lease(tmp_path) as mine:
            seen.append(mine.claim())
    (tmp_path / "writers" / "3.json").unlink()
    with Lease(tmp_path) as mine:
        seen.append(mine.claim(at_least=7))  # what the logs say
    assert [int(token.partition(".")[0]) for token in seen] == [1, 2, 3, 8]
    assert len({token.partition(".")[2] for token in seen}) == 4


def test_a_token_counts_only_while_the_lease_is_held(tmp_path):
    with Lease(tmp_path) as mine:
        (tmp_path / "lease.json").write_bytes(Holder.me().stored())
        with pytest.raises(LeaseLost):
            mine.claim()
    with pytest.raises(LeaseHeld):
        Lease(tmp_path).__enter__()


async def test_what_comes_after_a_lost_lease_is_not_cancelled_with_it(tmp_path):
    """The runner goes on with its next cell, in the same task."""
    path = tmp_path / "lease.json"

    async def lose() -> None:
        async with Lease(tmp_path, 0.05, 60):
            path.write_bytes(Holder.me().stored())
            await asyncio.sleep(10)

    with pytest.raises(LeaseLost):
        await lose()
    assert asyncio.current_task().cancelling() == 0
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(int, "no number"))


def test_who_waits_long_says_for_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lease, "_LONG_WAIT", 0.5)
    holder = held(tmp_path, *LONG, 2)
    with Lease(tmp_path, *LONG, waits=True):
        assert ended(holder) == (0, "")
    assert f"waiting for process {holder.pid} on" in capsys.readouterr().err


async def test_a_lease_that_is_taken_away_and_put_back_is_not_lost(tmp_path):
    """As by a process that judged an earlier holder, and finds that it was replaced since."""
    async with Lease(tmp_path) as mine:
        path = tmp_path / "lease.json"
        path.rename(tmp_path / "away")
        back = threading.Timer(0.1, lambda: (tmp_path / "away").rename(path))
        back.start()
        mine._confirm()
        back.join()
        mine.check()


async def test_who_gives_up_leaves_no_lease_behind(tmp_path, monkeypatch):
    """The process goes on with other cells: its lease would look alive for hours."""
    real = os.utime

    def fails(path, *rest, **more):
        if str(path).endswith("lease.json"):
            raise OSError(ESTALE, os.strerror(ESTALE))
        real(path, *rest, **more)

    async def hold() -> None:
        async with Lease(tmp_path, 0.1, 1.0):
            await asyncio.sleep(20)

    monkeypatch.setattr(os, "utime", fails)
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await hold()
    assert not list(tmp_path.iterdir())
