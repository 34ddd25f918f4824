"""The artefact that decides arguments: an output limit of 512 tokens, read elsewhere as 0 %.

One reader that thinks for about 900 tokens and then answers rightly, asked under two limits. What
`docs/truncation.md` shows is what comes out here.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from fake_server import FakeServer, Out
from runs import run_here

from rlm_eval.records.build import write_records
from rlm_eval.report import summary
from rlm_eval.report.tables import comparison, standard
from rlm_eval.report.tables.card import manifests
from rlm_eval.report.tables.caveats import caveats
from rlm_eval.report.tables.formats import markdown

PAGE = (Path(__file__).parent.parent / "docs" / "truncation.md").read_text()
THINKING = "Let me go through the text once more and weigh what it says about this key. " * 48


def reader(request):
    """Thinks at length, then gives the code that is asked for; stops at the cap."""
    text = request["messages"][-1]["content"]
    asked = re.search(r"What is the code of box (\d+)\?", text)
    if asked is None:
        return "ok"  # the preflight
    code = re.search(rf"The code of box {asked[1]} is (\d+)\.", text)[1]
    reply, most = f"{THINKING}The code is {code}", 4 * request["max_tokens"]
    return Out(reply[:most], finish_reason="length" if len(reply) > most else "stop")


def boxes(path):
    """Twenty questions of a task without an output limit of its own."""
    numbers = range(100, 120)
    lines = " ".join(f"The code of box {n} is {7 * n}." for n in numbers)
    rows = [
        {"context": f"List {n}. {lines}", "question": f"What is the code of box {n}?",
         "answer": str(7 * n), "cluster": str(n)}
        for n in numbers
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
async def frame(tmp_path, monkeypatch):
    """Prepared records of both limits."""
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    async with FakeServer(reply=reader) as server:
        given = ["task=custom", f"task.path={boxes(tmp_path / 'boxes.jsonl')}", "length=1k"]
        given += ["task.metric=contains", "method=long_context", "model@root=openai"]
        given += ["root.model=fake", f"root.base_url={server.url}", "tokenizer=approx4", "n=20"]
        given += ["root.sampling.max_output_tokens=512,4096", "name=cap", f"results={tmp_path}"]
        assert not (await run_here(given)).unfinished
    records = pd.read_parquet(write_records(tmp_path / "cap"), dtype_backend="numpy_nullable")
    return summary.prepare(records, manifests([tmp_path / "cap"]))


def test_cut_answers_are_bounds_and_get_no_verdict(frame):
    table = summary.summarise(frame)
    capped, free = (table[table["series"].str.contains(f"={cap}]")].iloc[0] for cap in (512, 4096))
    assert capped["outcomes"] == "truncated 20"
    assert capped["accuracy"] == 0.0  # what a harness without outcomes prints: 0 % of 20
    assert (capped["bound_low"], capped["bound_high"]) == (0.0, 1.0)
    assert (free["outcomes"], free["accuracy"]) == ("ok 20", 1.0)

    differences = comparison.against(frame, free["series"])
    built = standard.build(frame, table, differences)
    outcomes, accuracy = (markdown(t.rows) for t in built[:2])
    for shown in (outcomes, accuracy):
        assert shown in PAGE, shown
    assert differences["verdict"].tolist() == ["no verdict: more than 5 % cut off"]
    text = comparison.compare_text(frame[frame["series"] == capped["series"]], "fake", "44%")
    assert text.splitlines()[-1] in PAGE, text
    assert text.endswith("no verdict: more than 5 % cut off")
    [said] = [line for line in caveats(frame, table) if "cut off by an output cap" in line]
    assert said in PAGE
