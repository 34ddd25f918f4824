"""All tables of a report, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rlm_eval.report.tables import ablations, standard
from rlm_eval.report.tables.standard import Table


def tables(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame, more: Sequence[Table]
) -> list[Table]:
    """Outcomes and scores first, then what a suite adds (`more`), then the rest."""
    built = standard.build(frame, table, comparisons) + ablations.build(frame)
    built[2:2] = more
    return standard.of_imports(built, frame)
