"""The table of external engines: every attempted sample counts, failures by kind and reason."""

import math

import pandas as pd
from report import made_frames as frames

from rlm_eval.report import summary
from rlm_eval.report.tables import leaderboard


def made(n: int = 10, **notes: list[object]) -> pd.DataFrame:
    """Records of an engine and of long context at one length, all right but where said."""
    frame = frames.frame(methods=("long_context", "rlm"), lengths=(1024,), n=n)
    engine = frame["method"] == "rlm"
    frame.loc[engine, "method"] = "external_dspy"
    frame["score"], frame["outcome"] = 1.0, "ok"
    for name, values in notes.items():
        frame[f"note_engine_{name}"] = pd.Series([None] * len(frame), dtype=object)
        frame.loc[engine, f"note_engine_{name}"] = values
    return frame


def rows(frame: pd.DataFrame) -> dict[str, dict[str, object]]:
    ready = summary.prepare(frame)
    (table,) = leaderboard.build(ready, summary.summarise(ready))
    return {row["method"].split()[0]: row for row in table.rows.to_dict("records")}


def test_a_sample_that_ended_outside_the_method_is_an_attempt_too():
    frame = made(reason=[None] * 8 + ["reply without code", "reply without code"])
    where = frame.index[frame["method"] == "external_dspy"]
    frame.loc[where[0], ["score", "outcome"]] = [math.nan, "provider_error"]
    frame.loc[where[1:3], ["score", "outcome"]] = [0.0, "limit:turns"]
    frame.loc[where[8:], ["score", "outcome"]] = [0.0, "no_answer"]
    found = rows(frame)
    assert (found["external_dspy"]["attempted"], found["external_dspy"]["score %"]) == (10, "50.0")
    assert found["external_dspy"]["failures"] == (
        "limit:turns 2, no_answer (reply without code) 2, provider_error 1"
    )
    assert (found["long_context"]["score %"], found["long_context"]["failures"]) == (
        "100.0",
        "none",
    )
    assert found["long_context"]["missed calls"] == "ours"


def test_the_engines_own_account_stands_beside_ours():
    frame = made(
        missed_calls=[2] * 9 + [None],
        missed_tokens=[100] * 9 + [None],
        failed_calls=[0] * 9 + [1],
        forced=[True, True] + [False] * 8,
        peak_calls=[1] * 9 + [3],
        input_chars_first=[6000] * 10,
    )
    row = rows(frame)["external_dspy"]
    assert row["missed calls"] == "18 (of 9 samples)"
    assert row["missed tokens"] == "900 (of 9 samples)"
    assert (row["forced"], row["failed calls"], row["at once"]) == (2, 1, 3)
    assert row["first prompt"] == "6,000"
    assert row["method"].endswith(" *"), "calls failed while the engine went on"


def test_a_report_without_an_engine_has_no_leaderboard():
    ready = summary.prepare(frames.frame(lengths=(1024,)))
    assert leaderboard.build(ready, summary.summarise(ready)) == []


def test_lines_of_places_without_an_engine_are_left_out():
    other = frames.frame(methods=("long_context",), lengths=(2048,))
    found = rows(pd.concat([made(), other], ignore_index=True))
    assert {row["length"] for row in found.values()} == {"1k"}
