"""Every named benchmark runs, reports and compares, offline, with a script as its model."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pytest
from report import made_frames as frames

from rlm_eval.cli import main
from rlm_eval.config.builder import parse_length
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.report import summary
from rlm_eval.report.tables import card
from rlm_eval.suites.comparisons import (
    added_table,
    additions,
    family_table,
    published_table,
    status,
)
from rlm_eval.suites.plan import Place, cells_of, contrasts
from rlm_eval.suites.plan_file import SuitePlan, read_record, write_record
from rlm_eval.suites.publish import publish
from rlm_eval.suites.schema import Published, load, names, published, read_published

ROOT = Path(__file__).parent.parent
CHOSEN = {
    "baselines_equal_cost": ["task=s_niah_multikey", "method=long_context,rag_4k,rlm"],
    "depth_ablation": ["models=gpt-5", "task=pairs", "method=depth_1,depth_2"],
    # Its other methods need environments: tests/methods/test_engines.py.
    "engines": ["method=rlm,long_context,lambda_rlm,program_map"],
    "lambda_rlm": ["task=oolong_gen", "method=lambda_rlm,program_matched,rlm"],
    "length_sweep": ["task=ledger,documents_10", "method=long_context,rlm"],
    "long_scale": ["length=16k"],  # its own lengths take minutes
    "model_behaviour": ["models=gpt-5,qwen3-coder-480b", "task=codeqa,oolong_gen", "method=rlm"],
    "model_pairs": ["models=gpt-5+gpt-5,gpt-5+gpt-5-nano,gpt-5", "task=oolong_gen"],
    "prompt_sensitivity": ["task=s_niah_multikey", "method=rag,rag_framed"],
    "rag_tuning": ["task=s_niah_multikey", "method=bm25_200x4,dense_200x4,bm25_200x4_stemmed"],
    "rlm_paper_documents": ["task=documents_10,generated_10", "method=base,rlm"],
    "rlm_paper_fig1": ["task=s_niah,oolong"],
    "rlm_paper_table1": [
        "models=gpt-5",
        "task=codeqa,browsecomp_1k",
        "method=base,codeact_bm25,rlm",
    ],
    "rlm_paper_table1_wide": ["models=gpt-5", "method=base,rlm"],
    "recursion": ["task=subject", "length=1k", "method=rlm_read,long_context,program"],
    "recursion_claims": ["method=rlm_read_2,long_context"],
    "recursion_prompt_selection": ["task=sentiment,s_niah"],
    "smoke": ["method=rlm,long_context"],
}
"""A few cells of every suite: every kind of task and of comparison, in seconds."""
REPORTED = "rlm_paper_table1"
"""The one whose figures are drawn too: they are most of the time."""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """`scripts/stand_in_data.py` with its small files."""
    folder = tmp_path_factory.mktemp("stand_in")
    spec = importlib.util.spec_from_file_location(
        "stand_in_data", ROOT / "scripts" / "stand_in_data.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLM_EVAL_CACHE", str(folder / "cache"))
        module.oolong(folder, module.SMALL["lengths"], 2)
        module.codeqa(folder, module.SMALL["codeqa"], 2)
        module.browsecomp(folder, module.SMALL["documents"], module.SMALL["words"], 2)
    return lambda suite: module.overrides(suite, folder, True), folder, module.CANARY


def test_every_suite_is_tried():
    assert sorted(CHOSEN) == names()


def _by_weight():
    """The suites; most run with the slow groups, where every one is also run as its page shows."""
    quick = {"smoke", "length_sweep"}
    for name in sorted(CHOSEN):
        yield name if name in quick else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", list(_by_weight()))
def test_a_suite_runs_end_to_end(name, stand_in, tmp_path, monkeypatch, capsys):
    files, folder, canary = stand_in
    monkeypatch.setenv("RLM_EVAL_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", canary)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "hf")
    command = ["suite", name, "debug=scripted", "n=2", *files(name), f"results={tmp_path}"]
    command += [*CHOSEN[name], *([] if name == REPORTED else ["--no-report"])]
    assert main(command) == 0
    told = capsys.readouterr().out
    run = tmp_path / f"{name}-scripted"
    records = pd.read_parquet(run / "records.parquet")
    assert records["scripted"].all()
    record, suite = read_record(run), load(name)
    assert set(records["cell_id"]) == {place.cell for place in record.places} - {""}
    shown, _ = additions([run])(summary.prepare(load_records([run]), card.manifests([run])))
    family = shown[0].rows
    assert len(family) == len(contrasts(record.places, suite.comparisons, suite))
    assert (family["verdict"] != "not run").any()
    if rows := published(suite):
        verdicts = shown[1].rows["verdict"]
        assert len(verdicts) == len(rows)
        assert verdicts.str.startswith("none: ").all()  # a script is compared with nothing
    if name == REPORTED:
        assert "Named beforehand by suite" in told
        assert verdicts.str.contains("scripted replies").any()
        page = (run / "report" / "report.html").read_text()
        assert "Comparisons named beforehand" in page
        assert "Published numbers beside ours" in page
        assert page.rindex(suite.closing_table) > page.rindex("Published numbers beside ours")
        assert f"## {suite.closing_table}" in told
        closing = (run / "report" / "tables" / "paper_table.md").read_text()
        assert "not to be compared: scripted replies" in closing
        columns = [cell.strip() for cell in closing.splitlines()[2].split("|")]
        assert "LongBench-v2 CodeQA 23K-4.2M: ours" in columns
        assert "BrowseComp+ 1K docs 6M-11M: ours" in columns
        # The rehearsal shortens every task: what was published at 128k has no cell of ours.
        assert "OOLONG trec_coarse 131K: paper" in columns
        assert "OOLONG trec_coarse 131K: ours" not in columns
    with pytest.raises(RlmEvalError, match="scripted replies are not results"):
        publish(run, suite, tmp_path / "published")


def test_engines_that_are_missing_are_told_with_the_command_for_the_rest(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    assert main(["suite", "engines", "debug=scripted", "n=2", f"results={tmp_path / 'runs'}"]) == 2
    *lines, rest = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all("scripts/engine_env.sh" in line for line in lines)
    others = rest.rpartition("method=")[2].split(",")
    assert sorted(others) == ["lambda_rlm", "long_context", "program_map", "rlm"]
    assert "nothing was called; the others: rlm-eval suite engines debug=scripted n=2" in rest
    assert not (tmp_path / "runs").exists()


def suite_file(tmp_path, text, expected=None):
    """A suite of the test's own."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "suite.yaml").write_text(text)
    if expected is not None:
        (folder / "expected.csv").write_text(expected)
    return folder


