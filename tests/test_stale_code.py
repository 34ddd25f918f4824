"""Results of other code are named, never mixed; a refactoring passes by replay."""

import json
import sys
import time

import pytest
from fake_server import FakeServer
from runs import cell_folder, overrides, run_here

from rlm_eval.cli import main
from rlm_eval.config.cell import build_cell
from rlm_eval.config.contexts import ContextSource
from rlm_eval.config.grid import expand
from rlm_eval.core.code_hash import SAME as SAME_CODE
from rlm_eval.core.code_hash import class_hash
from rlm_eval.core.code_hash.walk import SURROUNDINGS
from rlm_eval.core.types import Outcome
from rlm_eval.records.build import write_records
from rlm_eval.report import compare
from rlm_eval.report.tables import card
from rlm_eval.storage.stale_code import HASHES, REPLAYS, changed, code_of_cell, sentences
from rlm_eval.suites.reporting import write_report

METHOD = '''
"""A method."""
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.session.session import Session
from rlm_eval.core.types import Answer, Message, Role, Sample
from plug_helpers import last_line

HEAD = "Read this: "


def _shorter(text: str) -> str:
    """Its first half."""
    return text[: len(text) // 2]


@dataclass(frozen=True)
class Plug:
    """See the module."""

    runs_code: ClassVar[bool] = False
    slots: ClassVar[tuple[str, ...]] = ("root",)

    chars: int = 4000
    """Read."""

    name = "plug"
    prompt_id = "-"

    async def solve(self, sample: Sample, session: Session) -> Answer:
        # the whole of it
        text = HEAD + sample.context.text()[: self.chars] + sample.question
        call = await session.call([Message("user", text)], role=Role.ROOT, position="t0")
        return Answer(text=self._tidy(call.reply), call=call.id)

    def _tidy(self, text: str) -> str:
        return last_line(text)
'''
HELPERS = '''
"""Helpers."""
LINES = 1


def last_line(text):
    """The last line."""
    return "".join(text.splitlines()[-LINES:])


def unused():
    return 1
'''


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """Writes the plug-in's two modules with replacements and loads them anew."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(*pairs, module="plug_method", helpers="plug_helpers"):
        texts = {module: METHOD, helpers: HELPERS}
        for name, text in texts.items():
            for old, new in pairs:
                text = text.replace(old, new)
            (folder / "new").write_text(text)
            (folder / "new").rename(folder / f"{name}.py")
        for name in ("plug_method", "plug_helpers", module, helpers):
            sys.modules.pop(name, None)
        return class_hash(f"{module}.Plug")

    yield write
    for name in ("plug_method", "plug_helpers"):
        sys.modules.pop(name, None)


SAME = {
    "a docstring": [('"""Its first half."""', '"""Its first 50 %."""')],
    "no docstring": [('    """The last line."""\n', "")],
    "a comment": [("# the whole of it", "# all")],
    "layout": [
        ("HEAD + sample.context", "(\n            HEAD + sample.context"),
        (" + sample.question\n", " + sample.question)\n"),
    ],
    "an import by another name": [
        ("import last_line", "import last_line as final"),
        ("return last_line(text)", "return final(text)"),
    ],
    "an import in the function": [
        ("from plug_helpers import last_line\n", ""),
        (
            "        return last_line(text)",
            "        from plug_helpers import last_line\n\n        return last_line(text)",
        ),
    ],
    "a module's attribute": [
        ("from plug_helpers import last_line", "import plug_helpers"),
        ("return last_line(text)", "return plug_helpers.last_line(text)"),
    ],
    "a renamed helper": [("last_line", "final_line")],
    "a renamed constant": [("HEAD", "_START")],
    "a renamed private method": [("_tidy", "_trimmed")],
    "what nothing uses": [("return 1", "return 2"), ("// 2", "// 3")],
    "annotations": [("def last_line(text):", "def last_line(text: str) -> str:")],
    "an order of definitions": [
        ('HEAD = "Read this: "\n', ""),
        (
            "@dataclass(frozen=True)\nclass",
            'HEAD = "Read this: "\n\n\n@dataclass(frozen=True)\nclass',
        ),
    ],
}
OTHER = {
    "a statement": [("text = HEAD", "text = HEAD + HEAD")],
    "a constant": [("Read this", "Read that")],
    "a helper's constant": [("LINES = 1", "LINES = 2")],
    "a helper's statement": [("[-LINES:]", "[:LINES]")],
    "a private method": [("return last_line(text)", "return last_line(text).strip()")],
    "a default of a function": [("def last_line(text):", "def last_line(text, more=1):")],
    "a field's default": [("chars: int = 4000", "chars: int = 4001")],
    "another constant in its place": [("= HEAD +", "= 'Read this:  ' +")],
    "a changed constant elsewhere": [("LINES = 1\n", "LINES = 1\nLINES += 1\n")],
    "the same names the other way": [("text.splitlines()[-LINES:]", "text.split()[-LINES:]")],
}


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_result_changes_no_hash(plug, what):
    before = plug()
    assert before is not None
    assert plug(*SAME[what]) == before


@pytest.mark.parametrize("what", OTHER)
def test_a_changed_statement_or_constant_changes_it(plug, what):
    before = plug()
    after = plug(*OTHER[what])
    assert after is not None
    assert after != before


def test_moved_and_renamed_modules_keep_it(plug, tmp_path):
    before = plug()
    moved = [("plug_helpers", "other_helpers")]
    assert plug(*moved, module="other_method", helpers="other_helpers") == before
    package = tmp_path / "plugins" / "plug_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from .inner.deep import Plug\n")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text(
        METHOD.replace("from plug_helpers", "from ..base_helpers")
    )
    (package / "base_helpers.py").write_text(HELPERS)
    assert class_hash("plug_package.Plug") == before
    assert class_hash("plug_package.inner.deep.Plug") == before


def test_two_local_functions_that_change_places_change_it(plug):
    inner = """return "".join(text.splitlines()[-LINES:])"""
    text = """def {}():
        return 1

    def {}():
        return 2

    return str(first()) + str(second() * 3)"""
    one = plug((inner, text.format("first", "second")))
    assert plug((inner, text.format("second", "first"))) != one


def test_a_data_file_that_the_code_names_is_part_of_it(plug, tmp_path):
    path = tmp_path / "plugins" / "words.txt"
    path.write_text("one")
    named = [("LINES = 1", "LINES = len(open('words.txt').read())")]
    before = plug(*named)
    path.write_text("other")
    assert plug(*named) != before


def test_a_class_without_a_source_is_unknown():
    assert class_hash("__main__.Interactive") is None
    assert class_hash("no_such_module.Plug") is None
    assert class_hash("rlm_eval.core.types.NoSuchClass") is None


def test_a_shipped_class_is_found_where_it_moved_to():
    here = class_hash("rlm_eval.tasks.needle.s_niah.SNiah")
    assert class_hash("rlm_eval.tasks.elsewhere.SNiah") == here is not None


def test_prompts_and_shared_code_of_shipped_classes_are_in_it(monkeypatch):
    from rlm_eval.core.code_hash import files

    (config,) = expand(["task=s_niah", "method=rlm", "model@root=scripted"])
    cell = build_cell(config)
    before = code_of_cell(cell)
    assert None not in before.values()
    assert set(before) == {"task", "scorer", "method", *cell.models}
    changed = {**files.package_files(), "rlm/own": "another text", "needles.json": "others"}
    monkeypatch.setattr("rlm_eval.core.code_hash.walk.package_files", lambda: changed)
    monkeypatch.setattr("rlm_eval.core.code_hash.package_files", lambda: changed)
    monkeypatch.setattr("rlm_eval.core.code_hash._MADE", {})
    after = code_of_cell(cell)
    assert after["method"] != before["method"]
    assert after["task"] != before["task"]
    assert after["scorer"] == before["scorer"]


@pytest.mark.parametrize("name", sorted(SURROUNDINGS))
def test_surroundings_are_modules(name):
    from rlm_eval.core.code_hash.files import ROOT

    place = ROOT.joinpath(*name.split("."))
    assert place.with_suffix(".py").is_file() or place.is_dir(), "renamed? then here too"


def test_it_is_found_at_once(monkeypatch):
    (config,) = expand(["task=oolong_gen", "method=rlm", "model@root=openai", "root.model=m"])
    cell = build_cell(config)
    monkeypatch.setattr("rlm_eval.core.code_hash._MADE", {})
    start = time.process_time()
    code_of_cell(cell)
    first = time.process_time() - start
    start = time.process_time()
    code_of_cell(cell)
    assert first < 1.5, "about 0.2 s on an idle core"
    assert time.process_time() - start < 0.05


# -- runs


def plugged(tmp_path, url, *more):
    """A run of the plug-in's method: its YAML-less node is set as a whole."""
    own = [t for t in overrides(tmp_path, url, "n=2", *more) if t != "method=rlm"]
    (config,) = expand([*own, "method=closed_book"])
    config.method = {"_target_": "plug_method.Plug"}
    return config


