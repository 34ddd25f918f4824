"""docs/reference is what the code says: settings, columns, outcomes, codes, variables, commands."""

import csv
import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlm_eval.cli import commands
from rlm_eval.core.exit_codes import NEGATIVE_RESULTS
from rlm_eval.core.outcomes import Outcome
from rlm_eval.core.variables import INTERNAL, VARIABLES
from rlm_eval.records.columns import COLUMNS
from rlm_eval.report.tables.meanings import TABLES, described, meaning

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
make_reference = importlib.import_module("make_reference")
parts = importlib.import_module("reference_parts")
PAGES = make_reference.pages()


def test_the_committed_pages_are_those_of_the_code():
    found = {path.name: path.read_text() for path in (ROOT / "docs/reference").glob("*.md")}
    assert found.keys() == PAGES.keys()
    for name, text in PAGES.items():
        assert found[name] == text, f"{name} differs: run `python scripts/make_reference.py`"


@dataclass
class Half:
    """A class with a field that has no meaning."""

    told: int = 1
    """A meaning."""
    untold: int | None = None


def test_a_setting_without_a_meaning_is_refused():
    with pytest.raises(parts.NoMeaning, match=r"test_reference\.Half\.untold: no meaning"):
        parts.settings_of(Half)


def test_settings_have_type_default_and_meaning():
    """Of a task, a method, a model and a nested node; spot checks against the classes."""
    rows = {
        "tasks.md": "| `questions_per_window` | int |",
        "methods.md": "| `max_turns` | int |",
        "models.md": "| `sampling` | Sampling | defaults of Sampling |",
        "run.md": "| `seconds` | float or null | `null` |",
    }
    for page, row in rows.items():
        assert row in PAGES[page]
    for page in ("run.md", "tasks.md", "methods.md", "models.md", "suites.md"):
        for line in PAGES[page].splitlines():
            if line.startswith("| `"):
                assert line.rstrip(" |").count(" | ") >= 2, line
    for path in (ROOT / "configs").glob("[mt]*/*.yaml"):
        page = {"task": "tasks.md", "method": "methods.md", "model": "models.md"}[path.parent.name]
        assert f"| `{path.parent.name}={path.stem}` |" in PAGES[page]


def test_every_column_of_records_and_published_tables_has_a_meaning():
    for name in COLUMNS:
        assert f"| `{name}` |" in PAGES["columns.md"]
    seen = set()
    for path in (ROOT / "results/published").glob("*/tables/*.csv"):
        with path.open() as file:
            header = next(csv.reader(file))
        seen.add(path.stem)
        unknown = [name for name in header if meaning(path.stem, name) is None]
        assert not unknown, f"{path}: say what they mean in report/tables/meanings.py: {unknown}"
    seen = set(map(described, seen))
    assert {"accuracy", "cells", "cost", "planned", "published"} <= seen <= TABLES.keys()
    assert meaning("cost", "odd") is None


def test_every_table_of_the_code_is_described():
    made = set()
    for folder in ("report/tables", "suites"):
        for path in (ROOT / "rlm_eval" / folder).glob("*.py"):
            made |= set(re.findall(r"\bTable\(\s*\"(\w+)\"", path.read_text()))
    assert len(made) > 10
    assert made <= TABLES.keys()


def test_every_outcome_and_exit_code_is_described():
    for outcome in Outcome:
        assert f"| `{outcome.value}` |" in PAGES["outcomes.md"]
    assert NEGATIVE_RESULTS.keys() <= commands().keys()
    for code in (0, 1, 2, 130, 143):
        assert f"| {code} |" in PAGES["exit_codes.md"]


@pytest.mark.parametrize("name", commands())
def test_every_option_of_a_command_is_on_the_page(name):
    _, found, page = PAGES["commands.md"].partition(f"\n## {name}\n")
    assert found
    page = page.partition("\n## ")[0]
    module = importlib.import_module(f"rlm_eval.commands.{commands()[name].stem}")
    for action in make_reference.parser_of(module)._actions:
        for option in action.option_strings:
            if option not in ("-h", "--help"):
                assert option in page


def read_by_name() -> set[str]:
    """Environment variables that the package and its scripts read by a name in the code."""
    found = set()
    for path in (ROOT / "rlm_eval").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r"RLM_EVAL_[A-Z_]*[A-Z]|\bPIP_[A-Z_]+", text))
        found |= set(re.findall(r"os\.(?:environ\.(?:get|pop)|getenv)\(\s*\"([A-Z_]+)\"", text))
    for path in (ROOT / "scripts").glob("*.sh"):
        found |= set(re.findall(r"RLM_EVAL_[A-Z_]*[A-Z]", path.read_text()))
    script = (ROOT / "scripts" / "env.sh").read_text()
    return found | set(re.findall(r"\$\{([A-Z_]+):-", script))


def test_every_environment_variable_is_described():
    found = read_by_name()
    assert {"RLM_EVAL_CACHE", "RLM_EVAL_PRICES", "HF_TOKEN", "SLURM_JOB_ID", "TERM"} <= found
    assert found <= VARIABLES.keys() | INTERNAL.keys()
    stale = [n for n in VARIABLES | INTERNAL if n.startswith("RLM_EVAL_") and n not in found]
    assert set(stale) <= {"RLM_EVAL_RLMS_PYTHON"}  # of the tests alone
