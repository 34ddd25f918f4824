"""Checks of the numbers of a run: scores, costs, zeros, sizes, times, leaks, labels.

As in `checks`; most ask what only imported logs leave open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from rlm_eval.importers.scoring import NO_TEXT, disagreements, unstated
from rlm_eval.records.build import cell_folders
from rlm_eval.report.referee.evidence import Evidence, Finding
from rlm_eval.storage.imported import ABOUT, CONTEXTS

_SHOWN = 8
_FEWEST = 5
_SHORT_CONTEXT = 2_000
"""Tokens below which a context is shorter than the system prompts of published RLMs."""
_CHARS_PER_TOKEN = 4
_DAYS = 1.0
_UNLABELLED = re.compile(
    r"(?:un|non|not|no|without)[\s_-]*(?:with[\s_-]*)?label(?:l?ed|s)?"
    r"|(?:labell?ed|with[\s_-]labels?)\s*[=:]\s*(?:false|no|0)",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"(?<![a-z])labell?ed(?![a-z])|with[\s_-]labels?(?![a-z])", re.IGNORECASE)
_LABEL_FIELD = re.compile(r"\blabel\W{1,3}\w", re.IGNORECASE)
_NEVER_ZERO = ("input_tokens", "output_tokens", "wall_seconds")
"""Counters that are above 0 wherever a model answered."""
_SLOWEST, _FASTEST = 0.3, 3_000.0
"""Output tokens per second, in the middle of an arm, beyond which its times are in another unit."""
_LEAST_GOLD = 5
"""Characters of a gold below which an equal answer may be chance."""


def rescored(evidence: Evidence) -> Iterator[Finding]:
    """Stated scores against ours, row by row."""
    name = "stated scores"
    if not len(evidence.imported):
        yield Finding(name, "fine", "Scores were computed here from stored answers.")
        return
    both, alone, found = 0, 0, []
    for run in evidence.runs:
        if (run / ABOUT).exists():
            for folder in cell_folders(run):
                count, own = disagreements(folder)
                both += count
                alone += unstated(folder)
                found += own
    if not both and alone:
        told = f"{alone} answers were scored here; the log states no score to set beside ours."
        yield Finding(name, "fine", told)
        return
    if not both:
        yield Finding(
            name,
            "unknown",
            "No answer could be scored again: the log has no golds, or no built-in scorer fits.",
        )
        return
    lines = tuple(
        f"{one.place}: stated {one.stated:g}, {one.scorer} {one.ours:g}; gold "
        f"{str(one.target)[:40]!r}, answer {one.answer[-60:]!r}"
        for one in found[:_SHOWN]
    )
    yield Finding(
        name,
        "alarm" if found else "fine",
        f"{both} answers were scored again: {len(found)} of the stated scores differ from ours.",
        lines,
    )


def costs(evidence: Evidence) -> Iterator[Finding]:
    """Stated costs against tokens x list price: a constant factor is a slip."""
    name, frame = "stated costs", evidence.imported
    if not len(frame):
        yield Finding(name, "fine", "Costs are list prices x tokens, computed here.")
        return
    if "note_their_cost" not in frame or not frame["cost_cold"].notna().any():
        yield Finding(
            name, "unknown", "The log states no cost, or no one price holds for its tokens."
        )
        return
    clean = True
    for series, own in frame.groupby("series", sort=False):
        ratio = (own["cost_cold"] / pd.to_numeric(own["note_their_cost"])).replace(
            [float("inf")], float("nan")
        )
        ratio = ratio.dropna()
        if len(ratio) < _FEWEST:
            continue
        middle = float(ratio.median())
        constant = bool(ratio.between(0.95 * middle, 1.05 * middle).mean() >= 0.9)
        if 0.95 <= middle <= 1.05 and constant:
            continue
        clean = False
        words = (
            f"a constant factor ({ratio.min():.2f} to {ratio.max():.2f})"
            if constant
            else f"not constant ({ratio.min():.2f} to {ratio.max():.2f}): other models or caching"
        )
        yield Finding(
            name,
            "alarm" if constant else "note",
            f"{series}: tokens x list price is {middle:.2f} times the stated cost in the middle of "
            f"{len(ratio)} rows, {words}.",
        )
    if clean:
        yield Finding(name, "fine", "Stated costs are tokens x list price.")


def context_size(evidence: Evidence) -> Iterator[Finding]:
    """Contexts that are shorter than the prompts of the methods that are to need none of them."""
    name, found, known = "size of the contexts", False, False
    for task, own in evidence.frame.groupby("task_label", sort=False):
        own = own[own["outcome"] != "context_overflow"]
        direct = own[own["method"].isin(evidence.direct) & own["input_tokens"].notna()]
        rest = own[~own["method"].isin(evidence.direct)]
        if len(direct) and len(rest):
            what = "the whole prompt of the direct arm, context and question,"
            size = float(direct["input_tokens"].median())
        elif (stated := _stated_sizes(own)).notna().any():
            what, size = "a context, by the size that the log states,", float(stated.median())
        else:
            continue
        known = True
        if size >= _SHORT_CONTEXT or not len(own[own["imported"].notna()]):
            continue
        found = True
        read = rest.groupby("series")["input_tokens"].median().dropna()
        lines = tuple(f"{series}: {value:,.0f} tokens in" for series, value in read.items())
        yield Finding(
            name,
            "alarm",
            f"{task}: {what} is {size:,.0f} tokens in the middle. Nothing here is about long "
            "contexts.",
            lines[:_SHOWN],
        )
    if found:
        return
    if known:
        yield Finding(name, "fine", "Contexts are longer than the methods' own prompts.")
    else:
        yield Finding(
            name,
            "unknown",
            "Neither a direct arm with token counts nor the log tells their length.",
        )


def _stated_sizes(own: pd.DataFrame) -> pd.Series:
    """Tokens of the contexts: measured, by the log's own count, or a quarter of the characters."""
    sizes = own["tokens"]
    if "note_their_context_size" in own:
        sizes = sizes.fillna(pd.to_numeric(own["note_their_context_size"]))
    return sizes.fillna(own["chars"] / _CHARS_PER_TOKEN).fillna(
        own["length"].where(own["length"] >= 1)
    )


