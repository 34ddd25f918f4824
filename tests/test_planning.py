"""What a planned run can show, told before it is paid for; the defaults show a large difference."""

import math
from pathlib import Path

import numpy as np
import pytest

from rlm_eval.cli import main
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import CONFIG_DIR, expand
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.runner.planning.power import designs_of
from rlm_eval.stats.paired import compare
from rlm_eval.stats.power import LARGE, detectable_planned, least_detectable

SCRIPT = ["model@root=scripted", "model@sub=same", "model@judge=same", "tokenizer=approx4"]
TASKS = sorted(path.stem for path in (CONFIG_DIR / "task").glob("*.yaml"))
FEW_WINDOWS = {"oolong_synth", "oolong_synth_core", "oolong_synth_paper", "oolong_pairs"}
"""Of the hub, with one or two windows of a length."""
GIVEN = {
    "custom": ["task.path=rows.jsonl"],
    "oolong_rows": ["task.path=rows.jsonl"],
    "mrcr_v2": ["task.path=rows.csv"],
    "mrcr_openai": ["task.revision=" + 40 * "a"],
}


def cells(*given):
    return [build_cell(config) for config in expand([*SCRIPT, *given])]


def rows_file(folder: Path, contexts: int, each: int) -> str:
    lines = [
        f'{{"context": "text {c}", "question": "q {q}", "answer": "a"}}\n'
        for c in range(contexts)
        for q in range(each)
    ]
    (folder / "rows.jsonl").write_text("".join(lines))
    return str(folder / "rows.jsonl")


@pytest.mark.parametrize("task", [t for t in TASKS if t not in FEW_WINDOWS])
def test_a_default_run_of_a_task_can_show_a_large_difference(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    rows_file(tmp_path, 20, 1)
    (design,) = designs_of(cells(f"task={task}", *GIVEN.get(task, []), "method=long_context"))
    assert design.clusters >= 20
    assert design.least < 0.4
    assert not design.shows_little
    usual = detectable_planned(design.n, design.clusters, 0.4)
    assert usual < 0.4


@pytest.mark.parametrize("task", sorted(FEW_WINDOWS))
def test_data_with_a_window_or_two_are_named(task):
    (design,) = designs_of(cells(f"task={task}", "method=long_context"))
    assert math.isnan(design.least)
    assert "about" in design.warning()
    assert "generated task" in design.warning()


def test_a_given_n_is_kept_and_a_default_one_is_stored():
    (cell,) = cells("task=oolong_gen", "method=rag", "n=20")
    assert (cell.n, cell.task.n, cell.resolved["n"]) == (20, 20, 20)
    (cell,) = cells("task=oolong_gen", "method=rag")
    assert (cell.n, cell.task.n, cell.resolved["n"]) == (100, 100, 100)
    (cell,) = cells("task=oolong_gen", "method=rag", "task.questions_per_window=1")
    assert cell.n == 20
    (cell,) = cells("task=s_niah", "method=rag")
    assert cell.n == 20


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ("oolong_gen", "questions_per_window"),
        ("oolong_pairs_gen", "queries_per_window"),
        ("browsecomp_gen_mini", "questions_per_world"),
    ],
)
def test_the_setting_that_is_named_gives_every_sample_its_own_context(
    task, field, tmp_path, monkeypatch
):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    given = [f"task={task}", "method=rag", "n=4", "length=2k"]
    (few,) = cells(*given)
    assert len({s.cluster for s in few.task.samples()}) == 1
    (design,) = designs_of([few])
    assert f"task.{field}=1" in design.warning()
    (lone,) = cells(*given, f"task.{field}=1")
    samples = list(lone.task.samples())
    assert len({s.cluster for s in samples}) == 4
    assert len({s.question for s in samples}) == 4


def test_the_named_settings_mend_the_design():
    (few,) = designs_of(cells("task=oolong_gen", "method=rag,rlm", "n=20"))
    assert few.clusters == 4
    assert few.shows_little
    n = few.mend().split("set n=")[1].split(",")[0]
    (mended,) = designs_of(cells("task=oolong_gen", "method=rag,rlm", f"n={n}"))
    assert not mended.shows_little
    alone = few.mend().split(", or ")[1].split()
    (single,) = designs_of(cells("task=oolong_gen", "method=rag,rlm", *alone))
    assert not single.shows_little


