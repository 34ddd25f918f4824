"""The lines of `oolong_gen` that were labelled blind: their agreement, from the files."""

import importlib.util
from pathlib import Path

import pytest

from rlm_eval.tasks.oolong.grammar import FAMILIES

FOLDER = Path(__file__).parent.parent.parent / "benchmarks" / "line_labels"
_SPEC = importlib.util.spec_from_file_location("line_labels", FOLDER / "lines.py")
lines = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(lines)


@pytest.mark.parametrize("name", FAMILIES)
def test_both_passes_find_the_gold(name):
    one, other = lines.agreement(name)
    assert min(one, other) >= lines.LEAST
    assert f"| `{name}` | {one} | {other} |" in (FOLDER / "README.md").read_text("utf-8")
    for seed in (1, 2):
        assert sorted(lines.labels_of(name, seed)) == list(range(lines.LINES))
    assert lines.order(name, 1) != lines.order(name, 2)
