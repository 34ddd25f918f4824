"""Windows in OOLONG's format: nested, tied and close where they say so, read back as written."""

import re
from collections import Counter

import pytest

from rlm_eval.tasks.oolong.window import (
    FIRST_DAY,
    LAST_DAY,
    Row,
    Window,
    official_lines,
    parse,
    render,
    render_line,
)


def window(key="w"):
    return Window(key, lambda text: len(text) / 4)


def test_lines_of_the_official_lengths():
    known = {1024: 14, 2048: 39, 4096: 89, 8192: 188, 16384: 388, 32768: 787, 65536: 1585}
    known |= {131072: 3182, 262144: 6374, 524288: 12760, 1048576: 25531}
    assert {length: official_lines(length) for length in known} == known


def test_written_and_read_back():
    made = window()
    rows = made.arranged(made.first(300))
    text = render(rows, made.priors.order, with_labels=True)
    assert parse(text) == rows
    assert [row._replace(label="") for row in rows] == parse(render(rows, made.priors.order))
    first, *_, last = text.split("\n\n")
    assert first.startswith("The following lines contain 300 general-knowledge questions, one per")
    assert re.search(r"one of 6 categories: '[a-z ]+'(, '[a-z ]+'){5}\.$", first)
    assert "Recall: the preceding lines contain 300 " in text
    assert last == ""
    line = render_line(Row(738_526, 12345, "What | was || it?", "entity"))
    assert line == "Date: Jan 06, 2023 || User: 12345 || Instance: What | was || it?"
    assert parse(line)[0].text == "What | was || it?"


def test_a_shorter_window_is_the_longer_one_with_lines_taken_out():
    short, long = window(), window()
    few, many = short.first(200), long.first(2000)
    assert sum(a == b for a, b in zip(few, many, strict=False)) >= 197
    assert [row[:2] for row in few] == [row[:2] for row in many[:200]]
    shown = [row[:2] for row in long.arranged(many) if row in set(few)]
    assert shown == [row[:2] for row in short.arranged(few) if row in set(many)]


@pytest.mark.parametrize("n", [20, 101, 102, 103, 777, 3001])
def test_two_labels_are_tied_and_three_follow_closely(n):
    for key in "abc":
        made = window(key)
        counts = Counter(row.label for row in made.first(n))
        a, b = made.priors.tied
        assert counts[a] == counts[b]
        c, d, e = (counts[label] for label in made.priors.close)
        assert c >= d >= e > 0
        if d >= 80:
            assert all(0.3 < gap / d**0.5 < 0.65 and gap >= 4 for gap in (c - d, d - e))


def test_users_dates_and_texts_follow_the_benchmark():
    rows = window().first(3000)
    users = Counter(row.user for row in rows)
    assert 0.25 < len(users) / 3000 < 0.34  # official: about 0.3 (954 of 3182)
    common = {user for user, count in users.items() if count >= 3}
    assert 0.7 < sum(users[user] for user in common) / 3000 < 0.85
    assert all(10_000 <= user < 100_000 for user in users)
    assert FIRST_DAY <= min(row.day for row in rows) < max(row.day for row in rows) <= LAST_DAY
    assert len({row.text for row in rows}) == 3000


@pytest.mark.parametrize("budget", [300, 301, 1234, 20_000])
def test_fill_meets_the_budget_and_keeps_labels_users_and_dates(budget):
    made = window()
    rows = made.fill(budget, 1.0)
    cost = sum(len(render_line(row)) + 1 for row in rows) / 4
    assert budget - 4 <= cost <= budget + 1
    plain = window().first(len(rows))
    assert [(r.day, r.user, r.label) for r in rows] == [(r.day, r.user, r.label) for r in plain]
    assert len({row.text for row in rows}) == len(rows)
