"""From records to samples: repeats averaged, and what their missing repeats leave open.

Samples are the units of every mean and every test; `summary` has the tables over them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlm_eval.stats import bounds


def units(frame: pd.DataFrame, extra: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per sample: score and cost averaged over repeats, and flags.

    `score` is the mean of the repeats that have one. `missing`: a repeat has none; `lost`: no
    repeat has one; `least` and `most`: the score with the missing repeats counted wrong, and
    counted right. `cost` is unknown where the cost of a repeat is unknown: a mean over the others
    is not the sample's. `cut`: a repeat was cut off; `refused`: all were refused.
    """
    outcomes = frame["outcome"].unique()
    cut = [name for name in outcomes if name.startswith("limit:")] + ["truncated", "unknown"]
    marked = frame.assign(
        cut=frame["outcome"].isin(cut),
        missing=frame["score"].isna(),
        spent=frame["cost_cold"].where(~frame["refused"]),
        unpriced=frame["cost_cold"].isna() & ~frame["refused"],
    )
    by = list(dict.fromkeys(["task_label", "series", "length", "item", "sample_id", *extra]))
    found = (
        marked.groupby(by, sort=False)
        .agg(
            score=("score", "mean"),
            cost=("spent", "mean"),
            cluster=("cluster", "first"),
            cut=("cut", "max"),
            missing=("missing", "mean"),
            unpriced=("unpriced", "max"),
            refused=("refused", "all"),
        )
        .reset_index()
    )
    share = found["missing"]
    least = found["score"].fillna(0.0) * (1 - share)
    return found.assign(
        cost=found["cost"].where(~found["unpriced"]),
        missing=share > 0,
        lost=share == 1,
        least=least,
        most=least + share,
    ).drop(columns="unpriced")


def score_bounds(samples: pd.DataFrame) -> tuple[float, float]:
    """Return the mean score with what is cut off or missing counted wrong, and counted right.

    `samples` are rows of `units`. Of a sample that was cut off in a repeat nothing is known; of one
    that lacks the scores of some repeats, the others are.
    """
    return bounds.bounds(samples["least"], samples["cut"] | samples["lost"], samples["most"])


def is_bounds(samples: pd.DataFrame) -> bool:
    """Return true where the mean score is only known as `score_bounds`."""
    return bool(samples["cut"].mean() > bounds.CUT_SHARE or samples["missing"].any())


def over_repeats(part: pd.DataFrame) -> dict[str, float]:
    """Return pass@K and pass^K over the K repeats of right/wrong samples.

    NaN without repeats, and where the score of one is missing: samples that have all of theirs are
    no sample of the cell.
    """
    unknown = {"pass_at": float("nan"), "pass_hat": float("nan")}
    repeats = part["epoch"].nunique()
    if repeats < 2 or part["score"].isna().any():
        return unknown
    counts = part.groupby("sample_id")["score"].agg(["count", "sum"])
    counts = counts[counts["count"] == repeats]
    if counts.empty or not part["score"].isin((0.0, 1.0)).all():
        return unknown
    right = counts["sum"].astype(int)
    return {
        "pass_at": float(np.mean([bounds.pass_at_k(repeats, c, repeats) for c in right])),
        "pass_hat": float(np.mean([bounds.pass_hat_k(repeats, c, repeats) for c in right])),
    }
