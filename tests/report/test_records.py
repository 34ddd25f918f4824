"""A record states what happened, and unknown stays unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_samples import CELL, TEXT, call, sample, score, step, trajectory

from rlm_eval.budget.prices import call_cost
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Answer, Call, Outcome, Role, Slice, Usage
from rlm_eval.records import record

PRICED = lambda c: (0.01 * (c.usage.input or 0), 0.005 * (c.usage.input or 0))  # noqa: E731
UNPRICED = lambda c: (None, None)  # noqa: E731


def recursion() -> tuple[Call, ...]:
    source = sample().context.hash
    middle = len(TEXT) // 2
    return (
        call(0, 0.0, 2.0),
        call(1, 2.0, 5.0, parent=0, role=Role.SUB, parts=("q", Slice(source, 0, middle))),
        call(2, 4.0, 6.0, submit=2.0, parent=0, role=Role.SUB, parts=(Slice(source, 0, middle),)),
        call(3, 8.0, 9.0, turn=1),
    )


def test_counts_roles_and_the_longest_chain() -> None:
    item = sample()
    row = record.record_of(
        CELL, item, trajectory(item, recursion(), steps=(step(0),)), score(1.0), PRICED
    )
    assert (row["n_calls"], row["n_root_calls"], row["n_sub_calls"]) == (4, 2, 2)
    assert row["used_recursion"] is True
    assert row["max_fanout"] == 2
    assert row["turns"] == 2
    # root 2 s + block 0.5 s + the longer of two parallel sub-calls 3 s + root 1 s
    assert row["critical_path_seconds"] == pytest.approx(6.5)
    assert row["queue_seconds"] == pytest.approx(2.0)
    assert row["service_seconds"] == pytest.approx(8.0)
    assert row["input_tokens"] == 400
    assert row["cost_cold"] == pytest.approx(4.0)
    assert row["cost_observed"] == pytest.approx(2.0)
    assert row["score_lenient"] == 1.0
    assert row["meta_needle_depth"] == 0.5


def test_tokens_by_depth_and_the_times_of_streamed_calls() -> None:
    item = sample()
    streamed = [replace(c, times=replace(c.times, first_token=c.times.start + 0.5)) for c in
                recursion()[:2]]  # fmt: skip
    made = trajectory(item, (*streamed, *recursion()[2:]))
    row = record.record_of(CELL, item, made, score(1.0), PRICED)
    assert (row["depth0_calls"], row["depth1_calls"]) == (2, 2)
    assert (row["depth0_input_tokens"], row["depth1_output_tokens"]) == (200, 40)
    assert row["first_token_seconds"] == pytest.approx(0.5)
    # 1.5 s and 2.5 s for the 19 tokens behind the first
    assert row["token_seconds"] == pytest.approx((1.5 + 2.5) / 2 / 19)
    plain = record.record_of(CELL, item, trajectory(item, recursion()), score(1.0), PRICED)
    assert plain["first_token_seconds"] is plain["token_seconds"] is None


def test_failed_attempts_are_told_apart_and_are_in_the_cost() -> None:
    item = sample()
    calls = (
        call(0, 0.0, 1.0, failed=(Usage(input=100),)),
        call(1, 1.0, 2.0, usage=Usage(input=50), error="ProviderError: 500", lost_attempts=2),
    )
    cost = call_cost({"root": "gpt-4o-mini"})
    row = record.record_of(CELL, item, trajectory(item, calls), score(1.0), cost)
    assert row["failed_cost"] == pytest.approx(150 * 0.15e-6)
    assert row["cost_cold"] == pytest.approx(250 * 0.15e-6 + 20 * 0.6e-6)
    assert row["n_lost_attempts"] == 2


def test_coverage_counts_a_character_once_and_rereading_twice() -> None:
    item = sample()
    row = record.record_of(CELL, item, trajectory(item, recursion()), score(0.0), PRICED)
    assert row["coverage"] == pytest.approx(0.5, abs=0.01)
    assert row["reread"] == pytest.approx(2.0)
    assert row["evidence_seen"] == 0.0
    assert row["failure"] == "evidence_never_seen"


def test_unknown_is_null_never_zero() -> None:
    item = sample()
    calls = (call(0, 0.0, 1.0, usage=Usage(input=5)), call(1, 1.0, 2.0, usage=Usage()))
    row = record.record_of({}, item, trajectory(item, calls), (), UNPRICED)
    unknown = [
        "cost_cold",
        "cost_observed",
        "input_tokens",
        "output_tokens",
        "score",
        "gpu_seconds",
        "method",
    ]
    assert [row[name] for name in unknown] == [None] * len(unknown)
    frame = record.to_frame([row])
    assert frame[unknown].isna().all().all()


def test_a_failed_call_without_usage_is_counted_but_not_billed() -> None:
    item = sample()
    calls = (call(0, 0, 1, usage=Usage(), error="ProviderError: 500"), call(1, 1, 2))
    row = record.record_of(CELL, item, trajectory(item, calls), score(1.0), PRICED)
    assert (row["n_failed_calls"], row["input_tokens"]) == (1, 100)


def test_a_replayed_call_is_timed_as_it_was() -> None:
    item = sample()
    calls = (call(0, 0, 1, replayed=True), call(1, 1, 3))
    row = record.record_of(CELL, item, trajectory(item, calls), score(1.0), PRICED)
    assert row["critical_path_seconds"] == 3
    assert row["n_replayed_calls"] == 1


@pytest.mark.parametrize(
    ("outcome", "value", "expected"),
    [
        (Outcome.PROVIDER_ERROR, 1.0, None),
        (Outcome.CONTEXT_OVERFLOW, None, 0.0),
        (Outcome.TRUNCATED, 1.0, 1.0),
    ],
)
def test_outcome_decides_whether_a_score_exists(
    outcome: Outcome, value: float | None, expected: float | None
) -> None:
    item = sample()
    done = trajectory(item, (call(0, 0, 1),), outcome=outcome)
    assert record.record_of(CELL, item, done, score(value), PRICED)["score"] == expected


def test_failures_are_told_apart() -> None:
    item = sample()
    whole = Slice(item.context.hash, 0, len(TEXT))
    seen = call(0, 0, 1, parts=(whole,))
    held = call(0, 0, 1, parts=(whole,), reply="I found 7412")
    last = call(1, 1, 2)
    part = call(0, 0, 1, parts=(Slice(item.context.hash, 0, item.evidence[0][1] - 2),))
    two = sample(evidence=((0, 6), (7, 13)))
    cases = [
        (item, trajectory(item, (seen,)), score(0.0), "seen_and_missed"),
        (item, trajectory(item, (held, last)), score(0.0), "right_then_changed"),
        (item, trajectory(item, (last,)), score(0.0), "evidence_never_seen"),
        (item, trajectory(item, (part,)), score(0.0), "evidence_seen_in_part"),
        (two, trajectory(two, (seen,)), score(0.0), "seen_and_misaggregated"),
        (item, trajectory(item, (seen,)), score(0.0, None), "not_parsed"),
        (item, trajectory(item, (seen,), outcome=Outcome.LIMIT_TURNS), score(0.0), "cut_off"),
        (item, trajectory(item, (seen,), answer=Answer(None)), score(0.0), "no_answer"),
        (replace(item, evidence=()), trajectory(item, (seen,)), score(0.0), "wrong"),
        (item, trajectory(item, (seen,)), score(1.0), None),
    ]
    for of, done, verdict, expected in cases:
        row = record.record_of(CELL, of, done, verdict, PRICED)
        assert row["failure"] == expected


def test_round_trip_through_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    item = sample()
    rows = [
        record.record_of(CELL, item, trajectory(item, recursion(), notes=n), score(0.5), UNPRICED)
        for n in ({"recall": 0.5, "mixed": 1}, {"mixed": "word"}, {})
    ]
    rows = [row | {"epoch": number} for number, row in enumerate(rows)]
    frame = record.to_frame(rows)
    frame.to_parquet(tmp_path / record.FILE)
    back = record.load_records([tmp_path, tmp_path])
    assert len(back) == 3  # a folder that is named twice is read once
    assert list(back.columns) == list(frame.columns)
    assert back["cost_cold"].isna().all()
    assert back["n_calls"].dtype == "Int64"
    assert back["note_mixed"].iloc[1] == "word"


def test_a_directory_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(RlmEvalError, match=str(tmp_path)):
        record.load_records([tmp_path])
