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
from rlm_eval.tasks.hub_splits import split_files
from rlm_eval.tasks.mrcr import MrcrOpenai, MrcrV2
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


def _of_card(paths, data_files):
    """A listing with one configuration of the card; `None` = no card."""
    files = tuple(hub_client.RemoteFile(path, 1) for path in paths)
    card = ({"config_name": "default", "data_files": data_files},) if data_files else ()
    return hub_client.Listing("a/b", "d" * 40, "dataset", files, card)


@pytest.mark.parametrize(
    ("paths", "data_files", "split", "wanted"),
    [
        # Without splits; the files about the data are none of it.
        (["data.jsonl", "dataset_infos.json"], None, "train", ["data.jsonl"]),
        (["data.csv", "metadata.json", "config.json"], None, "train", ["data.csv"]),
        (["part1.csv", "Test-1.csv", "dev.v2.csv"], None, "train", ["part1.csv"]),
        (["training.csv", "testing.csv"], None, "train", ["training.csv"]),
        (["a.csv", "evaluation.csv"], None, "test", ["evaluation.csv"]),
        (["a.csv", "dev.csv"], None, "validation", ["dev.csv"]),
        # A list of files in the card is the split train.
        (["a.jsonl", "b_test.jsonl"], ["a.jsonl"], "train", ["a.jsonl"]),
        (["a.csv", "metadata.json"], "metadata.json", "train", ["metadata.json"]),
        # `*` stays within a folder, `**` does not.
        (["a.csv", "x/b.csv"], "*.csv", "train", ["a.csv"]),
        (["a.csv", "x/b.csv", "x/y/c.csv"], "**/*.csv", "train", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        (["a.csv", "x/b.csv", "x/y/c.csv"], "x/**", "train", ["x/b.csv", "x/y/c.csv"]),
        (["x/a.csv", "y/x/a.csv"], "./x/*", "train", ["x/a.csv"]),
    ],
)
def test_rows_of_other_splits_are_never_joined(paths, data_files, split, wanted):
    found = split_files(_of_card(paths, data_files), None, split)
    assert [file.path for file in found] == wanted


@pytest.mark.parametrize(
    ("paths", "data_files", "split", "told"),
    [
        (["test.csv", "valid.csv"], None, "train", r"no file of split train \(it has test.csv"),
        (["a.csv", "b_test.csv"], ["a.csv"], "test", "no split test; it has train"),
    ],
)
def test_a_split_that_is_not_there_is_an_error(paths, data_files, split, told):
    with pytest.raises(MissingDependency, match=told):
        split_files(_of_card(paths, data_files), None, split)


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


CODE, MRCR = made_hub.code_rows()[1], made_hub.mrcr_rows(8, 0)[0]
SYNTH = made_hub.synth_rows("trec_coarse", made_hub.LENGTH)[0]
REAL = made_hub.real_rows()[1]
V2 = {
    "queries": "User: Write a poem about x in y style.\n\nAssistant: abc\n\n"
    "User: Prepend ABCDEFGHIJKL to the first poem about x in a y style. Assistant:",
    "answer": "ABCDEFGHIJKLabc",
    "context_len": 8192,
}


@pytest.mark.parametrize(
    ("task", "row", "told"),
    [
        *(
            (replace(TASKS["codeqa"], surface=surface), CODE | {"answer": gold}, "not one of A to")
            for surface in ("official", "rlm")
            for gold in ("b", "(B)", "B ", 1, "", "AB")
        ),
        *((TASKS["codeqa"], CODE | {name: None}, f"null for {name}")
          for name in ("answer", "context", "question", "choice_D")),
        (TASKS["mrcr"], MRCR | {"prompt": [{"role": "user", "content": "x"}]}, "TypeError"),
        (TASKS["mrcr"], MRCR | {"prompt": "[{"}, "JSONDecodeError"),
        (TASKS["mrcr"], MRCR | {"prompt": '[{"role": "user", "content": []}]'}, "TypeError"),
        (TASKS["mrcr"], MRCR | {"answer": "abc"}, "the gold 'abc' scores 0, not 1"),
        (TASKS["mrcr"], MRCR | {"answer": None}, "null for answer"),
        (TASKS["mrcr"], MRCR | {"random_string_to_prepend": None}, "null for random"),
        (MrcrV2(path="-"), V2 | {"queries": "hello"}, "row 1: cannot be read .ValueError"),
        (MrcrV2(path="-"), V2 | {"queries": None}, "null for queries"),
        (MrcrV2(path="-"), V2 | {"context_len": "8k"}, "row 1: cannot be read .ValueError: .*8k"),
        (MrcrV2(path="-"), V2 | {"answer": "short"}, "the gold 'short' scores 0, not 1"),
        (MrcrV2(path="-"), V2 | {"answer": None}, "null for answer"),
        (TASKS["synth"], SYNTH | {"answer": "7"}, "gold '7' is not a list such as"),
        (TASKS["synth"], SYNTH | {"answer": "spam"}, "gold 'spam' is not a list such as"),
        (TASKS["synth"], SYNTH | {"answer": None}, "null for answer"),
        (TASKS["synth"], SYNTH | {"answer_type": "NUMERIC"}, "whose form is that of ANSWER_TYPE"),
        (TASKS["synth"], SYNTH | {"answer_type": 3}, "TypeError"),
        (TASKS["synth"], SYNTH | {"answer_type": None}, "null for answer_type"),
        (TASKS["real"], REAL | {"answer": None}, "null for answer"),
        (TASKS["real"], REAL | {"answer": " "}, "gives an empty answer 1, not 0"),
        (TASKS["real"], REAL | {"answer": ["a", "b"]}, "is neither a text nor a whole number"),
        (OolongPairs(**SHORT), SYNTH | {"context_window_text_with_labels": 3}, "TypeError"),
    ],
)  # fmt: skip
def test_a_local_row_of_another_form_is_refused_before_a_call(task, row, told, tmp_path):
    """A gold of another form scored 0, or an empty answer 1; others ended in a traceback."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(made_hub.json_lines([row]))
    with pytest.raises(ConfigError, match=f"rows.jsonl.*{told}"):
        list(replace(task, path=str(path), tokenizer="approx4").samples())


def test_golds_that_tables_and_lists_write_otherwise_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    golds = [7.0, 7, "a, a", "Fire Bolt"]  # a list with a repeated item is the benchmark's own
    rows = [
        REAL | {"id": str(i), "question": f"What is {i}?", "answer": gold}
        for i, gold in enumerate(golds)
    ]
    rows[0] |= {"question_type": None, "episodes": None}
    path.write_bytes(made_hub.json_lines(rows))
    samples = list(replace(TASKS["real"], path=str(path)).samples())
    assert [sample.target for sample in samples] == ["7", "7", "a, a", "Fire Bolt"]


def test_a_published_gold_is_kept_as_it_is(hub, files, capsys):
    """With a message, once: a benchmark's own errors are part of its score."""
    rows = [row | {"answer": " ", "question": row["id"]} for row in made_hub.real_rows()]
    own = {"dnd/test.jsonl": made_hub.json_lines(rows)}
    hub.repositories = {**files, made_hub.REAL: own}
    assert len(list(TASKS["real"].samples())) == SIZES["real"]
    told = capsys.readouterr().err
    assert told.count("gives an empty answer 1, not 0; it is kept as published") == 1
    list(TASKS["real"].samples())  # from the cache
    assert not capsys.readouterr().err


def test_published_pairs_of_another_form_are_one_error(hub, tmp_path):
    path = tmp_path / "golds.json"
    for golds in (
        [{"id": "x", "question": "?", "answer": []}],
        [{"id": "1", "question": "?", "answer": [3]}],
    ):
        path.write_text(json.dumps(golds))
        with pytest.raises(ConfigError, match=r"golds\.json.*a row of the golds: cannot be read"):
            list(replace(TASKS["pairs"], golds_path=str(path)).samples())


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
