"""What a run publishes: small files, its finished cells, and those that were published before."""

import hashlib
import shutil
import sys

import orjson
import pytest
from runs import server_process

from rlm_eval.cli import main
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.suites.places import Anywhere
from rlm_eval.suites.plan_file import read_record
from rlm_eval.suites.publish import publish, republish, state
from rlm_eval.suites.schema import load


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def test_a_real_run_is_published_in_small_files(tmp_path, capsys):
    suite = load("smoke")
    with server_process(tmp_path) as server:
        given = ["model@root=openai", "root.model=fake", f"root.base_url={server.url}", "n=2"]
        given += ["task=s_niah_multikey", "method=long_context", "tokenizer=approx4"]
        assert main(["suite", "smoke", *given, f"results={tmp_path}"]) == 0
    run, root = tmp_path / "smoke", tmp_path / "published"
    capsys.readouterr()
    assert main(["compare", "--run", str(run)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("named beforehand by suite smoke")
    assert told.count("not run") == 2
    assert main(["compare", "--run", str(tmp_path / "published")]) == 2  # no suite's run
    assert state("smoke", root, tmp_path) == "run here: 1 of 6 cells"
    [cell] = run.glob("cells/*")
    told = orjson.loads((cell / "manifest.json").read_bytes())
    told["endpoints"]["root"]["command"] = [sys.executable, "-m", "engine"]  # as a server of ours
    (cell / "manifest.json").write_bytes(orjson.dumps(told))
    unfinished = shutil.copytree(cell, run / "cells" / "begun")
    (unfinished / "DONE").unlink()
    publish(run, suite, root)
    manifests = orjson.loads((root / "smoke" / "manifest.json").read_bytes())
    assert list(manifests["cells"]) == [cell.name]
    assert '["python","-m","engine"]' in orjson.dumps(manifests).decode()
    assert len(load_records([root / "smoke"])) == 2  # the samples that ended first are no cell
    names_of = {str(p.relative_to(root / "smoke")) for p in (root / "smoke").rglob("*.*")}
    assert {"README.md", "CARD.md", "manifest.json", "suite.json", "records.parquet",
            "tables/accuracy.md", "tables/planned.csv",
            "figures/length_panels.png"} <= names_of  # fmt: skip
    assert not {n for n in names_of if n.endswith((".pdf", ".html", "journal.jsonl"))}
    capsys.readouterr()
    assert main(["verify", str(root / "smoke"), "--run", str(run)]) == 0
    told = capsys.readouterr().out
    assert "re-scoring: 2 results came to their stored scores" in told
    assert "plan: 1 of 1 cells committed to it before their first call" in told
    assert "1 of 1 sealed cells are there, unchanged" in told
    assert "1 of 6 cells are finished" in (root / "smoke" / "README.md").read_text()
    assert sum(p.stat().st_size for p in (root / "smoke").rglob("*.*")) < 2_000_000
    for path in (root / "smoke").rglob("*.*"):  # no folder of the machine it ran on
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert "results=results/runs" in (root / "smoke" / "suite.json").read_text()
    digest = hashlib.sha256((root / "smoke" / "records.parquet").read_bytes()).hexdigest()
    assert digest in (root / "smoke" / "CARD.md").read_text()
    assert state("smoke", root, tmp_path) == "published: fake; run here: 1 of 6 cells"
    with pytest.raises(RlmEvalError, match="not the run of a suite"):
        publish(tmp_path / "nowhere", suite, root)
    (cell / "DONE").unlink()
    with pytest.raises(RlmEvalError, match="no cell is finished"):
        publish(run, suite, root)
    assert (root / "smoke" / "README.md").exists()  # what was published stays


def test_a_published_program_is_told_by_the_model_that_it_calls(tmp_path):
    facts = [("a", "b"), (None, "b"), ("a", None), (None, None)]  # a floor asks no model
    cells = {str(i): {"facts": {"root": r, "sub": s}} for i, (r, s) in enumerate(facts)}
    (tmp_path / "smoke").mkdir()
    told = orjson.dumps({"of every cell": {}, "cells": cells})
    (tmp_path / "smoke" / "manifest.json").write_bytes(told)
    assert state("smoke", tmp_path, tmp_path / "none") == "published: a, b"


@pytest.mark.slow
def test_cells_published_before_stay_beside_those_of_another_run(tmp_path):
    """Parts of a study on several machines; the first one's run directory is gone."""
    suite, root = load("smoke"), tmp_path / "published"
    out = root / "smoke"

    def run(place, server, *chosen):
        given = ["model@root=openai", "root.model=fake", f"root.base_url={server.url}", "n=2"]
        given += ["tokenizer=approx4", f"results={tmp_path / place}", *chosen]
        assert main(["suite", "smoke", *given, "--no-report"]) == 0
        publish(tmp_path / place / "smoke", suite, root)
        told = load_records([out])[["method", "cell_id", "sample_id", "score", "n_calls"]]
        return told.sort_values(["method", "sample_id"]).to_dict("records")

    needle = "task=s_niah_multikey"
    with server_process(tmp_path) as server:
        first = run("a", server, needle, "method=long_context")
        plan = read_record(out)
        shutil.rmtree(tmp_path / "a")
        told = orjson.loads((out / "manifest.json").read_bytes())
        told["of every cell"]["machine"] = {"cores": 99}  # another one than this
        (out / "manifest.json").write_bytes(orjson.dumps(told))
        both = run("b", server, needle, "method=rag")
    assert both[:2] == first
    assert [row["method"] for row in both] == ["long_context"] * 2 + ["rag"] * 2
    assert (
        "2 of 6 cells are finished: the others are **not run**" in (out / "README.md").read_text()
    )
    assert "1 of them were run in other run directories" in (out / "README.md").read_text()
    assert read_record(out).started == plan.started
    assert len([p for p in read_record(out).places if p.cell]) == 2
    held = orjson.loads((out / "endpoints.json").read_bytes())
    assert len(held) == 2  # a process each
    card = (out / "CARD.md").read_text()
    assert "preflight requests**: 2 calls" in card
    assert "4 in 2 cells" in card
    machines = next(line for line in card.splitlines() if line.startswith("- **machine**"))
    assert machines.count("cores") == 2
    assert "cores 99" in machines
    assert str(tmp_path) not in card

    with server_process(tmp_path) as server:
        again = run("c", server, needle, "method=long_context,rag")
        assert again == both  # none twice
        assert "other run directories" not in (out / "README.md").read_text()
        # Other settings than those published stand beside them, as exploratory.
        other = run("d", server, needle, "method=rag", "root.sampling.max_output_tokens=99")
    assert {row["cell_id"] for row in both} < {row["cell_id"] for row in other}
    [further] = [p for p in read_record(out).places if p.again]
    assert not further.planned

    before = load_records([out])
    with (out / "README.md").open("a") as page:
        page.write("A word of the author.\n")
    republish(suite, root)
    again = load_records([out])
    assert again[before.columns].equals(before)
    tokens = int(before["input_tokens"].sum() + before["output_tokens"].sum())
    readme = (out / "README.md").read_text()
    assert f"{tokens:,} tokens were used" in readme
    assert readme.endswith("\nA word of the author.\n")
    assert {p.name for p in (out / "tables").iterdir()} > {"accuracy.md", "planned.md"}

    (out / "endpoints.json").unlink()
    with pytest.raises(RlmEvalError, match=r"endpoints\.json: missing, .* restore it"):
        publish(tmp_path / "d" / "smoke", suite, root)
    assert load_records([out])["cell_id"].nunique() == 3  # nothing is lost


def test_an_interpreter_of_another_environment_is_named_by_what_it_is(tmp_path):
    told = Anywhere(tmp_path / "run").told('["/data/env-7/bin/python3.12", "-m", "vllm"] /bin/sh')
    assert told == '["python", "-m", "vllm"] /bin/sh'
