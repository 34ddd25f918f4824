"""Cells whose replies came without text: their scores may not be the model's."""

from __future__ import annotations

import pandas as pd

from rlm_eval.core import no_text

KEYS = ["series", "task_label", "length"]


def unread(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a prepared frame with too many such replies: `KEYS`, and both counts.

    Records of an earlier release, and imported ones, do not count these replies.
    """
    sums = frame.groupby(KEYS, sort=False)[["n_textless_replies", "n_replies"]].sum().reset_index()
    return sums[sums["n_textless_replies"] > no_text.MOST * sums["n_replies"]]


def sentences(frame: pd.DataFrame) -> list[str]:
    """Return a caveat per series."""
    own = unread(frame).groupby("series", sort=False)[["n_textless_replies", "n_replies"]].sum()
    return [
        f"{series}: {no_text.told(int(lacking), int(replies))}."
        for series, lacking, replies in own.itertuples()
    ]
