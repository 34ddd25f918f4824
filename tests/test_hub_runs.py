"""A run directory is enough: report, score, view, compare and a second run ask no hub."""

import json
import shutil

import made_hub
import pytest
from huggingface_hub import constants

from rlm_eval.cli import main
from rlm_eval.config.contexts import ContextSource
from rlm_eval.report.viewer.server import ViewerData

pytest_plugins = ("hub_bench",)

TASKS = {
    "oolong_synth": ["task=oolong_synth", f"length={made_hub.LENGTH}", "n=4"],
    "codeqa": ["task=codeqa", "n=50"],  # more than there are
    "browsecomp_plus": ["task=browsecomp_plus", "task.documents=6", "n=2"],
}


@pytest.mark.slow  # three reports each
@pytest.mark.parametrize("name", TASKS)
def test_a_run_directory_is_enough(name, hub, tmp_path, monkeypatch, capsys, request):
    if name == "browsecomp_plus":
        request.getfixturevalue("corpus_cache")
    monkeypatch.setenv("MPLBACKEND", "agg")
    given = [*TASKS[name], "method=long_context,closed_book", "tokenizer=approx4", "name=run"]
    given += ["model@root=scripted", "model@judge=scripted", f"results={tmp_path}/runs"]
    given += ["judge.program=replies", "judge.replies=['correct: yes']"]
    command, run = ["run", "--no-report", *given], str(tmp_path / "runs" / "run")
    assert main(command) == 0
    downloads = [asked.path for asked in hub.downloads]
    assert len(downloads) == len(set(downloads)), "both cells share what one has read"
    asked = len(hub.log)

    # Another machine: no cache, no hub, no canary; the directory alone.
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "hf")
    monkeypatch.delenv("BROWSECOMP_PLUS_CANARY")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    capsys.readouterr()
    assert main(command) == 0
    assert "unfinished" not in capsys.readouterr().err
    assert main(["report", run]) == 0
    page = (tmp_path / "runs/run/report/report.html").read_text()
    assert made_hub.SECRET not in page
    assert main(["score", run]) == 0
    assert capsys.readouterr().out.count(f"{name}-") >= 2
    assert main(["compare", "long_context", "closed_book", "--run", run]) == 0
    shelf = ViewerData([tmp_path / "runs" / "run"], ContextSource())
    (text,) = shelf.context({"sample": shelf.addresses[0], "start": "0", "end": "9"}).values()
    assert "not shown" in text if name == "browsecomp_plus" else "not at hand" in text
    assert main(["run", *given]) == 0
    assert len(hub.log) == asked, "nothing was asked of the hub"


def test_done_cells_load_nothing_and_larger_ones_say_what_is_missing(hub, tmp_path, monkeypatch):
    given = [*TASKS["oolong_synth"], "method=long_context", "tokenizer=approx4", "name=run"]
    given += ["model@root=scripted", f"results={tmp_path}/runs"]
    assert main(["run", "--no-report", *given]) == 0
    asked = len(hub.log)
    shelf = ViewerData([tmp_path / "runs" / "run"], ContextSource())
    assert (
        "general-knowledge"
        in shelf.context({"sample": shelf.addresses[0], "start": "0", "end": "99"})["text"]
    )
    # A larger n is no longer done: it needs the data, and says so where they are not at hand.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "hf")
    assert main(["run", "--no-report", *given]) == 0
    assert main(["score", str(tmp_path / "runs" / "run")]) == 0
    assert main(["run", "--no-report", *[part.replace("n=4", "n=8") for part in given]]) == 1
    (why,) = (tmp_path / "runs/run/cells").glob("*/unfinished.json")
    assert "rlm-eval prefetch" in json.loads(why.read_text())["why"]
    assert len(hub.log) == asked


def test_done_with_other_numbers_or_in_shards_loads_nothing(hub, tmp_path, monkeypatch):
    """Fewer samples than are done, more than the data have, and a cell merged from its shards."""
    given = ["run", "--no-report", *TASKS["oolong_synth"][:2], "method=long_context"]
    given += ["tokenizer=approx4", "name=run", "model@root=scripted", f"results={tmp_path}/runs"]
    for shard in ("1/2", "2/2"):
        assert main([*given, "n=20", f"shard={shard}"]) == 0
    asked = len(hub.log)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "hf")
    for more in (["n=20"], ["n=3"], ["n=30"], ["n=20", "shard=1/2"]):
        assert main([*given, *more]) == 0, more
    (folder,) = (tmp_path / "runs/run/cells").iterdir()
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 8
    assert not (folder / "unfinished.json").exists()
    assert len(hub.log) == asked


def test_a_done_cell_of_a_branch_stays_done_offline(hub, tmp_path, monkeypatch):
    """A branch may have moved, so that it is asked again; where it cannot be, nothing is lost."""
    given = ["run", "--no-report", "task=codeqa", "n=3", "task.revision=main", "method=closed_book"]
    given += ["tokenizer=approx4", "name=run", "model@root=scripted", f"results={tmp_path}/runs"]
    assert main(given) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "hf")
    assert main(given) == 0
    assert main([*given, "n=6"]) == 1
