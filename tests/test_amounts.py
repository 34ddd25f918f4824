"""A sum with an unknown part is unknown."""

import ast
from pathlib import Path

import pytest

import rlm_eval
from rlm_eval.core.amounts import known_sum


@pytest.mark.parametrize(
    ("values", "total"),
    [([], 0), ([1, 2], 3), ([0.5, 0.25], 0.75), ([1, None], None), ([None], None), ([0, 0], 0)],
)
def test_the_sum_of_known_values(values, total):
    assert known_sum(values) == total
    assert known_sum(iter(values)) == total


def test_no_module_has_a_sum_of_this_kind_of_its_own():
    """Copies of it had come to differ in what they gave for no value."""
    own = {
        str(path)
        for path in Path(rlm_eval.__file__).parent.rglob("*.py")
        if path.name != "amounts.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        if "return None if None in" in (body := ast.unparse(node)) and "else sum(" in body
    }
    assert not own
