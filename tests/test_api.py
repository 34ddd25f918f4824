"""`import rlm_eval as rl`: what a notebook or a program of the user's does, for real."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from fake_server import FakeServer
from test_architecture import HEAVY

import rlm_eval as rl
from rlm_eval import methods, tasks
from rlm_eval.api import run_sync
from rlm_eval.config.files import CONFIGS
from rlm_eval.config.grid import expand
from rlm_eval.core.errors import ConfigError
from rlm_eval.runner.objects import cells_of

SMALL = {"length": 1024, "n": 2, "tokenizer": "approx4"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def needle(**more):
    return rl.tasks.SNiah(**{**SMALL, **more})


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, rlm_eval; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    for name in rl.__all__:
        assert getattr(rl, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        rl.nonsense  # noqa: B018


def test_every_class_of_the_shipped_yaml_has_a_name_in_its_package():
    for package, group in ((methods, "method"), (tasks, "task")):
        for name in package._CLASSES:
            assert getattr(package, name).__name__ == name
        for path in (CONFIGS / group).glob("*.yaml"):
            target = path.read_text().partition("_target_: ")[2].split()[0]
            assert target.rpartition(".")[2] in package._CLASSES, path


async def test_solve_scores_and_leaves_no_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = needle(n=1)
    (sample,) = task.samples()
    before = set(tmp_path.rglob("*"))
    found = await rl.solve(rl.methods.LongContext(), sample, root=rl.model("scripted"), task=task)
    assert (found.answer, found.scores[0].value, found.calls) == (sample.target[0], 1.0, 1)
    assert found.input_tokens is not None
    assert found.trajectory.calls[0].reply == found.answer
    assert set(tmp_path.rglob("*")) == before


async def test_a_sample_of_ones_own_needs_no_task():
    sample = rl.sample(
        "What is the number for a-b mentioned in the text?",
        ["Nothing here. " * 50, "The number for a-b is: 123456."],
    )
    found = await rl.solve("long_context", sample, root="scripted")
    assert (found.answer, found.scores, found.outcome) == ("123456", (), rl.Outcome.OK)


FRAME = pd.DataFrame({"text": ["Nothing here.", "The number for a-b is: 123456."], "n": [1, 2]})
ASKED = "What is the number for a-b mentioned in the text?"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (FRAME, r"an object of pandas.*DataFrame .*column names; give one column"),
        ({"report": "The number for a-b is: 123456."}, r"an object of dict .*its keys; give list"),
        (b"abc", r"an object of bytes .*decode bytes first"),
        ([b"abc"], r"item 0 is an object of bytes, no text; decode it first"),
        ([1, 2], r"item 0 is 1, no text"),
        ({"a", "b"}, r"an object of set .*a set has no order"),
        (None, r"None is not a text or a list of texts"),
        (5, r"5 is not a text or a list of texts"),
        (Path("a.txt"), r"an object of pathlib.*Path is not a text or a list of texts"),
        (io.StringIO("a"), r"an object of _io.StringIO .*an open file yields its lines"),
        (["a", None], r"item 1 is None, no text"),
        (["a", float("nan")], r"item 1 is nan, no text"),
    ],
)
def test_what_is_no_text_does_not_become_the_context(given, why, tmp_path):
    with pytest.raises(ConfigError, match=f"sample: context: {why}"):
        rl.sample(ASKED, given)
    with pytest.raises(ConfigError, match=f"ask: texts: {why}"):
        rl.ask_sync(ASKED, texts=given, root="scripted", folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [FRAME, {"a.txt": "x"}, [5], 5])
def test_what_is_no_path_is_not_read_as_files(given):
    with pytest.raises(ConfigError, match=r"ask: files: .*path"):
        rl.ask_sync(ASKED, given, root="scripted")


@pytest.mark.parametrize("question", [5, None, "", " "])
def test_a_question_is_a_text_that_asks_something(question):
    with pytest.raises(ConfigError, match=r"question: (nothing is asked|.* is not a text)"):
        rl.sample(question, "x")
    with pytest.raises(ConfigError, match=r"question: (nothing is asked|.* is not a text)"):
        rl.ask_sync(question, texts="x", root="scripted")


@pytest.mark.parametrize(
    "given", [FRAME.text, FRAME.text.to_numpy(), FRAME.text.to_numpy(str), iter(list(FRAME.text))]
)
def test_any_ordered_texts_are_documents(given):
    value = rl.sample(ASKED, given).context.value()
    assert value == ("Nothing here.", "The number for a-b is: 123456.")
    assert {type(text) for text in value} == {str}


def test_no_documents_are_an_error():
    with pytest.raises(ConfigError, match="no documents"):
        rl.sample(ASKED, iter(()))


async def test_a_column_answers_and_a_generator_of_texts_too(tmp_path):
    given = {"method": "long_context", "root": "scripted", "tokenizer": "approx4"}
    for name, texts in (("a", FRAME.text), ("b", (text for text in FRAME.text))):
        found = await rl.ask(ASKED, texts=texts, folder=tmp_path / name, **given)
        assert found.text == "123456"


@pytest.mark.parametrize(("name", "why"), [("n", "epochs=N repeats"), ("name", "by folder=")])
def test_a_question_refuses_what_it_sets_itself(name, why):
    with pytest.raises(ConfigError, match=f"ask: {name}: .*{why}"):
        rl.ask_sync(ASKED, texts="x", root="scripted", **{name: 3})


async def test_objects_and_the_command_line_are_the_same_cells():
    given = ["method=rlm", "model@root=openai", "root.model=fake", "n=2"]
    given += ["root.base_url=http://127.0.0.1:1/v1", "length=1k", "tokenizer=approx4"]
    given += ["limits.calls=9", "root.sampling.temperature=0"]
    from rlm_eval.config.cell import build_cell

    (named,) = [build_cell(config) for config in expand(given)]
    root = rl.model(
        "openai", model="fake", base_url="http://127.0.0.1:2/v1", sampling={"temperature": 0}
    )
    settings = {"limits": {"calls": 9}}
    _, made = cells_of(
        needle(), [rl.methods.LongContext(), rl.methods.RLM()], {"root": root}, **settings
    )
    assert [cell.id for cell in made][1] == named.id
    _, mixed = cells_of("s_niah", ["rlm"], {"root": root}, **SMALL, **settings)
    assert [cell.id for cell in mixed] == [named.id]
    assert made[1].models["sub"] is made[1].models["root"]


async def test_evaluate_resumes_and_reports_without_a_signal_handler(tmp_path):
    async with FakeServer() as server:
        root = rl.model("openai", model="fake", base_url=server.url)
        handler = signal.getsignal(signal.SIGINT)
        folder = tmp_path / "runs" / "demo"
        run = await rl.evaluate(needle(), ["long_context"], root=root, folder=folder)
        assert signal.getsignal(signal.SIGINT) is handler
        assert (run.attempted, run.unfinished, len(run.records)) == (2, {}, 2)
        asked = len(server.log)
        again = await rl.evaluate(needle(), ["long_context"], root=root, folder=folder)
        assert (again.attempted, len(server.log)) == (0, asked)
        more = await rl.evaluate(needle(), ["long_context"], root=root, folder=folder, n=3)
        assert (more.attempted, len(more.records)) == (1, 3)
        # A function of one's own in the records' order of work: plain pandas.
        assert rl.load_records(folder)["outcome"].tolist() == ["ok"] * 3


def test_the_sync_forms_work_with_a_running_loop_and_in_a_thread(tmp_path):
    def work(name):
        return rl.evaluate_sync(
            needle(n=1), ["long_context"], root="scripted", folder=tmp_path / name
        )

    async def inside():
        return work("loop")

    results = [asyncio.run(inside())]
    thread = threading.Thread(target=lambda: results.append(work("thread")))
    thread.start()
    thread.join()
    assert [run.attempted for run in results] == [1, 1]


async def test_two_runs_at_once_in_one_loop(tmp_path):
    runs = await asyncio.gather(
        *(
            rl.evaluate(
                needle(seed=seed), ["long_context"], root="scripted", folder=tmp_path / str(seed)
            )
            for seed in range(2)
        )
    )
    assert [run.attempted for run in runs] == [2, 2]
    assert len(rl.load_records(*(run.folder for run in runs))) == 4


@dataclass(frozen=True)
class Holding:
    """A method with a field that no identity can be made of."""

    runs_code = False
    slots = ()
    name = "holding"
    prompt_id = "-"
    what: object = print

    async def solve(self, sample, session):
        return rl.Answer("")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rl.model("gpt5-mini"), "no such model; near: gpt-5-mini"),
        (lambda: rl.model("gpt-5", samplign={}), "samplign: unknown key of OpenAIModel"),
        (lambda: rl.task("custom"), "task custom: path has no value; add path="),
        (lambda: cells_of(needle(), [], {}), "methods: name at least one"),
        (lambda: cells_of(needle(), ["rlm"], {}), r"root: .* needs a model; give root=model"),
        (lambda: cells_of(needle(), ["rlm"], {"rot": "scripted"}), "'rot' is not a slot"),
        (lambda: cells_of(needle(), ["rag"], {"root": "scripted"}, epoch=2), "near: epochs"),
        (lambda: cells_of(needle(), ["rag", "rag"], {"root": "scripted"}), "are the same cell"),
        (lambda: cells_of(needle(), [Holding()], {}), "is not a plain value"),
        (lambda: rl.model("openai", model="m", headers={"x-api-key": "sk-0123456789abcdef"}),
         "looks like a key"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(rl.RlmEvalError, match=message):
        call()


async def test_an_expensive_run_is_refused_before_a_call(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    task = needle(length=128 * 1024, n=500)
    with pytest.raises(rl.RlmEvalError, match=r"\$\d+\.\d\d expected.*give confirm_above="):
        await rl.evaluate(task, ["long_context"], root="gpt-5", folder=tmp_path / "dear")
    assert not (tmp_path / "dear" / "cells").exists()


async def test_what_an_environment_variable_holds_is_not_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-0123456789abcdef")
    async with FakeServer() as server:
        url = server.url
        root = rl.model("openai", model="fake", base_url=url, headers={"x-key": "${oc.env:MY_KEY}"})
        assert root.headers["x-key"] == "sk-0123456789abcdef"
        run = await rl.evaluate(needle(n=1), ["long_context"], root=root, folder=tmp_path / "run")
    assert run.attempted == 1
    texts = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    assert not any(b"0123456789abcdef" in text for text in texts)


@dataclass(frozen=True)
class Wrong:
    """A method with one member that is not what the contract says."""

    name: object = "wrong"
    slots: object = ("root",)
    gives: object = "a text"
    prompt_id: str = "-"
    runs_code: bool = False

    async def solve(self, sample, session):
        return self.gives


@dataclass(frozen=True)
class WrongTask(tasks.SNiah):
    """A needle task whose samples or scores are something else."""

    gives: int = 1
    of: str = "score"

    def samples(self):
        return iter([self.gives]) if self.of == "samples" else super().samples()

    def score(self, sample, answer):
        return self.gives


@dataclass(frozen=True)
class Half:
    """A model whose client cannot complete."""

    name: str = "half"
    window: None = None
    price: None = None
    sampling: rl.Sampling = field(default_factory=rl.Sampling)

    @asynccontextmanager
    async def open(self):
        yield object()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": [Wrong(name=None)]}, r"Wrong.name is None; make it a text"),
        ({"methods": [Wrong(slots="root")]}, r"Wrong.slots is 'root'; make it a tuple"),
        ({"methods": [rl.methods.RLM]}, r"method: .*RLM'> is neither a dataclass instance"),
        ({"root": rl.model}, r"root: .* is neither a dataclass instance"),
        ({"n": "many"}, r"n='many': give a whole number"),
        ({"n": 0}, r"task: n=0"),
        ({"redo": ["wrong"]}, r"'wrong' is not a valid Outcome"),
        ({"redo": "wrong"}, r"'wrong' is not a valid Outcome"),
        ({"redo": 5}, r"redo=5: give outcomes, as"),
        ({"redo": [5]}, r"redo=\[5\]: give outcomes, as"),
    ],
)
async def test_a_wrong_object_or_setting_is_one_error_before_any_call(settings, message, tmp_path):
    given = {"task": needle(), "methods": ["long_context"], "root": rl.model("scripted")}
    with pytest.raises(rl.RlmEvalError, match=message):
        await rl.evaluate(**{**given, **settings}, folder=tmp_path / "run")
    assert not list(tmp_path.glob("run/**/journal.jsonl"))


@dataclass(frozen=True)
class Calling(Wrong):
    """A method that calls its session with other arguments."""

    name: str = "calling"
    arguments: dict = field(default_factory=dict)

    async def solve(self, sample, session):
        given = {"messages": [rl.Message("user", "?")], "role": rl.Role.ROOT, "position": "t"}
        given |= self.arguments
        return rl.Answer((await session.call(given.pop("messages"), **given)).reply)


@dataclass(frozen=True)
class Scoring(tasks.SNiah):
    """A needle task that scores otherwise: `scores` are the scores' arguments, by sample."""

    scores: list = field(default_factory=list)

    def score(self, sample, answer):
        return tuple(rl.Score(*given) for given in self.scores[sample.index % len(self.scores)])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            [[("official", 1.0), ("official", 0.0)]],
            r"['official', 'official'], not one score of 'o",
        ),
        ([[]], "Scoring.score returned (), not a score: give Score(name, None) for"),
        ([[("a", 1.0)], [("b", 1.0)]], "a cell has one headline scorer"),
        ([[("official", 2.0)]], "returned 2.0, not a value in [0, 1] or None for the scorer 'off"),
        (
            [[("official", 1.0, 5)]],
            "returned 5, not a text or None as what the scorer 'official' r",
        ),
        ([[(None, 1.0)]], "returned None, not a text as the name of a scorer"),
    ],
)
async def test_malformed_scores_are_one_line_that_names_the_scorer(
    scores, message, tmp_path, capsys
):
    task = Scoring(scores=scores, **SMALL)
    for _ in range(2):  # a resume accepts no more
        run = await rl.evaluate(task, ["long_context"], root="scripted", folder=tmp_path / "run")
        (why,) = run.unfinished.values()
        assert message in why
        assert "Scoring.score returned" in why
    assert "Traceback" not in capsys.readouterr().err


