"""Classic evaluation artefacts found in the records: a sentence with a count for each.

A missing chat template, an ignored temperature, duplicate samples, answers that need no context,
several prompt versions in one series, a judge that fails on one method. Old records lack some of
the columns; unknown values are not reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import pandas as pd

from rlm_eval.report import wording

_LONG_REPLY = 100
"""Minimum characters for equal replies to be suspicious; shorter: a number, a name."""
_EQUAL_SHARE = 0.9
"""Share of equal repeats at a temperature above 0 that is suspicious."""
_FEWEST = 5
"""Minimum samples with repeats for a statement about the temperature."""
_ALPHA = 0.05


def artefacts(frame: pd.DataFrame) -> list[str]:
    """Return sentences about a prepared frame, the most serious first."""
    return [
        *_template(frame),
        *_temperature(frame),
        *_duplicates(frame),
        *_without_context(frame),
        *_prompts(frame),
        *_judge(frame),
    ]


def _template(frame: pd.DataFrame) -> Iterator[str]:
    counts = frame[["series", "n_runaway_calls", "n_calls", "n_truncated_calls"]]
    for series, own in counts.groupby("series", sort=False):
        runaway, calls = own["n_runaway_calls"].sum(), own["n_calls"].sum()
        if runaway:
            cut = own["n_truncated_calls"].fillna(0).sum()
            yield (
                f"{series}: {int(runaway)} of {int(calls)} replies echo the prompt, hold marks of "
                f"a chat template, or repeat themselves up to the output cap ({int(cut)} reached "
                "it): the server may apply no chat template, or a wrong one."
            )


def _temperature(frame: pd.DataFrame) -> Iterator[str]:
    known = frame[frame["temperature"].notna() & frame["first_reply_hash"].notna()]
    for series, own in known.groupby("series", sort=False):
        for hot, rows in own.groupby(own["temperature"] > 0):
            if hot:
                rows = rows[rows["first_reply_chars"] >= _LONG_REPLY]
            replies = rows.groupby(["cell_id", "sample_id"])["first_reply_hash"].agg(
                ["count", "nunique"]
            )
            several = replies[replies["count"] > 1]
            equal = int((several["nunique"] == 1).sum())
            if hot and len(several) >= _FEWEST and equal >= _EQUAL_SHARE * len(several):
                yield (
                    f"{series}: the first replies of {equal} of {len(several)} repeated samples "
                    "are equal in every repeat at a temperature above 0: it is ignored, or replies "
                    "are cached, and repeats measure no spread."
                )
            if not hot and equal < len(several):
                yield (
                    f"{series}: the first replies of {len(several) - equal} of {len(several)} "
                    "repeated samples differ at temperature 0: it is ignored, or the server is not "
                    "deterministic (batching); a run cannot be repeated exactly."
                )


def _duplicates(frame: pd.DataFrame) -> Iterator[str]:
    known = frame[frame["question_hash"].notna()].drop_duplicates(["cell_id", "sample_id"])
    for (task, length), own in known.groupby(["task_label", "length"], sort=False):
        unknown = length == wording.UNKNOWN_LENGTH
        label = f"{task} at {'an unknown length' if unknown else f'{length:.0f}'}"
        one = own.drop_duplicates(["sample_id"])
        copies = one.duplicated(["seed", "cluster", "chars", "question_hash"])
        if count := int(copies.sum()):
            yield (
                f"{label}: {count} of {len(one)} samples ask the same question "
                "over the same context as another one (case, spaces and punctuation aside): n "
                "counts them twice."
            )


def _without_context(frame: pd.DataFrame) -> Iterator[str]:
    read = frame[~frame["method"].str.startswith(("closed_book", "floor"))]
    for task, own in read.groupby("task_label", sort=False):
        blind = own[(own["evidence_seen"] == 0) | (own["coverage"] == 0)]
        right = int((blind["score"] >= 1).sum())
        if not right:
            continue
        books = frame[(frame["task_label"] == task) & frame["method"].str.startswith("closed_book")]
        if books["score"].notna().any():
            told = f"closed_book scores {100 * books['score'].mean():.0f} % there"
        else:
            told = "run method=closed_book to see what the question alone gives"
        yield (
            f"{task}: {right} of {len(blind)} answers are right although no model call was shown "
            f"the evidence; {told}."
        )
    for task, books in frame[frame["method"].str.startswith("closed_book")].groupby("task_label"):
        right, scored = int((books["score"] >= 1).sum()), int(books["score"].notna().sum())
        if right:
            yield (
                f"{task}: {right} of {scored} samples are answered without the context "
                "(closed_book): they do not measure reading."
            )


def _prompts(frame: pd.DataFrame) -> Iterator[str]:
    known = frame[frame["prompt_hash"].notna()]
    name = known["prompt"].astype(str).str.split("@").str[0]  # the hash distinguishes series
    for (method, _), own in known.groupby([known["method"], name], sort=False):
        versions = own.groupby("prompt_hash")["cell_id"].nunique()
        if len(versions) > 1:
            named = ", ".join(f"{name}: {count} cells" for name, count in versions.items())
            yield f"{method} mixes {len(versions)} versions of its prompt ({named})."


def _judge(frame: pd.DataFrame) -> Iterator[str]:
    judged = frame[(frame["n_judge_calls"] > 0) | (frame["outcome"] == "judge_error")]
    for task, own in judged.groupby("task_label", sort=False):
        failed = (own["outcome"] == "judge_error").groupby(own["series"], sort=False)
        counts = sorted(((bad.mean(), name, int(bad.sum()), len(bad)) for name, bad in failed))
        (_, least, low, of_low), (_, most, high, of_high) = counts[0], counts[-1]
        pairs = len(counts) * (len(counts) - 1) / 2
        if pairs and _fisher(high, of_high, low, of_low) * pairs < _ALPHA:
            yield (
                f"{task}: the judge failed on {high} of {of_high} answers of {most} and on {low} "
                f"of {of_low} of {least}: what is missing depends on the method."
            )


def _fisher(a: int, n: int, b: int, m: int) -> float:
    """Return Fisher's two-sided exact p value for equal rates of `a` of `n` and `b` of `m`."""
    total, k = comb(n + m, a + b), a + b
    seen = comb(n, a) * comb(m, b)
    ways = (comb(n, i) * comb(m, k - i) for i in range(max(0, k - m), min(n, k) + 1))
    return sum(way for way in ways if way <= seen) / total
