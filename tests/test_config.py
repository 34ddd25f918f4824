"""Typed building: what is wrong is named by its full key path, before anything runs."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from rlm_eval.config.builder import build, parse_length
from rlm_eval.core.errors import ConfigError


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
