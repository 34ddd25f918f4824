"""The report and the viewer of a published folder, which has neither cells nor calls."""

import json
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from rlm_eval.core.types import RENAMED_PROMPTS
from rlm_eval.records import baselines
from rlm_eval.records.record import FILE, load_records
from rlm_eval.report import summary
from rlm_eval.report.tables import card
from rlm_eval.report.viewer.server import open_server
from rlm_eval.report.viewer.shelf import ViewerData
from rlm_eval.storage import published

SHIPPED = Path(__file__).parents[2] / "results" / "published"
CLAIMS = SHIPPED / "recursion_claims"


def test_the_card_is_that_of_the_run():
    """Started, code, machine, packages and servers come from the folder's own files."""
    known = card.manifests([CLAIMS])
    frame = summary.prepare(baselines.joined(load_records([CLAIMS]), []), known)
    facts = card.facts([CLAIMS], summary.summarise(frame), known)
    lines = (CLAIMS / "CARD.md").read_text().splitlines()
    assert [f"- **{title}**: {told}" for title, told in facts.items()] == [
        line for line in lines if line.startswith("- **")
    ]


def test_the_viewer_shows_answer_and_gold():
    shelf = ViewerData([CLAIMS])
    first = json.loads((CLAIMS / "answers.jsonl").read_text().partition("\n")[0])
    (address,) = [
        one for one in shelf.addresses
        if one.split("/")[1:3] == [first["cell_id"][:12], first["sample_id"]]
    ]  # fmt: skip
    found = shelf.trajectory({"sample": address})
    item, texts = found["item"], found["texts"]
    line, _ = published.results(CLAIMS)[first["cell_id"], first["sample_id"], first["epoch"]]
    assert texts[item["answer"]] == first["answer"]["text"]
    assert (texts[item["question"]], texts[item["target"]]) == (
        line["question"], str(line["target"]),
    )  # fmt: skip
    assert [(name, value) for name, value, *_ in item["scores"]] == [
        (score["scorer"], score["value"]) for score in first["scores"]
    ]
    assert item["calls"] == []
    assert "without the calls of its samples" in item["note"]
    assert address in shelf.search({"words": first["answer"]["text"][:40]})["found"]
    assert shelf.search({"words": "no such words"})["found"] == []


def test_an_error_of_the_viewer_names_no_class():
    """Early releases published records alone."""
    shelf = ViewerData([SHIPPED / "smoke"])
    server, start = open_server([SHIPPED / "smoke"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        query = urllib.parse.urlencode({"sample": shelf.addresses[0]})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(start.replace("/?", "/trajectory?") + f"&{query}", timeout=10)
        told = caught.value.read().decode()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert told.startswith("Only the record of this sample was published. This folder was")


def test_a_run_or_a_cell_is_no_published_folder(tmp_path):
    assert published.is_published(CLAIMS)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (FILE, "manifest.json"):
        shutil.copy(CLAIMS / name, folder)
    assert published.is_published(folder)
    (folder / "cells").mkdir()
    assert not published.is_published(folder)
    assert len(load_records([folder])) == len(load_records([CLAIMS]))
    (folder / "cells").rmdir()
    (folder / FILE).unlink()
    assert not published.is_published(folder)


def test_the_page_of_prompts_counts_every_published_sample():
    """`docs/rlm.md`: the sub-calls of the search prompt over all published samples."""
    every = load_records([path.parent for path in SHIPPED.glob(f"*/{FILE}")])
    prompts = every["prompt"].replace(RENAMED_PROMPTS)
    own = every[(prompts == "rlm/search") & (every["method"] == "rlm")]
    told = f"| {int(own['used_recursion'].sum())} of {len(own)} published samples |"
    assert told in (SHIPPED.parents[1] / "docs" / "rlm.md").read_text()
