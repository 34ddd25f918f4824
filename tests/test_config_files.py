"""A user's YAML and suites beside the package's: found, listed, and never mistaken for another."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from rlm_eval.cli import main
from rlm_eval.config import files as config_files
from rlm_eval.config.cell import build_task
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.suites.schema import load, names

MODEL = "_target_: rlm_eval.models.scripted.ScriptedModel\nname: {}\nwindow: 999\n"
SUITE = "title: Mine\nparts:\n  - {tasks: [s_niah], methods: [rag], lengths: [1k], n: 3}\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """An empty working directory; what is joined to the import path leaves with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config_files.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_three_places_join_the_packages(tmp_path, monkeypatch, capsys):
    write(tmp_path / "configs/model/here.yaml", MODEL.format("here"))
    write(tmp_path / "b c/configs/model/named.yaml", MODEL.format("named"))
    write(tmp_path / "d/model/option.yaml", MODEL.format("option"))
    monkeypatch.setenv(config_files.VARIABLE, str(tmp_path / "b c/configs"))
    before = dict(os.environ)
    command = ["run", "--cfg", "model@root=option", "model@sub=named", "model@judge=here"]
    assert main([*command, "--config-dir", "d"]) == 0
    told = capsys.readouterr().out
    assert [name in told for name in ("name: here", "name: named", "name: option")] == [True] * 3
    assert dict(os.environ) == before
    assert str(tmp_path / "b c") in sys.path, "modules beside a configs folder"
    assert {"here", "named", "gpt-5"} <= set(config_files.names("model"))
    assert "option" not in config_files.names("model"), "its folder was named for one command"


def test_a_clone_is_no_users_folder(monkeypatch):
    monkeypatch.chdir(config_files.CONFIGS.parent)
    assert config_files.user_folders() == []
    assert config_files.suite_folders() == [config_files.BENCHMARKS.resolve()]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"configs/model/gpt-5.yaml": "x: 1"}, "another model of this name; rename yours"),
        ({"a/task/t.yaml": "x: 1", "configs/task/t.yaml": "x: 2"}, "another task of this name"),
        ({}, "a: no such folder"),
    ],
)
def test_one_name_is_one_configuration(files, message, tmp_path, monkeypatch):
    for name, text in files.items():
        write(tmp_path / name, text)
    if message.startswith("a:") or any(name.startswith("a/") for name in files):
        monkeypatch.setenv(config_files.VARIABLE, "a")
    with pytest.raises(ConfigError, match=message):
        config_files.user_folders()


def test_an_equal_copy_and_another_projects_folder_do_no_harm(tmp_path):
    copy = (config_files.CONFIGS / "model/gpt-5.yaml").read_text()
    write(tmp_path / "configs/model/gpt-5.yaml", copy)
    write(tmp_path / "configs/run.yaml", "defaults: [nonsense]")
    (config,) = expand(["model@root=gpt-5"])
    assert config.root.name == "gpt-5"


@pytest.mark.parametrize("arguments", [["--config-dir"], ["--config-dir="], ["--config-dir", "no"]])
def test_a_bad_option_is_one_clear_error(arguments, capsys):
    assert main(["run", "--cfg", *arguments]) == 2
    assert "--config-dir" in capsys.readouterr().err


def test_suites_of_the_working_directory(tmp_path, capsys):
    write(tmp_path / "benchmarks/mine/suite.yaml", SUITE)
    assert {"mine", "smoke"} <= set(names())
    assert load("mine").parts[0].n == 3
    assert load("smoke").title
    write(tmp_path / "benchmarks/smoke/suite.yaml", SUITE)
    with pytest.raises(ConfigError, match=r"suite smoke: .* differ; rename yours"):
        load("smoke")


def test_no_suites_is_an_error_that_says_where_they_were_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config_files, "BENCHMARKS", tmp_path / "none")
    assert main(["suite"]) == 2
    assert f"looked for {tmp_path / 'none'}" in capsys.readouterr().err


