"""Verification of published folders: all of ours pass, and no change of a number gets through."""

import re
import shutil
from pathlib import Path

import orjson
import pandas as pd
import pytest

from rlm_eval.cli import main
from rlm_eval.records.build import write_records
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_store import read_manifest
from rlm_eval.storage.published import in_one
from rlm_eval.suites.evidence import answers, claims, publishing, rules, seal, sources
from rlm_eval.suites.evidence.bundle import NEEDED, Bundle
from rlm_eval.suites.evidence.verify import Finding, verify
from rlm_eval.tasks.base import SampledTask

PUBLISHED = Path(__file__).parent.parent / "results" / "published"
FOLDERS = sorted(path.name for path in PUBLISHED.iterdir() if path.is_dir())
SMOKE = PUBLISHED / "smoke"
SMALL = 200
"""Records above which recomputing every table takes more than a second or two."""


def failures(folder: Path) -> list[Finding]:
    return [found for found in verify(folder) if not found.passed]


def first_failure(folder: Path) -> Finding:
    return next(found for found in verify(folder) if not found.passed)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_published_folder_passes(name):
    """Digests, chain, cells, plan, answers of all; tables and README too of the small ones."""
    is_large = len(Bundle(PUBLISHED / name).records) > SMALL
    for found in verify(PUBLISHED / name):
        assert found.passed, found.line()
        if is_large and found.what == "re-scoring":
            return  # the next ones recompute every table


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_every_number_of_the_published_folders_is_recomputed(name):
    assert failures(PUBLISHED / name) == []


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(SMOKE, tmp_path / "smoke")


@pytest.mark.parametrize("name", seal.files_of(SMOKE))
def test_no_byte_of_a_file_can_change(bundle, name):
    path = bundle / name
    data = path.read_bytes()
    at = next((m.start() for m in re.finditer(rb"\d", data)), len(data) // 2)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert first_failure(bundle).words == f"{name} is not the file that was sealed"
    path.unlink()
    if name in NEEDED:
        assert main(["verify", str(bundle)]) == 2
    else:
        assert first_failure(bundle).words == f"{name} was removed"


def test_a_copy_under_another_name_and_read_only_passes(bundle, tmp_path, monkeypatch):
    copy = shutil.copytree(bundle, tmp_path / "elsewhere" / "other name")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555)
    monkeypatch.chdir(copy)
    assert failures(Path()) == []
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)


def test_a_file_more_and_a_changed_seal_are_seen(bundle):
    (bundle / "tables" / "more.csv").write_text("1\n")
    assert first_failure(bundle).words == "tables/more.csv was added"
    (bundle / "tables" / "more.csv").unlink()
    told = orjson.loads((bundle / seal.FILE).read_bytes())
    told["facts"]["cells_earlier"] = 5
    (bundle / seal.FILE).write_bytes(orjson.dumps(told))
    assert first_failure(bundle).words == "seal.json itself was changed"


def sealed_again(folder: Path) -> None:
    """As somebody would who changes a number and hides it."""
    before = orjson.loads((folder / seal.FILE).read_bytes())
    link = seal.last_link(before["chain"])
    now = seal.last_link(seal.chain(folder, before["journals"]))
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace(link, now))
    told = seal.sealed(Bundle(folder), before["journals"], before["facts"])
    (folder / seal.FILE).write_bytes(orjson.dumps(told))


