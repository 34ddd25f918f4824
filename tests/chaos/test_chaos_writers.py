"""Two writers of one cell, disks that fail at `fsync`, merges that meet: the records stay right."""

import asyncio
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from fake_server import FakeServer, Out, rules
from runs import (
    RULES,
    asked,
    cell_folder,
    cells_of,
    contexts,
    overrides,
    prompts_in,
    records,
    run_here,
    server_process,
)
from surroundings import CLI, EIO, ENOSPC, OTHER_PIDS, Faults, needs, process, wait_for

from rlm_eval.commands.status import main as status
from rlm_eval.storage.cell_logs import cell_logs
from rlm_eval.storage.jsonl import (
    JsonlLog,
    Writer,
    count_stale,
    count_torn,
    dumped,
    highest_number,
    read_lines,
)
from rlm_eval.storage.lease import Lease, LeaseHeld
from rlm_eval.storage.shards import merge, recover
from rlm_eval.storage.spend import spent

RENEW, STALE = 0.3, 2.0
CHANGES = ("seconds", "retried", "lost", "replayed", "run")
"""Parts of the names of columns that differ between two undisturbed runs as well."""
LOGS = ("journal.jsonl", "trajectories.jsonl", "scores.jsonl")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def comparable(rows):
    return {
        row["sample_id"]: {k: v for k, v in row.items() if not any(c in k for c in CHANGES)}
        for row in rows
    }


def start(given, renew=RENEW, stale=STALE, **options):
    return process(CLI, renew, stale, "run", "--no-report", *given, **options)


def answered(folder) -> int:
    journals = (folder / "test" / "cells").glob("*/journal.jsonl")
    return sum(line["k"] == "call" for path in journals for line in read_lines(path))


@pytest.mark.parametrize(
    ("renew", "stale"), [(RENEW, STALE), pytest.param(10, 60, marks=pytest.mark.slow)]
)
def test_a_run_that_was_suspended_and_replaced_writes_nothing_more(tmp_path, renew, stale):
    needs(OTHER_PIDS)
    with server_process(tmp_path, "--latency", "0.1") as server:
        calm = tmp_path / "calm"
        more = ("n=6", "root.concurrency=3")
        asyncio.run(run_here(overrides(calm, server.url, *more)))
        given = overrides(tmp_path / "run", server.url, *more)
        texts = contexts(given)
        first = start(given, renew, stale)
        wait_for(lambda: answered(tmp_path / "run") >= 10)
        first.send_signal(signal.SIGSTOP)
        folder = cell_folder(tmp_path / "run")
        done = prompts_in(folder / "journal.jsonl", texts)
        before = len(server.get("/_log"))
        time.sleep(stale + 0.2)
        second = start(given, renew, stale, within=OTHER_PIDS)
        wait_for(lambda: answered(tmp_path / "run") > len(done) + 5)
        first.send_signal(signal.SIGCONT)  # while the second one writes
        _, told = first.communicate(timeout=60)
        assert first.returncode == 1, told
        assert (
            f"lease lost: this process was suspended for over {stale:g} s and another one took"
            in told
        )
        assert "Traceback" not in told
        _, told = second.communicate(timeout=120)
        assert second.returncode == 0, told
        assert "taken over from process" in told
        again = asked(server.get("/_log")[before:])
    assert not set(done) & set(again), "paid twice"
    assert comparable(records(tmp_path / "run")) == comparable(records(calm))
    assert not (folder / "unfinished.json").exists()
    assert {path.name for path in (folder / "writers").iterdir()} == {"1.json", "2.json"}
    assert sum(map(count_torn, folder.glob("*.jsonl"))) == 0


def stale_lines(folder, number: int, shift: int) -> dict[str, bytes]:
    """Lines as the first writer would have gone on: the numbers of the next one, other replies."""
    found = {}
    for name in LOGS:
        made = b""
        for raw in (folder / name).read_bytes().splitlines():
            line = orjson.loads(raw)
            if line.get("k") == "text" or not line["w"].startswith(f"{number}."):
                continue
            for key, by in (("t", shift), ("c", shift * 100), ("of", shift * 100)):
                if key in line:
                    line[key] = line[key] + by
            if "reply" in line:
                line["reply"] = "wrong"
            if "answer" in line:
                line["answer"]["text"] = "wrong"
            for score in line.get("scores", ()):
                score["value"] = 0.0
            made += orjson.dumps(line) + b"\n"
        found[name] = made
    return found