GOOD = """title: A test
models: [scripted]
parts:
  - tasks: [s_niah]
    lengths: [4k]
    methods: [long_context, {method: rlm, id: rlm}]
comparisons: [{a: rlm, b: long_context}]
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("title: A test", "titel: A test", r"mine/suite.yaml.titel: unknown key .* near: title"),
        ("tasks:", "task:", r"suite.yaml.parts\[0\].task: unknown key .* near: tasks"),
        ("a: rlm,", "a: rlmm,", r"comparisons\[0\].a: rlmm is none of the methods; near: rlm"),
        ("b: long_context", "b: scripted", "rlm and scripted are not of one kind"),
        ("id: rlm}", "id: long_context}", "two entries are called long_context"),
        ("[s_niah]", "[{id: x}]", r"tasks\[0\].task: missing"),
        ("method: rlm,", "method: rlm, limits.cost: 2,", "limits.cost: not a field of method"),
        ("parts:", "overrides: {root: {window: 3}}\nparts:", "overrides.root: write nested keys"),
        ("[4k]", "[4q]", "give tokens as"),
        ("title: A test", "title: A: test", "suite.yaml: mapping values"),
        ("b: long_context", "b: long_context, margin: 5", r"\[0\].margin: 5: .*0.05 is 5 points"),
        ("b: long_context", "b: long_context, margin: 0", r"\[0\].margin: 0: give more than 0"),
        ("b: long_context", "b: long_context, margin: -0.1", r"\[0\].margin: -0.1: give more"),
        ("b: long_context", "b: long_context, margin: .nan", r"\[0\].margin: nan: give more"),
        ("b: long_context", "b: long_context, margin: .inf", r"\[0\].margin: inf: give more"),
    ],
)
def test_what_is_wrong_in_a_suite_is_named_by_file_and_key(tmp_path, before, after, message):
    assert before in GOOD
    suite_file(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        load("mine", tmp_path)


HEADER = ",".join(Published.__dataclass_fields__)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("accuracy_pct,0.5x,P,v1,false,s_niah,8k,rlm,scripted,,,,,", "line 2: not a value"),
        ("accuracy_pct,50,P,v1,maybe,s_niah,8k,rlm,scripted,,,,,", "line 2: not a value"),
        ("accuracy_pct,50,P,v1,false,s_nia,8k,rlm,scripted,,,,,", "s_nia is none of the tasks"),
        ("accuracy_pct,50,,v1,false,s_niah,8k,rlm,scripted,,,,,", "source and version"),
        ("accuracy_pct,150,P,v1,false,s_niah,8k,rlm,scripted,,,,,", "in percent"),
    ],
)
def test_what_is_wrong_in_published_numbers_is_named_by_line(tmp_path, line, message):
    suite_file(tmp_path, GOOD, f"{HEADER}\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        published(load("mine", tmp_path), tmp_path)
    (tmp_path / "mine" / "expected.csv").write_text("metric,value\n")
    with pytest.raises(ConfigError, match="column approximate is unknown or missing"):
        read_published(tmp_path / "mine" / "expected.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["task=s_nia"], "none of the suite's tasks: s_niah"),
        (["nobody:n=3"], "nobody is not an id of this suite"),
        (["method.depth=0,1"], "a suite sweeps its own axes"),
        (["length"], "write key=value"),
    ],
)
def test_bad_overrides_of_a_suite(tmp_path, given, message):
    suite_file(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=message):
        cells_of(load("mine", tmp_path), given)


def test_overrides_select_replace_or_are_limited_to_an_id(tmp_path):
    suite_file(tmp_path, GOOD)
    suite = load("mine", tmp_path)
    _, built, places = cells_of(suite, ["method=rlm", "length=1k,2k", "rlm:n=3"])
    assert [(c.length, c.n, c.method.name) for c in built] == [
        (1024, 3, "rlm"),
        (2048, 3, "rlm"),
    ]
    family = contrasts(places, suite.comparisons, suite)
    assert [(c.length, c.cells_b) for c in family] == [(1024, {""}), (2048, {""})]  # not run
    assert all(p.as_named for p in places)
    _, built, places = cells_of(suite, ["method.order=question_first", "method=long_context"])
    assert [p.as_named for p in places if p.cell] == [False]
    _, [one, *_], _ = cells_of(suite, ["root.name=other"])
    assert one.models["root"].name == "other"


def verdict(made, *, as_named=True, **fields):
    """What is said of a published number beside 75 right answers of 150."""
    given = {
        "metric": "accuracy_pct", "value": 50.0, "source": "P", "version": "v1", "length": "1k",
        "approximate": False, "task": "t", "method": "m", "models": "x", "n": None,
    }  # fmt: skip
    cell = made["cell_id"].iloc[0]
    place = Place("main", "t", 1024, 0, "m", "x", "x", cell, as_named)
    [told] = published_table(made, [place], [Published(**given | fields)]).rows["verdict"]
    return told


def test_a_published_number_gets_a_verdict_or_the_reason_for_none():
    made = summary.prepare(frames.frame(methods=("rlm",), lengths=(1024,), n=150))
    made["score"] = [float(i % 2) for i in range(150)]
    made = made.assign(scripted=False, generated=False)
    assert verdict(made) == "compatible"
    assert verdict(made, value=80.0) == "lower"
    assert verdict(made, value=30.0) == "higher"
    assert verdict(made, value=60.0) == "lower"
    assert verdict(made, value=60.0, n=50) == "n too small to tell"  # its own interval counts too
    assert verdict(made, value=60.0, n=150) == "compatible"
    assert verdict(made, approximate=True) == "none: read off a figure"
    assert verdict(made, metric="mean_reward") == "none: another measure than our score"
    assert verdict(made, as_named=False).startswith("none: run with other models or settings")
    assert verdict(made, method="other") == "none: not among the cells of this run"
    assert verdict(made.assign(generated=True)).startswith("none: not the same data")
    assert verdict(made.assign(scripted=True)) == "none: scripted replies"
    cut = made.assign(outcome=["truncated"] * 15 + ["ok"] * 135)
    assert verdict(cut) == "none: more than 5 % cut off"


def test_a_published_number_gets_no_verdict_that_missing_scores_could_turn():
    made = summary.prepare(frames.frame(methods=("rlm",), lengths=(1024,), n=150))
    made["score"] = [float(i % 2) for i in range(150)]
    made = made.assign(scripted=False, generated=False)
    made.loc[made["index"].isin(range(0, 14, 2)), "score"] = None
    told = "no verdict: 7 samples have no score; with them between 50.0 and 54.7 %"
    assert verdict(made, value=60.0) == told
    assert verdict(made, value=90.0) == "lower"
    made["score"] = None
    assert verdict(made) == "none: more than 5 % missing"


def test_a_planned_margin_is_not_shown_where_missing_scores_refute_it(tmp_path):
    suite_file(tmp_path, GOOD)
    suite = load("mine", tmp_path)
    made = frames.frame(methods=("rlm", "long_context"), lengths=(4096,), n=100)
    rlm, index = made["method"] == "rlm", made["index"]
    made["score"], made["outcome"] = 1.0, "ok"
    made.loc[(rlm & (index < 10)) | (~rlm & index.between(10, 19)), "score"] = 0.0

    def told():
        frame = summary.prepare(made)
        places = [placed(frame, "rlm"), placed(frame, "long_context")]
        planned = [replace(one, margin=0.1) for one in suite.comparisons]
        record = SuitePlan("mine", [], "2026-01-01", places, planned)
        return family_table(frame, record, suite).rows["at most below"].iloc[0]

    assert told() == "10 pp: shown"
    made.loc[rlm & (index > 95), ["score", "outcome"]] = [None, "provider_error"]
    assert told() == "10 pp: not shown"


def placed(made, method, cell=None, **fields):
    """The place of a method's records in the plan of `GOOD`."""
    cell = made.loc[made["method"] == method, "cell_id"].iloc[0] if cell is None else cell
    given = {"part": "main", "task": "s_niah", "length": 4096, "seed": 0, "method": method,
             "models": "scripted", "called": "x", "cell": cell, "as_named": True}  # fmt: skip
    return Place(**given | fields)


