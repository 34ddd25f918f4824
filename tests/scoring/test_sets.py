"""F1 over sets of names: cases worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_eval.scoring.sets import items, set_f1

GOLD = ["amber_kettle", "calm_raft", "old.module_b"]


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("amber_kettle, calm_raft, old.module_b", 1.0),
        ("They are `calm_raft`, `old.module_b` and `amber_kettle`.", 1.0),
        ("- AMBER_KETTLE\n- calm_raft\n- old.module_b\n- calm_raft", 1.0),
        ("<think>perhaps bold_moth</think>amber_kettle, calm_raft, old.module_b", 1.0),
        ("amber_kettle", 0.5),  # precision 1, recall 1/3
        ("amber_kettle, bold_moth", 0.4),  # 1/2 and 1/3
        ("amber_kettle, calm_raft, bold_moth", 2 / 3),
        ("amber_kettles", 0.0),
        ("amber, kettle", 0.0),
        ("None of them.", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_identifiers(output, value):
    assert set_f1(GOLD, output).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("Mercury and Venus", 1.0),
        ("The answer is: venus, mercury.", 1.0),
        ("* Mercury\n* Earth", 0.5),
        ("Mercury Venus", 0.0),
        ("", 0.0),
    ],
)
def test_plain_names(output, value):
    assert set_f1(["Mercury", "Venus"], output).value == pytest.approx(value)


def test_names_of_the_question_count_for_nothing():
    assert set_f1(["calm_raft"], "my_package needs calm_raft", {"my_package"}).value == 1.0
    assert set_f1(["calm_raft"], "my_package needs calm_raft").value == pytest.approx(2 / 3)
    assert set_f1(["calm_raft"], "calm_raft", {"calm_raft"}).value == 1.0


def test_the_empty_set():
    assert set_f1([], "").value == 1.0
    assert set_f1([], "Mercury").value == 0.0
    assert set_f1([], None).value == 0.0
    assert items("a: b, c", ()) == {"b", "c"}


@pytest.mark.parametrize(
    ("golds", "output", "value"),
    [
        (["Trinidad and Tobago", "Cuba"], "They are: Trinidad and Tobago and Cuba.", 1.0),
        (["Trinidad and Tobago"], "trinidad and  tobago", 1.0),
        (["Trinidad and Tobago"], "Trinidad, Tobago", 0.0),
        (["a and b", "c"], "a, b and c", 0.4),
        (["Washington, D.C.", "Acme Inc."], "Acme Inc., Washington, D.C.", 1.0),
        (["Acme (UK)", "C++"], "C++, Acme (UK)", 1.0),
        (["10:30", "11:00"], "At: 10:30, 11:00", 1.0),
        (["x", "y"], "So it is $\\boxed{x, y}$.", 1.0),
        (["x", "y"], "\\boxed{z}, no: \\boxed{\\{\\text{x}, y\\}}, as I said", 1.0),
        (["Mercury", "Venus"], "1. Mercury\n2. Venus", 1.0),
        (["Mercury", "Venus"], "(1) Mercury, (2) Venus", 1.0),
        (["1. FC Ulm", "SV Ulm"], "1. 1. FC Ulm\n2. SV Ulm", 1.0),
        (["1. FC Ulm", "SV Ulm"], "1. FC Ulm, SV Ulm", 1.0),
        ("Mercury", "Mercury", 1.0),  # one name that is no list
        ([5, 7], "5 and 7", 1.0),
    ],
)
def test_names_with_marks_of_a_list(golds, output, value):
    assert set_f1(golds, output).value == pytest.approx(value)


_NAMES = ["A", "b and c", "B", "d, e", "d", "f (g)", "h: i", "3. j", "k.", "m/n", "o; p", "q-r"]


@given(st.lists(st.sampled_from(_NAMES), min_size=1, unique=True), st.sampled_from(["\n", "; "]))
def test_the_golds_are_a_right_answer(golds, between):
    assert set_f1(golds, between.join(golds)).value == 1.0
