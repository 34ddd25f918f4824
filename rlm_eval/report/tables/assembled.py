"""All tables of a report, in reading order."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rlm_eval.report.tables import ablations, leaderboard, margins, pivots, standard
from rlm_eval.report.tables.table import Table, applying


def tables(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame, more: Sequence[Table]
) -> list[Table]:
    """Return outcomes, scores and leaderboard, then a suite's tables (`more`), then the rest.

    Columns that apply to no line are omitted, and named below the table.
    """
    first, scores, *rest = standard.build(frame, table, comparisons)
    built = [first, scores, *leaderboard.build(frame, table), *(t for t in more if not t.last)]
    built += [*pivots.build(frame, table, comparisons), *margins.build(frame)]
    built += [*rest, *ablations.build(frame)]
    built += [t for t in more if t.last]
    return [applying(one) for one in standard.of_imports(built, frame)]
