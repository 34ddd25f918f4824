"""A run from elsewhere has none of its own code run, unless `--trust` says so."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
from runs import ROOT, cell_folder, overrides, run_here, server_process

from rlm_eval.commands import compare, export, replay, report, score, status
from rlm_eval.config import trust
from rlm_eval.config.builder import locate
from rlm_eval.config.cell import build_cell
from rlm_eval.config.contexts import ContextSource
from rlm_eval.config.grid import expand
from rlm_eval.config.trust import Untrusted
from rlm_eval.core.errors import ConfigError

EVIL = """
import os
from dataclasses import dataclass
from rlm_eval.tasks.needle.s_niah import SNiah
open(os.environ["RAN"], "a").write("x")
@dataclass(frozen=True)
class Task(SNiah):
    pass
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of one sample."""
    import asyncio

    folder = tmp_path_factory.mktemp("made")
    with server_process(folder) as server:
        asyncio.run(run_here(overrides(folder, server.url, "n=1")))
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy to be poisoned, a module that leaves a mark when it is imported, and no mark yet."""
    shutil.copytree(made, tmp_path / "results")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    monkeypatch.setenv("A_SECRET", "planted-secret")
    yield tmp_path / "results" / "test"
    sys.modules.pop("evil", None)


def poison(run, place, value):
    """Set a value of the stored configuration, by its dotted place."""
    path = cell_folder(run.parent) / "manifest.json"
    manifest = json.loads(path.read_text())
    *parents, name = place.split(".")
    node = manifest
    for parent in parents:
        node = node[parent]
    node[name] = value
    path.write_text(json.dumps(manifest))


def harmless(run, tmp_path):
    """Every command that only reads runs through, and nothing of the manifest was imported."""
    assert report.main([str(run)]) == 0
    assert status.main([str(run)]) == 0
    assert export.main(["tables", str(run), "-o", str(tmp_path / "tables")]) == 0
    assert export.main(["chat", str(run), "-o", str(tmp_path / "chat")]) == 0
    assert compare.main(["rlm", "50%", "--run", str(run)]) == 0
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


FOREIGN = {
    "config.task._target_": "evil.Task",
    "config.method._target_": "evil.Task",
    "config.root._target_": "evil.Task",
    "config.repl._target_": "evil.Task",
    "config.method.protocol": {"_target_": "evil.Task"},
    "config.task.more": [{"deep": [{"_target_": "evil.Task"}]}],
    "config.task.filler": "${oc.env:A_SECRET}",
}


@pytest.mark.parametrize("place", FOREIGN)
def test_reading_a_hostile_run_imports_nothing_and_score_and_replay_refuse(run, tmp_path, place):
    poison(run, place, FOREIGN[place])
    if place.startswith("config.task."):
        harmless(run, tmp_path)
    before = (cell_folder(run.parent) / "scores.jsonl").read_bytes()
    for command in (score, replay):
        with pytest.raises(Untrusted, match=r"(?s)manifest names .*--trust"):
            command.main([str(run)])
    assert (cell_folder(run.parent) / "scores.jsonl").read_bytes() == before
    assert not (tmp_path / "ran").exists()
    pages = [path for path in run.rglob("*") if path.is_file()]
    assert not [path for path in pages if b"planted-secret" in path.read_bytes()]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "rlm_eval.__main__.Main",
        "rlm_eval.methods.os.system",
        "rlm_eval.commands.run.main",
        "rlm_eval.storage.cell_store.Path",
        "rlm_eval.tasks.base._Private",
        "rlm_evil.tasks.Task",
        "rlm_eval.Task",
        "rlm_eval..tasks.Task",
        "rlm_eval.tasks.needle.s_niah.SNiah\n",
        "",
        None,
        7,
        ["rlm_eval.tasks.needle.s_niah.SNiah"],
    ],
)
def test_only_a_class_of_ours_is_ours(run, target):
    """Neither a function, nor a module's own imports, nor what runs when it is imported."""
    poison(run, "config.task._target_", target)
    for command in (score, replay):
        with pytest.raises((Untrusted, ConfigError)):
            command.main([str(run)])


def test_a_name_in_our_package_is_a_class_of_our_package(monkeypatch):
    @dataclass
    class Foreign:
        pass

    monkeypatch.setattr("rlm_eval.storage.cell_store.Foreign", Foreign, raising=False)
    with pytest.raises(ConfigError, match="is a class of test_trust"):
        locate("rlm_eval.storage.cell_store.Foreign", "task")
    with pytest.raises(ConfigError, match="not a dataclass"):
        locate("rlm_eval.storage.cell_store.Path", "task")
    with pytest.raises(ConfigError, match="cannot import"):
        locate("rlm_eval.methods.os.system", "task")


