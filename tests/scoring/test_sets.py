"""F1 over sets of names: cases worked out by hand."""

import pytest

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