async def test_lines_of_a_writer_that_did_not_notice_change_no_record(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context")
        await run_here([*given, "n=2"])
        folder = cell_folder(tmp_path)
        late, later = (stale_lines(folder, 1, shift) for shift in (0, 7))
        await run_here([*given, "n=4"])
        rightful, paid = records(tmp_path), spent(folder)
        assert [row["score"] for row in rightful] == [1.0] * 4
        for name in LOGS:  # behind the second writer's lines, and among them
            path = folder / name
            lines = path.read_bytes().splitlines(keepends=True)
            at = next(i for i, line in enumerate(lines) if line.startswith(b'{"k":"writer"')) + 2
            path.write_bytes(b"".join([*lines[:at], late[name], *lines[at:], later[name]]))
            assert count_stale(path) > 0
        assert records(tmp_path) == rightful
        assert spent(folder).stale == spent(folder).calls - paid.calls == 4
        capsys.readouterr()
        assert status([str(tmp_path / "test")]) == 0
        told = capsys.readouterr().out
        assert "(4 calls of a process that had lost its lease are in no record)" in told
        # The next writer says it, too, and gives none of their numbers again.
        sent = len(server.log)
        assert not (await run_here([*given, "n=5"])).unfinished
        assert "line(s) of a process that had lost its lease ignored" in capsys.readouterr().err
        assert sum(asked(server.log[sent:]).values()) == 1
        assert comparable(records(tmp_path)[:4]) == comparable(rightful)


async def test_a_sealed_log_is_fenced_as_well(tmp_path):
    path = tmp_path / "log.jsonl"
    first, second = (Writer(f"{n}.00{n}f", lambda: None) for n in (1, 2))
    async with JsonlLog(path, sealed=True, writer=first) as old:
        old.append({"k": "start", "t": 1})
        async with JsonlLog(path, sealed=True, writer=second) as new:
            old.append({"k": "start", "t": 2})
            new.append({"k": "start", "t": 3})
            old.append({"k": "start", "t": 4})
    assert [line["t"] for line in read_lines(path)] == [1, 3]
    assert (count_stale(path), highest_number(path)) == (2, 2)
    assert b"start" not in path.read_bytes()


async def test_a_line_that_a_late_writer_wrote_first_does_not_count_either(tmp_path):
    """Between the takeover and the next writer's first line."""
    async with Lease(tmp_path) as lease, cell_logs(tmp_path, False, lease) as logs:
        logs.journal.append({"k": "start", "t": 0, "sample": "a", "epoch": 0, "context": ""})
        stale = Writer(logs.journal._writer.token, lambda: None)
    async with Lease(tmp_path) as lease, cell_logs(tmp_path, False, lease):
        for name in ("trajectories.jsonl", "scores.jsonl"):  # empty until now
            async with JsonlLog(tmp_path / name, writer=stale) as log:
                log.append({"t": 0})
            assert list(read_lines(tmp_path / name)) == []


async def test_a_contested_file_is_replaced_under_who_still_has_it_open(tmp_path):
    async with Lease(tmp_path) as lease, cell_logs(tmp_path, False, lease) as logs:
        logs.journal.append({"k": "count", "request": "a", "tokens": 1})
        lease_path = tmp_path / "lease.json"
        old = time.time() - 100
        elsewhere = orjson.loads(lease_path.read_bytes()) | {"host": "elsewhere"}
        lease_path.write_bytes(orjson.dumps(elsewhere))
        os.utime(lease_path, (old, old))
        async with Lease(tmp_path, 0.1, 60) as next_lease:
            assert next_lease.is_contested
            async with cell_logs(tmp_path, False, next_lease) as next_logs:
                os.write(logs.journal.fileno(), b"bytes that were on their way\n")
                next_logs.journal.append({"k": "count", "request": "b", "tokens": 2})
    lines = list(read_lines(tmp_path / "journal.jsonl"))
    assert [line["request"] for line in lines] == ["a", "b"]
    assert count_torn(tmp_path / "journal.jsonl") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [ENOSPC, pytest.param(EIO, marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_fsync_stops_the_run_and_the_same_command_resumes(tmp_path, number):
    faults = Faults(tmp_path)
    with server_process(tmp_path, "--latency", "0.05") as server:
        given = overrides(tmp_path, server.url, "n=6", "root.concurrency=3")
        texts = contexts(given)
        run = start(given, env=faults.env)
        wait_for(lambda: answered(tmp_path) >= 10)
        faults.set(("fsync", number, "journal.jsonl"))
        _, told = run.communicate(timeout=60)
        assert run.returncode == 1, told
        assert f"journal.jsonl: cannot write ({os.strerror(number)})" in told
        assert "run the same command again" in told
        assert "Traceback" not in told
        done = prompts_in(cell_folder(tmp_path) / "journal.jsonl", texts)
        before = len(server.get("/_log"))
        assert before < len(done) + 10, "it went on paying"
        faults.set()
        run = start(given, env=faults.env)
        _, told = run.communicate(timeout=120)
        assert run.returncode == 0, told
        assert not set(done) & set(asked(server.get("/_log")[before:]))
    assert [row["score"] for row in records(tmp_path)] == [1.0] * 6


async def test_fsyncs_are_few_grouped_and_beside_the_event_loop(tmp_path, monkeypatch):
    loop_thread, real, seen = threading.get_ident(), os.fsync, []

    def counted(number):
        seen.append(threading.get_ident())
        real(number)

    async with Lease(tmp_path) as lease, cell_logs(tmp_path, False, lease) as logs:
        await logs.journal.sync()
        monkeypatch.setattr(os, "fsync", counted)
        began = time.monotonic()
        while time.monotonic() - began < 2:
            for log in (logs.journal, logs.trajectories, logs.scores):
                log.append({"k": "count", "request": "a" * 40, "tokens": 1})
            await asyncio.sleep(0.001)
        took = time.monotonic() - began
        count = len(seen)
        assert count <= 28 * took, f"{count / took:.0f} a second"
        assert loop_thread not in seen
        assert len(set(seen)) == 1
        # A line is on the disk within the window, and a caller can wait for it.
        seen.clear()
        logs.journal.append({"k": "count", "request": "b", "tokens": 1})
        await logs.journal.sync()
        assert seen


async def test_a_job_reads_no_manifest_of_the_other_cells(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=1")
        other = tmp_path / "test" / "cells" / "other"
        other.mkdir(parents=True)
        (other / "manifest.json").symlink_to("manifest.json")  # cannot be read
        assert not (await run_here(given)).unfinished


async def shards(tmp_path, server) -> tuple[list[str], str]:
    given = overrides(tmp_path, server.url, "method=long_context")
    assert not (await run_here([*given, "shard=1/2,2/2"])).unfinished
    (cell,) = cells_of(given)
    return given, cell.id


async def test_merges_that_meet_all_find_the_merged_cell(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given, cell = await shards(tmp_path, server)
        run = tmp_path / "test"
        for _ in range(2):  # with and without an earlier merge in the place
            with ThreadPoolExecutor(4) as pool:
                merged = list(pool.map(lambda _: merge(run, cell), range(4)))
            assert set(merged) == {run / "cells" / cell}
            names = sorted(path.name for path in (run / "shards" / cell).iterdir())
            assert names == ["1-of-2", "2-of-2"]
            assert [row["score"] for row in records(tmp_path)] == [1.0] * 4
            await run_here([*given, "shard=1/2", "n=4"])


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["before", "between", "after"])
async def test_a_merge_killed_at_its_renames_is_ended_by_the_next_command(tmp_path, killed):
    async with FakeServer(reply=rules(RULES)) as server:
        given, cell = await shards(tmp_path, server)
        run = tmp_path / "test"
        target, parent = merge(run, cell), run / "shards" / cell
        (parent / "merging-x").mkdir()
        if killed == "between":
            target.rename(parent / "replaced-x")
        elif killed == "after":
            (parent / "replaced-x").mkdir()
        sent = len(asked(server.log))
        if killed == "between":
            assert not (await run_here(given)).unfinished  # the merged cell: nothing is paid again
        assert merge(run, cell) == target
        assert len(asked(server.log)) == sent
        assert sorted(path.name for path in parent.iterdir()) == ["1-of-2", "2-of-2"]
        assert [row["score"] for row in records(tmp_path)] == [1.0] * 4
        recover(run, cell)


async def test_a_merge_does_not_replace_a_cell_that_is_being_written(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        _, cell = await shards(tmp_path, server)
        run = tmp_path / "test"
        target = merge(run, cell)
        path = run / "shards" / cell / "1-of-2" / "scores.jsonl"
        path.write_bytes(path.read_bytes() * 2)  # as after `score`: there is something to merge
        async with Lease(target):
            with pytest.raises(LeaseHeld, match="is being written by process"):
                await asyncio.to_thread(merge, run, cell)
        assert sorted(p.name for p in path.parent.parent.iterdir()) == ["1-of-2", "2-of-2"]
        assert merge(run, cell) == target


async def test_a_run_of_an_older_release_is_read_and_gone_on_with(tmp_path):
    """No tokens, no writers."""
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context")
        await run_here([*given, "n=2"])
        folder, before = cell_folder(tmp_path), records(tmp_path)
        for name in LOGS:
            (folder / name).write_bytes(b"".join(map(dumped, read_lines(folder / name))))
            assert b'"w"' not in (folder / name).read_bytes()
        shutil.rmtree(folder / "writers")
        assert records(tmp_path) == before
        sent = len(asked(server.log))
        assert not (await run_here([*given, "n=4"])).unfinished
        assert len(asked(server.log)) == sent + 2
        # Baselines are measured on all samples of the cell: with n = 4 they are others.
        old, new = (
            [{k: v for k, v in row.items() if not k.startswith("baseline_")} for row in rows]
            for rows in (before, records(tmp_path)[:2])
        )
        assert comparable(new) == comparable(old)
        assert [row["score"] for row in records(tmp_path)] == [1.0] * 4


async def test_a_run_directory_that_is_deleted_stops_the_run_at_once(tmp_path):
    play = rules(RULES)
    async with FakeServer(lambda request: Out(play(request), seconds=0.1)) as server:
        given = overrides(tmp_path, server.url, "n=6", "root.concurrency=3")
        run = asyncio.create_task(run_here(given))
        async with asyncio.timeout(60):
            while len(server.log) < 10:  # noqa: ASYNC110 - the server has no event for this
                await asyncio.sleep(0.01)
        shutil.rmtree(tmp_path / "test")
        sent = len(server.log)
        (why,) = (await run).unfinished.values()
        assert "the run directory was deleted or moved" in why
        assert len(server.log) <= sent + 3, "it went on paying"
        assert not list((tmp_path / "test").glob("cells/*"))
