"""The hub's data sets from a hub on loopback: read once, shared, offline, clear when refused."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import made_hub
import pytest
from huggingface_hub import constants, errors

from rlm_eval.core import hub_client
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.tasks.browsecomp.plus import BrowseCompPlus
from rlm_eval.tasks.codeqa.longbench import CodeQA
from rlm_eval.tasks.hub_rows import split_files
from rlm_eval.tasks.mrcr import MrcrOpenai
from rlm_eval.tasks.oolong.pairs import OolongPairs
from rlm_eval.tasks.oolong.real import OolongReal
from rlm_eval.tasks.oolong.synth import OolongSynth

pytest_plugins = ("hub_bench",)

SHORT = {"length": made_hub.LENGTH, "tokenizer": "approx4"}
TASKS = {
    "synth": OolongSynth(**SHORT),
    "real": OolongReal(length=4096, tokenizer="approx4"),
    "pairs": OolongPairs(golds="official", **SHORT),
    "codeqa": CodeQA(tokenizer="approx4"),
    "mrcr": MrcrOpenai(length=8192, tokenizer="approx4"),
    "browsecomp": BrowseCompPlus(n=2, documents=6, tokenizer="approx4"),
}
SIZES = {"synth": 8, "real": 6, "pairs": 20, "codeqa": 6, "mrcr": 2, "browsecomp": 2}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "browsecomp" else n for n in TASKS]
)
def test_a_set_is_read_once(name, hub, files, monkeypatch, request):
    """Its files are sent once and no more than they have; later tasks, and others, ask nothing."""
    if name == "browsecomp":
        request.getfixturevalue("corpus_cache")
    task = TASKS[name]
    samples = list(task.samples())
    assert len(samples) == SIZES[name]
    used = {source.repository for source in task.sources()}
    sizes = sum(len(data) for r in used for p, data in files[r].items() if "README" not in p)
    assert 0 < sum(asked.sent for asked in hub.downloads) <= sizes
    sent = [asked.path for asked in hub.downloads]
    assert len(sent) == len(set(sent))

    asked = len(hub.log)
    again = list(replace(task, name="another").samples())
    assert [s.id for s in again] == [s.id for s in samples]
    assert [s.context.text() for s in again] == [s.context.text() for s in samples]
    assert [s.evidence for s in again] == [s.evidence for s in samples]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert [s.id for s in task.samples()] == [s.id for s in samples]
    with hub_client.closed():
        assert [s.id for s in replace(task, n=1).samples()] == [s.id for s in samples[:1]]
    assert len(hub.log) == asked
    for sample in samples:
        assert task.score(sample, task.gold_answer(sample))


def test_only_files_that_can_hold_the_rows_are_downloaded(hub):
    list(TASKS["synth"].samples())
    downloaded = [asked.path for asked in hub.downloads]
    assert sum("validation-00000" in path for path in downloaded) == 1
    assert not any("validation-00001" in path or "/test-" in path for path in downloaded)
    TASKS["synth"].fetch()  # the labelled windows too: footers are not read again
    parts = [asked.path for asked in hub.log if asked.range]
    assert len(parts) == len(set(parts)) == 2
    list(TASKS["mrcr"].samples())
    assert not any("2needle" in asked.path for asked in hub.log)


@pytest.mark.slow
def test_two_processes_share_what_one_has_fetched(hub, tmp_path):
    """A second process, offline, has the samples; a fresh one, offline, says what to do."""
    ids = [sample.id for sample in TASKS["codeqa"].samples()]
    code = (
        "from rlm_eval.tasks.codeqa.longbench import CodeQA\n"
        "print(*(s.id for s in CodeQA(tokenizer='approx4').samples()))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "none")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ids, done.stderr


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("gated", r"gated \(HTTP 403\).*HF_TOKEN"),
        ("gated_401", r"gated \(HTTP 401\).*HF_TOKEN"),
        ("missing", r"HTTP 401.*HF_TOKEN"),
        ("missing_404", r"HTTP 404.*HF_TOKEN"),
        ("forbidden", r"refuses it \(HTTP 403\).*HF_TOKEN"),
        ("no_revision", "no such revision"),
        ("down", "HTTP 503"),
    ],
)
@pytest.mark.parametrize("name", ["codeqa", "pairs"])
def test_a_refusal_is_one_error_at_once(name, reason, words, hub):
    """One request, no retries; the message names the set, the token and the next command."""
    hub.refuse = reason
    with pytest.raises(MissingDependency, match=words) as caught:
        list(TASKS[name].samples())
    told = str(caught.value)
    assert "rlm-eval prefetch" in told
    assert {"codeqa": "task.path", "pairs": "task.golds_path"}[name] in told
    assert told.count("cannot be read") == 1
    assert len(hub.log) == 1


def test_a_hub_out_of_reach_and_offline_without_the_data(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MissingDependency, match=r"task\.path.*generated task"):
        list(TASKS["codeqa"].samples())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingDependency, match="HF_HUB_OFFLINE is set.*rlm-eval prefetch"):
        list(TASKS["synth"].samples())
    assert not hub.log


def test_a_connection_that_breaks_goes_on_where_it_broke(hub, files, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_after = 5000
    assert len(list(TASKS["codeqa"].samples())) == SIZES["codeqa"]
    first, rest = [a for a in hub.log if a.method == "GET" and "data.json" in a.path]
    assert (first.sent, rest.range) == (5000, "bytes=5000-")
    assert first.sent + rest.sent == len(files[made_hub.CODE]["data.json"])


def test_a_part_of_the_cache_may_be_deleted(hub, cache):
    ids = [s.id for s in TASKS["synth"].samples()]
    for text in (cache / "contexts").rglob("*.txt"):
        text.unlink()
    assert [s.id for s in TASKS["synth"].samples()] == ids
    assert all(s.context.text() for s in TASKS["synth"].samples())


def test_the_token_is_sent_to_the_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")
    list(TASKS["mrcr"].samples())
    assert {asked.token for asked in hub.log} == {"Bearer hf_of_the_tests"}


@pytest.mark.slow
@pytest.mark.usefixtures("corpus_cache")
def test_nothing_of_a_protected_set_is_kept_in_plain_text(hub, tmp_path):
    samples = list(TASKS["browsecomp"].samples())
    assert any(made_hub.SECRET in sample.context.text() for sample in samples)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if made_hub.SECRET.encode() in path.read_bytes()]


def test_revisions(hub, cache):
    """Short ones that configurations hold are known; others are asked for, and remembered."""
    full = made_hub.COMMITS[made_hub.CODE]
    assert hub_client.full_revision(made_hub.CODE, "2b48e49") == full
    assert not hub.log
    assert hub_client.full_revision(made_hub.CODE, "2b48e494f") == full
    assert hub_client.full_revision(made_hub.CODE, "main") == full
    asked = len(hub.log)
    with hub_client.closed():
        assert hub_client.full_revision(made_hub.CODE, "2b48e494f") == full
        assert hub_client.full_revision(made_hub.CODE, "main") == full
    assert len(hub.log) == asked == 2
    with pytest.raises(MissingDependency, match="no single commit"):
        hub_client.full_revision(made_hub.CODE, "0123abc")
    assert hub_client.full_revision(made_hub.CODE, "d" * 40) == "d" * 40


def test_all_source_data_sets_in_turns(hub):
    samples = list(OolongSynth(dataset="all", n=3, **SHORT).samples())
    assert len({sample.cluster for sample in samples}) == 3
    assert [s.meta["dataset"] for s in samples] == ["trec_coarse", "trec_coarse", "imdb"]
    assert all(f"|{made_hub.LENGTH}|" in sample.cluster for sample in samples)
    assert OolongSynth(dataset="all").most_clusters == 20
    assert json.dumps([s.id for s in samples])


def test_a_client_that_raises_anything_else(hub, monkeypatch):
    def broken(*_, **__):
        raise errors.HFValidationError("a name of the tests\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    with pytest.raises(MissingDependency, match=r"cannot be read: a name of the tests\. Either"):
        list(TASKS["codeqa"].samples())


def test_a_server_that_sends_no_parts_of_files(hub):
    """Then every file of the split is downloaded, which is slower and as right."""
    hub.parts = False
    assert len(list(TASKS["synth"].samples())) == SIZES["synth"]
    assert sum("validation" in asked.path for asked in hub.downloads) == 2


def test_only_commits_of_the_hub_are_pinned(hub, files, tmp_path):
    """Samples of a branch, or of a file beside the hub's, are not kept: they may change."""
    golds = tmp_path / "golds.json"
    golds.write_bytes(files[made_hub.PAIRS][f"data/oolong-pairs-{made_hub.LENGTH}.json"])
    assert TASKS["pairs"].pinned
    assert not replace(TASKS["pairs"], golds_path=str(golds)).pinned
    assert not replace(TASKS["codeqa"], revision="main").pinned
    assert len(list(replace(TASKS["codeqa"], revision="main").samples())) == SIZES["codeqa"]


