"""Caveats of a report: every threat to its numbers that is visible in the records.

Each is a sentence with its count. They are not a verdict on the method, and a report without
caveats is not certified (contamination and prompt choice are not visible in records).
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rlm_eval.records import union
from rlm_eval.report import unread, wording
from rlm_eval.report.artefacts import artefacts
from rlm_eval.report.series import UNNAMED, originals
from rlm_eval.report.tables import baselines, served
from rlm_eval.report.tables.standard import score_text
from rlm_eval.stats import bounds, power
from rlm_eval.stats.intervals import FEW_CLUSTERS


def caveats(frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return the sentences for this report, the most serious first."""
    return [
        *remarks(frame),
        *union.sentences(frame),
        *unread.sentences(frame),
        *_settings(frame),
        *_origin(frame, table),
        *baselines.sentences(table),
        *artefacts(frame),
        *_to_beat(table),
        *_endings(frame, table),
        *_sizes(table),
        *_measures(frame, table),
    ]


def remarks(frame: pd.DataFrame) -> list[str]:
    """Return the remarks on models and methods, each sentence once, with its full stop.

    A sentence that begins with `It` stays with the one before, which names what it is about.
    """
    texts = [str(text) for text in frame["remark"].dropna().unique()]
    joined = (text.replace(". It ", f"{_JOINT}It ") for text in texts)
    sentences = (sentence.rstrip(".") for text in joined for sentence in text.split(". "))
    return list(dict.fromkeys(f"{sentence.replace(_JOINT, '. ')}." for sentence in sentences))


_JOINT = ".\0"
"""Stands for `. ` between two sentences that stay together."""


