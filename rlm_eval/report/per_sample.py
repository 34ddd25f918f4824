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
    marked = frame.assign(
        cut=is_cut(frame["outcome"]),
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


def is_cut(outcomes: pd.Series) -> pd.Series:
    """Return true where the answer was cut off, or may have been."""
    kinds = [name for name in outcomes.unique() if name.startswith("limit:")]
    return outcomes.isin([*kinds, "truncated", "unknown"])


def score_bounds(samples: pd.DataFrame) -> tuple[float, float]:
    """Return the mean score with what is cut off or missing counted wrong, and counted right.

    `samples` are rows of `units`. Of a sample that was cut off in a repeat nothing is known; of one
    that lacks the scores of some repeats, the others are.
    """
    return bounds.bounds(samples["least"], samples["cut"] | samples["lost"], samples["most"])


def is_bounds(samples: pd.DataFrame) -> bool:
    """Return true where the mean score is only known as `score_bounds`."""
    return bool(samples["cut"].mean() > bounds.CUT_SHARE or samples["missing"].any())


def over_repeats(part: pd.DataFrame, samples: int) -> dict[str, float]:
    """Return repeats per sample (most, least), and pass@K, pass^K over K repeats of right or wrong.

    `samples`: how many samples `part` has. NaN without repeats, where samples differ in their
    number of repeats, and where the score of one is missing: samples that have all of theirs are no
    sample of the cell.
    """
    unknown = {"pass_at": float("nan"), "pass_hat": float("nan")}
    if len(part) == samples:
        return {"repeats": 1, "repeats_least": 1} | unknown
    counts = part.groupby(["item", "sample_id"])["score"].agg(["size", "sum"])
    repeats, least = int(counts["size"].max()), int(counts["size"].min())
    told = {"repeats": repeats, "repeats_least": least}
    if least < repeats or not part["score"].isin((0.0, 1.0)).all():
        return told | unknown
    right = counts["sum"].astype(int)
    return told | {
        "pass_at": float(np.mean([bounds.pass_at_k(repeats, c, repeats) for c in right])),
        "pass_hat": float(np.mean([bounds.pass_hat_k(repeats, c, repeats) for c in right])),
    }
