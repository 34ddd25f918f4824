"""Runs that survive: kills, a full disk, Ctrl-C, a second process, failures, a larger n, a redo."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
from fake_server import FakeServer, Fault, Out, every, rules
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

from rlm_eval.commands.replay import main as replay
from rlm_eval.commands.run import main as command
from rlm_eval.commands.status import main as status
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Outcome
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.storage.jsonl import count_torn, read_lines
from rlm_eval.storage.lease import Lease

KEY = "sk-planted-0a1b2c3d4e5f"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def answered(folder) -> int:
    journals = (folder / "test" / "cells").glob("*/journal.jsonl")
    return sum(line["k"] == "call" for path in journals for line in read_lines(path))


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the server has no event for this
            await asyncio.sleep(0.01)


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_run_resumes_without_asking_anything_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PLANTED_KEY", KEY)
    with server_process(tmp_path, "--latency", "0.1", "--api-key", KEY) as server:
        given = overrides(
            tmp_path, server.url, "root.api_key_env=PLANTED_KEY", "root.concurrency=4"
        )
        texts = contexts(given)
        first = start(given)
        wait_for(lambda: answered(tmp_path) >= 15)
        first.kill()
        first.communicate()
        journal = cell_folder(tmp_path) / "journal.jsonl"
        assert not (cell_folder(tmp_path) / "DONE").exists()
        done = prompts_in(journal, texts)
        before = len(server.get("/_log"))
        with journal.open("ab") as file:  # as if the kill had torn a line
            file.write(b'{"k":"call","t":0,"c":99,"request":"0a')
        second = start(given)
        _, told = second.communicate(timeout=120)
        assert second.returncode == 0, told
        assert "1 torn journal line(s) skipped" in told
        log = server.get("/_log")
    assert len(done) >= 15
    assert not set(done) & set(asked(log[before:])), "a finished call was sent again"
    assert max(asked(log).values()) <= 2  # what was in flight at the kill, once more

    table = records(tmp_path)
    assert [(r["outcome"], r["score"]) for r in table] == [("ok", 1.0)] * 4
    assert len({r["sample_id"] for r in table}) == 4
    assert {r["diverged_calls"] for r in table} == {0}
    assert sum(r["n_replayed_calls"] for r in table) > 0
    assert count_torn(journal) == 1
    final = prompts_in(journal, texts)
    assert len(final) == len(set(final)) == sum(r["n_calls"] for r in table)

    for path in tmp_path.glob("test/**/*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path

    assert replay([str(tmp_path / "test")]) == 0  # the server is gone
    assert capsys.readouterr().out.count("same") == 4


async def test_a_second_process_is_told_who_holds_the_cell(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "n=1")
        (cell,) = cells_of(given)
        folder = tmp_path / "test" / cell.folder
        folder.mkdir(parents=True)
        async with Lease(folder):
            other = await asyncio.to_thread(start, given)
            _, told = await asyncio.to_thread(other.communicate)
        assert other.returncode == 1
        assert f"is being written by process {os.getpid()} on " in told
        assert not server.log


async def test_ctrl_c_once_finishes_what_is_in_flight(tmp_path):
    async with FakeServer(reply=rules(RULES), latency=0.05) as server:
        given = overrides(tmp_path, server.url)
        run = asyncio.create_task(run_here(given))
        await until(lambda: len(server.log) >= 3)
        os.kill(os.getpid(), signal.SIGINT)
        summary = await run
        assert list(summary.unfinished.values()) == ["2 not run"]
        assert [r["outcome"] for r in records(tmp_path)] == ["ok", "ok"]
        assert not (await run_here(given)).unfinished
        assert [r["outcome"] for r in records(tmp_path)] == ["ok"] * 4
        assert max(asked(server.log).values()) == 1


async def test_ctrl_c_twice_stops_now(tmp_path):
    async with FakeServer(reply=rules(RULES), latency=0.05) as server:
        given = overrides(tmp_path, server.url)
        run = asyncio.create_task(run_here(given))
        await until(lambda: len(server.log) >= 8)
        server.latency = 60
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(asyncio.CancelledError):
            await run
        server.latency = 0
        assert not (cell_folder(tmp_path) / "lease.json").exists()
        done = set(prompts_in(cell_folder(tmp_path) / "journal.jsonl", contexts(given)))
        before = len(server.log)
        assert not (await run_here(given)).unfinished
        assert done
        assert not done & set(asked(server.log[before:]))
        assert [r["score"] for r in records(tmp_path)] == [1.0] * 4


@pytest.mark.slow
def test_ctrl_c_at_the_command_line_tells_by_its_exit_code(tmp_path):
    with server_process(tmp_path, "--latency", "0.3") as server:
        given = overrides(tmp_path, server.url, "root.concurrency=2")
        once = start(given)
        wait_for(lambda: answered(tmp_path) >= 2)
        once.send_signal(signal.SIGINT)
        _, told = once.communicate(timeout=120)
        assert once.returncode == 130
        assert "stopping after the samples in flight; Ctrl-C again stops at once" in told
        assert re.search(r"UNFINISHED .*: 2 not run", told)
        twice = start(given)
        before = answered(tmp_path)
        wait_for(lambda: answered(tmp_path) >= before + 2)
        for _ in range(2):
            twice.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, told = twice.communicate(timeout=60)
        assert twice.returncode == 130
        assert told.rstrip().endswith("stopped; the same command resumes")
        last = start(given)
        assert last.wait(timeout=120) == 0
    assert [r["score"] for r in records(tmp_path)] == [1.0] * 4


async def test_signals_to_every_process_of_a_job_do_not_touch_the_model_s_code(tmp_path):
    async with FakeServer(reply=rules(RULES), latency=0.05) as server:
        run = asyncio.create_task(run_here(overrides(tmp_path, server.url)))
        await until(lambda: len(server.log) >= 6)
        children = psutil.Process().children(recursive=True)
        assert len(children) >= 2
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            for child in children:
                child.send_signal(number)
        assert not (await run).unfinished
        assert [r["score"] for r in records(tmp_path)] == [1.0] * 4
        assert not any("note_repl_restored" in r for r in records(tmp_path))


def test_a_signal_that_waited_while_a_worker_started_does_not_end_it():
    """Sent between the fork and the worker's own handler, to every process of the job."""
    code = (
        "import builtins, os, signal, sys; from types import SimpleNamespace\n"
        "from rlm_eval.repl.worker import Worker\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "channel = SimpleNamespace(on_signal=lambda *_: print('met its handler'))\n"
        "names = dict(names={}, given={}, builtins=builtins, module=sys, channel=channel)\n"
        "names |= {'scaffold': None}\n"
        "Worker._prepare(SimpleNamespace(**names, stdout=sys.stdout, stderr=sys.stderr))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "met its handler\n"), done.stderr


async def test_a_full_disk_loses_nothing_that_was_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rlm-eval"])  # the manifest holds it, and must fit
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url)
        texts = contexts(given)  # makes the contexts, which are larger than the limit to come
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            summary = await run_here(given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        (why,) = summary.unfinished.values()
        assert re.search(r"cannot write \(.*\); free some disk space and run the same command", why)
        journal = cell_folder(tmp_path) / "journal.jsonl"
        assert 5_000 < journal.stat().st_size <= 10_000
        assert count_torn(journal) == 0
        done, before = set(prompts_in(journal, texts)), len(server.log)
        assert not (await run_here(given)).unfinished
        assert len(done) > 3
        assert not done & set(asked(server.log[before:]))
        assert [r["score"] for r in records(tmp_path)] == [1.0] * 4


async def test_failures_of_the_provider_are_redone_and_counted_and_a_larger_n_adds(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "root.retries=0")
        server.faults = every(3, Fault("status", 503))
        summary = await run_here(given)
        assert "provider_error" in next(iter(summary.unfinished.values()))
        outcomes = {r["sample_id"]: r["outcome"] for r in records(tmp_path)}
        assert set(outcomes.values()) == {"ok", "provider_error"}
        server.faults = None
        assert not (await run_here(given)).unfinished
        for row in records(tmp_path):
            assert row["outcome"] == "ok"
            assert row["re_rolls"] == (outcomes[row["sample_id"]] == "provider_error")
        sent = len(server.log)
        assert not (await run_here([*given, "n=6"])).unfinished
        assert len(records(tmp_path)) == 6
        assert len(asked(server.log[sent:])) == 2
        assert not (await run_here(given)).unfinished  # the smaller n takes nothing away
        assert len(records(tmp_path)) == 6


async def test_redo_asks_anew_and_an_interrupted_redo_goes_on(tmp_path):
    play, seconds = rules(RULES), 0.0
    async with FakeServer(lambda request: Out(play(request), seconds=seconds)) as server:
        given = overrides(tmp_path, server.url, "n=2", "max_samples=1")
        server.faults = lambda n, request: Fault("length") if n == 1 else None
        given = [*given, "method=long_context"]
        await run_here(given)
        assert sorted(r["outcome"] for r in records(tmp_path)) == ["ok", "truncated"]
        sent = len(server.log)
        assert not (await run_here(given)).unfinished
        assert len(server.log) == sent  # a truncated sample is a result
        server.faults = None
        run = asyncio.create_task(run_here(given, [Outcome.TRUNCATED]))
        await until(lambda: len(server.log) > sent)  # the preflight
        seconds = 60.0
        await until(lambda: asked(server.log[sent:]))
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        seconds = 0.0
        assert not (await run_here(given)).unfinished  # without --redo: it is still to be done
        table = records(tmp_path)
        assert [r["outcome"] for r in table] == ["ok", "ok"]
        assert sorted(r["re_rolls"] for r in table) == [0, 1]
        assert {r["n_replayed_calls"] for r in table} == {0}


async def test_the_same_redo_again_pays_for_nothing_twice(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "n=3", "max_samples=1", "method=long_context")
        await run_here(given)
        # A preflight, the first sample; the second one hangs and is lost.
        first = len(server.log)
        server.faults = lambda n, request: Fault("hang") if n == first + 2 else None
        run = asyncio.create_task(run_here(given, list(Outcome)))
        await until(lambda: len(server.log) == first + 3)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        server.faults = None

        def paid() -> int:
            return sum(asked(server.log).values())

        assert paid() == 3 + 2
        assert not (await run_here(given, list(Outcome))).unfinished
        assert paid() == 5 + 2
        assert [r["re_rolls"] for r in records(tmp_path)] == [1, 1, 1]
        assert not (await run_here(given, list(Outcome))).unfinished  # that one ended: another
        assert paid() == 7 + 3


async def test_what_an_unfinished_larger_run_left_does_not_count(tmp_path, caplog):
    """Those that end first are no random part of its samples."""

    def ended() -> int:
        files = (tmp_path / "test" / "cells").glob("*/trajectories.jsonl")
        return sum(1 for path in files for _ in read_lines(path))

    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "n=6", "max_samples=6", "method=long_context")
        server.faults = lambda n, request: Fault("hang") if n in (2, 3) else None
        run = asyncio.create_task(run_here(given))
        await until(lambda: ended() == 4)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        server.faults = None
        assert not (await run_here([*given, "n=2"])).unfinished
        assert [row["index"] for row in records(tmp_path)] == [0, 1]
        assert "are not counted: it was finished with n=2" in caplog.text
        assert not (await run_here(given)).unfinished
        assert len(records(tmp_path)) == 6