async def go(config, redo=()):
    from rlm_eval.config.cell import run_folder, sweep_budget
    from rlm_eval.runner.runner import Runner

    cell = build_cell(config)
    return await Runner(run_folder(config), [cell], sweep_budget(config), redo).run()


def manifest_of(tmp_path):
    return json.loads((cell_folder(tmp_path) / "manifest.json").read_text())


def said(tmp_path):
    return " ".join(sentences(card.manifests([tmp_path / "test"])))


CHANGED = [("= HEAD +", "= HEAD + HEAD +")]
REWRITTEN = [("text = HEAD + sample", "head = HEAD\n        text = head + sample")]


async def test_a_finished_cell_of_other_code_is_named_and_a_resumed_one_refused(
    plug, tmp_path, capsys
):
    plug()
    async with FakeServer() as server:
        assert (await go(plugged(tmp_path, server.url))).finished
        assert manifest_of(tmp_path)[HASHES]["method"]
        assert said(tmp_path) == ""
        plug(*CHANGED)
        asked = len(server.log)
        assert (await go(plugged(tmp_path, server.url))).finished
        told = capsys.readouterr().err
        assert "made by other code: method changed without a new VERSION" in told
        assert "--redo all" in told
        assert "VERSION" in told
        assert "1 of 1 cells were made by other code than today's" in said(tmp_path)
        (why,) = (await go(plugged(tmp_path, server.url, "n=3"))).unfinished.values()
        assert "a cell never mixes code" in why
        assert len(server.log) == asked