PLUG_IN = """from dataclasses import dataclass

from rlm_eval.tasks.needle.s_niah import SNiah


@dataclass(frozen=True)
class Mine(SNiah):
    def __post_init__(self):
        {body}
"""


@pytest.mark.parametrize(
    ("code", "yaml", "message"),
    [
        ("", "_target_: plug.Mine\nmode: [a\n", r"task/mine.yaml, line 3: no valid YAML: expected"),
        ("", "a: 1\na: 2\n", r"task/mine.yaml, line 2: no valid YAML: found duplicate key a"),
        ("", "a: \x01\n", r"special characters are not allowed in .*mine.yaml"),
        ("x = 1\ndef f(:\n", "", r"cannot import 'plug.Mine': .*plug.py, line 2: SyntaxError: inv"),
        ("\n1 / 0\n", "", r"plug.py, line 2: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be\n", "", r"plug.py, line 1: No module named 'nowhere_to_be'"),
        ("raise SystemExit(3)\n", "", r"plug.py, line 1: SystemExit: 3"),
        (PLUG_IN.format(body="raise RuntimeError('no luck')"), "",
         r"^task: .*plug.py, line 9: RuntimeError: no luck$"),
        (PLUG_IN.format(body="raise SystemExit(3)"), "", r"^task: .*line 9: SystemExit: 3$"),
        (PLUG_IN.format(body="raise ValueError('no luck')"), "", r"^task: no luck$"),
    ],
)  # fmt: skip
def test_a_broken_plug_in_is_one_line_that_names_the_place(
    code, yaml, message, tmp_path, monkeypatch
):
    monkeypatch.delitem(sys.modules, "plug", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(tmp_path / "configs/task/mine.yaml", yaml or "_target_: plug.Mine\n")
    write(tmp_path / "plug.py", code)
    importlib.invalidate_caches()

    def built():
        return [build_task(config) for config in expand(["task=mine", "n=1"])]

    with pytest.raises(ConfigError, match=message) as raised:
        built()
    assert "\n" not in str(raised.value)
    sys.modules.pop("plug", None)


@pytest.mark.parametrize("of_two", ["plug", "plug_helpers"])
def test_two_modules_of_one_name_are_an_error_that_names_both(of_two, tmp_path, monkeypatch):
    """The YAML of one folder would run the class of the other."""
    for folder in ("a", "b"):
        write(tmp_path / folder / "configs/task" / f"task_{folder}.yaml", "_target_: plug.Mine\n")
        write(tmp_path / folder / "plug.py", "from plug_helpers import Mine\n")
        write(tmp_path / folder / "plug_helpers.py", PLUG_IN.format(body="pass"))
    changed = tmp_path / "b" / f"{of_two}.py"
    monkeypatch.setenv(config_files.VARIABLE, str(tmp_path / "b/configs"))
    monkeypatch.chdir(tmp_path / "a")
    assert len(config_files.user_folders()) == 2, "equal modules do no harm"
    changed.write_text(f"{changed.read_text()}\nMORE = 1\n")
    with pytest.raises(ConfigError, match=f"there are two modules {of_two} with different") as told:
        expand(["task=task_b", "n=1"])
    for folder in ("a", "b"):
        assert str(tmp_path / folder / f"{of_two}.py") in str(told.value)


def test_a_loaded_module_of_the_same_name_is_one_of_two(tmp_path, monkeypatch):
    write(tmp_path / "a/plug.py", PLUG_IN.format(body="pass"))
    write(tmp_path / "b/plug.py", PLUG_IN.format(body="return"))
    write(tmp_path / "b/configs/task/mine.yaml", "_target_: plug.Mine\n")
    with monkeypatch.context() as before:
        before.syspath_prepend(str(tmp_path / "a"))
        importlib.invalidate_caches()
        importlib.import_module("plug")
    try:
        monkeypatch.chdir(tmp_path / "b")
        with pytest.raises(ConfigError, match="there are two modules plug with different contents"):
            expand(["task=mine", "n=1"])
    finally:
        sys.modules.pop("plug", None)
