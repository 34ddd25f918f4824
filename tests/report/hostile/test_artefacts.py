"""Classic artefacts of an evaluation are named with their count, and only where they are."""

import made_frames
import made_samples
import pandas as pd
import pytest

from rlm_eval.records.artefacts import fingerprints, is_runaway, repeats
from rlm_eval.report import summary
from rlm_eval.report.artefacts import artefacts
from rlm_eval.report.tables.caveats import caveats


def made(**columns):
    """One cell per method at one length, 20 samples each, with these columns set."""
    frame = made_frames.frame(lengths=(1024,), n=20, methods=("long_context", "rlm"))
    return frame.assign(**columns)


def said(frame):
    prepared = summary.prepare(frame)
    table = summary.summarise(prepared)
    found = artefacts(prepared)
    assert set(found) <= set(caveats(prepared, table))
    return " ".join(found)


def repeated(frame, replies, temperature, chars=400):
    """Two repeats of every sample; `replies(row, epoch)` is the first reply's hash."""
    parts = []
    for epoch in (0, 1):
        hashes = [replies(i, epoch) for i in range(len(frame))]
        parts.append(frame.assign(epoch=epoch, first_reply_hash=hashes))
    return pd.concat(parts, ignore_index=True).assign(
        temperature=temperature, first_reply_chars=chars
    )


def test_plain_records_and_those_of_before_say_nothing():
    assert said(made()) == ""
    assert said(made(evidence_seen=1.0, coverage=1.0)) == ""


# -- chat template


@pytest.mark.parametrize(
    ("reply", "finish", "runaway"),
    [
        ("the same line again\n" * 80, "length", True),
        ("the same line again\n" * 80, "stop", False),
        ("no no no " * 100, "length", True),
        (" ".join(map(str, range(400))), "length", False),
        ("7003<|im_end|>\n<|im_start|>user\nAnd now?", "stop", True),
        (
            "You are given a text and a question about it; answer the question briefly. 7",
            "stop",
            True,
        ),
        ("7003", "stop", False),
        ("", "length", False),
    ],
)
def test_echoes_and_replies_that_never_stop_are_found(reply, finish, runaway):
    prompt = "You are given a text and a question about it; answer the question briefly."
    call = made_samples.call(0, 0, 1, reply=reply, finish_reason=finish, parts=(prompt,))
    assert is_runaway(call) is runaway


def test_a_repetition_is_found_wherever_its_period_begins():
    assert repeats("abc" + "xyz12" * 200)
    assert not repeats("abc")


def test_a_missing_template_is_a_caveat_with_its_count():
    frame = made(n_runaway_calls=0)
    frame.loc[frame["method"] == "long_context", "n_runaway_calls"] = [1] * 7 + [0] * 13
    text = said(frame)
    assert "long_context: 7 of 20 replies echo the prompt" in text
    assert "rlm:" not in text


# -- temperature


def test_equal_repeats_above_temperature_zero():
    same = repeated(made(), lambda i, _: str(i), 0.7)
    assert "first replies of 20 of 20 repeated samples are equal in every repeat" in said(same)
    assert said(repeated(made(), lambda i, epoch: f"{i} {epoch}", 0.7)) == ""
    assert said(repeated(made(), lambda i, _: str(i), 0.7, chars=4)) == "", "short answers agree"


def test_unequal_repeats_at_temperature_zero():
    other = repeated(made(), lambda i, epoch: f"{i} {epoch * (i % 4 == 0)}", 0.0)
    assert "5 of 20 repeated samples differ at temperature 0" in said(other)
    assert said(repeated(made(), lambda i, _: str(i), 0.0)) == ""
    assert said(repeated(made(), lambda i, epoch: f"{i} {epoch}", None)) == "", "not set: unknown"


# -- samples


def test_near_duplicate_samples():
    words = ["a?", "A ?", "b?"]
    hashes = [
        fingerprints(made_samples.sample("text", "7", i, question=words[i]), [])["question_hash"]
        for i in range(3)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    frame = made(question_hash=[str(i) for i in range(20)] * 2)
    assert said(frame) == ""
    twice = frame.assign(question_hash=["0", "0", "0", *map(str, range(3, 20))] * 2, chars=4096)
    assert said(twice) == "", "the contexts differ"
    text = said(twice.assign(cluster=["s", "s", "s", *map(str, range(3, 20))] * 2))
    assert "2 of 20 samples ask the same question over the same context" in text


# -- context


def test_right_answers_without_the_context_suggest_closed_book():
    frame = made(evidence_seen=0.0, score=1.0)
    text = said(frame)
    assert "40 of 40 answers are right although no model call was shown the evidence" in text
    assert "run method=closed_book" in text
    books = frame[frame["method"] == "rlm"].assign(
        method="closed_book", cell_id="books", score=0.25
    )
    books = books.assign(evidence_seen=None, coverage=None)
    text = said(pd.concat([frame, books], ignore_index=True))
    assert "closed_book scores 25 % there" in text
    assert "run method=closed_book" not in text


def test_what_closed_book_answers_is_no_reading():
    frame = made()
    frame.loc[frame["method"] == "rlm", "method"] = "closed_book"
    frame.loc[frame["method"] == "closed_book", "score"] = [1.0] * 6 + [0.0] * 14
    assert "6 of 20 samples are answered without the context" in said(frame)


# -- prompts and judge


def test_mixed_versions_of_a_prompt():
    frame = made(prompt_hash="aaaa")
    assert said(frame) == ""
    later = frame.assign(prompt_hash="bbbb", seed=1, cell_id=frame["cell_id"] + "-1")
    text = said(pd.concat([frame, later], ignore_index=True))
    assert "long_context mixes 2 versions of its prompt (aaaa: 1 cells, bbbb: 1 cells)" in text


@pytest.mark.parametrize(("failed", "named"), [((9, 0), True), ((2, 1), False), ((10, 10), False)])
def test_a_judge_that_fails_on_one_method(failed, named):
    frame = made(n_judge_calls=1)
    for method, count in zip(("rlm", "long_context"), failed, strict=True):
        own = frame.index[frame["method"] == method][:count]
        frame.loc[own, ["outcome", "score"]] = ["judge_error", None]
    text = said(frame)
    assert (
        "judge failed on 9 of 20 answers of rlm and on 0 of 20 of long_context" in text
    ) is named
