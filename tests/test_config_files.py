"""A user's YAML and suites beside the package's: found, listed, and never mistaken for another."""

import os
import sys
from pathlib import Path

import pytest

from rlm_eval.cli import main
from rlm_eval.config import files as config_files
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
