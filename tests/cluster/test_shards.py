"""A cell in parts gives what the whole cell gives, and nothing is merged that is not complete."""

import shutil

import orjson
import pytest
from fake_server import FakeServer, rules
from runs import RULES, asked, cell_folder, cells_of, overrides, records, run_here

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Outcome
from rlm_eval.storage.journal import JournalReader
from rlm_eval.storage.jsonl import count_torn
from rlm_eval.storage.shards import Shard, merge, merge_done, parse_shard, shard_folders
from rlm_eval.storage.spend import total_of_run

TIMES = ("seconds", "concurrency", "run", "replayed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def comparable(rows):
    """Rows by sample, without what differs between any two runs."""
    return {
        (row["sample_id"], row["epoch"]): {
            k: v for k, v in row.items() if not any(word in k for word in TIMES)
        }
        for row in rows
    }


async def test_merged_shards_equal_the_whole_cell(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        whole = tmp_path / "whole"
        await run_here(overrides(whole, server.url, "n=5", "epochs=2"))
        sent = len(server.log)
        given = overrides(tmp_path, server.url, "n=5", "epochs=2")
        run = tmp_path / "test"
        (cell,) = cells_of(given)
        (told,) = merge_done(run, cells_of([*given, "shard=1/3"]))
        assert told.endswith("no shard has begun")
        for part in ("2/3", "3/3"):
            assert not (await run_here([*given, f"shard={part}"])).unfinished
            (told,) = merge_done(run, cells_of([*given, f"shard={part}"]))
            assert told.endswith("to go")
        with pytest.raises(RlmEvalError, match="unfinished shards: 1-of-3"):
            merge(run, cell.id)
        await run_here([*given, "shard=1/3"])
        (told,) = merge_done(run, cells_of([*given, "shard=1/3"]))
        assert "merged into" in told
        assert asked(server.log[sent:]) == asked(server.log[:sent])

        assert comparable(records(tmp_path)) == comparable(records(whole))
        folder = cell_folder(tmp_path)
        assert not any(count_torn(path) for path in folder.glob("*.jsonl"))
        proof = orjson.loads((folder / "merged.json").read_bytes())
        assert (proof["samples"], proof["epochs"], len(proof["checks"])) == (5, 2, 5)
        assert proof["calls"] == sum(r["n_calls"] for r in records(whole))

        # A merged cell is a cell like any other: it resumes, and is then no longer replaced.
        merge(run, cell.id)
        sent = len(server.log)
        assert not (await run_here(given)).unfinished
        assert len(server.log) == sent
        shards = [f"{cell.id}/{k}-of-3" for k in (1, 2, 3)]
        paid = total_of_run(run, shards)
        assert total_of_run(run, [*shards, cell.id]) == paid  # not again, for the copy
        assert not (await run_here([*given, "n=6"])).unfinished
        assert total_of_run(run, [*shards, cell.id]).calls > paid.calls
        assert len(records(tmp_path)) == 12
        with pytest.raises(RlmEvalError, match="has newer results than its merge; refusing"):
            merge(run, cell.id)


async def test_a_shard_that_lost_something_is_not_merged(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context")
        await run_here([*given, "shard=1/2,2/2"])
        (cell,) = cells_of(given)
        path = tmp_path / "test" / "shards" / cell.id / "2-of-2" / "trajectories.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        for _ in range(2):  # the first leaves nothing behind that the second takes for a shard
            with pytest.raises(RlmEvalError, match="every sample and epoch has a result"):
                merge(tmp_path / "test", cell.id)
        assert sorted(f.name for f in path.parent.parent.iterdir()) == ["1-of-2", "2-of-2"]
        (path.parent.parent / "merging-x").mkdir()  # another process is at it, or was killed
        shutil.copy(path.parent / "manifest.json", path.parent.parent / "merging-x")
        assert len(shard_folders(tmp_path / "test", cell.id)) == 2
        assert not (tmp_path / "test" / "cells" / cell.id).exists()
        (path.parent / "journal.jsonl").write_bytes(b"")  # of a copy, older than the results
        with pytest.raises(RlmEvalError, match=r"2-of-2/journal.jsonl: holds no call of traj"):
            merge(tmp_path / "test", cell.id)


async def test_shards_of_different_code_are_not_merged(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context")
        await run_here([*given, "shard=1/2,2/2"])
    (cell,) = cells_of(given)
    path = tmp_path / "test" / "shards" / cell.id / "2-of-2" / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    manifest["code_hashes"]["method"] = "0" * 16
    path.write_bytes(orjson.dumps(manifest))
    with pytest.raises(RlmEvalError, match="the shards ran different code"):
        merge(tmp_path / "test", cell.id)
    assert not (tmp_path / "test" / "cells" / cell.id).exists()


async def test_a_redo_inside_a_shard_survives_the_merge(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context")
        await run_here([*given, "shard=1/2,2/2"])
        await run_here([*given, "shard=1/2,2/2"], [Outcome.OK])
        (cell,) = cells_of(given)
        merge(tmp_path / "test", cell.id)
        assert [r["re_rolls"] for r in records(tmp_path)] == [1] * 4
        sent = len(server.log)
        assert not (await run_here(given)).unfinished
        assert len(server.log) == sent


async def test_a_text_that_a_shard_lost_is_not_taken_from_another_one(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url)
        await run_here([*given, "shard=1/2,2/2"])
    (cell,) = cells_of(given)
    path = tmp_path / "test" / "shards" / cell.id / "1-of-2" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lost = max(i for i, line in enumerate(lines) if b'"k":"text"' in line)
    lines[lost] = b'{"k":"text",\n'
    path.write_bytes(b"".join(lines))
    calls = JournalReader(merge(tmp_path / "test", cell.id) / "journal.jsonl")
    damaged = [
        str(call.prompt) for t in calls for call in calls.of(t) if "damaged" in str(call.prompt)
    ]
    assert len(damaged) == 1


def test_a_cells_budget_is_split_over_its_shards(tmp_path):
    given = [*overrides(tmp_path, "http://127.0.0.1:9/v1"), "cell_budget.calls=10"]
    (shard,) = cells_of([*given, "shard=2/4"])
    assert shard.budget.calls == 2
    with pytest.raises(ConfigError, match="cell_budget: too little for 16 shards"):
        cells_of([*given, "shard=2/16"])


def test_parts_are_counted_from_one():
    assert parse_shard("3/16") == Shard(3, 16)
    assert parse_shard(None) is None
    samples = list(range(10))
    assert sorted(s for k in (1, 2, 3) for s in Shard(k, 3).of_samples(samples)) == samples
    for bad in ("0/4", "5/4", "1", "a/b", "-1/2"):
        with pytest.raises(ConfigError, match="part/parts counted from 1"):
            parse_shard(bad)