async def test_redone_it_is_of_todays_code(plug, tmp_path):
    plug()
    async with FakeServer() as server:
        assert (await go(plugged(tmp_path, server.url))).finished
        plug(*CHANGED)
        assert (await go(plugged(tmp_path, server.url), list(Outcome))).attempted == 2
        assert said(tmp_path) == ""
        texts = [entry["request"]["messages"][-1]["content"] for entry in server.log]
        assert sum(text.startswith("Read this: Read this: ") for text in texts) == 2


async def test_replay_passes_a_refactoring_and_records_it(plug, tmp_path, capsys):
    plug()
    run = str(tmp_path / "test")
    async with FakeServer() as server:
        assert (await go(plugged(tmp_path, server.url))).finished
        plug(*REWRITTEN)
        assert "made by other code" in said(tmp_path)
        before = manifest_of(tmp_path)[HASHES]["method"]
    import asyncio

    assert await asyncio.to_thread(main, ["replay", run, "--accept", "--trust"]) == 0
    found = manifest_of(tmp_path)
    assert found[REPLAYS][0]["from_to"]["method"] == [before, found[HASHES]["method"]]
    assert found[REPLAYS][0]["attempts"] == 2
    assert "came to the same answers and scores" in said(tmp_path)
    assert "made by other code" not in said(tmp_path)
    plug(*CHANGED)
    assert await asyncio.to_thread(main, ["replay", run, "--accept", "--trust"]) == 1
    assert "not recorded: 0 of 2 results came out the same" in capsys.readouterr().out
    assert "made by other code" in said(tmp_path)


