"""Typed building: what is wrong is named by its full key path, before anything runs."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from rlm_eval.config.builder import build, parse_length
from rlm_eval.config.cell import build_cell, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.runner.objects import cells_of


class Side(StrEnum):
    head = "head"
    tail = "tail"


@dataclass(frozen=True)
class Engine:
    threads: int = 1


@dataclass(frozen=True)
class Options:
    width: float = 1.0


@dataclass(frozen=True)
class Thing:
    name: str
    depth: int = 1
    cap: int | None = None
    side: Side = Side.head
    words: list[str] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    engine: Any = None

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth={self.depth}: 0 or more")


def node(**values: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.Thing", "name": "x", **values}


def test_values_become_typed():
    thing = build(
        node(
            depth="3",
            side="tail",
            words=["a"],
            options={"width": 2},
            engine={"_target_": f"{__name__}.Engine", "threads": 4},
        ),
        "thing",
    )
    assert thing == Thing("x", 3, None, Side.tail, ["a"], Options(2.0), Engine(4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": "two"}, r"thing\.depth: .*two"),
        ({"depht": 2}, r"thing\.depht: unknown key of Thing; near: depth"),
        ({"options": {"wide": 1}}, r"thing\.options\.wide"),
        ({"options": {"width": "w"}}, r"thing\.options\.width"),
        ({"engine": {"_target_": f"{__name__}.Engine", "threads": "x"}}, r"thing\.engine\.threads"),
        ({"depth": -1}, r"thing: depth=-1: 0 or more"),
        ({"side": "left"}, r"thing\.side"),
        ({"_target_": "no.such.Class"}, r"thing\._target_: cannot import"),
        ({"_target_": "pathlib.Path"}, r"thing\._target_: .* not a dataclass"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(values, message):
    with pytest.raises(ConfigError, match=message):
        build(node(**values), "thing")


def test_a_missing_value():
    with pytest.raises(ConfigError, match="thing: .*name"):
        build({"_target_": f"{__name__}.Thing"}, "thing")


@pytest.mark.parametrize(
    ("text", "tokens"), [("4k", 4096), ("1M", 1 << 20), (131072, 131072), ("512", 512)]
)
def test_lengths(text, tokens):
    assert parse_length(text) == tokens


@pytest.mark.parametrize("text", ["0", "4g", "-1", "k", "1.5k", None])
def test_bad_lengths(text):
    with pytest.raises(ConfigError, match="give tokens as"):
        parse_length(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "limits=5",
            r"limits=5: it has fields; write limits.calls=50 \(in Python limits={'calls': 5",
        ),
        ("cell_budget=5", r"cell_budget=5: .*cell_budget.cost=5"),
        ("budget=5", r"budget=5: it has fields; write budget.cost=5 "),
        ("budget=5,6", r"budget=5: it has fields"),
        ("repl=5", r"repl=5: .*repl.isolation=best"),
        ("repl=null", r"repl=null: .*repl.isolation=best"),
        ("sweep=5", r"sweep=5: .*sweep='{length: \"1k,2k\"}'"),
        ("root=5", r"root=5: choose a configuration, as model@root=NAME"),
        ("root=5,6", r"root=5: choose a configuration"),
        ("results=null", r"results=null: the run directory is RESULTS/NAME"),
        ("results=''", r"results=: the run directory is RESULTS/NAME"),
        ("name=null", r"name=null: the run directory is RESULTS/NAME"),
        ("seed=null", r"seed=null: give a whole number"),
        ("seed=1.5", r"seed=1.5: give a whole number"),
        ("seed=true", r"seed=True: give a whole number"),
        ("limits.seconds=nan", r"limits: seconds=nan: a limit is positive"),
        ("budget.cost=nan", r"budget: cost=nan: a limit is positive"),
    ],
)
def test_a_value_in_place_of_fields_is_told_the_right_notation(given, message):
    def built():
        for config in expand(["task=s_niah", "model@root=scripted", "n=1", given]):
            build_cell(config)
            sweep_budget(config)

    with pytest.raises(ConfigError, match=message):
        built()


@pytest.mark.parametrize("value", [5, "best", [1]])
@pytest.mark.parametrize("key", ["limits", "cell_budget", "budget", "repl"])
def test_fields_in_python_are_a_mapping(key, value):
    with pytest.raises(ConfigError, match=rf"it has fields; .*in Python {key}="):
        cells_of("s_niah", ["long_context"], {"root": "scripted"}, **{key: value})


@pytest.mark.parametrize("key", ["limits", "cell_budget", "budget"])
def test_null_is_no_limit(key):
    cells_of("s_niah", ["long_context"], {"root": "scripted"}, **{key: None})