async def test_an_answer_that_is_not_scored_is_no_malformed_score(tmp_path):
    task = Scoring(scores=[[("official", None)]], **SMALL)
    run = await rl.evaluate(task, ["long_context"], root="scripted", folder=tmp_path / "run")
    assert not run.unfinished


async def test_a_setting_that_cannot_score_is_told_before_a_sample_runs(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"context": "a", "question": "b", "answer": "c"}\n')
    task = rl.task("custom", path=str(rows), metric="mrcr_openai", tokenizer="approx4")
    with pytest.raises(ConfigError, match="metric=mrcr_openai needs the column 'prefix'"):
        await rl.evaluate(task, ["long_context"], root="scripted", folder=tmp_path / "run")
    assert not list(tmp_path.rglob("journal.jsonl"))


async def test_a_method_that_answers_with_the_gold_needs_one(tmp_path):
    with pytest.raises(ConfigError, match="answers with the gold, and unscored has none"):
        await rl.solve("floor_oracle", rl.sample(ASKED, "x", tokenizer="approx4"))


@pytest.mark.parametrize(
    ("task", "method", "root", "message"),
    [
        (tasks.SNiah(**SMALL), Wrong(gives=rl.Answer(5)), "scripted",
         "Wrong.solve returned Answer(text=5"),
        *((tasks.SNiah(**SMALL), Calling(arguments=given), "scripted",
           f"Calling.solve: session.call: {why}")
          for given, why in [
              ({"role": "root"}, "role='root': give one of Role.ROOT"),
              ({"messages": "hi"}, "messages='hi': give a list of `Message`"),
              ({"messages": ["hi"]}, "messages: 'hi' is not a `Message`"),
              ({"position": 3}, "position=3: give a text"),
          ]),
        (tasks.SNiah(**SMALL), Wrong(), "scripted", "Wrong.solve returned 'a text', not an `Ans"),
        (WrongTask(**SMALL), "long_context", "scripted", "WrongTask.score returned 1, not a tup"),
        (WrongTask(of="samples", **SMALL), "long_context", "scripted", "samples gave 1, not a `Sa"),
        (tasks.SNiah(**SMALL), "long_context", Half(), "object lacks `complete`"),
    ],
)  # fmt: skip
async def test_what_a_plug_in_gives_wrongly_is_one_line(
    task, method, root, message, tmp_path, capsys
):
    run = await rl.evaluate(task, [method], root=root, folder=tmp_path / "run")
    (why,) = run.unfinished.values()
    assert message in why
    assert "Traceback" not in capsys.readouterr().err