def _listed(paths, *configs):
    files = tuple(hub_client.RemoteFile(path, 1) for path in paths)
    named = tuple(
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train*"}]}
        for name in configs
    )
    return hub_client.Listing("a/b", "d" * 40, "dataset", files, named)


@pytest.mark.parametrize(
    ("listing", "config", "words"),
    [
        (_listed(["x/train.csv", "y/train.csv"], "x", "y"), "z", "no configuration z.* x, y"),
        (_listed(["x/train.csv", "y/train.csv"], "x", "y"), None, "several.* x, y"),
        (_listed(["x/train.csv", "y/train.csv"]), "z", "no file of configuration z"),
        (_listed(["x/train/0000.parquet", "y/train/0000.parquet"]), None, "several.* x, y"),
    ],
)
def test_rows_of_several_configurations_are_never_joined(listing, config, words):
    with pytest.raises(MissingDependency, match=words):
        split_files(listing, config, "train")
    assert [file.path[:2] for file in split_files(listing, "y", "train")] == ["y/"]


def test_a_configuration_marked_as_the_default_is_taken():
    listing = _listed(["x/train.csv", "y/train.csv"], "x", "y")
    listing.configs[1]["default"] = True
    assert [file.path for file in split_files(listing, None, "train")] == ["y/train.csv"]


