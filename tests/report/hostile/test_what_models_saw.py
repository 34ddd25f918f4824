"""Only what a model read towards an answer counts as seen (item 10)."""

import pytest
from made_samples import CELL, call, sample, score, trajectory

from rlm_eval.core.types import Role, Slice
from rlm_eval.records import record

LINES = 400
TEXT = "".join(f"user {number:04}: 7\n" for number in range(LINES))
WIDTH = len(TEXT) // LINES
EVIDENCE = tuple((i * WIDTH, (i + 1) * WIDTH) for i in range(LINES))


def counting(**changes):
    """A question whose answer takes every one of 400 lines."""
    return sample(TEXT, "12345", evidence=EVIDENCE, **changes)


def shown(of, *spans):
    return tuple(Slice(of.context.hash, start * WIDTH, end * WIDTH) for start, end in spans)


def row(of, *calls):
    done = trajectory(of, calls)
    return record.record_of(CELL, of, done, score(0.0), lambda _: (None, None))


@pytest.mark.parametrize("role", [Role.EMBED, Role.RERANK, Role.JUDGE])
def test_an_index_over_everything_has_seen_nothing(role):
    of = counting()
    index = call(0, 0, 1, role=role, parts=shown(of, (0, LINES)))
    found = row(of, index, call(1, 1, 2, parts=("no passage was found",)))
    assert (found["coverage"], found["evidence_seen"]) == (0.0, 0.0)
    assert found["failure"] == "evidence_never_seen"


def test_four_passages_of_hundreds_of_lines_are_too_little_to_aggregate():
    of = counting()
    index = call(0, 0, 1, role=Role.EMBED, parts=shown(of, (0, LINES)))
    passages = [(40, 45), (90, 95), (200, 205), (300, 305)]
    found = row(of, index, call(1, 1, 2, parts=shown(of, *passages)))
    assert found["evidence_seen"] == 0.05
    assert found["failure"] == "saw_too_little"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [(199, "saw_too_little"), (200, "seen_and_misaggregated"), (400, "seen_and_misaggregated")],
)
def test_half_of_the_spans_divides_reading_from_adding_up(lines, kind):
    of = counting()
    assert row(of, call(0, 0, 1, parts=shown(of, (0, lines))))["failure"] == kind


def test_one_span_is_seen_or_not():
    of = sample()
    whole = Slice(of.context.hash, 0, of.context.chars)
    assert row(of, call(0, 0, 1, parts=(whole,)))["failure"] == "seen_and_missed"


def test_a_prompt_that_failed_was_read_by_no_one():
    of = counting()
    failed = call(0, 0, 1, parts=shown(of, (0, LINES)), error="ContextOverflow: too long")
    found = row(of, failed, call(1, 1, 2))
    assert found["coverage"] == 0.0
    assert found["failure"] == "evidence_never_seen"