def zeros(evidence: Evidence) -> Iterator[Finding]:
    """Counters that are 0 in every row of a method, or where an answer needs more than 0."""
    name, lines = "zeros that mean nothing", []
    columns = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "turns",
               "n_sub_calls", "note_their_cost", "wall_seconds")  # fmt: skip
    for series, own in evidence.imported.groupby("series", sort=False):
        for column in columns:
            values = (
                pd.to_numeric(own[column]).dropna() if column in own else pd.Series(dtype=float)
            )
            told = column.removeprefix("note_")
            answered = (values == 0) & (own["answer_chars"].reindex(values.index) > 0)
            if len(values) >= _FEWEST and (values == 0).all():
                lines.append(f"{series}: {told} is 0 in {len(values)} rows")
            elif column in _NEVER_ZERO and answered.any():
                lines.append(f"{series}: {told} is 0 in {int(answered.sum())} rows with an answer")
    if lines:
        yield Finding(
            name,
            "note",
            f"{len(lines)} counters are 0 in every row of a method, or in rows that have an "
            "answer: read those as not recorded; sums and means with them are too low.",
            tuple(lines[:_SHOWN]),
        )
    else:
        yield Finding(name, "fine", "No counter is 0 throughout.")


def leaks(evidence: Evidence) -> Iterator[Finding]:
    """Answers that are the gold of another sample of the task."""
    name, looked = "answers of other samples", False
    lines: dict[bool, list[str]] = {True: [], False: []}  # over one context -> answers
    for task, own in evidence.answers.groupby("task_label", sort=False):
        golds = {
            str(sample): _golds(target)
            for sample, target in zip(own["sample_id"], own["target"], strict=True)
        }
        asked = {
            str(sample): f"{str(question)[-60:]!r}"
            for sample, question in zip(own["sample_id"], own["question"], strict=True)
        }
        contexts = dict(zip(own["sample_id"].astype(str), own["shared"], strict=True))
        owners: dict[str, set[str]] = {}
        for sample, texts in golds.items():
            for text in texts:
                owners.setdefault(text, set()).add(sample)
        single = {text: next(iter(who)) for text, who in owners.items() if len(who) == 1}
        if not owners or len(single) < 0.9 * len(owners) or len(golds) < 2:
            continue  # labels and small counts: another sample's gold is no sign
        looked = True
        for row in own.to_dict("records"):
            answer = "" if row["answer"] is None or pd.isna(row["answer"]) else str(row["answer"])
            mine = golds[str(row["sample_id"])]
            said = answer.strip().casefold()
            if not said or any(_holds(said, text) for text in mine):
                continue
            other = next(
                (t for t, who in single.items() if who != row["sample_id"] and _holds(said, t)),
                None,
            )
            if other is not None:
                same = contexts[single[other]] == row["shared"]
                lines[same].append(
                    f"{row['series']} on {task}: answers {answer.strip()[:40]!r} to "
                    f"{asked[str(row['sample_id'])]}, which is the gold of {asked[single[other]]}"
                )
    if others := lines[False]:
        yield Finding(
            name,
            "alarm",
            f"{len(others)} answers are the gold of another sample: a program may have seen "
            "another sample's context, or state was shared between samples.",
            tuple(others[:_SHOWN]),
        )
    if within := lines[True]:
        yield Finding(
            name,
            "note",
            f"{len(within)} answers are the gold of another question about the same context: a "
            "plausible mistake, or state that was shared between samples.",
            tuple(within[:_SHOWN]),
        )
    if others or within:
        return
    if looked:
        yield Finding(name, "fine", "No answer is the gold of another sample.")
    else:
        yield Finding(
            name, "unknown", "Golds are not in the log, or too short or alike to tell a leak."
        )