def test_a_run_that_is_trusted_is_scored_and_replayed(run, tmp_path, capsys):
    poison(run, "config.task._target_", "evil.Task")
    assert score.main([str(run), "--trust"]) == 0
    assert replay.main([str(run), "--trust"]) == 0
    assert report.main([str(run), "--trust"]) == 0
    assert (tmp_path / "ran").exists()
    assert "1 of 1 came to the stored result" in capsys.readouterr().out


def test_a_run_of_our_classes_needs_no_trust(run):
    assert score.main([str(run)]) == 0
    assert replay.main([str(run)]) == 0


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("config.repl.backend", "evil.Pool", "names the REPL evil.Pool"),
        ("config.repl.backend", "rlm_eval.repl.zygote.wipe", "names the REPL"),
        ("config.repl.isolation", "none", "without isolation"),
        ("config.repl.packages", ["evil"], r"imports packages \(evil\)"),
        (
            "config.method",
            {"_target_": "rlm_eval.methods.external.External", "python": "/tmp/evil"},
            "starts a program",
        ),
    ],
)
def test_replay_runs_stored_code_in_our_sandbox_alone(run, tmp_path, place, value, words):
    poison(run, place, value)
    assert score.main([str(run)]) == 0
    with pytest.raises(Untrusted, match=words):
        replay.main([str(run)])
    assert not (tmp_path / "ran").exists()


def test_contexts_of_a_run_that_is_not_trusted_are_left_out_with_a_word(run, caplog):
    manifest = json.loads((cell_folder(run.parent) / "manifest.json").read_text())
    sample = json.loads((cell_folder(run.parent) / "samples.jsonl").read_text().splitlines()[0])
    assert ContextSource()(manifest, sample["id"])
    manifest["config"]["task"]["_target_"] = "evil.Task"
    source = ContextSource()
    assert source(manifest, sample["id"]) is None
    assert source(manifest, sample["id"]) is None
    assert len(caplog.records) == 1
    assert "--trust" in caplog.text
    assert ContextSource(known={"evil.Task"})(manifest, sample["id"])
    assert ContextSource(trust=True)(manifest, sample["id"])


def test_the_name_of_a_suite_is_no_path(run, tmp_path):
    """`suite.yaml` is read with interpolations: only those of this repository are."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "suite.yaml").write_text("title: ${oc.env:A_SECRET}\n")
    record = {"suite": str(tmp_path / "evil"), "places": [], "comparisons": []}
    (run / "suite.json").write_text(json.dumps(record))
    with pytest.raises(Exception, match="no suite|missing"):
        report.main([str(run)])
    assert not any(b"planted-secret" in p.read_bytes() for p in run.rglob("*") if p.is_file())


def test_what_a_run_says_is_text_on_its_page(run):
    """No markup of a manifest, a sample or a file name reaches the page."""
    script = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    for fact in ("task", "method", "root", "sub", "prompt", "isolation", "remark"):
        poison(run, f"facts.{fact}", script)
    poison(run, "command", ["rlm-eval", script])
    poison(run, "cell_id", script)
    folder = cell_folder(run.parent)
    for name in ("samples.jsonl", "trajectories.jsonl", "journal.jsonl"):
        lines = (folder / name).read_text()
        (folder / name).write_text(lines.replace("special magic", json.dumps(script)[1:-1]))
    report.main([str(run)])
    page = (run / "report" / "report.html").read_text()
    assert "alert(" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_no_module_of_a_run_directory_hides_a_library(run, tmp_path):
    """Reported from within, where a figure's process would find them first."""
    mark = "import os; open(os.environ['RAN'], 'a').write('x')\n"
    for name in ("pandas", "matplotlib", "numpy", "pip", "struct", "orjson"):
        (run / f"{name}.py").write_text(mark)
    (run / "rlm_eval").mkdir()
    (run / "rlm_eval" / "__init__.py").write_text(mark)
    command = [sys.executable, "-P", "-m", "rlm_eval", "report", "."]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=run, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_the_author_of_a_plug_in_sees_contexts_of_his_own_run(run, tmp_path):
    """What the command itself names is known to it; a later `score` of it asks for the word."""
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'modules'}"}
    with server_process(tmp_path) as server:
        given = overrides(tmp_path / "own", server.url, "task._target_=evil.Task", "n=1")
        command = [sys.executable, "-m", "rlm_eval", "run", *given]
        done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "contexts are not shown" not in done.stderr
    with pytest.raises(Untrusted, match="evil.Task"):
        score.main([str(tmp_path / "own" / "test")])


def test_every_shipped_configuration_is_ours():
    """Composed ones name nothing that would ask for trust."""
    for given in (["task=s_niah", "method=rlm"], ["task=ledger", "method=rlm_paper_v1"]):
        config = expand([*given, "model@root=coder-0.5b", "length=4k", "tokenizer=approx4"])[0]
        assert trust.foreign(build_cell(config).resolved) == set()