def _settings(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the series whose cells differ in settings that their names do not state."""
    if UNNAMED not in frame:
        return
    told = frame.loc[frame[UNNAMED] != "", ["series", UNNAMED]].drop_duplicates()
    for settings, own in told.groupby(UNNAMED):
        yield (
            f"{', '.join(sorted(own['series']))}: cells of one series differ between lengths or "
            f"tasks in {settings}; a trend or a mean over them mixes these settings."
        )


def _origin(frame: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    if frame["scripted"].any():
        yield "Replies are scripted. Nothing here says anything about a model."
    if frame["generated"].any():
        names = sorted(set(frame.loc[frame["generated"], "task"]))
        yield (
            f"Data of {', '.join(names)} come from this harness's own generator: do not compare "
            "with numbers published for a data set of a similar name."
        )
    rlm = table[table["method"].str.startswith("rlm")]
    for series, own in rlm.groupby("series"):
        if own["recursion"].isna().any():  # an imported log that does not count its calls
            continue
        used, rows = int(own["recursion"].sum()), int(own["rows"].sum())
        if used < rows:
            tail = ": this is code search, not recursion" if not used else ""
            yield f"{series}: {rows - used} of {rows} samples made no sub-call{tail}."
    yield from _self_judged(frame)
    yield from served.sentences(frame)
    shown = sorted({str(v) for v in table["isolation"].dropna() if "none" in str(v)})
    if shown:
        yield f"Model-written code ran without a sandbox ({', '.join(shown)})."


def _to_beat(table: pd.DataFrame) -> Iterator[str]:
    """Compare the report's RLMs with the fixed program for the task's operation."""
    rlms = table[table["method"].str.startswith(("rlm", "external_", "lambda_rlm"))]
    for _, program in table[table["method"] == "program_matched"].iterrows():
        same = (rlms["task"] == program["task"]) & (rlms["length"] == program["length"])
        # With several models, use RLMs that call the program's model, as root or as sub-model.
        same &= (rlms["sub"] == program["sub"]) | (rlms["root"] == program["sub"])
        if not same.any():
            continue
        shown = ", ".join(
            f"{row['series']} {score_text(row)} %" for _, row in rlms[same].iterrows()
        )
        at = wording.tokens_label(float(program["length"]))
        yield (
            f"{program['task']} at {at}: what an RLM has to beat is {program['series']} with "
            f"{score_text(program)} %; here {shown}. An RLM that is not above it shows "
            "no gain by its own strategy (rlm-eval compare tests the difference)."
        )


def _self_judged(frame: pd.DataFrame) -> Iterator[str]:
    """Yield judges that are also evaluated, by the models' names without their switches."""
    judged = frame[frame["judge"].notna() & frame["n_judge_calls"].fillna(0).gt(0)]
    plain = {c: judged[c].astype(str).str.split(" [", n=1, regex=False).str[0] for c in _MODELS}
    own = (plain["judge"] == plain["root"]) | (plain["judge"] == plain["sub"])
    for judge, rows in judged[own].groupby(plain["judge"][own]):
        yield (
            f"{judge} judged {len(rows)} answers of trajectories that it took part in itself: "
            "judges favour their own answers. Take another judge (judge=NAME)."
        )


_MODELS = ("judge", "root", "sub")


def _endings(frame: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    cut = table[table["cut_share"] > bounds.CUT_SHARE]
    if len(cut):
        unsure = cut["outcomes"].str.contains("unknown ").any()
        suspected = ", or suspected to be" if unsure else ""
        yield (
            f"{len(cut)} of {len(table)} cells had more than 5 % of samples cut off by an output "
            f"cap or a limit{suspected}. Their scores are bounds and are not compared."
        )
    lacking = table[table["missing"] > 0]
    if lost := int(lacking["missing"].sum()):
        some = "of a repeat or of all " if lacking["repeats"].max() > 1 else ""
        yield (
            f"{lost} samples have no result {some}(provider or judge errors, cut prompts, "
            "cancelled): run the same command again to redo them. Scores of their cells are bounds."
        )
    if cut_prompts := int(table["server_cut_calls"].sum()):
        yield (
            f"In {cut_prompts} calls the server cut the prompt without an error: its window is "
            "smaller than what was sent. Samples whose answer rests on one are missing "
            "(server_cut); what models saw of the others is unknown."
        )
    overflow = table[table["overflow_share"] > 0]
    if len(overflow):
        names = sorted(set(overflow["series"]))
        yield (
            f"{', '.join(names)}: prompts longer than the window score 0 (context_overflow); that "
            "is a fact about the window, not about reading."
        )
    yield from _found_nothing(frame)
    if rolled := int(table["re_rolls"].sum()):
        yield f"{rolled} samples were redone after an error; redone samples had a second chance."
    if diverged := int(table["diverged"].sum()):
        yield f"{diverged} calls of resumed samples differed from the first attempt."
    cut_calls = int(frame["n_truncated_calls"].fillna(0).sum())
    if cut_calls:
        yield f"{cut_calls} model calls stopped at their output cap (not all produced an answer)."
    if unknown := int(frame["n_unknown_ends"].fillna(0).sum()):
        words = {word for said in frame["unknown_ends"].dropna() for word in said.split(", ")}
        yield (
            f"{unknown} replies ended with a finish reason that is missing or not known "
            f"({', '.join(sorted(words))}): whether they were cut is unknown."
        )


_NOTES = {
    "note_empty_retrieval": "the search found no chunk, and the model answered without any "
    "context.",
    "note_budget_too_small": "the best chunk exceeds method.token_budget; the model read only its "
    "beginning.",
    "note_no_word_found": "no word of the question stands in the text; the model was shown its "
    "first passages.",
}
"""Column of a note -> what is true of the samples that have it."""


def _found_nothing(frame: pd.DataFrame) -> Iterator[str]:
    """Yield counts of searches without a result, and of samples answered without their result."""
    for note, what in _NOTES.items():
        if note in frame:
            for method, rows in frame[frame[note].eq(True)].groupby("method"):
                yield f"{method}: for {len(rows)} samples {what}"
    if "note_empty_searches" in frame:
        searching = frame[frame["note_empty_searches"].notna()]
        for method, rows in searching.groupby("method"):
            found_none = int(rows["note_empty_searches"].sum())
            made = int(rows["note_searches"].fillna(0).sum())
            if made and found_none > made / 2:
                yield f"{method}: {found_none} of {made} searches found nothing."


def _sizes(table: pd.DataFrame) -> Iterator[str]:
    smallest = int(table["n"].min())
    if smallest < 100:
        shown = power.detectable_unpaired(smallest)
        least = int(table["clusters"].min())
        if least < smallest and power.too_few_clusters(least):  # samples are no units there
            shown = 1.0
        unseen = f"unpaired differences under {100 * shown:.0f} pp mostly go unseen"
        yield (
            f"n is as small as {smallest} per cell: "
            f"{unseen if shown < 1 else 'hardly any difference can be shown'}. No significant "
            "difference does not show equality."
        )
    few = table[(table["clusters"] < FEW_CLUSTERS) & (table["clusters"] < table["n"])]
    if len(few):
        yield (
            f"{len(few)} cells rest on fewer than {FEW_CLUSTERS} contexts; their intervals are "
            "rough, whatever the number of questions."
        )
    if table["repeats"].max() == 1:
        yield "One repeat per sample: the run-to-run spread of the models is not measured."


def _measures(frame: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    unpriced = table[table["cost_median"].isna()]
    if len(unpriced):
        yield (
            f"No price is known for {wording.called(unpriced)}: money is unknown there, not zero. "
            "Name one with root.price, or root.gpu_hour_usd for a server that the harness starts."
        )
    failed = int(table["failed_calls"].sum())
    if failed:
        yield f"{failed} calls failed for good; what they cost is known only where it was reported."
    if lost := int(table["lost_attempts"].sum()):
        tokens = int(frame["lost_tokens_estimated"].fillna(0).sum())
        yield (
            f"{lost} replies were lost on their way and asked for again; the provider may have "
            f"billed them (estimated: up to {tokens:,} tokens), and no cost here contains that."
        )
    shown = frame.get("note_outage_shown")
    if shown is not None and (count := int(shown.fillna(False).astype(bool).sum())):
        yield (
            f"{count} samples count although sub-calls of theirs failed for the provider's reasons "
            "(on_subcall_failure=show): an outage may have lowered their scores."
        )
    crowded = sorted({int(c) for c in table["concurrency"].dropna() if c > 1})
    if crowded:
        yield (
            f"Samples ran {'/'.join(map(str, crowded))} at a time: wall times include waiting for "
            "each other. Take latency claims from a run with one at a time."
        )
    own = originals(frame)
    if resumed := int((own["n_replayed_calls"].fillna(0) > 0).sum()):
        yield (
            f"{resumed} samples were resumed after an interruption: their times are those of both "
            "sittings, what was lost in between left out."
        )
    names = sorted(set(frame["tokenizer"].dropna().astype(str)))
    if len(names) > 1:
        yield f"Lengths were measured with several tokenizers: {', '.join(names)}."
    if frame["protected"].any():
        yield "Text of protected tasks is left out of this report."
    lengths = table["length"].nunique()
    if lengths == 1:
        only = wording.tokens_label(float(table["length"].iloc[0]))
        yield (
            "The context lengths are unknown: nothing here is a trend."
            if only == "unknown"
            else f"One context length ({only}): nothing here is a trend."
        )