async def test_a_cell_without_hashes_is_unknown_also_when_it_goes_on(plug, tmp_path):
    plug()
    async with FakeServer() as server:
        assert (await go(plugged(tmp_path, server.url))).finished
        path = cell_folder(tmp_path) / "manifest.json"
        path.write_text(json.dumps({k: v for k, v in manifest_of(tmp_path).items() if k != HASHES}))
        assert "For 1 of 1 cells it is unknown" in said(tmp_path)
        assert (await go(plugged(tmp_path, server.url, "n=3"))).attempted == 1
        assert set(manifest_of(tmp_path)[HASHES].values()) == {None}
        assert "For 1 of 1 cells it is unknown" in said(tmp_path)


async def test_a_report_names_other_code(plug, tmp_path):
    plug()
    run = tmp_path / "test"
    async with FakeServer() as server:
        assert (await go(plugged(tmp_path, server.url))).finished
    plug(*CHANGED)
    write_records(run)
    write_report([run], run / "report", ContextSource())
    assert "made by other code than today's" in (run / "report" / "CARD.md").read_text()
    assert "made by other code than today's" in compare([run], "plug", "0%")


async def test_a_changed_scorer_scores_again_and_asks_nothing(tmp_path, monkeypatch):
    async with FakeServer() as server:
        own = overrides(tmp_path, server.url, "n=2", "method=closed_book")
        assert (await run_here(own)).finished
        path = cell_folder(tmp_path) / "manifest.json"
        found = manifest_of(tmp_path)
        found[HASHES]["scorer"] = "0" * 16
        path.write_text(json.dumps(found))
        assert "its scorer has changed: " in said(tmp_path)
        asked = len(server.log)
        summary = await run_here(own)
        assert summary.finished
        assert summary.rescored == 0, "the scores are the same"
        assert len(server.log) == asked
        assert said(tmp_path) == ""


def test_suites_and_publish_refuse_cells_of_other_code(tmp_path, monkeypatch, capsys):
    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.suites.publish import publish
    from rlm_eval.suites.schema import load

    monkeypatch.chdir(tmp_path)
    small = ["smoke", "debug=scripted", "n=1", "task=s_niah_multikey", "method=long_context"]
    small += [f"results={tmp_path}", "--no-report"]
    assert main(["suite", *small]) == 0
    (path,) = tmp_path.glob("*/cells/*/manifest.json")
    found = json.loads(path.read_text())
    found[HASHES]["method"] = "0" * 16
    path.write_text(json.dumps(found))
    with pytest.raises(RlmEvalError, match="not published: .* made by other code: method"):
        publish(path.parents[2], load("smoke"), tmp_path / "published")
    capsys.readouterr()
    assert main(["suite", *small]) == 2
    assert "made by other code: method changed" in capsys.readouterr().err
    assert main(["suite", *small, "--redo", "all"]) == 0
    assert main(["suite", *small]) == 0


def test_a_hash_of_before_of_the_same_code_is_no_other_code(monkeypatch):
    (config,) = expand(["task=s_niah", "method=rlm", "model@root=openai", "root.model=m"])
    cell = build_cell(config)
    now = code_of_cell(cell)
    manifest = {HASHES: now, "config": cell.resolved}
    root = class_hash(cell.resolved["root"]["_target_"])
    with monkeypatch.context() as other:
        other.setattr("rlm_eval.storage.stale_code.running_hash", lambda *_, **__: "before")
        before = code_of_cell(cell)
    assert set(changed({**manifest, HASHES: before}, now)) == set(now)
    monkeypatch.setattr("rlm_eval.core.code_hash._same", lambda: {root: ["before"]})
    assert set(changed({**manifest, HASHES: before}, now)) == set(now) - {"root", "sub"}
    assert set(changed(manifest, before)) == set(now) - {"root", "sub"}, "parts of two shards"
    assert not changed(manifest, now)


def test_an_entry_of_the_same_code_is_of_today():
    """One of code that has changed since is of no use: take it out."""
    models = ("http.model.OpenAIModel", "http.anthropic.AnthropicModel",
              "http.embedding.EmbeddingModel", "scripted.ScriptedModel")  # fmt: skip
    today = {class_hash(f"rlm_eval.models.{name}") for name in models}
    assert json.loads(SAME_CODE.read_text()).keys() <= today