def test_numbers_are_recomputed_and_not_only_compared_with_a_digest(bundle, capsys):
    planned, readme = bundle / "tables" / "planned.csv", bundle / "README.md"
    lines = planned.read_text().splitlines()
    planned.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")  # swapped cells
    accuracy = bundle / "tables" / "accuracy.md"
    accuracy.write_text(accuracy.read_text().replace("33.8", "38.3", 1))
    readme.write_text(readme.read_text().replace("22 model calls", "23 model calls"))
    (bundle / "tables" / "latency.csv").unlink()
    (bundle / "tables" / "better.csv").write_text("score\n99\n")
    card = bundle / "CARD.md"
    card.write_text(card.read_text().replace("18 in 6 cells", "81 in 6 cells"))
    sealed_again(bundle)
    found = {finding.what: finding.words for finding in failures(bundle)}
    assert set(found) == {
        "tables/planned.csv", "tables/accuracy.md", "tables/latency.csv", "tables/better.csv",
        "CARD.md", "claim 'records.calls'",
    }  # fmt: skip
    assert "says '23', computed '22'" in found["claim 'records.calls'"]
    assert "published" in found["tables/planned.csv"]
    assert main(["verify", str(bundle), "--claim", "records.calls"]) == 0
    assert capsys.readouterr().out == "22\n"
    assert main(["verify", str(bundle), "--claim", "tables/accuracy.csv row 1 column n"]) == 0
    assert capsys.readouterr().out == "3\n"
    assert main(["verify", str(bundle), "--claim", "nothing"]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.iloc[1:], "records of 2 samples|samples, but n = 3|records are missing"),
        (lambda r: r[r["cell_id"] != r["cell_id"][0]], "records are missing|no record|which"),
        (lambda r: pd.concat([r, r.iloc[:1]]), "two records of cell"),
        (lambda r: r.assign(cell_id=r["cell_id"].replace({r["cell_id"][0]: "f" * 64})), "which"),
        (lambda r: r.assign(method="rlm"), "method is"),
        (lambda r: r.assign(outcome="fine"), "outcome fine is none"),
    ],
)
def test_records_that_do_not_fit_their_cells_are_seen(bundle, change, words):
    path = bundle / "records.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    sealed_again(bundle)
    assert re.search(words, first_failure(bundle).words)


@pytest.mark.slow
def test_a_changed_number_behind_a_figure_is_seen_in_a_sealed_folder(bundle):
    path = bundle / "figures" / "quartiles.csv"
    text = path.read_text()
    path.write_text(text.replace("oolong_gen", "oolong_net", 1))
    sealed_again(bundle)
    [found] = failures(bundle)
    assert found.what == "numbers behind the figures"
    assert "figures/quartiles.csv line 2" in found.words
    path.unlink()
    sealed_again(bundle)
    assert [f.words for f in failures(bundle)] == ["figures/quartiles.csv is on one side only"]


def test_a_changed_baselines_file_is_seen_in_the_large_folder(tmp_path):
    """No test of every file runs on it: its tables are slow to recompute."""
    folder = shutil.copytree(PUBLISHED / "length_sweep", tmp_path / "length_sweep")
    path = folder / "baselines.json"
    path.write_text(path.read_text().replace('"score": 0.65', '"score": 0.56', 1))
    assert first_failure(folder).words == "baselines.json is not the file that was sealed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ('"score": 0.65', '"score": 0.56', "minus skimmer: published"),  # samples not made again
        ('"name": "median_gold"', '"name": "mean_gold"', "published 'mean_gold', recomputed"),
        ('"task": "ledger"', '"task": "ledges"', "are not the tasks and lengths of the records"),
        ('"samples_published": 40', '"samples_published": 41', "samples_published: 41"),
        ('"samples_made_again": 40', '"samples_made_again": 41', "samples_made_again: 41"),
        ('"n": 40', '"n": 17', "n is 17, the records have 40"),
    ],
)
def test_a_changed_baselines_file_is_seen_although_it_was_sealed(tmp_path, then, now, words):
    folder = shutil.copytree(PUBLISHED / "length_sweep", tmp_path / "length_sweep")
    path = folder / "baselines.json"
    text = path.read_text()
    assert then in text
    path.write_text(text.replace(then, now, 1))
    found = rules.checked(sources.Sources(Bundle(folder)))
    assert words in found.difference


