"""Spans of a text: their union, and what lies within it."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_eval.core.spans import merge, share_within, touches

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple))


def chars(some: list[tuple[int, int]]) -> set[int]:
    return {at for start, end in some for at in range(start, end)}


@given(spans)
def test_a_union_holds_the_same_characters_in_order_and_apart(some):
    union = merge(some)
    assert chars(union) == chars(some)
    assert all(a_end < b_start for (_, a_end), (b_start, _) in itertools.pairwise(union))


def test_neighbours_are_one_and_empty_spans_none():
    assert merge([(5, 9), (0, 3), (2, 6), (9, 9)]) == [(0, 9)]
    assert merge([(4, 4)]) == []


@given(spans, spans)
def test_a_share_is_of_whole_spans_and_a_touch_is_of_any_character(wanted, some):
    wanted = [span for span in wanted if span[0] < span[1]]
    within = [chars([span]) <= chars(some) for span in wanted]
    assert share_within(wanted, some) == (sum(within) / len(within) if within else None)
    assert touches(wanted, some) == bool(chars(wanted) & chars(some))


def test_a_share_of_whole_spans():
    assert share_within([(0, 5), (8, 12), (20, 25)], [(0, 10), (10, 13), (21, 30)]) == (
        pytest.approx(2 / 3)
    )
    assert share_within([], [(0, 3)]) is None
    assert share_within([(0, 11), (20, 32)], [(0, 10), (20, 30)], spared=1) == 1 / 2


def test_a_span_on_every_line_of_ten_million_tokens_is_counted_in_a_moment():
    lines = [(160 * i, 160 * i + 159) for i in range(250_000)]
    begun = time.process_time()  # other processes may have the cores
    assert share_within(lines, lines[::2]) == 0.5
    assert time.process_time() - begun < 10  # a scan of all that was kept per line: an hour