def _golds(target: Any) -> frozenset[str]:
    values = target if isinstance(target, list | tuple) else [target]
    texts = (str(value).strip().casefold() for value in values if value is not None)
    return frozenset(text for text in texts if len(text) >= _LEAST_GOLD)


def _holds(said: str, text: str) -> bool:
    return said == text or bool(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said))


def units_of_time(evidence: Evidence) -> Iterator[Finding]:
    """Seconds that are milliseconds or minutes, by the tokens that came in them."""
    name, lines, looked = "unit of the times", [], False
    for series, own in evidence.imported.groupby("series", sort=False):
        known = own[(own["wall_seconds"] > 0) & (own["output_tokens"] > 0)]
        if len(known) < _FEWEST:
            continue
        looked = True
        rate = float((known["output_tokens"] / known["wall_seconds"]).astype(float).median())
        if not _SLOWEST <= rate <= _FASTEST:
            lines.append(f"{series}: {rate:.3g} output tokens per second in the middle")
    if lines:
        told = "Few models are so slow or so fast: the times may be in another unit than seconds"
        yield Finding(name, "note", told + " (`divide: 1000` in a field map).", tuple(lines))
    elif looked or not len(evidence.imported):
        yield Finding(name, "fine", "Times and output tokens fit each other.")
    else:
        yield Finding(name, "unknown", "The log has no times, or no output tokens.")


