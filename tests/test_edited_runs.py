"""A run directory that was copied, cut or edited by hand gives the same numbers, or says so."""

import re
import shutil

import orjson
import pandas as pd
import pytest
from fake_server import FakeServer, rules
from runs import RULES, asked, cell_folder, overrides, run_here

from rlm_eval.cli import main
from rlm_eval.cluster.run_status import print_status
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Answer, Score
from rlm_eval.records.build import write_records
from rlm_eval.report.viewer.shelf import ViewerData
from rlm_eval.report.viewer.trajectories import attempts
from rlm_eval.storage import budget_ledger
from rlm_eval.storage.journal import Journal, JournalReader
from rlm_eval.storage.jsonl import JsonlLog, read_lines
from rlm_eval.tasks.needle.s_niah import SNiah

RECURSIVE = ["length=1k", "n=3", "max_samples=1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of one cell with four samples."""
    import asyncio

    folder = tmp_path_factory.mktemp("finished")

    async def make():
        async with FakeServer(reply=rules(RULES)) as server:
            given = overrides(folder, server.url, "method=long_context", "length=1k")
            return await run_here(given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLM_EVAL_CACHE", str(folder / "cache"))
        assert len(asyncio.run(make()).finished) == 1
    return folder


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished / "test", tmp_path / "test")
    return tmp_path


def rows_of(run):
    return pd.read_parquet(write_records(run / "test"), dtype_backend="numpy_nullable")


@pytest.fixture(scope="module")
def recursive(tmp_path_factory):
    """A finished run of one cell with three samples of six calls each, one after the other."""
    import asyncio

    folder = tmp_path_factory.mktemp("recursive")

    async def make():
        async with FakeServer(reply=rules(RULES)) as server:
            return await run_here(overrides(folder, server.url, *RECURSIVE))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLM_EVAL_CACHE", str(folder / "cache"))
        assert len(asyncio.run(make()).finished) == 1
    return folder


@pytest.fixture
def copied(recursive, tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(recursive / "cache"))
    shutil.copytree(recursive / "test", tmp_path / "test")
    return tmp_path


def edit(run, name, change):
    path = cell_folder(run) / name
    path.write_bytes(change(path.read_bytes()))


def without_first(data):
    return data.partition(b"\n")[2]


@pytest.mark.parametrize("name", ["{} (copy)", "{}.bak", "old", "{}-2"])
def test_a_cell_that_was_copied_within_its_run_counts_once(run, name, caplog):
    before = rows_of(run)
    cell = cell_folder(run)
    copy = cell.with_name(name.format(cell.name))
    shutil.copytree(cell, copy)
    assert rows_of(run).equals(before)
    assert [r.getMessage() for r in caplog.records if "a copy of the cell" in r.getMessage()] == [
        f"{copy}: not counted, a copy of the cell {cell.name}"
    ]
    shutil.rmtree(cell)
    assert len(rows_of(run)) == 4  # renamed: it is the cell itself


@pytest.mark.parametrize("change", [without_first, lambda _: b""], ids=["one", "all"])
@pytest.mark.parametrize("name", ["scores.jsonl", "trajectories.jsonl", "samples.jsonl"])
def test_a_finished_cell_that_lost_results_is_an_error(run, name, change):
    edit(run, name, change)
    with pytest.raises(RlmEvalError, match="4 results were stored, [03] can be read"):
        rows_of(run)


async def test_the_same_command_restores_lost_results_without_a_call(run):
    before = rows_of(run)
    for name in ("scores.jsonl", "trajectories.jsonl"):
        edit(run, name, without_first)
        async with FakeServer(reply=rules(RULES)) as server:
            given = overrides(run, server.url, "method=long_context", "length=1k")
            assert len((await run_here(given)).finished) == 1
            texts = [entry["request"]["messages"][-1]["content"] for entry in server.log]
        assert [t for t in texts if not t.startswith("Reply with the word")] == []
    same = ["sample_id", "outcome", "score", "input_tokens", "output_tokens"]
    assert rows_of(run)[same].equals(before[same])


@pytest.mark.parametrize("line", [b"{}\n", b'{"note":"checked by hand"}\n'])
@pytest.mark.parametrize(
    "name", ["journal.jsonl", "scores.jsonl", "trajectories.jsonl", "samples.jsonl"]
)
def test_a_line_that_is_not_ours_changes_nothing(run, name, line):
    before = rows_of(run)
    edit(run, name, lambda data: data + line)
    assert rows_of(run).equals(before)


@pytest.mark.parametrize(
    "name", ["journal.jsonl", "scores.jsonl", "trajectories.jsonl", "samples.jsonl"]
)
def test_a_log_that_was_joined_with_itself_changes_nothing(run, name):
    before = rows_of(run)
    edit(run, name, lambda data: data + data)
    assert rows_of(run).equals(before)


def test_a_score_or_outcome_that_cannot_be_is_an_error(run):
    edit(run, "scores.jsonl", lambda data: data.replace(b'"value":1.0', b'"value":7.5'))
    with pytest.raises(RlmEvalError, match=r"has the score 7\.5, which is not in \[0, 1\]"):
        rows_of(run)
    edit(run, "trajectories.jsonl", lambda data: data.replace(b'"ok"', b'"fine"'))
    with pytest.raises(RlmEvalError, match=r"trajectories\.jsonl: damaged \('fine' is not"):
        rows_of(run)


@pytest.mark.parametrize("name", ["facts", "identity"])
@pytest.mark.parametrize(
    "command", [["report"], ["status"], ["export", "tables", "-o", "out"], ["score"]]
)
def test_a_manifest_without_what_every_reader_needs_is_one_line(
    run, name, command, capsys, monkeypatch
):
    monkeypatch.chdir(run)

    def without(data):
        manifest = orjson.loads(data)
        del manifest[name]
        return orjson.dumps(manifest)

    edit(run, "manifest.json", without)
    assert main([*command, str(run / "test")]) == 2
    error = capsys.readouterr().err
    assert f"manifest.json: damaged: no `{name}`" in error
    assert "Traceback" not in error


async def test_a_journal_with_a_line_that_is_not_ours_is_continued(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"k":"start","t":0,"sample":"a","epoch":0,"context":"c"}\n{"note":1}\n')
    async with JsonlLog(path) as log:
        journal = Journal(log)
        assert (journal.torn, journal.start("b", 0, "c")) == (1, 1)
    assert sorted(JournalReader(path).starts) == [0, 1]


@pytest.mark.parametrize("value", [7.5, -0.1, float("nan"), "1"])
async def test_a_scorer_that_returns_no_share_stops_the_cell(tmp_path, monkeypatch, value):
    """A plug-in's percents: their mean would be printed as an accuracy of 750 %."""

    def score(_self, _sample, _answer: Answer):
        return (Score("own", value),)

    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(SNiah, "score", score)
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, "method=long_context", "length=1k", "max_samples=1")
        (why,) = (await run_here(given)).unfinished.values()
    assert f"score returned {value!r}, not a value in [0, 1] or None for the scorer 'own'" in why
    assert ConfigError.__name__ not in why