@pytest.fixture(scope="module")
def asked():
    """The published folder that has samples, its tasks made again once."""
    found = sources.Sources(Bundle(PUBLISHED / "prompt_sensitivity"))
    assert found.samples
    return found


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("question", lambda text: text.replace("magic", "tragic"), "question: samples.jsonl says"),
        ("target", lambda target: ["1"], "target: samples.jsonl says"),
        ("context", lambda context: {**context, "hash": "0" * 32}, "context: samples.jsonl says"),
        ("meta", lambda meta: {**meta, "depth": 17}, "meta: samples.jsonl says"),
    ],
)
def test_a_changed_sample_is_not_the_one_that_its_task_makes(asked, tmp_path, field, change, words):
    folder = shutil.copytree(asked.bundle.folder, tmp_path / "prompt_sensitivity")
    lines = _lines(folder / answers.SAMPLES)
    lines[3][field] = change(lines[3][field])
    (folder / answers.SAMPLES).write_bytes(answers.written(lines))
    again = sources.Sources(Bundle(folder))
    again.__dict__.update(cells=asked.cells, samples=asked.samples)  # as made for the folder
    assert words in sources.made_again(again).difference


def test_records_of_other_samples_and_other_identities_are_seen(asked, tmp_path):
    assert sources.identities(asked).done == len(asked.bundle.manifests)
    whole = sources.made_again(asked)
    assert whole.done == len(asked.bundle.records)
    folder = shutil.copytree(asked.bundle.folder, tmp_path / "prompt_sensitivity")

    def changed(column, value):
        records = asked.bundle.records.copy()
        records.loc[5, column] = value
        records.to_parquet(folder / "records.parquet", index=False)
        again = sources.Sources(Bundle(folder))
        again.__dict__.update(cells=asked.cells, samples=asked.samples)
        return sources.made_again(again).difference

    assert "is none that its task makes" in changed("sample_id", "f" * 32)
    assert "chars: the records say" in changed("chars", 7)
    path = folder / "manifest.json"
    manifests = orjson.loads(path.read_bytes())
    first = next(iter(manifests["cells"].values()))
    first["facts"]["generated"] = False  # its samples would not be made again
    path.write_bytes(orjson.dumps(manifests))
    told = sources.identities(sources.Sources(Bundle(folder))).difference
    assert "generated is False, but its task says True" in told
    first["facts"]["generated"] = True
    first["config"]["root"]["sampling"]["temperature"] = 0.7
    path.write_bytes(orjson.dumps(manifests))
    told = sources.identities(sources.Sources(Bundle(folder))).difference
    assert "its configuration has the identity" in told


def test_every_number_of_the_readme_is_a_claim():
    text = (SMOKE / "README.md").read_text().partition(claims.END)[0].splitlines()
    told = orjson.loads((SMOKE / claims.FILE).read_bytes())["claims"]
    for claim in told:
        at, says = claim["column"] - 1, claim["says"]
        line = text[claim["line"] - 1]
        assert line[at : at + len(says)] == says
        text[claim["line"] - 1] = line[:at] + "x" * len(says) + line[at + len(says) :]
        assert claim["command"].startswith("rlm-eval verify smoke --claim")
    assert not [line for line in text if re.search(r"\d", line)]


def test_a_claim_computed_from_changed_files_is_not_told_as_proven(bundle, capsys):
    path = bundle / "records.parquet"
    pd.read_parquet(path).assign(n_calls=7).to_parquet(path, index=False)
    assert main(["verify", str(bundle), "--claim", "records.calls"]) == 1
    told = capsys.readouterr()
    assert told.out == "126\n"
    assert "records.parquet is not the file that was sealed" in told.err


def test_a_folder_without_a_seal_is_told_how_to_get_one(bundle):
    (bundle / seal.FILE).unlink()
    assert "`rlm-eval seal" in first_failure(bundle).words
    assert main(["verify", str(bundle / "tables")]) == 2


