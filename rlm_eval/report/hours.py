"""GPU-hours of a cell and of a correct answer: columns of the cell table.

A sample's GPU-seconds are its calls' share of the servers that the harness started, without idle
time (`storage.server_usage`). Other servers do not report them: their cells have no such columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

HOURS, PER_CORRECT = "gpu_hours", "gpu_hours_per_correct"


def with_hours(table: pd.DataFrame, paid: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Add GPU-hours per cell and per correct answer to `table`; unchanged if none are known.

    `paid` are the rows of its cells, in groups by `keys` in the table's order. Hours are NaN for a
    cell in which a row lacks GPU-seconds: a partial sum would be too small. Hours per correct
    answer are NaN for a score of 0.
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
