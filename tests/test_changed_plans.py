"""What a suite says of settings and comparisons that were changed when results could be seen."""

import errno
import re
import shutil
from pathlib import Path

import orjson
import pytest
from runs import server_process

from rlm_eval.cli import main
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.suites.comparisons import one_cell_each
from rlm_eval.suites.evidence import publishing
from rlm_eval.suites.evidence.commitment import plan_digest
from rlm_eval.suites.evidence.verify import verify
from rlm_eval.suites.plan import cells_of
from rlm_eval.suites.plan_file import has_results, merged, read_record, write_record
from rlm_eval.suites.publish import publish
from rlm_eval.suites.schema import load

MINE = """title: A test
models: [scripted]
overrides: {root.sampling.temperature: 0}
parts:
  - {tasks: [s_niah_multikey], lengths: [1k], n: 2, methods: [long_context, rag]}
comparisons: [{a: rag, b: long_context}]
"""
WARM = ["root.sampling.temperature=0.9", "sub.sampling.temperature=0.9"]


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mine():
    path = Path("benchmarks/mine/suite.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    return path


RUN = Path("results/runs/mine-scripted")


def command(*given, report=False):
    words = ["suite", "mine", "debug=scripted", "n=2", *given]
    assert main(words if report else [*words, "--no-report"]) == 0
    return read_record(RUN)


def digest():
    return plan_digest(orjson.loads((RUN / "suite.json").read_bytes()))


def test_settings_changed_when_results_are_seen_are_exploratory(mine, capsys):
    first = command()
    named, committed = {p.key: p.cell for p in first.places}, digest()
    warm = command(*WARM)
    assert "2 of 2 cells have other settings" in capsys.readouterr().err
    assert {p.key: p.cell for p in warm.places if p.planned} == named
    further = [p for p in warm.places if p.again]
    assert len(further) == 2
    assert not any(p.planned for p in further)
    assert digest() == committed
    assert [one.overrides for one in warm.later] == [["debug=scripted", "n=2", *WARM]]
    assert command().places == command(*WARM).places == warm.places  # no way back
    assert len(read_record(RUN).later) == 1
    one_side = command("rag:method.top_k=2")
    assert [p.method for p in one_side.places if p.again == 2] == ["rag"]
    assert [p.cell for p in one_cell_each(one_side.places)] == list(named.values())
    capsys.readouterr()
    assert main(["compare", "--run", str(RUN)]) == 0
    planned, _, added = capsys.readouterr().out.partition("exploratory: run beyond the plan")
    assert planned.startswith("named beforehand by suite mine")
    assert "after Holm over 1 comparisons" in planned
    assert added.count("pairs") == planned.count("pairs") * 2  # warm, and rag alone


def test_settings_changed_in_suite_yaml_are_exploratory_too(mine):
    named = {p.key: p.cell for p in command().places}
    mine.write_text(MINE.replace("temperature: 0}", "temperature: 0.9}"))
    record = command()
    assert {p.key: p.cell for p in record.places if p.planned} == named
    assert len([p for p in record.places if p.again == 1]) == 2
    assert [one.overrides for one in record.later] == [["debug=scripted", "n=2"]]


def test_cells_without_results_and_older_versions_give_way(mine, tmp_path):
    suite = load("mine")
    places = cells_of(suite, [])[2]
    write_record(tmp_path, suite, [], places)
    warm = cells_of(suite, WARM)[2]
    write_record(tmp_path, suite, WARM, warm)  # nothing was run
    assert [p.cell for p in read_record(tmp_path).places] == [p.cell for p in warm]
    first = read_record(tmp_path)
    cold = [p for p in places if p.cell]
    later = read_record(tmp_path).__class__("mine", [], "later", cold, first.comparisons)
    raised = merged(first, later, lambda _: True, lambda _: [p.cell for p in warm])
    assert [p.cell for p in raised.places] == [p.cell for p in places]
    assert all(p.planned and not p.again for p in raised.places)
    beside = merged(first, later, lambda _: True, lambda _: ())
    assert [p.again for p in beside.places].count(0) == len(first.places)
    assert not has_results(tmp_path)(cold[0].cell)


def test_a_report_is_made_again_when_what_it_is_made_of_changed(mine, capsys):
    command(report=True)
    capsys.readouterr()
    page = RUN / "report" / "report.html"
    made = page.stat().st_mtime_ns
    command(report=True)
    assert page.stat().st_mtime_ns == made  # nothing changed
    mine.write_text(MINE.replace("a: rag, b: long_context", "a: long_context, b: rag"))
    capsys.readouterr()
    command(report=True)
    told = capsys.readouterr().out
    assert "Exploratory: the comparisons of suite mine were changed" in told
    assert "Named beforehand" not in told
    made = page.stat().st_mtime_ns
    (mine.parent / "expected.csv").write_text(
        "metric,value,source,version,approximate,task,length,method,models,n,published_task,"
        "published_method,published_model,note\n"
        "accuracy_pct,50,P,v1,false,s_niah_multikey,1k,rag,scripted,,,,,\n"
    )
    command(report=True)
    assert "Published numbers beside ours" in capsys.readouterr().out
    assert page.stat().st_mtime_ns > made


@pytest.mark.slow
def test_a_run_with_other_settings_later_is_published_and_verified(tmp_path, capsys):
    suite, root = load("smoke"), tmp_path / "published"
    run, out = tmp_path / "smoke", root / "smoke"
    with server_process(tmp_path) as server:
        given = ["model@root=openai", "root.model=fake", f"root.base_url={server.url}", "n=2"]
        given += ["tokenizer=approx4", f"results={tmp_path}", "--no-report"]
        given += ["task=s_niah_multikey", "method=long_context,rag"]
        assert main(["suite", "smoke", *given]) == 0
        assert main(["suite", "smoke", *given, "root.sampling.temperature=0.7"]) == 0
    stray = next((run / "cells").iterdir())
    plan = orjson.loads((run / "suite.json").read_bytes())
    publish(run, suite, root)
    found = list(verify(out))
    assert [f.line() for f in found if not f.passed] == []
    [told] = [f.words for f in found if f.what == "plan"]
    assert "2 were chosen with other settings when there were results: exploratory" in told
    assert load_records([out])["cell_id"].nunique() == 4
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    # As a run of a release in which a cell could leave the plan.
    identity = orjson.loads((stray / "manifest.json").read_bytes())["identity"]
    plan["places"] = [p for p in plan["places"] if p["cell"] != identity]
    (run / "suite.json").write_bytes(orjson.dumps(plan))
    capsys.readouterr()
    publish(run, suite, tmp_path / "other")
    told = capsys.readouterr().err
    assert "1 of 4 finished cells are not published" in told
    assert f"because the plan does not name them: {stray.name}" in told
    assert all(f.passed for f in verify(tmp_path / "other" / "smoke"))

    # New files that fail their own verification do not replace the published ones.
    scores = next(p for p in (run / "cells").glob("*/scores.jsonl") if p.parent != stray)
    scores.write_text(re.sub(r'"value":[0-9.]+', '"value":0.123', scores.read_text()))
    with pytest.raises(RlmEvalError, match=r"fail their own verification.*FAIL"):
        publish(run, suite, root)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_published_files_stay_where_new_ones_cannot_be_moved(tmp_path):
    out = tmp_path / "smoke"
    (out / "tables").mkdir(parents=True)
    (out / "README.md").write_text("old")
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    made = shared / f"made-{tmp_path.name}-{id(out)}"
    made.mkdir()
    try:
        (made / "README.md").write_text("new")
        with pytest.raises(OSError, match=r".") as error:
            publishing.put(made, out)
        assert error.value.errno == errno.EXDEV
        assert (out / "README.md").read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["smoke"]
        with pytest.raises(OSError, match=r"."):
            publishing.put(made, tmp_path / "first")
        assert not (tmp_path / "first").exists()
    finally:
        shutil.rmtree(made)