def test_results_that_no_record_has_yet_get_into_the_table(tmp_path, capsys):
    given = ["debug=scripted", "sweep={}", "method=long_context", f"results={tmp_path}"]
    given += ["name=test", "task=s_niah", "length=1024"]
    assert command([*given, "n=2"]) == 0
    assert command([*given, "n=4", "--no-report"]) == 0
    os.utime(tmp_path / "test" / "records.parquet", (0, 0))  # as after a kill before they are made
    capsys.readouterr()
    assert command([*given, "n=4"]) == 0
    assert "| long_context | 4 |" in capsys.readouterr().out
    made = (tmp_path / "test" / "records.parquet").stat().st_mtime_ns
    assert command([*given, "n=4"]) == 0
    assert (tmp_path / "test" / "records.parquet").stat().st_mtime_ns == made  # nothing is new


async def test_a_budget_counts_what_earlier_processes_spent(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "max_samples=1")
        for calls in (2, 2, 3):
            await run_here([*given, f"budget.calls={calls}"])
            assert sum(asked(server.log).values()) == calls
        assert not (await run_here(given)).unfinished
        assert sum(asked(server.log).values()) == 4


async def test_a_replay_gives_limits_and_errors_again(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES), window=1500) as server:
        given = overrides(tmp_path, server.url, "n=1", "method=long_context,rlm", "limits.calls=4")
        assert not (await run_here(given)).unfinished
        sent = len(server.log)
        assert await asyncio.to_thread(replay, [str(tmp_path / "test")]) == 0
        assert len(server.log) == sent
    told = capsys.readouterr().out
    assert "2 of 2 came to the stored result" in told
    assert "context_overflow  0.0" in told
    assert "limit:calls" in told