def test_a_task_of_its_own_size_is_compared_at_its_measured_length(tmp_path):
    suite_file(tmp_path, GOOD.replace("lengths: [4k]", "lengths: []"))
    suite = load("mine", tmp_path)
    made = summary.prepare(frames.frame(methods=("rlm", "long_context"), lengths=(1181,), n=12))
    places = [placed(made, "rlm"), placed(made, "long_context")]
    places += [placed(made, name, "", task="later") for name in ("rlm", "long_context")]
    record = SuitePlan("mine", [], "2026-01-01", places, suite.comparisons)
    assert family_table(made, record, suite).rows["length"].tolist() == ["1.15k", "its own"]


def test_a_plan_is_what_was_named_before_the_run(tmp_path):
    suite_file(tmp_path, GOOD)
    suite = load("mine", tmp_path)
    run = tmp_path / "run"
    write_record(run, suite, [], cells_of(suite, ["method=rlm", "length=1k"])[2])
    first = read_record(run)
    assert [bool(p.cell) for p in first.places] == [True, False]
    write_record(run, suite, [], cells_of(suite, ["method=long_context", "length=1k"])[2])
    both = read_record(run)
    assert all(p.cell for p in both.places)
    assert first.started == both.started
    assert not both.changed
    more = replace(
        suite, comparisons=[*suite.comparisons, replace(suite.comparisons[0], margin=0.1)]
    )
    write_record(run, more, [], both.places)
    assert "exploratory" in status(read_record(run))


