"""An incomplete plug-in is one line when its cell is built, not a traceback during a run."""

import functools
import sys
import types
from dataclasses import make_dataclass

import pytest

from rlm_eval import protocols
from rlm_eval.config.builder import build
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.protocols import Client, JudgedTask, Method, Model, Task, missing
from rlm_eval.tasks.base import GeneratedTask


def members(protocol):
    return [
        name
        for name, value in vars(protocol).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    ]


def plug_in(protocol, without="", name="MyOwn"):
    """A class with every member of a protocol but one; its module is `my_plug_ins`."""
    names = [n for n in members(protocol) if n != without]
    cls = make_dataclass(name, [], namespace={n: getattr(protocol, n) for n in names})
    cls.__module__ = "my_plug_ins"
    return cls


REQUIRED = [
    (protocol, name)
    for protocol in (Task, JudgedTask, Method, Model)
    for name in members(protocol)
    if name != "gold_answer"
]


@pytest.mark.parametrize(("protocol", "name"), REQUIRED, ids=lambda x: getattr(x, "__name__", x))
def test_each_member_that_is_required_is_named_with_its_contract(protocol, name):
    assert missing(plug_in(protocol)(), protocol) == []
    (line,) = missing(plug_in(protocol, name)(), protocol)
    assert line.startswith(f"my_plug_ins.MyOwn lacks `{name}`: ")
    assert len(line) > len(f"my_plug_ins.MyOwn lacks `{name}`: ") + 5


def test_members_of_the_wrong_kind_are_named():
    cls = plug_in(Method)
    cls.solve = lambda self, sample, session: None
    cls.slots = lambda self: ("root",)
    assert missing(cls(), Method) == [
        "my_plug_ins.MyOwn.slots is a method; make it a field or a `@property`",
        "my_plug_ins.MyOwn.solve must be an `async def`",
    ]


@pytest.mark.parametrize(
    ("protocol", "member"), [(Task, "score"), (Task, "samples"), (Model, "open")]
)
def test_an_async_member_where_a_plain_one_is_called_is_named(protocol, member):
    async def wrong(self):
        return None

    async def wrong_generator(self):
        yield None

    for function in (wrong, wrong_generator):
        cls = plug_in(protocol)
        setattr(cls, member, function)
        line = f"my_plug_ins.MyOwn.{member} must be a `def`, not an `async def`"
        assert missing(cls(), protocol) == [line]


@pytest.mark.parametrize(
    ("protocol", "member", "call"),
    [
        (Method, "solve", "sample, session"),
        (Task, "score", "sample, answer"),
        (Task, "gold_answer", "sample"),
        (JudgedTask, "judge_score", "sample, answer, verdict"),
        (Client, "complete", "messages, sampling"),
    ],
)
def test_a_member_that_does_not_take_its_arguments_is_named(protocol, member, call):
    cls = plug_in(protocol)

    async def none(self):
        """Takes no argument."""

    def plain(self):
        """Takes no argument."""

    setattr(cls, member, none if member in ("solve", "complete") else plain)
    wanted = f"my_plug_ins.MyOwn.{member} cannot be called as `{member}({call})`"
    assert missing(cls(), protocol) == [wanted]


def test_other_names_defaults_and_decorators_are_no_difference():
    cls = plug_in(Method)

    async def solve(self, what, access, more=None, *rest, **settings):
        """Takes the two arguments under other names."""

    cls.solve = solve
    assert missing(cls(), Method) == []

    @functools.wraps(solve)
    async def wrapped(*arguments, **settings):
        """Takes anything."""

    cls.solve = wrapped
    assert missing(cls(), Method) == []


def test_a_task_without_golds_is_complete():
    assert missing(plug_in(Task, "gold_answer")(), Task) == []


@pytest.mark.parametrize(
    ("protocol", "override", "line"),
    [
        (Task, "task._target_", "task: my_plug_ins.MyOwn lacks `score`: every scorer's verdict"),
        (Method, "method._target_", "method: my_plug_ins.MyOwn lacks `slots`: the models that it"),
        (Model, "root._target_", "root: my_plug_ins.MyOwn lacks `open`: start or attach to the"),
    ],
)
def test_the_cell_is_not_built(protocol, override, line, monkeypatch):
    module = types.ModuleType("my_plug_ins")
    module.MyOwn = plug_in(protocol, line.split("`")[1])
    monkeypatch.setitem(sys.modules, "my_plug_ins", module)
    config = expand(["debug=scripted", "n=1"])[0]
    part = override.partition(".")[0]
    config[part] = {"_target_": "my_plug_ins.MyOwn"}
    with pytest.raises(ConfigError) as error:
        build_cell(config)
    assert str(error.value).startswith(line)


def test_a_task_without_an_abstract_member_names_it(monkeypatch):
    """Python's own words for it name no contract."""
    module = types.ModuleType("my_plug_ins")
    module.NoFloors = make_dataclass("NoFloors", [], bases=(GeneratedTask,), frozen=True)
    module.NoFloors.__module__ = "my_plug_ins"
    monkeypatch.setitem(sys.modules, "my_plug_ins", module)
    with pytest.raises(ConfigError) as error:
        build({"_target_": "my_plug_ins.NoFloors"}, "task")
    told = str(error.value)
    assert told.startswith("task: my_plug_ins.NoFloors lacks `")
    assert "my_plug_ins.NoFloors lacks `floors`: answer functions without a model" in told
    assert "abstract" not in told


@pytest.mark.parametrize(
    "name", ["Task", "JudgedTask", "Method", "Model", "Client", "Session", "Repl"]
)
def test_the_contracts_stand_in_one_file_with_a_sentence_for_each_member(name):
    protocol = getattr(protocols, name)
    assert protocol.__module__ == "rlm_eval.protocols"
    assert all(vars(protocol)[member].__doc__ for member in members(protocol))