async def test_whatever_a_model_s_code_makes_can_be_sent_and_stored(tmp_path):
    first = "```python\nprint('SAW', llm_query('x' + chr(0xd800)), chr(0xdc00))\n```"
    last = "```python\nanswer['content'] = [2**80, chr(0xd801)]\nanswer['ready'] = True\n```"
    table = [
        {"match": "In every turn write.*SAW", "reply": last},
        {"match": "In every turn write", "reply": first},
        {"match": "", "reply": "fine"},
    ]
    async with FakeServer(reply=rules(table)) as server:
        given = overrides(tmp_path, server.url, "n=1")
        assert not (await run_here(given)).unfinished
        assert "x?" in asked(server.log)
        assert not any(map(count_torn, cell_folder(tmp_path).glob("*.jsonl")))
        sent = len(server.log)
        assert not (await run_here(given)).unfinished
        assert len(server.log) == sent


async def test_a_cell_of_an_earlier_release_is_named_and_not_waited_for(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OpenAIModel, "VERSION", OpenAIModel.VERSION - 1)
            await run_here(given)
        earlier = cell_folder(tmp_path)
        (earlier / "DONE").unlink()
        capsys.readouterr()
        assert not (await run_here(given)).unfinished
        told = capsys.readouterr().err
        assert f"starts again from the first sample: an earlier release made {earlier.name}" in told
        await run_here([*given, "n=3"])
        assert "starts again" not in capsys.readouterr().err
    assert status([str(tmp_path / "test")]) == 0
    told = capsys.readouterr().out
    assert f"{earlier.name}  unfinished  of an earlier release; replaced by s_niah" in told
    assert "1 of 1 cells done" in told


async def test_parts_of_an_earlier_release_are_named_and_a_missing_part_is_no_success(
    tmp_path, capsys
):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "n=2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OpenAIModel, "VERSION", OpenAIModel.VERSION - 1)
            await run_here([*given, "shard=1/2"])
        capsys.readouterr()
        await run_here([*given, "shard=2/2"])
        assert "starts again from the first sample" in capsys.readouterr().err
    assert status([str(tmp_path / "test")]) == 1
    told = capsys.readouterr().out
    assert "2 of 2 cells done" in told
    assert "shards not merged yet (not done: 1-of-2)" in told
    assert "shards not merged yet (not done: 2-of-2)  of an earlier release" in told


async def test_results_whose_calls_were_deleted_are_no_records(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here(overrides(tmp_path, server.url, "method=long_context", "n=2"))
    journal = cell_folder(tmp_path) / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    second = next(i for i, line in enumerate(lines) if b'"k":"start","t":1' in line)
    for kept in (lines[:second], []):
        journal.write_bytes(b"".join(kept))
        with pytest.raises(RlmEvalError, match=r"no call of trajectory \d, whose result is stored"):
            records(tmp_path)