@dataclass(frozen=True)
class Leaving(tasks.SNiah):
    """A task and a method that end the process."""

    def score(self, sample, answer):
        raise SystemExit(3)


@dataclass(frozen=True)
class LeavingMethod(Wrong):
    """The same of a method."""

    async def solve(self, sample, session):
        sys.exit(3)


@dataclass(frozen=True)
class LeavingSamples(tasks.SNiah):
    """The same of a task's data."""

    def samples(self):
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("task", "method", "message"),
    [
        (
            Leaving(**SMALL),
            "long_context",
            r"Leaving.score tried to end the process: .*SystemExit: 3",
        ),
        (needle(), LeavingMethod(), r"LeavingMethod.solve tried to end the process: .*SystemExit"),
        (LeavingSamples(**SMALL), "long_context", r"SystemExit\(3\) \(traceback above\)"),
    ],
)
def test_a_plug_in_that_ends_the_process_is_an_unfinished_cell(task, method, message, tmp_path):
    run = rl.evaluate_sync(task, [method], root="scripted", folder=tmp_path / "run")
    (why,) = run.unfinished.values()
    assert re.search(message, why)


async def test_no_redo_is_none(tmp_path):
    given = {"root": rl.model("scripted"), "folder": tmp_path / "run"}
    run = await rl.evaluate(needle(n=1), ["long_context"], redo=None, **given)
    assert run.attempted == 1


