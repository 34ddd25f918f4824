"""Mistakes of a user's method, task or model: one line with the place and what to change."""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import rlm_eval as rl
from rlm_eval import tasks
from rlm_eval.core.errors import ConfigError, LimitReached, ModelError, NoStorage
from rlm_eval.core.plug_ins import guarded
from rlm_eval.core.types import Outcome
from rlm_eval.models import EndpointInfo
from rlm_eval.records.build import rows
from rlm_eval.tasks.validate import validate

SMALL = {"length": 1024, "n": 2, "tokenizer": "approx4"}
HERE = re.escape(__file__)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@dataclass(frozen=True)
class Own:
    """A method that calls its root, then does what the function of its name in `DOES` does."""

    name: str = "own"
    slots: tuple[str, ...] = ("root",)
    prompt_id: str = "-"
    runs_code: bool = False

    async def solve(self, sample, session):
        message = rl.Message("user", f"{sample.context.text()}\n{sample.question}")
        call = await session.call([message], role=rl.Role.ROOT, position="t")
        found = DOES[self.name](session, call)
        return await found if asyncio.iscoroutine(found) else found


async def slow(session, call):
    async with asyncio.timeout(0.01):
        await asyncio.sleep(5)


async def in_a_group(session, call):
    async def wrong():
        raise KeyError("y")

    async with asyncio.TaskGroup() as group:
        group.create_task(wrong())


async def ask(session, content="?", **given):
    message = rl.Message("user", content)
    return await session.call([message], role=rl.Role.SUB, position="s", **given)


DOES = {
    "slow": slow,
    "group": in_a_group,
    "key": lambda session, call: {}["x"],
    "file": lambda session, call: Path("no_such_file").read_text(),
    "call": lambda session, call: rl.Answer(call.reply, call=call),
    "id": lambda session, call: rl.Answer(call.reply, call=77),
    "outcome": lambda session, call: rl.Answer(call.reply, outcome="ok"),
    "value": lambda session, call: rl.Answer(call.reply, value={1}),
    "note": lambda session, call: session.note("call", call),
    "note_key": lambda session, call: session.note(3, "x"),
    "offer": lambda session, call: session.offer("part"),
    "parent": lambda session, call: ask(session, parent=call),
    "turn": lambda session, call: ask(session, turn="one"),
    "depth": lambda session, call: ask(session, depth="0"),
    "below": lambda session, call: ask(session, depth=-1),
    "model": lambda session, call: ask(session, model=call),
    "sampling": lambda session, call: ask(session, sampling={"temperature": 0.7}),
    "none": lambda session, call: ask(session, None),
    "parts": lambda session, call: ask(session, [{"type": "text"}]),
    "count": lambda session, call: session.count_tokens([rl.Message("user", None)]),
}


async def unfinished(task, method, folder, capsys, root="scripted"):
    """Why the only cell of a run is unfinished; nothing is printed with a traceback."""
    run = await rl.evaluate(task, [method], root=root, folder=folder / "run")
    (why,) = run.unfinished.values()
    assert "Traceback" not in capsys.readouterr().err
    return why


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("slow", "TimeoutError"),
        ("group", "KeyError: 'y'"),
        ("key", "KeyError: 'x'"),
        ("file", "FileNotFoundError: .*'no_such_file'"),
    ],
)
async def test_an_error_of_a_method_names_its_place(name, what, tmp_path, capsys):
    why = await unfinished(tasks.SNiah(**SMALL), Own(name), tmp_path, capsys)
    place = rf"test_plug_ins\.Own\.solve failed: {HERE}, line \d+: {what}; correct the code"
    assert re.fullmatch(place, why)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("call", "whose call is the id of a call"),
        ("id", "whose call is the id of a call"),
        ("outcome", "whose outcome is an `Outcome`"),
        ("value", "whose value is plain"),
        ("note", "session.note('call', Call(id=0"),
        ("note_key", "session.note(3, 'x'): give a text as the key"),
        ("offer", "session.offer: 'part': give an `Answer`"),
        ("parent", "session.call: parent=Call(id=0"),
        ("turn", "turn='one': give a whole number"),
        ("depth", "depth='0': give a whole number"),
        ("below", "depth=-1: give a whole number"),
        ("model", "model=Call(id=0"),
        ("sampling", "sampling={'temperature': 0.7}: give a `Sampling`"),
        ("none", "session.call: Message(role='user', content=None): give texts"),
        ("parts", "content=[{'type': 'text'}]): give texts"),
        ("count", "session.count_tokens: Message(role='user', content=None): give texts"),
    ],
)
async def test_what_cannot_be_stored_or_sent_is_refused(name, what, tmp_path, capsys):
    why = await unfinished(tasks.SNiah(**SMALL), Own(name), tmp_path, capsys)
    assert what in why
    assert why.startswith("test_plug_ins.Own.solve")


async def test_a_method_sees_no_gold(tmp_path, monkeypatch):
    seen = []

    def does(session, call):
        seen.append(session.sample)
        return rl.Answer(call.reply, call=call.id)

    monkeypatch.setitem(DOES, "own", does)
    task = tasks.SNiah(**SMALL | {"n": 1})
    run = await rl.evaluate(task, [Own()], root="scripted", folder=tmp_path / "run")
    assert not run.unfinished
    (sample,) = seen
    assert sample.target is None
    assert sample.evidence  # to measure what a method read
    (row,) = rows(next((tmp_path / "run" / "cells").iterdir()))
    assert row["score"] == 1.0  # the scorer sees it


