"""Every trait and every label, on blocks such as models write."""

import pytest
from trajectories import root, step, sub, trajectory

from rlm_eval.records.strategy import (
    TRAITS,
    TRAJECTORY_LABELS,
    Names,
    label,
    traits,
    trajectory_label,
    turn_labels,
)

BLOCKS = {
    "broken": "for line in context\n  print(line)",
    "recursion": "parts = [context[:9000], context[9000:]]\nprint(rlm_query_batched(parts, q))",
    "per_line_calls": 'for line in context.split("\\n"):\n    print(llm_query("Label: " + line))',
    "chunk_map": "chunks = [context[i:i + 4000] for i in range(0, len(context), 4000)]\n"
    'notes = llm_query_batched([f"{c}\\n{q}" for c in chunks])',
    "loop_calls": "for doc in context:\n    notes.append(llm_query(doc))",
    "verification": 'ok = llm_query(f"Verify that {answer_text} is right: {context[:900]}")',
    "ask": 'print(llm_query("Who spoke?" + context[:1000]))',
    "aggregation": "from collections import Counter\nprint(Counter(labels).most_common(3))",
    "regex_filter": 'import re\nprint(re.findall(r"code \\d+", context))',
    "keyword_scan": 'at = context.find("harbour")\nprint(context[at:at + 200])',
    "probe": "print(type(context), len(context))\nprint(context[:500])",
    "finish": 'answer["content"] = name\nanswer["ready"] = True',
}


@pytest.mark.parametrize("name", TRAITS)
def test_each_trait_is_the_label_of_a_block_that_shows_it(name):
    assert label(traits(BLOCKS[name])) == name


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ('rows = [r for r in context.splitlines() if "May" in r]', {"keyword_scan"}),
        (
            "for line in lines:\n    if name in line:\n        n += 1",
            {"keyword_scan", "aggregation"},
        ),
        (
            "while at < len(context):\n    out.append(llm_query(context[at:at + 9]))\n    at += 9",
            {"chunk_map", "aggregation"},
        ),
        ("for i in range(10):\n    llm_query(context[i * n:(i + 1) * n])", {"chunk_map"}),
        ("Final = 7", {"finish"}),
        ("x = 1", set()),
    ],
)
def test_other_ways_to_write_the_same(code, shown):
    assert traits(code) == shown


def test_lines_bound_in_one_block_are_known_in_the_next():
    names = Names()
    traits('lines = context.split("\\n")\nkept = [x for x in lines if x]', names)
    assert "per_line_calls" in traits("llm_query_batched([p + x for x in kept])", names)
    traits("for i in range(0, 9, 3):\n    pieces.append(context[i:i + 3])", names)
    assert "chunk_map" in traits("llm_query_batched(pieces)", names)


def of(*blocks):
    """A trajectory with one block per turn."""
    calls = [root(turn) for turn in range(len(blocks))]
    steps = [step(turn, code) for turn, code in enumerate(blocks) if code]
    return trajectory(calls, steps)


@pytest.mark.parametrize(
    ("expected", "blocks"),
    [
        ("recursion", [BLOCKS["probe"], BLOCKS["recursion"]]),
        ("per_line_calls", [BLOCKS["per_line_calls"], BLOCKS["finish"]]),
        ("chunk_map", [BLOCKS["regex_filter"], BLOCKS["chunk_map"]]),
        ("search_then_ask", [BLOCKS["keyword_scan"], BLOCKS["ask"], BLOCKS["finish"]]),
        ("ask", [BLOCKS["probe"], BLOCKS["ask"], BLOCKS["regex_filter"]]),
        ("aggregation", [BLOCKS["regex_filter"], BLOCKS["aggregation"]]),
        ("search", [BLOCKS["regex_filter"], BLOCKS["finish"]]),
        ("read", [BLOCKS["probe"], BLOCKS["finish"]]),
        ("no_code", ["", ""]),
    ],
)
def test_the_label_of_a_trajectory(expected, blocks):
    assert expected in TRAJECTORY_LABELS
    assert trajectory_label(of(*blocks)) == expected


def test_turn_labels_name_turns_without_code_and_leave_children_out():
    seen = of(BLOCKS["probe"], "", BLOCKS["finish"])
    child = step(0, BLOCKS["recursion"], call=99, position="t0.b0/ab12.t0.b0")
    seen = trajectory([*seen.calls, sub(99, parent=0)], [*seen.steps, child])
    assert turn_labels(seen) == {0: "probe", 1: "no_code", 2: "finish"}