@pytest.mark.parametrize("name", ["{} (copy)", "{}.bak", "old"])
def test_a_copied_cell_is_neither_listed_nor_paid(run, name, capsys):
    """An older copy stands for no result of its cell: not in the viewer, a budget or a status."""
    spent = budget_ledger.spent_by(run / "test")
    cell = cell_folder(run)
    copy = cell.with_name(name.format(cell.name))
    shutil.copytree(cell, copy)
    (copy / "DONE").unlink()
    for log in ("scores.jsonl", "trajectories.jsonl"):
        (copy / log).write_bytes(without_first((copy / log).read_bytes()))
    (run / "test" / "records.parquet").unlink(missing_ok=True)

    shelf = ViewerData([run / "test"])
    shown = shelf.list({})
    assert (shown["cells"], shown["done"], len(shelf.rows)) == (1, 1, 4)
    assert len(list(attempts(run / "test"))) == 4
    assert budget_ledger.spent_by(run / "test") == spent
    assert print_status(run / "test") == 0
    said = capsys.readouterr().out
    assert f"{copy.name}  not counted, a copy of the cell {cell.name}\n" in said
    assert "1 of 1 cells done" in said


def test_a_status_of_lost_results_is_not_done(run, capsys):
    """A finished cell whose files were cut is an error of `report`: `status` says so, too."""
    assert print_status(run / "test") == 0
    edit(run, "trajectories.jsonl", without_first)
    capsys.readouterr()
    assert print_status(run / "test") == 1
    said = capsys.readouterr().out
    assert "damaged  4 results were stored, 3 can be read: a file was truncated" in said
    assert "0 of 1 cells done" in said


@pytest.mark.parametrize("name", ["samples.jsonl", "trajectories.jsonl"])
def test_the_viewer_names_the_file_that_lost_a_sample(run, name):
    write_records(run / "test")
    shelf = ViewerData([run / "test"])
    edit(run, name, lambda _: b"")
    for address in shelf.addresses:
        with pytest.raises(RlmEvalError, match="truncated or deleted; restore it, or run"):
            shelf.trajectory({"sample": address})


