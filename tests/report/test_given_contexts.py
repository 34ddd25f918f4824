"""Where a cell has few contexts: an interval over questions beside that over contexts, so named."""

import math

import numpy as np
import pytest
from report import made_frames as frames

from rlm_eval.report import summary
from rlm_eval.report.tables import comparison, standard
from rlm_eval.stats.intervals import given_clusters, mean_interval, wilson


def test_it_is_wilsons_over_questions_and_only_beside_few_contexts():
    scores = np.array([1.0] * 28 + [0.0] * 22)
    windows = np.arange(50) % 2
    assert given_clusters(scores, windows) == wilson(28, 50)
    low, high = mean_interval(scores, windows).low, mean_interval(scores, windows).high
    assert (low, high) != given_clusters(scores, windows)
    assert np.isnan(given_clusters(scores, np.arange(50) % 8)).all(), "eight contexts are enough"
    assert np.isnan(given_clusters(scores, np.arange(50))).all()


@pytest.mark.parametrize(("per_cluster", "shown"), [(25, True), (50, True), (5, False), (1, False)])
def test_tables_and_comparisons_show_it_where_contexts_are_few(per_cluster, shown):
    records = frames.frame(n=50, per_cluster=per_cluster, lengths=(4096,))
    frame = summary.prepare(records)
    rows = comparison.against(frame, "long_context")
    table = summary.summarise(frame)
    accuracy, differences = (
        next(t for t in standard.build(frame, table, rows) if t.name == name)
        for name in ("accuracy", "comparisons")
    )
    for one in (accuracy, differences):
        assert ("given these contexts" in one.rows.columns) is shown
        assert ("does not generalise to others" in one.note) is shown
    text = comparison.compare_text(records, "rlm", "rag")
    given = "given this context:" if per_cluster == 50 else "given these 2 contexts:"
    assert (given in text) is shown
    assert ("given th" in text) is shown
    if not shown:
        return
    assert accuracy.rows["given these contexts"].str.fullmatch(r"\[[\d.]+, [\d.]+\]").all()
    row = rows.iloc[0]
    assert row["low"] < row["given_low"] < row["difference"] < row["given_high"] < row["high"]
    assert math.isnan(row["detectable"]) or not row["shown"], "no verdict rests on it"
