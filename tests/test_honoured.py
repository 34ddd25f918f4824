"""The Python interface and `rlm-eval ask` use a setting or refuse it, and check objects' fields."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import FakeServer
from omegaconf import OmegaConf

import rlm_eval as rl
from rlm_eval.cli import main
from rlm_eval.config.files import CONFIGS
from rlm_eval.config.given import checked
from rlm_eval.core.errors import ConfigError
from rlm_eval.runner.objects import cells_of
from rlm_eval.runner.settings import ASK, EVALUATE, SOLVE

SMALL = {"length": 1024, "n": 2, "tokenizer": "approx4"}
ASKED = "What is the number for a-b mentioned in the text?"
TEXT = "The number for a-b is: 123456."


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("entry", [EVALUATE, SOLVE, ASK], ids=lambda entry: entry.name)
def test_every_setting_of_a_run_is_honoured_or_has_an_alternative(entry):
    known = {str(key) for key in OmegaConf.load(CONFIGS / "run.yaml")} - {"defaults"}
    assert known <= {*entry.honoured, *entry.instead}
    assert not set(entry.honoured) & set(entry.instead)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"budget": {"calls": 1}}, "budget: .*give limits="),
        ({"cell_budget": {"calls": 1}}, "cell_budget: .*give limits="),
        ({"n": 5}, "n: .*rl.evaluate runs several"),
        ({"epochs": 3}, "epochs: .*rl.evaluate runs several"),
        ({"confirm_above": 0}, "confirm_above: .*limits="),
        ({"length": "1k"}, "length: the sample is given"),
        ({"folder": "x"}, "folder: .*writes no run directory"),
        ({"limit": {}}, "limit: no setting of a run; near: limits"),
    ],
)
def test_solve_refuses_a_setting_that_it_would_ignore(given, why):
    sample = rl.sample(ASKED, TEXT, tokenizer="approx4")
    with pytest.raises(ConfigError, match=f"solve: {why}"):
        rl.solve_sync("long_context", sample, root="scripted", **given)


def test_a_limit_of_solve_is_a_cap():
    sample = next(rl.tasks.SNiah(**SMALL).samples())
    given = {"root": "scripted", "repl": {"isolation": "best"}}
    free = rl.solve_sync("rlm", sample, **given)
    bounded = rl.solve_sync("rlm", sample, limits={"calls": np.int64(1)}, **given)
    assert free.calls > 1
    assert bounded.outcome is rl.Outcome.LIMIT_CALLS
    assert bounded.calls < free.calls


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"task": "x"}, "task: the question over the files"),
        ({"length": "1k"}, "length: .*keep their own length"),
        ({"seed": 3}, "seed: .*epochs=N"),
        ({"shard": "1/2"}, "shard: "),
        ({"redo": "all"}, "redo: .*replayed"),
        ({"results": "zzz", "folder": "x"}, "results: folder= names"),
    ],
)
def test_ask_refuses_a_setting_that_it_would_ignore(given, why):
    with pytest.raises(ConfigError, match=f"ask: {why}"):
        rl.ask_sync(ASKED, texts=TEXT, root="scripted", tokenizer="approx4", **given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("n=3", "one question is one sample"),
        ("task=s_niah", "the question over the files is the task"),
        ("task.path=zzz", "the question over the files is the task"),
        ("++task.path=zzz", "the question over the files is the task"),
        ("length=3", "keep their own length"),
        ("seed=3", "no seed"),
        ("shard=1/2", "no parts"),
        ("experiment=length_sweep", "chooses a task"),
    ],
)
def test_the_ask_command_refuses_an_override_without_an_effect(given, why, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(TEXT)
    more = ["method=long_context", "model@root=scripted", "tokenizer=approx4"]
    assert main(["ask", "a.txt", ASKED, *more, given]) == 2
    err = capsys.readouterr().err
    assert f"ask: {given}: " in err
    assert why in err
    assert not (tmp_path / "results").exists()


async def test_ask_estimates_the_cost_before_the_first_call():
    async with FakeServer() as server:
        root = rl.model("openai", model="fake", base_url=server.url, price="gpt-5")
        given = {"method": "long_context", "root": root, "tokenizer": "approx4", "folder": "run"}
        with pytest.raises(ConfigError, match=r"\$\d.*expected.*give confirm_above="):
            await rl.ask("What?", texts=[TEXT], confirm_above=0, **given)
        assert server.log == []
        first = await rl.ask("What?", texts=[TEXT], confirm_above=5, **given)
        again = await rl.ask("What?", texts=[TEXT], confirm_above=0, **given)
        assert first.is_new
        assert not again.is_new, "a replay costs nothing, so nothing is confirmed"


def test_the_ask_command_confirms_a_cost_as_run_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "big.txt").write_text("A line of a long text.\n" * 20_000)
    given = ["ask", "big.txt", "Who?", "method=long_context", "model@root=openai", "root.model=m"]
    given += ["root.base_url=http://127.0.0.1:9/v1", "root.price=gpt-5", "tokenizer=approx4"]
    given += ["root.window=1000000"]
    assert main([*given, "confirm_above=0.001"]) == 2
    assert "over $0.001: add --yes, or raise confirm_above" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def needle(**more):
    return rl.tasks.SNiah(**{**SMALL, **more})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: needle(length="1k"), "SNiah: length='1k': give a whole number"),
        (lambda: needle(n="2"), "SNiah: n='2': give a whole number"),
        (lambda: rl.methods.RLM(depth="1"), "RLM: depth='1': give a whole number"),
        (lambda: rl.load_records(["runs/x"]), "give each folder as an argument of its own"),
        (lambda: rl.load_records(None), "folder=None: give one path"),
        (lambda: rl.model(None), "None is not a name; give the name of a YAML file"),
    ],
)
def test_what_has_the_wrong_type_is_one_clear_error(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": [rl.methods.RLM(depth=1.0)]}, r"method.depth: Value '1.0'"),
        ({"task": needle(length=1024.5)}, r"task.length: Value '1024.5'"),
        ({"task": needle(n=2.0)}, r"task.n: Value '2.0'"),
        ({"methods": {"long_context"}}, "methods: a set has no order"),
        ({"methods": {"long_context": 1}}, "methods: a dict yields its keys"),
        ({"models": ["scripted"]}, "models=.*give models by slot"),
        ({"models": {"root": "scripted"}}, "'root' is also given as root="),
        ({"folder": None}, "folder=None: give one path"),
        ({"folder": ""}, "folder='': give one path"),
        ({"folder": 3}, "folder=3: give one path"),
        ({"shard": "0/2"}, "shard: .*by the command line alone"),
        ({"tokenizer": "nope"}, "tokenizer 'nope' is unknown"),
        ({"task": rl.tasks.Custom(path=Path("no.jsonl"), tokenizer="approx4")}, "no such file"),
    ],
)
def test_evaluate_refuses_bad_input_before_a_run_begins(given, message, tmp_path):
    whole = {"task": needle(), "methods": ["long_context"], "root": "scripted", "folder": "run"}
    with pytest.raises(ConfigError, match=message):
        rl.evaluate_sync(**{**whole, **given})
    assert not list(tmp_path.rglob("plan.json"))


def test_a_generator_of_methods_and_numbers_of_numpy_are_taken():
    methods = (name for name in ("long_context", "rag"))
    given = {"n": np.int64(1), "epochs": np.int64(2), "root": "scripted", "folder": "run"}
    run = rl.evaluate_sync(needle(), methods, **given)
    assert (run.attempted, run.unfinished) == (4, {})


@dataclass(frozen=True)
class Fields:
    """A class of a user's: fields of many types, and one that is anything."""

    count: int = 1
    share: float = 0.5
    names: list[str] = field(default_factory=list)
    pair: tuple[str, ...] = ()
    path: str = None  # type: ignore[assignment]
    what: Any = print
    other: "set[str]" = frozenset()  # type: ignore[assignment]


def test_valid_objects_are_returned_themselves():
    for given in (Fields(), Fields(share=1, pair=("a",), names=["${x}", "???"], other={"a"})):
        assert checked(given, "task") is given
    for name in ("rlm", "rag", "long_context", "summary_agent"):
        found = rl.method(name)
        assert checked(found, "method") is found


def test_an_object_is_converted_as_a_yaml_is():
    found = checked(Fields(count="3", names=["${x}", 5], path=Path("a")), "task")
    assert (found.count, found.names, found.path) == (3, ["${x}", "5"], "a")


def test_a_converted_object_has_the_identity_of_the_converted_value():
    given = {"root": "scripted"}
    _, (text,) = cells_of(needle(), [rl.methods.LongContext(order="context_first")], given)
    _, (number,) = cells_of(needle(n=np.int64(2), seed="0"), ["long_context"], given)
    assert number.id == text.id
    assert type(number.task.n) is int