@dataclass(frozen=True)
class Peek(Own):
    """A method that takes its answer from its argument, and refuses a sample by its gold."""

    def check_fit(self, sample, models):
        assert sample.target is None

    async def solve(self, sample, session):
        return rl.Answer(sample.target)


async def test_the_gold_is_no_answer_of_a_method(tmp_path):
    run = await rl.evaluate(
        tasks.SNiah(**SMALL), [Peek()], root="scripted", folder=tmp_path / "run"
    )
    assert not run.unfinished
    found = rows(next((tmp_path / "run" / "cells").iterdir()))
    assert {(row["outcome"], row["score"]) for row in found} == {("no_answer", 0.0)}


SCORES = {
    "float": lambda answer: float(answer.text == "1"),
    "percent": lambda answer: (rl.Score("a", 57.0),),
    "two": lambda answer: (rl.Score("a", 1.0), rl.Score("a", 1.0)),
    "fragile": lambda answer: (rl.Score("a", float(int(answer.text) == 1)),),
    "numpy": lambda answer: (rl.Score("a", np.float32(0.5)),),
    "fraction": lambda answer: (rl.Score("a", Fraction(1, 2)),),
}


@dataclass(frozen=True)
class Scoring(tasks.SNiah):
    """A needle task that scores as the function `by` of `SCORES` does."""

    by: str = ""
    whole: bool = False

    def samples(self):
        more = {"cluster": 3} if self.whole else {}
        return (replace(sample, **more) for sample in super().samples())

    def score(self, sample, answer):
        return SCORES[self.by](answer)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"by": "float"}, r"score returned 0\.0, not a tuple of `Score`"),
        ({"by": "percent"}, r"score returned 57\.0, not a value in \[0, 1\]"),
        ({"by": "two"}, r"score returned .*, not one score of 'a'"),
        ({"by": "fragile"}, rf"score failed: {HERE}, line \d+: .*; correct the code"),
        ({"whole": True}, r"samples: cluster=3 of sample 0: give a text"),
    ],
)
async def test_validate_and_run_refuse_a_task_before_any_call(settings, what, tmp_path, capsys):
    task = Scoring(**settings, **SMALL)
    with pytest.raises(ConfigError, match=rf"test_plug_ins\.Scoring\.{what}"):
        validate(task, 2)
    assert re.search(what, await unfinished(task, "long_context", tmp_path, capsys))
    journals = (path.read_text() for path in (tmp_path / "run").rglob("journal.jsonl"))
    assert '"prompt"' not in "".join(journals)


@pytest.mark.parametrize("by", ["numpy", "fraction"])
async def test_a_score_of_any_real_type_is_stored_as_a_float(by, tmp_path):
    task = Scoring(by=by, **SMALL)
    run = await rl.evaluate(task, ["long_context"], root="scripted", folder=tmp_path / "run")
    assert not run.unfinished
    assert {row["score"] for row in rows(next((tmp_path / "run" / "cells").iterdir()))} == {0.5}


@dataclass(frozen=True)
class Unmapped:
    """A model whose client lets the error of a failed request through."""

    name: str = "unmapped"
    window: None = None
    price: None = None
    sampling: rl.Sampling = field(default_factory=rl.Sampling)

    @asynccontextmanager
    async def open(self):
        yield self

    async def complete(self, messages, sampling):
        raise ConnectionResetError

    async def check(self):
        return EndpointInfo("unmapped")

    async def account(self):
        return None


async def test_an_error_of_a_client_is_not_one_of_the_method(tmp_path, capsys):
    why = await unfinished(tasks.SNiah(**SMALL), "long_context", tmp_path, capsys, Unmapped())
    assert re.fullmatch(
        rf"test_plug_ins\.Unmapped\.complete failed: {HERE}, line \d+: ConnectionResetError; "
        "raise `ProviderError` for a failed request",
        why,
    )


@pytest.mark.parametrize(
    "error",
    [
        ModelError("no reply"),
        LimitReached(Outcome.LIMIT_CALLS, "1 call"),
        NoStorage("gone"),
        OSError(28, "No space left on device"),
    ],
)
def test_errors_of_the_harness_and_a_full_disk_pass(error):
    with pytest.raises(type(error)) as caught, guarded(Own(), "solve"):
        raise error
    assert caught.value is error


def test_a_task_group_hides_no_error_of_the_harness():
    """A method may make its calls in a `TaskGroup`: a limit stays an outcome of the sample."""
    limit = LimitReached(Outcome.LIMIT_CALLS, "1 call")
    with pytest.raises(LimitReached) as caught, guarded(Own(), "solve"):
        raise ExceptionGroup("tasks", [limit])
    assert caught.value is limit


def test_a_fault_of_this_package_keeps_its_traceback():
    with pytest.raises(KeyError), guarded(rl.methods.LongContext(), "solve"):
        raise KeyError("x")