def test_what_is_run_beyond_the_first_plan_stays_out_of_the_family(tmp_path):
    suite_file(tmp_path, GOOD.replace("[4k]", "[1k, 2k]\n    seeds: [0, 1]"))
    suite, run = load("mine", tmp_path), tmp_path / "run"

    def command(*given):
        write_record(run, suite, given, cells_of(suite, given)[2])
        return {(p.length, p.seed, p.method): p for p in read_record(run).places}

    first = command("length=1k", "seed=0", "method=rlm")
    assert len(first) == 8  # what suite.yaml names and this command left out
    assert sum(bool(p.cell) for p in first.values()) == 1
    later = command("length=1k,2k")
    assert len(later) == 8
    assert all(p.planned and p.cell for p in later.values())
    command("length=8k", "seed=0")
    beyond = command("length=2k,8k", "seed=0,5")  # 2k with seed 5 must not join seeds 0 and 1
    assert {(p.length, p.seed) for p in beyond.values() if not p.planned} == {
        (2048, 5), (8192, 0), (8192, 5),
    }  # fmt: skip

    record = read_record(run)
    made = [
        frames.frame(methods=(p.method,), lengths=(p.length,), n=12, seed=p.seed)
        .assign(cell_id=p.cell, sample_id=lambda f, p=p: f["sample_id"] + f"-{p.seed}")
        for p in record.places
    ]  # fmt: skip
    frame = summary.prepare(pd.concat(made))
    planned = family_table(frame, record, suite)
    assert planned.rows[["length", "pairs"]].to_numpy().tolist() == [["1k", 24], ["2k", 24]]
    assert "Holm over all 2 comparisons" in planned.note
    extra = added_table(frame, record, suite)
    assert extra.rows[["length", "pairs"]].to_numpy().tolist() == [["8k", 24], ["2k", 12]]
    assert extra.note.startswith("Exploratory: run beyond the plan of")