def test_equal_numbers_of_two_machines_are_equal():
    same = "a,0.33333333333333331,2", "a,0.33333333333333337,2"
    assert claims.first_difference("x", *same) is None
    assert claims.first_difference("x", "a,0.3333333,2", "a,0.3333334,2")
    assert claims.first_difference("x", "a,0.33,2", "a,0.34,2")
    assert claims.first_difference("x", "a\nb", "a")


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A bundle with answers: a scripted run, sealed without pictures."""
    place = tmp_path_factory.mktemp("answered")
    given = ["task=s_niah_multikey,oolong_gen", "method=long_context", "tokenizer=approx4", "n=2"]
    given += ["debug=scripted", f"results={place}", "--no-report"]
    assert main(["suite", "smoke", *given]) == 0
    run, made = place / "smoke-scripted", place / "made" / "smoke"
    made.mkdir(parents=True)
    write_records(run)
    shutil.copyfile(run / "records.parquet", made / "records.parquet")
    shutil.copyfile(run / "suite.json", made / "suite.json")
    cells = {path.name: read_manifest(path) for path in (run / "cells").iterdir()}
    (made / "manifest.json").write_bytes(orjson.dumps(in_one(cells)))
    (made / "endpoints.json").write_bytes(orjson.dumps(server_usage.read(run)))
    (made / "figures").mkdir()
    for name, text in Bundle(made).behind_figures.items():  # as published, but for the pictures
        (made / name).write_text(text)
    publishing.seal(run, made, place / "nothing", None)
    return made


@pytest.mark.slow
def test_of_protected_tasks_only_hashes_are_published(answered, tmp_path, monkeypatch):
    run = shutil.copytree(answered.parent.parent / "smoke-scripted", tmp_path / "run")
    cells = sorted((run / "cells").iterdir())
    for cell in cells:
        manifest = orjson.loads((cell / "manifest.json").read_bytes())
        manifest["facts"]["protected"] = True
        (cell / "manifest.json").write_bytes(orjson.dumps(manifest))
    lines, samples = answers.collected(cells)
    told = answers.written([*lines, *samples]).decode()
    for sample in _lines(answered / answers.SAMPLES):
        assert sample["question"] not in told
        assert f'"{sample["target"]}"' not in told
        assert answers.hashed(sample["target"]) in told
    folder = shutil.copytree(answered, tmp_path / "smoke")
    answers.write(folder, (lines, samples))
    sealed_again(folder)
    [found] = [f for f in verify(folder) if f.what == "re-scoring"]
    assert found.words.endswith("says that its task is protected, which it is not")
    monkeypatch.setattr(SampledTask, "protected", True)
    [found] = [f for f in verify(folder) if f.what == "re-scoring"]
    assert found.passed
    assert found.words == "not possible (4 results: protected: hashes only)"


def _lines(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.slow
def test_answers_are_scored_again(answered, tmp_path):
    assert failures(answered) == []
    found = {f.what: f.words for f in verify(answered)}
    assert found["re-scoring"] == "4 results came to their stored scores"
    assert found["plan"] == "2 of 2 cells committed to it before their first call"

    def tampered(number, change):
        folder = shutil.copytree(answered, tmp_path / str(number) / "smoke")
        change(folder)
        sealed_again(folder)
        return next(f.words for f in verify(folder) if not f.passed)

    def other_answer(folder):
        path = folder / answers.ANSWERS
        lines = _lines(path)
        lines[0]["answer"]["text"] = _lines(folder / answers.SAMPLES)[0]["target"]
        lines[0]["answer"]["text"] = "17"
        for line in lines[1:]:
            line["answer"]["text"] = "nothing of the kind"
        path.write_bytes(answers.written(lines))

    def other_target(folder):
        path = folder / answers.SAMPLES
        lines = [{**line, "target": ["none"]} for line in _lines(path)]
        path.write_bytes(answers.written(lines))

    def other_score(folder):
        path = folder / "records.parquet"
        pd.read_parquet(path).assign(score=0.5).to_parquet(path, index=False)

    def fewer_answers(folder):
        path = folder / answers.ANSWERS
        path.write_bytes(answers.written(_lines(path)[1:]))

    def a_cell_without_answers(folder):
        path = folder / answers.ANSWERS
        lines = _lines(path)
        path.write_bytes(answers.written(x for x in lines if x["cell_id"] != lines[0]["cell_id"]))

    def no_answers(folder):
        (folder / answers.ANSWERS).unlink()
        (folder / answers.SAMPLES).unlink()

    def other_plan(folder):
        path = folder / "suite.json"
        plan = orjson.loads(path.read_bytes())
        plan["comparisons"] = plan["comparisons"][1:]
        path.write_bytes(orjson.dumps(plan))

    assert re.search(r"score_\w+ is|needs|Error", tampered(1, other_answer))
    assert "score" in tampered(3, other_score)
    assert "no answer of" in tampered(4, fewer_answers)
    assert "no answer of" in tampered(6, a_cell_without_answers)
    assert "no answer of" in tampered(7, no_answers)
    assert "began under another plan" in tampered(5, other_plan)
    assert tampered(2, other_target)


@pytest.mark.slow
def test_a_published_folder_is_made_anew_from_its_records(bundle, monkeypatch):
    """What `rlm-eval seal` writes passes, and notes by hand stay."""
    with (bundle / "README.md").open("a") as file:
        file.write("\nA note with 46 %.\n")
    (bundle / seal.FILE).unlink()
    (bundle / "tables" / "accuracy.csv").write_text("old\n")
    monkeypatch.chdir(bundle)
    assert main(["seal", "."]) == 0
    assert sorted(path.name for path in Path().iterdir()) == sorted(p.name for p in SMOKE.iterdir())
    assert orjson.loads((bundle / seal.FILE).read_bytes())["schema"] == seal.SCHEMA
    assert failures(Path()) == []
    [readme] = [f.words for f in verify(bundle) if f.what == "README.md"]
    assert "1 numbers in notes by hand are sealed, but not recomputed" in readme
    path = bundle / "records.parquet"
    pd.read_parquet(path).assign(score=0.5).to_parquet(path, index=False)
    assert main(["seal", str(bundle)]) == 2  # its records are not those that were sealed


@pytest.mark.parametrize("name", ["endpoints.json", "baselines.json", "manifest.json", "seal.json"])
def test_a_changed_input_is_not_sealed_again(tmp_path, capsys, name):
    folder = shutil.copytree(PUBLISHED / "length_sweep", tmp_path / "length_sweep")
    before = (folder / seal.FILE).read_bytes()
    assert seal.changed_inputs(folder, orjson.loads(before)) is None
    path = folder / name
    then, now = (b"cells_earlier", b"cells_before") if name == seal.FILE else (b"1", b"2")
    path.write_bytes(path.read_bytes().replace(then, now))
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["seal", str(folder)]) == 2
    told = capsys.readouterr().err
    assert f"{name} " in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    (folder / seal.FILE).write_bytes(before)
    (folder / "samples.jsonl").write_text("")
    path.write_bytes((PUBLISHED / "length_sweep" / name).read_bytes())
    told = seal.changed_inputs(folder, orjson.loads(before))
    assert told == "samples.jsonl was added"
    (folder / "samples.jsonl").unlink()
    (folder / "endpoints.json").unlink()
    told = seal.changed_inputs(folder, orjson.loads(before))
    assert told == "endpoints.json was removed"


def test_accounts_and_baselines_are_links_of_the_chain(bundle):
    told = orjson.loads((bundle / seal.FILE).read_bytes())
    first = [part["what"] for part in seal.chain(bundle, told["journals"], 1)]
    assert not {"accounts", "baselines"} & set(first)
    sealed_again(bundle)
    assert [found.passed for found, _ in zip(verify(bundle), range(2), strict=False)] == [True] * 2
    before = orjson.loads((bundle / seal.FILE).read_bytes())
    assert before["schema"] == 2
    for name, part in (("endpoints.json", "accounts"), ("baselines.json", "baselines")):
        path = bundle / name
        text = path.read_bytes() if path.exists() else b""
        path.write_bytes(text + b" ")
        now = seal.chain(bundle, before["journals"])
        changed = [a["what"] for a, b in zip(now, before["chain"], strict=True) if a != b]
        assert changed[0] == part
        assert changed[-1] == "records"  # whose link is in the README
        if text:
            path.write_bytes(text)
        else:
            path.unlink()
