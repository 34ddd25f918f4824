"""Checks of what was run: samples, holes, missing rows, arms without a score, cut answers.

Each is a function from the evidence to findings; `ALL` in `page` has the order. A check that finds
nothing says so in one `fine` line, one that lacks its data in one `unknown` line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from rlm_eval.importers.caps import modal_cap
from rlm_eval.importers.expected import MISSING as MISSING_ROWS
from rlm_eval.importers.faults import is_fault
from rlm_eval.report.referee.evidence import MISSING, Evidence, Finding
from rlm_eval.stats import bounds

_SHOWN = 12


def samples(evidence: Evidence) -> Iterator[Finding]:
    """Distinct samples behind the rows; questions that were drawn more than once."""
    frame, name = evidence.frame, "distinct samples"
    clean = True
    for task, own in frame.groupby("task_label", sort=False):
        distinct, contexts = own["sample_id"].nunique(), own["cluster"].nunique()
        cells = own.groupby(["series", "length"])["sample_id"].agg(["size", "nunique"])
        most = cells.sort_values("size").iloc[-1]
        if "note_seed" in own:
            clean = not (drawn := tuple(_drawn_again(own))) and clean
            if drawn:
                yield Finding(
                    name,
                    "alarm",
                    f"{task}: seeds of {len(drawn)} of {own['series'].nunique()} methods drew some "
                    "questions again: n is the number of distinct questions, and the rest are "
                    "repeats.",
                    drawn[:_SHOWN],
                )
        if contexts == 1 and distinct > 1:
            clean = False
            yield Finding(
                name,
                "alarm" if len(own[own["imported"].notna()]) else "note",
                f"{task}: all {distinct} questions are about one context: nothing can be said of "
                "other contexts, however many questions there are.",
            )
        known = own[own["question_hash"].notna()].drop_duplicates("sample_id")
        copies = int(
            known.duplicated(["seed", "length", "cluster", "chars", "question_hash"]).sum()
        )
        if copies:
            clean = False
            yield Finding(
                name,
                "alarm",
                f"{task}: {copies} of {len(known)} samples ask the same question over the same "
                "context as another one: n counts them twice.",
            )
        for finding in _alike(evidence, str(task)):
            clean = False
            yield finding
        if int(most["size"]) > int(most["nunique"]):
            yield Finding(
                name,
                "note",
                f"{task}: {int(most['size'])} rows of a cell are repeats of "
                f"{int(most['nunique'])} samples; they are averaged first.",
            )
    if clean:
        yield Finding(name, "fine", "No question stands twice, and contexts are several.")


def _drawn_again(own: pd.DataFrame) -> Iterator[str]:
    """Each method of a task whose seeds drew a question more than once, with its counts."""
    for series, part in own.groupby("series", sort=False):
        if (part.groupby("sample_id")["note_seed"].nunique() > 1).any():
            contexts = part["cluster"].nunique()
            yield (
                f"{series}: {len(part)} questions are {part['sample_id'].nunique()} distinct ones "
                f"over {contexts} context" + ("s" if contexts > 1 else "")
            )


def _alike(evidence: Evidence, task: str) -> Iterator[Finding]:
    """Samples of one question and gold under several ids, where the log tells no contexts apart."""
    own = evidence.answers
    own = own[(own["task_label"] == task) & own["blind"]].drop_duplicates("sample_id")
    for known, part in own.groupby(own["chars"].notna()):
        copies = int(part.duplicated(["length", "chars", "question_hash"]).sum())
        if copies:
            size = "over a context of the same size" if known else "over contexts without a name"
            yield Finding(
                "distinct samples",
                "alarm" if known else "note",
                f"{task}: {copies} of {len(part)} samples ask the same question with the same gold "
                f"as another one {size}: if it is one context, n counts them twice.",
            )


def holes(evidence: Evidence) -> Iterator[Finding]:
    """Samples that some methods ran and others did not."""
    name, found = "same samples for all", False
    for task, own in evidence.frame.groupby("task_label", sort=False):
        whole = set(zip(own["length"], own["sample_id"], strict=True))
        lines = []
        for series, part in own.groupby("series", sort=False):
            lacking = len(whole) - len(set(zip(part["length"], part["sample_id"], strict=True)))
            if lacking:
                lines.append(f"{series}: {lacking} of {len(whole)} samples were not run")
        if lines:
            found = True
            yield Finding(
                name,
                "alarm",
                f"{task}: {len(lines)} of {own['series'].nunique()} methods ran other samples than "
                "the rest: means over different samples are not compared; pairs are.",
                tuple(lines[:_SHOWN]),
            )
    if not found:
        yield Finding(name, "fine", "Every method ran every sample.")


def missing_rows(evidence: Evidence) -> Iterator[Finding]:
    """Missing rows per method, and whether counting them otherwise turns the order."""
    name, found = "missing rows", False
    absent = [
        line for about in evidence.imports for line in about.get("told", ()) if MISSING_ROWS in line
    ]
    if absent:
        found = True
        yield Finding(
            name,
            "alarm",
            "Samples that were to be run stand in no row: the scores are over those that are left.",
            tuple(absent[:_SHOWN]),
        )
    for task, own in evidence.frame.groupby("task_label", sort=False):
        # A log without any score has no rows that are left out of its means.
        stated = own["imported"].isna() | bool(own["score"].notna().any())
        lost = own["outcome"].isin(MISSING) | (own["score"].isna() & stated)
        if not lost.any():
            continue
        found = True
        views = _views(own, lost)
        orders = {view: _order(views[view]) for view in views.columns}
        told = set(map(tuple, orders.values()))
        lines = [
            f"{series}: {int(lost[own['series'] == series].sum())} of "
            f"{int((own['series'] == series).sum())} missing; score % with missing as 0 "
            f"{_percent(row['as 0'])}, left out {_percent(row['left out'])}, on what all methods "
            f"answered {_percent(row['common'])}"
            for series, row in views.iterrows()
        ]
        turned = len(told) > 1
        shares = lost.groupby(own["series"]).mean()
        uneven = float(shares.max() - shares.min()) > bounds.CUT_SHARE
        yield Finding(
            name,
            "alarm" if turned or uneven else "note",
            f"{task}: {int(lost.sum())} of {len(own)} rows have no result (errors of a provider or "
            "a judge, cancelled, or no score in the log)."
            + (" The order of the methods depends on how they are counted." if turned else "")
            + (" Some methods miss many more than others." if uneven else ""),
            tuple(lines[:_SHOWN]),
        )
    if not found:
        yield Finding(name, "fine", "No row is missing for reasons outside the methods.")


def _views(own: pd.DataFrame, lost: pd.Series) -> pd.DataFrame:
    scored = own[~lost & own["score"].notna()]
    series = own["series"].unique()
    answered = scored.groupby("sample_id")["series"].nunique()
    arms = scored["series"].nunique()
    common = scored[scored["sample_id"].isin(answered.index[answered == arms])]
    return pd.DataFrame(
        {
            "as 0": own.assign(score=own["score"].where(~lost, 0.0))
            .groupby("series")["score"]
            .mean()
            .reindex(series),
            "left out": scored.groupby("series")["score"].mean().reindex(series),
            "common": common.groupby("series")["score"].mean().reindex(series),
        }
    )


def _order(means: pd.Series) -> list[tuple[str, int]]:
    """Ranks of the known means; ties share one."""
    ranks = means.dropna().round(9).rank(ascending=False, method="min")
    return sorted((str(name), int(rank)) for name, rank in ranks.items())


def no_score(evidence: Evidence) -> Iterator[Finding]:
    """Arms without a single scored row: they have no score, and not 0."""
    name = "arms without a score"
    counts = evidence.frame.groupby(["task_label", "series"], sort=False)["score"].count()
    empty = counts[counts == 0]
    if not len(empty):
        yield Finding(name, "fine", "Every method has scored rows.")
        return
    stated = [f"{series} on {task}" for task, series in empty.index]
    yield Finding(
        name,
        "alarm" if len(empty) < len(counts) else "note",
        f"{len(empty)} of {len(counts)} methods have no scored row at all: they have no score. A "
        "table that prints 0.00 for them averages nothing.",
        tuple(stated[:40]),
    )


def errors_as_answers(evidence: Evidence) -> Iterator[Finding]:
    """Answers that are the error text of a client or a server: no answer, a failed request."""
    name, texts = "errors as answers", evidence.answers
    hit = texts[[is_fault(answer) for answer in texts["answer"]]]
    if hit.empty:
        yield Finding(name, "fine", "No answer is the error text of a client or a server.")
        return
    for (task, series), own in hit.groupby(["task_label", "series"], sort=False):
        of = int(((texts["task_label"] == task) & (texts["series"] == series)).sum())
        lost = int(own["outcome"].isin(MISSING).sum())
        yield Finding(
            name,
            "alarm",
            f"{series} on {task}: {len(own)} of {of} answers are the error text of a client or a "
            f"server ({own['answer'].iloc[0]!r:.80}): {lost} of them count as missing"
            + (f", {len(own) - lost} as answers of the method." if lost < len(own) else "."),
        )


def cuts(evidence: Evidence) -> Iterator[Finding]:
    """Answers that were cut, that are suspected to be, and prompts that a server cut."""
    frame, name, found = evidence.frame, "cut answers and prompts", False
    for (task, series), own in frame.groupby(["task_label", "series"], sort=False):
        suspected = own[own["outcome"] == "unknown"]
        if len(suspected):
            found = True
            cap = suspected.get("note_suspected_cap", pd.Series(dtype=float)).dropna()
            at = f"exactly {int(cap.iloc[0]):,} output tokens" if len(cap) else "a suspected cap"
            low, high = bounds.bounds(own["score"], (own["outcome"] == "unknown").to_numpy())
            yield Finding(
                name,
                "alarm",
                f"{series} on {task}: {len(suspected)} of {len(own)} answers end on {at}: an "
                f"output cap seems to have cut them. Its score is between {100 * low:.0f} and "
                f"{100 * high:.0f} %, and no difference to it is a result.",
            )
        cut = own["outcome"].str.startswith("limit:") | (own["outcome"] == "truncated")
        if cut.mean() > bounds.CUT_SHARE:
            found = True
            yield Finding(
                name,
                "alarm",
                f"{series} on {task}: {int(cut.sum())} of {len(own)} answers were ended by a limit "
                "or an output cap: the score is known as bounds.",
            )
        silent = own[(own["outcome"] == "ok") & ~(own["n_calls"] > 1)]
        if (modal := modal_cap(silent["output_tokens"].dropna())) is not None:
            found = True
            yield Finding(
                name,
                "alarm",
                f"{series} on {task}: {modal[1]} of {len(silent)} answers end on exactly "
                f"{modal[0]:,} output tokens, and no finish reason says that they were cut: a "
                "server or a client may have capped them silently.",
            )
        if "note_dropped_tokens" in own:
            dropped = pd.to_numeric(own["note_dropped_tokens"]).fillna(0)
            if (short := dropped[dropped > 0]).any():
                found = True
                yield Finding(
                    name,
                    "alarm",
                    f"{series} on {task}: {len(short)} of {len(own)} prompts lack a part of the "
                    f"context, which the log says was dropped (up to {short.max():,.0f} tokens).",
                )
    if server := int(frame["n_server_cut_calls"].fillna(0).sum()):
        found = True
        yield Finding(name, "alarm", f"In {server} calls the server cut the prompt silently.")
    if found:
        return
    unknown = evidence.imported["n_truncated_calls"].isna()
    blind = evidence.imported[unknown & evidence.imported["output_tokens"].isna()]
    if len(blind := blind[~blind["outcome"].isin(MISSING)]):
        yield Finding(
            name,
            "unknown",
            f"{len(blind)} of {len(frame)} rows have neither a finish reason nor a count of output "
            "tokens: whether they were cut cannot be seen.",
        )
        return
    yield Finding(
        name,
        "fine",
        "No answer is cut or suspected to be"
        + (
            " (the log has no finish reasons; output counts were looked at)."
            if unknown.any()
            else "."
        ),
    )


def duplicates(evidence: Evidence) -> Iterator[Finding]:
    """Rows of one method, sample and repeat that stood there twice."""
    name = "duplicate rows"
    told = [
        line
        for about in evidence.imports
        for line in about.get("told", ())
        if "copies of another row" in line or "were replaced by a later" in line
    ]
    if "left_out" in evidence.frame:
        count = int((evidence.frame["left_out"].fillna("") != "").sum())
        told += [f"{count} rows stand in several of these runs: counted once"] if count else []
    if told:
        yield Finding(name, "note", "; ".join(told) + ".")
    else:
        yield Finding(name, "fine", "None.")


def _percent(value: Any) -> str:
    return "none" if pd.isna(value) else f"{100 * float(value):.1f}"
