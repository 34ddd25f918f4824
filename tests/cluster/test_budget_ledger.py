"""A sweep's budget over processes: claimed in portions, spent once, nothing lost silently."""

import subprocess
import sys
import time

import pytest
from runs import asked, cells_of, overrides, run_here, server_process

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.commands.status import main as status
from rlm_eval.commands.submit import main as submit
from rlm_eval.core.errors import LimitReached, RlmEvalError
from rlm_eval.runner.runner import plan
from rlm_eval.runner.sweep_budget import SweepBudget
from rlm_eval.storage import budget_ledger
from rlm_eval.storage.budget_ledger import FILE, Ledger, balance
from rlm_eval.storage.lease import Lease

URL = "http://127.0.0.1:9/v1"
NONE = {"tokens": 0, "cost": 0, "calls": 0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def opened(run, **limits):
    book = Ledger(run, Limits(**limits))
    book.open()
    return book


def test_two_processes_claim_no_more_than_there_is(tmp_path):
    one, two = opened(tmp_path, calls=10), opened(tmp_path, calls=10)
    spent = {id(one): 0, id(two): 0}
    for book in (one, two) * 20:
        own = NONE | {"calls": spent[id(book)]}
        if book.claim(own, NONE | {"calls": spent[id(book)] + 1}) is not None:
            spent[id(book)] += 1
    assert sum(spent.values()) == 10
    assert min(spent.values()) > 0
    one.close(NONE | {"calls": spent[id(one)]})
    assert balance(tmp_path).startswith("calls 10: 0 spent, 10 held by 1 processes, 0 free")


def test_what_a_process_leaves_over_is_free_again(tmp_path):
    one, two = opened(tmp_path, tokens=100), opened(tmp_path, tokens=100)
    assert one.claim(NONE, NONE | {"tokens": 90})["tokens"] >= 90
    assert two.claim(NONE, NONE | {"tokens": 20}) is None
    one.close(NONE | {"tokens": 30})
    assert two.claim(NONE, NONE | {"tokens": 70})["tokens"] == 70
    assert two.claim(NONE, NONE | {"tokens": 71}) is None


def test_a_half_written_book_is_read_as_it_was_before(tmp_path):
    one = opened(tmp_path, calls=10)
    one.claim(NONE, NONE | {"calls": 4})
    before = balance(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        book = budget_ledger._read(file.fileno())
        file.seek((book.number + 1) % 2 * budget_ledger._SLOT)
        file.write(b'0123456789abcdef {"limits":')
    assert balance(tmp_path) == before
    assert one.claim(NONE, NONE | {"calls": 10})["calls"] == 10


def test_a_killed_process_holds_nothing_once_nobody_else_lives(tmp_path):
    code = (
        "from pathlib import Path; from rlm_eval.storage.budget_ledger import Ledger; "
        "from rlm_eval.budget.limits import Limits; import os; "
        f"book = Ledger(Path({str(tmp_path)!r}), Limits(calls=10)); book.open(); "
        "book.claim(dict(tokens=0, cost=0, calls=0), dict(tokens=0, cost=0, calls=9)); "
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / FILE).exists()
    assert opened(tmp_path, calls=10).claim(NONE, NONE | {"calls": 10}) is not None


def test_a_suspended_process_that_was_taken_for_dead_claims_anew(tmp_path):
    one = opened(tmp_path, calls=10)
    one.claim(NONE, NONE | {"calls": 6})
    with budget_ledger._locked(tmp_path / FILE) as (file, _):
        book = budget_ledger._read(file)
        book.claims.clear()
        book.base["calls"] = 6  # as its journals told
        budget_ledger._write(file, book)
    spent = NONE | {"calls": 6}
    assert one.claim(spent, NONE | {"calls": 10})["calls"] == 10
    assert one.claim(spent, NONE | {"calls": 11}) is None


async def test_the_sweep_counts_what_others_hold(tmp_path):
    other = opened(tmp_path, calls=5)
    other.claim(NONE, NONE | {"calls": 3})
    sweep = SweepBudget(Limits(calls=5))
    async with sweep.shared(tmp_path):
        for _ in range(2):
            Budget(Limits(), sweep).reserve(1, None)
        with pytest.raises(LimitReached, match="sweep: 5 calls made"):
            Budget(Limits(), sweep).reserve(1, None)
    assert balance(tmp_path).startswith("calls 5: 0 spent, 5 held")


async def test_beside_a_budget_no_process_runs_without_one(tmp_path):
    opened(tmp_path / "test" if (tmp_path / "test").mkdir() is None else tmp_path, calls=5)
    given = overrides(tmp_path, URL, "length=1k")
    with pytest.raises(RlmEvalError, match="give this command the same one"):
        await run_here(given)
    with pytest.raises(RlmEvalError, match="limits calls of this run.* this command tokens"):
        await run_here([*given, "budget.tokens=9", "root.sampling.max_output_tokens=9"])


async def test_a_budget_is_refused_beside_a_process_without_one(tmp_path):
    given = overrides(tmp_path, URL, "length=1k,2k")
    cells = cells_of(given)
    folder = tmp_path / "test" / cells[1].folder
    folder.mkdir(parents=True)
    plan(tmp_path / "test", cells)
    async with Lease(folder):
        with pytest.raises(RlmEvalError, match="without this budget: wait for it"):
            await run_here([*given, "budget.calls=7"])
    assert not list(tmp_path.rglob("journal.jsonl"))


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(budget_ledger.fcntl, "flock", refused)
    with pytest.raises(RlmEvalError, match="no file locks .*cell_budget instead"):
        opened(tmp_path, calls=1)


def test_a_deleted_run_directory_is_not_made_again(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    book = opened(run, calls=9)
    (run / FILE).unlink()
    run.rmdir()
    with pytest.raises(RlmEvalError, match="deleted or moved"):
        book.claim(NONE, NONE | {"calls": 1})
    assert not run.exists()


@pytest.mark.slow
def test_jobs_share_the_budget_and_leftovers_are_spent_again(tmp_path, capsys):
    pytest.importorskip("submitit")
    with server_process(tmp_path, "--latency", "0.02") as server:
        given = overrides(
            tmp_path, server.url, "method=long_context", "cluster=local", "cluster.pack=1",
            "max_samples=1",
        )  # fmt: skip

        def submitted(*more: str) -> tuple[str, int]:
            submit([*given, *more])
            end = time.monotonic() + 120
            busy = ("running", "queued", "held by 1", "held by 2")
            while any(word in (told := say(capsys, tmp_path)) for word in busy):
                assert time.monotonic() < end, told
                time.sleep(0.5)
            return told, sum(asked(server.get("/_log")).values())

        told, calls = submitted("length=1k,2k", "n=4", "budget.calls=6")
        assert calls == 6
        assert "sweep: 6 calls made" in told
        assert "budget: calls 6: 6 spent, 0 held by 0 processes, 0 free; the same command" in told
        with pytest.raises(RlmEvalError, match="budget: spent .*raise budget.calls"):
            submit([*given, "length=1k,2k", "n=4", "budget.calls=6"])
        told, calls = submitted("length=1k,2k", "n=4", "budget.calls=20")
        assert calls == 8
        assert "2 of 2 cells done" in told
        assert "budget: calls 20: 8 spent, 0 held by 0 processes, 12 free" in told


def say(capsys, folder) -> str:
    capsys.readouterr()
    status([str(folder / "test")])
    return capsys.readouterr().out
