"""Which scorers gave the scores of a task, and whether two methods were scored by the same one."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rlm_eval.importers.scoring import THEIRS
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