def test_the_viewer_of_a_run_without_samples_or_records_is_one_line(run):
    (run / "test" / "records.parquet").unlink(missing_ok=True)
    edit(run, "samples.jsonl", without_first)
    with pytest.raises(RlmEvalError, match="lacks sample .*, whose result is stored"):
        ViewerData([run / "test"])


def lines_but(wrong):
    """Return an edit that removes the lines for which `wrong` holds."""

    def change(data):
        lines = data.splitlines(keepends=True)
        return b"".join(line for line in lines if not wrong(orjson.loads(line)))

    return change


def without(*names):
    """Return an edit that removes these keys of every line, as earlier releases wrote it."""

    def change(data):
        lines = map(orjson.loads, data.splitlines())
        kept = ({k: v for k, v in line.items() if k not in names} for line in lines)
        return b"".join(orjson.dumps(line) + b"\n" for line in kept)

    return change


async def asked_again(run, *more):
    """Run the same command; return the summary and the prompts that the server was sent."""
    async with FakeServer(reply=rules(RULES)) as server:
        summary = await run_here(overrides(run, server.url, *RECURSIVE, *more))
        return summary, asked(server.log)


LOST = {
    "deleted": (lambda _: b"", r"holds no call of trajectory 0, .* \(and 2 more\)"),
    "half": (lambda data: data[: len(data) // 2], "trajectory [12], whose result is stored"),
    "tail": (lambda data: data[: data.rstrip().rindex(b"\n") + 1], "trajectory 2, whose"),
    "hole": (
        lines_but(lambda line: line["k"] == "call" and line["t"] == 1 and line["role"] == "sub"),
        "trajectory 1, whose result is stored: the file is an older copy than the results",
    ),
    "foreign": (
        lambda data: data.replace(
            b'"k":"start","t":1,"sample":"', b'"k":"start","t":1,"sample":"0'
        ),
        "holds calls of another sample as those of trajectory 1, whose result is stored",
    ),
}


@pytest.mark.parametrize("release", ["today", "earlier"])
@pytest.mark.parametrize("how", LOST)
async def test_a_result_that_lost_calls_is_no_record_and_nothing_is_paid(copied, how, release):
    """As the copy of a run leaves it that was being written: the journal is older."""
    change, told = LOST[how]
    if release == "earlier":
        edit(copied, "trajectories.jsonl", without("calls"))
        edit(copied, "scores.jsonl", without("sample", "epoch"))
    assert list(rows_of(copied)["n_calls"]) == [6, 6, 6]
    edit(copied, "journal.jsonl", change)
    with pytest.raises(RlmEvalError, match="whose result is stored: the file is an older copy"):
        rows_of(copied)
    before = {path: path.read_bytes() for path in cell_folder(copied).glob("*.jsonl")}
    for more in ((), ("n=4",)):
        summary, prompts = await asked_again(copied, *more)
        (why,) = summary.unfinished.values()
        assert re.search(told, why)
        assert not prompts
    assert {path: path.read_bytes() for path in before} == before


async def test_results_removed_by_hand_are_run_again_under_new_numbers(copied):
    """The way out where the journal is gone: what it still holds is not paid again."""
    whole = rows_of(copied)
    edit(copied, "journal.jsonl", lambda data: data[: len(data) * 4 // 5])
    edit(copied, "trajectories.jsonl", lines_but(lambda line: line.get("t", 0) > 0))
    summary, prompts = await asked_again(copied)
    assert not summary.unfinished
    assert 6 <= sum(prompts.values()) < 12
    same = ["sample_id", "n_calls", "input_tokens", "output_tokens", "score"]
    assert rows_of(copied)[same].equals(whole[same])
    # Scores of the removed results are still there: no other result may get them.
    numbers = [line["t"] for line in read_lines(cell_folder(copied) / "trajectories.jsonl")]
    assert numbers == [0, 3, 4]


def test_a_score_counts_for_its_own_sample_only(copied):
    before = rows_of(copied)
    wrong = {"t": 1, "sample": "another", "epoch": 0, "scores": []}
    edit(copied, "scores.jsonl", lambda data: data + orjson.dumps(wrong) + b"\n")
    assert rows_of(copied).equals(before)


def test_calls_of_two_samples_under_one_number_are_not_joined(copied):
    """An earlier release gave the numbers of results again whose journal was lost."""
    edit(copied, "journal.jsonl", lambda data: data.replace(b'"t":2,', b'"t":1,'))
    edit(copied, "trajectories.jsonl", lambda data: data.replace(b'"t":2,', b'"t":1,'))
    calls = JournalReader(cell_folder(copied) / "journal.jsonl")
    assert len(calls.of(1)) == 6
    with pytest.raises(
        RlmEvalError, match="holds calls of another sample as those of trajectory 1"
    ):
        rows_of(copied)