def times(evidence: Evidence) -> Iterator[Finding]:
    """Rows of one arm that ran days apart from the rest: selective re-runs."""
    name, lines = "when it ran", []
    if "note_timestamp" not in evidence.imported:
        foreign = len(evidence.imported) > 0
        yield Finding(
            name,
            "unknown" if foreign else "fine",
            "The log has no times of its rows." if foreign else "Each cell was run as one.",
        )
        return
    at = pd.to_datetime(
        evidence.imported["note_timestamp"], errors="coerce", utc=True, format="mixed"
    )
    for task, own in evidence.imported.assign(at=at).groupby("task_label", sort=False):
        known = own[own["at"].notna()]
        for _, of_model in known.groupby("root", sort=False):
            middles = of_model.groupby("series", sort=False)["at"].median()
            apart = (middles.max() - middles.min()).total_seconds() / 86_400
            if apart > _DAYS:
                lines.append(
                    f"{task}: {middles.idxmin()} ran {apart:.1f} days before {middles.idxmax()}: "
                    "the model behind their name may have changed between them"
                )
        for series, part in known.groupby("series", sort=False):
            days = (part["at"] - part["at"].median()).abs().dt.total_seconds() / 86_400
            late = int((days > _DAYS).sum())
            if late:
                lines.append(
                    f"{series} on {task}: {late} of {len(part)} rows ran more than a day from the "
                    f"middle of their arm (up to {days.max():.1f} days)"
                )
    if lines:
        yield Finding(name, "note", "Rows ran on different days.", tuple(lines[:_SHOWN]))
    else:
        yield Finding(name, "fine", "Rows of an arm ran within a day of each other.")


def labels(evidence: Evidence) -> Iterator[Finding]:
    """Labelled splits: the context holds what was to be classified."""
    name, frame = "labelled contexts", evidence.frame
    named = {label: _named(label) for label in frame["task_label"].unique()}
    told = frame["task_label"].map(named)
    read = frame["sample_id"].isin(_with_labels(evidence))
    tasks = sorted(frame.loc[told | read, "task_label"].unique())
    if tasks:
        yield Finding(
            name,
            "alarm" if frame.loc[told | read, "imported"].notna().any() else "note",
            f"{', '.join(tasks)}: the contexts hold the labels: this is counting, which code does, "
            "not classification of what was read.",
        )
    else:
        yield Finding(name, "fine", "No task with labels in its contexts is known.")


def _named(label: str) -> bool:
    """True where a task or its variant is called labelled; `unlabelled` is the opposite."""
    return bool(_LABELLED.search(_UNLABELLED.sub("", label)))


def _with_labels(evidence: Evidence) -> set[str]:
    """Imported samples that ask about labels over a stored context whose lines show them."""
    found: set[str] = set()
    shown: dict[str, bool] = {}
    known = evidence.answers.dropna(subset=["context"]).drop_duplicates("sample_id")
    known = known[known["question"].astype(str).str.contains("label", case=False)]
    for sample, hashed in zip(known["sample_id"], known["context"], strict=True):
        for run in evidence.runs:
            path = run / CONTEXTS / f"{hashed}.txt"
            if hashed not in shown and path.is_file():
                lines = [line for line in path.read_text("utf-8", "replace").split("\n") if line]
                marked = sum(bool(_LABEL_FIELD.search(line)) for line in lines)
                shown[hashed] = len(lines) >= _FEWEST and 2 * marked >= len(lines)
        if shown.get(hashed):
            found.add(str(sample))
    return found


def answer_forms(evidence: Evidence) -> Iterator[Finding]:
    """Questions that hold their gold's text: among options, or as a given form."""
    name, lines, looked = "gold in the question", [], False
    # A text that stands for an unknown question may hold its gold: ids of some maps do.
    told = ~evidence.answers["question"].astype(str).str.startswith(NO_TEXT)
    asked_of = evidence.answers[told].drop_duplicates("sample_id")
    for task, own in asked_of.groupby("task_label", sort=False):
        asked = [
            any(_holds(str(question).casefold(), text) for text in _golds(target))
            for question, target in zip(own["question"], own["target"], strict=True)
        ]
        looked = looked or bool(
            (own["question"].astype(bool) & own["target"].map(_golds).astype(bool)).any()
        )
        if sum(asked):
            lines.append(
                f"{task}: in {sum(asked)} of {len(asked)} questions the gold's own text stands in "
                "the question (as one of its options): a guess is right now and then"
            )
    if lines:
        yield Finding(name, "note", "Some questions name their answer among options.", tuple(lines))
    elif looked or not len(evidence.imported):
        yield Finding(name, "fine", "No question holds its gold's text.")
    else:
        yield Finding(
            name, "unknown", "Questions or golds are not in the log, or golds too short to tell."
        )
