"""Which scorers and settings the scores of a task have, and whether two methods share them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rlm_eval.importers.scoring import THEIRS
from rlm_eval.report.imports import other_tasks
from rlm_eval.report.referee.evidence import Evidence, Finding


def one_scorer(evidence: Evidence) -> Iterator[Finding]:
    """Scores of different scorers under one name: no mean or difference of them is a result."""
    name, found = "scorers", False
    for task, own in evidence.frame.groupby("task_label", sort=False):
        if several := different(own):
            found = True
            key = _names(own)
            lines = tuple(
                f"{series}: {', '.join(sorted(map(str, key[part.index].dropna().unique())))}"
                for series, part in own[key.notna()].groupby("series", sort=False)
            )
            yield Finding(
                name,
                "alarm",
                f"{task}: its scores are of {len(several)} scorers ({', '.join(several)}): they "
                "are different measures, and are not compared.",
                lines[:12],
            )
    if not found:
        yield Finding(name, "fine", "The scores of each task are of one scorer.")


def one_verdict(evidence: Evidence) -> Iterator[Finding]:
    """Equal answers to one sample that two imports or cells score differently: graded twice."""
    name, found = "one verdict", False
    texts = evidence.answers
    texts = texts[texts["answer"].notna() & texts["score"].notna() & (texts["outcome"] == "ok")]
    for task, own in texts.groupby("task_label", sort=False):
        same = own.groupby(["method", "root", "scorer", "sample_id", "answer"], dropna=False)
        # Within a cell a judge may differ from itself: that is its noise.
        per_cell = same["cell_id"].nunique()
        several = same["score"].nunique()
        hit = several.index[(several > 1) & (per_cell > 1)]
        if not len(hit):
            continue
        found = True
        methods = ", ".join(dict.fromkeys(map(str, hit.get_level_values("method"))))
        yield Finding(
            name,
            "alarm",
            f"{task}: {len(hit)} equal answers of {methods} to one sample have two scores: the "
            "same answers were graded twice, and a difference between the gradings is none "
            "between methods.",
        )
    if not found:
        yield Finding(name, "fine", "No answer has two scores.")


def one_setting(evidence: Evidence) -> Iterator[Finding]:
    """Tasks that imports have under one name and other settings: other lengths, other sets."""
    name, found = "settings of the tasks", False
    for task, names in other_tasks(evidence.manifests):
        found = True
        yield Finding(
            name,
            "alarm",
            f"{task}: its imported logs have different settings ({', '.join(names)}): they are "
            "separate tasks here, and no pair is between them.",
        )
    if not found:
        yield Finding(name, "fine", "No imported task has different settings under one name.")


def different(own: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the scorers of these rows of a task; empty where they are one.

    Stated scores of a log must be of one scorer. Ours may depend on the question: they must be of
    one scorer for each sample.
    """
    key = _names(own)
    stated = key[key.str.startswith(f"{THEIRS}: ", na=False)]
    found = set(stated.unique()) if stated.nunique() > 1 else set()
    # An unknown name is no other name.
    known = pd.DataFrame({"sample": own["sample_id"], "key": key}).dropna()
    if known["key"].nunique() > 1:
        kinds = known["key"].str.partition(": ")[0]
        ours = known.assign(kind=kinds).groupby("sample")["kind"].nunique()
        mixed = known[known["sample"].isin(ours.index[ours > 1])]
        found |= set(mixed["key"].unique())
    return tuple(sorted(map(str, found)))


def _names(own: pd.DataFrame) -> pd.Series:
    """Return the scorer of each scored row, the log's own by its name where that is known."""
    key = own["scorer"].astype("string").where(own["score"].notna())
    if "note_their_scorer" in own:
        name = own["note_their_scorer"].astype("string")
        key = key.where(~((key == THEIRS).fillna(False) & name.notna()), f"{THEIRS}: " + name)
    return key