def test_a_plan_of_before_additions_were_marked_is_read(tmp_path):
    suite = load("length_sweep")
    write_record(tmp_path, suite, [], cells_of(suite, ["task=ledger"])[2])
    told = orjson.loads((tmp_path / "suite.json").read_bytes())
    for place in told["places"]:
        del place["planned"]
    (tmp_path / "suite.json").write_bytes(orjson.dumps(told))
    assert all(place.planned for place in read_record(tmp_path).places)


def test_lengths_of_the_suite_are_a_choice_and_others_take_their_place():
    """What is not chosen stays in the family."""
    suite = load("length_sweep")
    chosen = ["task=ledger", "method=rlm,long_context"]
    for given, family in (("1k", {1024, 2048, 4096}), ("1k,8k", {1024, 8192})):
        _, cells_, places = cells_of(suite, [*chosen, f"length={given}"])
        assert {cell.length for cell in cells_} == set(map(parse_length, given.split(",")))
        own = [c for c in contrasts(places, suite.comparisons, suite) if c.a == "rlm"]
        assert {c.length for c in own if c.b == "long_context"} == family
        assert sum(c.cells_a != {""} for c in own if c.b == "long_context") == len(cells_) / 2


@pytest.mark.slow
def test_a_task_of_its_own_size_stands_once_whatever_lengths_are_chosen(tmp_path):
    suite, run = load("length_sweep"), tmp_path / "run"
    for chosen in (["task=ledger", "length=1k,2k"], ["task=documents_10"], ["length=1k"]):
        given = [*chosen, "method=rlm"]
        write_record(run, suite, given, cells_of(suite, given)[2])
    places = read_record(run).places
    assert len(places) == 60
    documents = [p for p in places if p.part == "documents"]
    assert len(documents) == 15
    assert sum(bool(p.cell) for p in documents) == 3  # the last command chose every task


def test_a_part_without_lengths_holds_no_task_that_takes_one(tmp_path):
    suite_file(tmp_path, GOOD.replace("[4k]", "[]"))
    with pytest.raises(ConfigError, match="give part main its `lengths`"):
        cells_of(load("mine", tmp_path), [])


def test_the_suites_are_listed_and_told_before_anything_is_called(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["suite"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == names()
    assert all(line.endswith("[not yet run]") for line in listed)
    chosen = ["smoke", "debug=scripted", "task=s_niah_multikey", "method=long_context"]
    assert main(["suite", *chosen, "--cells"]) == 0
    assert capsys.readouterr().out.startswith("s_niah_multikey-1024-long_context-scripted-coder")
    assert main(["suite", *chosen, "--estimate"]) == 0
    assert "tokens: " in capsys.readouterr().out
    assert main(["suite", "smok"]) == 2
    assert "near: smoke" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
