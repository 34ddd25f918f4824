"""A machine that disappears: what its disk may look like afterwards, and whose cell it then is."""

import os
import subprocess
import time

import orjson
import pytest
from fake_server import FakeServer, rules
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
    start,
)

from rlm_eval.commands.score import main as score
from rlm_eval.storage import lease
from rlm_eval.storage.jsonl import count_torn, dumped, read_lines
from rlm_eval.storage.lease import STALE_SECONDS


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def torn(data: bytes) -> bytes:
    """Cut inside the last record."""
    return data[: data.rstrip().rindex(b"\n") + 30]


def zeros(data: bytes) -> bytes:
    """The file had its length, its last blocks never reached the disk."""
    cut = len(torn(data))
    return data[:cut] + bytes(max(4096, len(data) - cut))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [torn, zeros])
async def test_a_damaged_journal_costs_only_what_it_lost(tmp_path, damage, capsys):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url)
        texts = contexts(given)
        await run_here(given)
        undisturbed = [(r["sample_id"], r["n_calls"], r["score"]) for r in records(tmp_path)]
        folder = cell_folder(tmp_path)
        journal = folder / "journal.jsonl"
        journal.write_bytes(damage(journal.read_bytes()))
        (folder / "DONE").unlink()
        # Two of the four results had not reached the disk either; one of them lost its scores only.
        for name, kept in (("trajectories.jsonl", 3), ("scores.jsonl", 2)):
            lines = (folder / name).read_bytes().splitlines(keepends=True)
            (folder / name).write_bytes(b"".join(lines[:kept]))
        kept_calls = set(prompts_in(journal, texts))
        before = len(server.log)
        assert not (await run_here(given)).unfinished
        assert "torn journal line(s) skipped" in capsys.readouterr().err
        again = asked(server.log[before:])
        assert not kept_calls & set(again)
        assert sum(again.values()) == 1
        assert count_torn(journal) == 1
        starts = [line["t"] for line in read_lines(journal) if line["k"] == "start"]
        assert len(set(starts)) == len(starts)
        told = [(r["sample_id"], r["n_calls"], r["score"]) for r in records(tmp_path)]
        assert told == undisturbed


async def test_numbers_that_a_hole_took_are_not_given_again(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1")
        await run_here([*given, "n=1"])
        journal = cell_folder(tmp_path) / "journal.jsonl"
        lines = list(read_lines(journal))
        named = max(line["id"] for line in lines if line["k"] == "text")
        # The named texts and the trajectory's start are gone, what refers to them is not.
        left = [line for line in lines if line["k"] != "start" and line.get("v") is None]
        journal.write_bytes(b"".join(map(dumped, left)))
        assert not (await run_here(given)).unfinished
        added = [line for line in read_lines(journal) if line["k"] in ("text", "start")]
        assert min(line["id"] for line in added if line["k"] == "text") > named
        assert [line["t"] for line in added if line["k"] == "start"] == [1]


@pytest.fixture
def tiny_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], check=False
    ).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_every_run_cleanly(tmp_path, tiny_disk):
    """Ever more room: each run goes on where the last one found none."""
    with server_process(tmp_path) as server:
        given = overrides(tiny_disk, server.url)
        texts = contexts(given)
        for size in range(32, 200, 32):
            subprocess.run(["mount", "-o", f"remount,size={size}k", tiny_disk], check=True)
            written = prompts_in_all(tiny_disk, texts)
            before = len(server.get("/_log"))
            process = start(given)
            _, told = process.communicate(timeout=120)
            assert not set(written) & set(asked(server.get("/_log")[before:]))
            assert "Traceback" not in told
            if process.returncode == 0:
                break
            assert "No space left on device" in told
            assert "free some disk space and run the same" in told or "resumes" in told
        assert size > 32
        assert process.returncode == 0
    assert [r["score"] for r in records(tiny_disk)] == [1.0] * 4
    assert sum(map(count_torn, cell_folder(tiny_disk).glob("*.jsonl"))) == 0


def prompts_in_all(folder, texts) -> list[str]:
    paths = (folder / "test" / "cells").glob("*/journal.jsonl")
    return [text for path in paths for text in prompts_in(path, texts)]


def other_machine(folder, age: float) -> None:
    """A lease that another machine renewed `age` seconds ago."""
    holder = {"host": "elsewhere", "pid": 7, "started": 0.0, "job": None, "since": time.time() - 99}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lease.json").write_bytes(orjson.dumps(holder))
    then = time.time() - age
    os.utime(folder / "lease.json", (then, then))


def seconds_in(text: str, after: str) -> int:
    return int(text.partition(after)[2].partition(" s ago")[0])


async def test_a_dead_machines_cell_is_taken_over_with_a_word(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.5)
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=1")
        (cell,) = cells_of(given)
        folder = tmp_path / "test" / cell.folder
        other_machine(folder, age=STALE_SECONDS / 2)
        (why,) = (await run_here(given)).unfinished.values()
        assert "is being written by process 7 on elsewhere since" in why
        assert STALE_SECONDS / 2 <= seconds_in(why, "lease renewed ") <= STALE_SECONDS
        assert not asked(server.log)
        capsys.readouterr()
        other_machine(folder, age=STALE_SECONDS + 15)
        assert not (await run_here(given)).unfinished
        told = capsys.readouterr().err
        left = seconds_in(told, "taken over from process 7 on elsewhere, which left ")
        assert STALE_SECONDS + 15 <= left < 10 * STALE_SECONDS
        assert not (folder / "lease.json").exists()


async def test_new_scores_behind_a_torn_line_are_all_read(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here(overrides(tmp_path, server.url, "method=long_context"))
    path = cell_folder(tmp_path) / "scores.jsonl"
    with path.open("ab") as file:
        file.write(b'{"t": 9, "sco')
    score([str(tmp_path / "test")])
    # Samples end, and so are scored, in any order.
    assert sorted(line["t"] for line in read_lines(path)) == sorted([0, 1, 2, 3] * 2)
