"""Hashes of the code that a process runs: of a notebook's classes, and of an edited module's."""

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rlm_eval.core.code_hash import cache_key, class_hash, running_hash
from rlm_eval.core.errors import ConfigError

TASK = """
from dataclasses import dataclass

from rlm_eval.core.types import Score
from rlm_eval.tasks.base import Draft, GeneratedTask

FACT = "GOLD"


@dataclass(frozen=True)
class Mine(GeneratedTask):
    name: str = "mine"

    @property
    def exact_length(self):
        return False

    def draft(self, index):
        told = f"{FACT}{index}"
        text = f"The word is {told}. " * 60
        return Draft("Which word?", text, told, cluster=str(index), item=str(index))

    def score(self, sample, answer):
        return (Score("official", float((answer.text or "") == sample.target)),)

    def floors(self):
        return {}


def targets(n=2):
    task = Mine(n=n, length=512, tokenizer="approx4")
    return [sample.target for sample in task.samples()]
"""
METHOD = """
import threading
from dataclasses import dataclass
from typing import ClassVar

import rlm_eval as rl
from rlm_eval.core.types import Answer, Message, Role

LOCK = threading.Lock()


@dataclass(frozen=True)
class Mine:
    runs_code: ClassVar[bool] = False
    slots: ClassVar[tuple[str, ...]] = ("root",)
    prompt_id: ClassVar[str] = "mine"
    name: str = "mine"

    async def solve(self, sample, session):
        used = USED
        call = await session.call([Message("user", "?")], role=Role.ROOT, position="t0")
        return Answer("WORD")


def run(n):
    task = rl.tasks.SNiah(n=n, length=512, tokenizer="approx4")
    made = rl.evaluate_sync(task, [Mine()], root="scripted", folder="runs")
    print(made.attempted, *made.unfinished.values(), flush=True)
"""
NOTEBOOK = """
import sys
from pathlib import Path

import __main__

cells = Path("cells.txt").read_text().split("# cell\\n")
del __main__.__file__
for number, cell in enumerate(cells):
    exec(compile(cell, f"<ipython-input-{number}>", "exec"), __main__.__dict__)
"""