async def test_redo_all_does_every_sample_again(tmp_path):
    given = {"root": rl.model("scripted"), "folder": tmp_path / "run"}
    assert (await rl.evaluate(needle(), ["long_context"], **given)).attempted == 2
    assert (await rl.evaluate(needle(), ["long_context"], **given)).attempted == 0
    assert (await rl.evaluate(needle(), ["long_context"], **given, redo="all")).attempted == 2


async def test_one_text_is_not_taken_for_its_letters(tmp_path):
    question = "What is the number for a-b mentioned in the text?"
    found = await rl.ask(
        question,
        texts="The number for a-b is: 123456.",
        method="long_context",
        root=rl.model("scripted"),
        folder=tmp_path / "run",
    )
    assert found.text == "123456"


async def test_solve_names_a_sample_that_is_none():
    with pytest.raises(rl.RlmEvalError, match=r"rl.sample\(\) makes one"):
        await rl.solve("long_context", "a text", root=rl.model("scripted"))


def test_an_interrupt_ends_what_a_sync_form_does_in_another_thread():
    ended = []

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def cell_of_a_notebook():
        run_sync(work())

    loop = asyncio.new_event_loop()
    # A shell that starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell_of_a_notebook())
    finally:
        signal.signal(signal.SIGINT, before)
    loop.close()
    assert ended == [True]


async def test_several_tasks_are_refused_with_a_way_out():
    both = [tasks.SNiah(**SMALL), tasks.SNiah(**SMALL)]
    with pytest.raises(ConfigError, match="task: one task per call; call again with the same"):
        await rl.evaluate(both, "long_context", root="scripted")
