"""GPU-hours of a cell and of a correct answer: columns of the cell table.

A sample's GPU-seconds are its calls' share of the servers that the harness started, idle time left
out (`storage.server_usage`). Present only where a cell has them: other servers do not report them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

HOURS, PER_CORRECT = "gpu_hours", "gpu_hours_per_correct"


def with_hours(table: pd.DataFrame, paid: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`table` with the hours of each cell, and per point of score; as it is where none is known.

    `paid` are the rows of its cells, in groups by `keys` in the table's order. A cell in which a
    row does not tell its GPU-seconds has none: a sum of some of them would be too small. Per
    correct answer is NaN where the score is 0.
    """
    if not paid["gpu_seconds"].notna().any():
        return table
    groups = paid.groupby(keys, sort=False)
    hours = groups["gpu_seconds"].sum(min_count=1).to_numpy(dtype=float) / 3600
    known = groups["gpu_seconds"].count().to_numpy() == groups.size().to_numpy()
    hours = np.where(known, hours, np.nan)
    right = groups["score"].sum().to_numpy(dtype=float)
    per = np.divide(hours, right, out=np.full_like(hours, np.nan), where=right > 0)
    return table.assign(**{HOURS: hours, PER_CORRECT: per})
