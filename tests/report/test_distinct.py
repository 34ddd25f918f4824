"""A function of columns is called once for each distinct combination of their values."""

import pandas as pd

from rlm_eval.report.distinct import each_once


def test_every_row_has_its_text_and_every_combination_one_call():
    called = []

    def joined(one, other):
        called.append((one, other))
        return f"{one}/{other}"

    one, other = pd.Series(["b", "a", "b", None, "b"], index=[5, 3, 1, 0, 2]), [1, 1, 2, 1, 1]
    found = each_once(joined, one, pd.Series(other))
    assert found.tolist() == ["b/1", "a/1", "b/2", f"{one[0]}/1", "b/1"]
    assert len(called) == 4


def test_no_rows_have_no_texts():
    assert each_once(str, pd.Series([], dtype=str)).tolist() == []