@pytest.mark.parametrize(
    ("task", "rows", "lacking"),
    [
        (TASKS["codeqa"], made_hub.code_rows(), "choice_B"),
        (TASKS["mrcr"], made_hub.mrcr_rows(8, 0), "random_string_to_prepend"),
        (TASKS["mrcr"], made_hub.mrcr_rows(8, 0), "n_chars"),
        (TASKS["real"], made_hub.real_rows(), "episodes"),
        (TASKS["synth"], made_hub.synth_rows("trec_coarse", made_hub.LENGTH), "answer_type"),
        (
            OolongPairs(**SHORT),
            made_hub.synth_rows("trec_coarse", made_hub.LENGTH),
            "context_window_text_with_labels",
        ),
        (
            OolongSynth(subset="core", **SHORT),
            made_hub.synth_rows("trec_coarse", made_hub.LENGTH),
            "context_window_text_with_labels",
        ),
    ],
)
def test_a_local_file_without_a_column_is_one_error(task, rows, lacking, tmp_path):
    path = tmp_path / "rows.jsonl"
    whole = [{k: v for k, v in row.items() if k != lacking} for row in rows]
    path.write_bytes(made_hub.json_lines(whole))
    with pytest.raises(ConfigError, match=f"no column '?{lacking}"):
        list(replace(task, path=str(path)).samples())


def test_numbers_of_a_csv_file_are_numbers(tmp_path):
    """The cells are texts: lengths must be found all the same."""
    rows = made_hub.synth_rows("trec_coarse", made_hub.LENGTH)
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    samples = list(OolongSynth(path=str(path), **SHORT).samples())
    assert [s.target for s in samples[:2]] == ["[0]", "[0]"]
    assert len(samples) == SIZES["synth"]


def test_golds_without_a_column_are_one_error(hub, tmp_path):
    path = tmp_path / "golds.json"
    path.write_text('[{"id": "1", "question": "?"}]')
    with pytest.raises(ConfigError, match=r"golds\.json: a row has no column answer"):
        list(replace(TASKS["pairs"], golds_path=str(path)).samples())