def test_more_tests_need_more():
    few = designs_of(cells("task=s_niah", "method=rag,rlm", "n=20"))
    assert [d.tests for d in few] == [1]
    many = designs_of(cells("task=s_niah", "method=rag,rlm,long_context", "length=1k,2k", "n=20"))
    assert [d.tests for d in many] == [4, 4]
    assert many[0].least > few[0].least
    (named,) = designs_of(cells("task=s_niah", "method=rag,rlm", "n=20"), tests=500)
    assert "500 tests, after Holm" in named.line()


def test_seeds_add_up():
    (design,) = designs_of(cells("task=oolong_gen", "method=rag,rlm", "n=10", "seed=1,2,3,4"))
    assert (design.n, design.clusters, design.tests) == (40, 8, 1)
    assert "40 samples in 8 contexts" in design.line()


def test_clusters_of_a_file_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    given = ["task=custom", f"task.path={rows_file(tmp_path, 3, 10)}", "n=30", "method=rag"]
    (design,) = designs_of(cells(*given))
    assert (design.n, design.clusters) == (30, 3)
    assert design.shows_little


@pytest.mark.parametrize(("n", "clusters"), [(4, 4), (20, 4), (20, 5), (30, 3)])
def test_a_plan_that_shows_nothing_shows_nothing(n, clusters):
    assert math.isnan(least_detectable(n, clusters))
    groups = np.arange(n) % clusters
    assert compare(np.ones(n), np.zeros(n), groups).p > 0.05


@pytest.mark.parametrize(("n", "clusters"), [(20, 20), (100, 20), (40, 8)])
def test_a_planned_difference_is_shown_in_four_of_five_runs(n, clusters):
    share = 0.5
    difference = detectable_planned(n, clusters, share)
    rng, each, shown = np.random.default_rng(7), n // clusters, 0
    for _ in range(400):
        # Within a context, the differing pairs lean one way together: correlation 0.2.
        lean = rng.beta(2.0, 2.0, clusters) - 0.5 if each > 1 else np.zeros(clusters)
        up = np.clip((1 + difference / share) / 2 + lean.repeat(each), 0, 1)
        differs = rng.random(n) < share
        d = np.where(differs, np.where(rng.random(n) < up, 1.0, -1.0), 0.0)
        found = compare((d > 0).astype(float), (d < 0).astype(float), np.arange(n) // each)
        shown += found.p < 0.05
    assert 0.7 < shown / 400 < 0.95


def test_power_takes_n_clusters_tests_or_a_run(capsys):
    assert main(["power", "--n", "20"]) == 0
    assert "40 %        37.3 pp" in capsys.readouterr().out
    assert main(["power", "--n", "20", "--clusters", "4"]) == 0
    assert "no outcome of this plan shows a difference" in capsys.readouterr().out
    assert main(["power", "--n", "100", "--tests", "18"]) == 0
    assert "over 18 tests (Holm)" in capsys.readouterr().out
    assert main(["power", "task=oolong_gen", "method=rag,rlm", "n=20"]) == 0
    told = capsys.readouterr().out
    assert "20 samples in 4 contexts" in told
    assert "set n=" in told


@pytest.mark.parametrize(
    "given",
    [[], ["--n", "5", "--difference", "0.1"], ["--n", "0"], ["--n", "9", "--clusters", "10"],
     ["--n", "9", "--tests", "0"], ["--n", "9", "task=s_niah"], ["--clusters", "3", "task=s_niah"]],
)  # fmt: skip
def test_power_refuses_what_makes_no_sense(given):
    with pytest.raises((SystemExit, RlmEvalError)):
        main(["power", *given])


def test_least_is_where_all_differ_alike():
    least = least_detectable(50, 50)
    assert detectable_planned(50, 50, least + 0.01) <= least + 0.01
    assert math.isnan(detectable_planned(50, 50, least - 0.01))
    assert LARGE > least_detectable(20, 20) > least
