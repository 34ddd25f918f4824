"""Functions of columns that repeat few values, called once per distinct combination of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


def each_once(function: Callable[..., str], *columns: pd.Series) -> np.ndarray[Any, Any]:
    """Return the text of every row: `function` of its values in `columns`, in Python types."""
    found = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes, values = pd.factorize(column, use_na_sentinel=False)
        found = pd.factorize(found * len(values) + codes)[0]  # small again: no overflow
    _, first = np.unique(found, return_index=True)
    rows = zip(*(column.iloc[first] for column in columns), strict=True)
    texts = np.empty(len(first), dtype=object)
    texts[:] = [function(*row) for row in rows]
    return texts[found]