def notebook(folder: Path, *cells: str) -> list[str]:
    """Run cells in a `__main__` without a file; return the lines that they print."""
    (folder / "cells.txt").write_text("# cell\n".join(cells))
    (folder / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=folder,
        env={
            **os.environ,
            "RLM_EVAL_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_edited_cell_of_a_notebook_draws_its_own_samples(tmp_path):
    show = "print(*targets())\n"
    edited = TASK.replace("{FACT}", "SILVER")
    old = "held = Mine(n=2, length=512, tokenizer='approx4')\n"
    of_old = "print(*(s.target for s in held.samples()))\n"
    cells = [TASK + old, show, edited, show, of_old, show]
    lines = notebook(tmp_path, *cells)
    assert lines == ["GOLD0 GOLD1", "SILVER0 SILVER1", "GOLD0 GOLD1", "SILVER0 SILVER1"]
    kept = len(list((tmp_path / "cache/samples").iterdir()))
    assert notebook(tmp_path, TASK, show) == ["GOLD0 GOLD1"]
    assert len(list((tmp_path / "cache/samples").iterdir())) == kept, "the same code: the cache"


def test_a_cell_never_mixes_two_versions_of_a_notebooks_class(tmp_path):
    known = METHOD.replace("USED", "'nothing'")
    lines = notebook(tmp_path, known, "run(2)\n", known, "run(3)\n")
    assert lines == ["2", "1"], "the same code goes on"
    lines = notebook(tmp_path, known, "run(4)\n", known.replace("WORD", "OTHER"), "run(5)\n")
    assert lines[0] == "1", "in another process too"
    assert lines[1].startswith("0 made by other code: method changed without a new VERSION")
    assert len(lines) == 2


def test_unknown_code_equals_no_other(tmp_path):
    unknown = METHOD.replace("USED", "LOCK")
    lines = notebook(tmp_path, unknown, "run(2)\n", unknown, "run(3)\n")
    assert lines[0] == "2"
    assert lines[1].startswith("0 it is unknown whether today's code made its results (method)")
    assert "Define it in a module, or give another run folder" in lines[1]
    known = METHOD.replace("USED", "'nothing'")
    (told,) = notebook(tmp_path, known, "run(3)\n")
    assert told.startswith("0 it is unknown"), "today's code is known, that of the results is not"


CLASS = """
import functools
import re
from dataclasses import dataclass, field
from enum import Enum

WORDS = {"one", "two", "three"}
FIND = re.compile("a+")
LATER = 1


class Kind(Enum):
    FIRST = "first"


def plain(text, more=1):
    return [word for word in text.split() if word in {"x", "y", "z"}]


@functools.cache
def kept(text):
    return plain(text)


class Base:
    def base(self):
        return WORDS


@dataclass(frozen=True)
class Mine(Base):
    size: int = 3
    parts: list = field(default_factory=list)

    def solve(self, text):
        # all of it
        return [kept(part) for part in FIND.findall(text)], self.kind

    @property
    def kind(self):
        return Kind.FIRST.value

    def score(self, text):
        return self._rule(text)

    def _rule(self, text):
        return len(text) > 1
"""


def live_hash(cls: type, only: str = "", without: str = "") -> str | None:
    """Return the hash of a class that no file holds."""
    return running_hash(f"{cls.__module__}.Mine", cls, only=only, without=without)


def made(*pairs: tuple[str, str]) -> type:
    """Return the class as a notebook would define it."""
    text = CLASS
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    space: dict[str, object] = {"__name__": "no_module_of_this_name"}
    exec(compile(text, "<ipython-input-1>", "exec"), space)
    found = space["Mine"]
    assert isinstance(found, type)
    return found


def test_code_objects_have_one_hash_in_every_process():
    here = live_hash(made())
    assert here is not None
    assert live_hash(made()) == here
    code = (
        f"from rlm_eval.core.code_hash import running_hash\nspace = {{'__name__': 'elsewhere'}}\n"
        f"exec(compile({CLASS!r}, '<ipython-input-7>', 'exec'), space)\n"
        "print(running_hash('elsewhere.Mine', space['Mine']))\n"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


@pytest.mark.parametrize(
    "pair",
    [
        ("# all of it", "# half of it\n"),
        ("LATER = 1", "LATER = 2"),
        ("class Base:", "OTHER = 1\n\n\nclass Base:"),
    ],
)
def test_code_objects_that_do_the_same_have_one_hash(pair):
    assert live_hash(made(pair)) == live_hash(made())


@pytest.mark.parametrize(
    "pair",
    [
        ('"three"', '"four"'),
        ('"z"', '"w"'),
        ('compile("a+")', 'compile("a*")'),
        ("more=1", "more=2"),
        ("return plain(text)", "return plain(text)[1:]"),
        ("return WORDS", "return sorted(WORDS)"),
        ("size: int = 3", "size: int = 4"),
        ("default_factory=list", "default_factory=tuple"),
        ('FIRST = "first"', 'FIRST = "second"'),
        ("> 1", "> 2"),
    ],
)
def test_another_statement_or_value_gives_another_hash(pair):
    assert live_hash(made(pair)) != live_hash(made())


def test_a_part_of_a_class_has_its_own_hash():
    rule = ("> 1", "> 2")
    rest = ("kept(part) for", "kept(part + '') for")
    assert live_hash(made(rule), "score") != live_hash(made(), "score")
    assert live_hash(made(rest), "score") == live_hash(made(), "score")
    own = ("return self._rule(text)", "return not self._rule(text)")
    assert live_hash(made(own), without="score") == live_hash(made(), without="score")


def test_a_value_without_a_stable_text_leaves_the_code_unknown():
    cls = made(("LATER = 1", "LATER = object()"), ("return WORDS", "return LATER"))
    assert live_hash(cls) is None
    assert cache_key("no_module.Mine") != cache_key("no_module.Mine")


# -- modules that were edited


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes `edited_task.py` and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "edited_task.py"
    path.write_text(TASK)
    importlib.invalidate_caches()
    yield importlib.import_module("edited_task"), path
    sys.modules.pop("edited_task", None)


@pytest.mark.parametrize("is_used_first", [True, False])
def test_a_module_that_was_edited_after_it_was_loaded_is_an_error(module, is_used_first):
    loaded, path = module
    if is_used_first:
        assert loaded.targets() == ["GOLD0", "GOLD1"]
    path.write_text(TASK.replace('"GOLD"', '"SILVER"'))
    message = "edited_task.py was edited after it was loaded: .* Restart the process"
    with pytest.raises(ConfigError, match=message):
        loaded.targets()
    with pytest.raises(ConfigError, match=message):
        running_hash("edited_task.Mine")
    assert class_hash("edited_task.Mine"), "the hash of the file, for reports, is known"
    before = loaded.Mine(n=2, length=512, tokenizer="approx4")
    loaded = importlib.reload(loaded)
    assert loaded.targets() == ["SILVER0", "SILVER1"]
    assert next(before.samples()).target.startswith("SILVER"), "its globals"
    show = "import edited_task\nprint(*edited_task.targets(4))"
    env = {**os.environ, "PYTHONPATH": f"{path.parent}{os.pathsep}{Path(__file__).parents[1]}"}
    done = subprocess.run(
        [sys.executable, "-c", show], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["SILVER0", "SILVER1", "SILVER2", "SILVER3"]


def test_an_edited_comment_or_a_touched_file_is_no_other_code(module):
    loaded, path = module
    path.touch()
    assert loaded.targets() == ["GOLD0", "GOLD1"]
    path.write_text(f"# a comment\n{TASK}")
    assert loaded.targets() == ["GOLD0", "GOLD1"]


def test_the_edited_module_of_a_cell_ends_it_before_any_call(module, tmp_path):
    import rlm_eval as rl

    loaded, path = module
    task = loaded.Mine(n=2, length=512, tokenizer="approx4")
    path.write_text(TASK.replace('"GOLD"', '"SILVER"'))
    with pytest.raises(ConfigError, match="edited_task.py was edited after it was loaded"):
        rl.evaluate_sync(task, ["long_context"], root="scripted", folder=tmp_path / "run")


def test_an_import_is_only_watched():
    code = textwrap.dedent("""
        import sys, rlm_eval.core
        from rlm_eval.core import loaded
        import json.tool, wave
        assert not any("wave" in path or "json" in path for path in loaded._TEXTS)
        print(sum(finder is loaded._Recorder for finder in sys.meta_path))
    """)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
