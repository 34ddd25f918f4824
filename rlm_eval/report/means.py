"""Means of columns over the samples of every line of the cell table, all lines at once.

Repeats of a sample are averaged first. A mean over the samples that happen to have a value is not
the line's: amounts are then unknown, other means state their number of samples, and the scores of
further scorers are bounds where the headline's would be.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.core.types import Outcome
from rlm_eval.report import per_sample
from rlm_eval.stats import bounds

_Numbers = np.ndarray[Any, Any]
_ZERO = [outcome.value for outcome in Outcome if outcome.scores_zero]


class Samples:
    """The samples of a prepared frame, whose lines have the numbers `line`, from 0, per row."""

    def __init__(self, frame: pd.DataFrame, line: _Numbers) -> None:
        self._frame, self._line = frame, line
        groups = frame.groupby([line, "item", "sample_id"], sort=False)
        self._unit = pd.factorize(groups.ngroup())[0]  # by the rows: sums round as those of rows
        self._of = np.zeros(int(self._unit.max(initial=-1)) + 1, dtype=np.int64)
        self._of[self._unit] = line

    def means(
        self, values: pd.DataFrame, *, amounts: Collection[str], paid: Collection[str]
    ) -> pd.DataFrame:
        """Return the mean of each column per line, and `<column>_n` where some samples lack it.

        `values`: a row per record, NaN = unknown. Refused rows are left out of the columns `paid`.
        A column of `amounts` is NaN for a line in which another row lacks it; of the others, a
        column `..._n` counts the samples behind the mean if a line lacks some, but not all.
        """
        read = ~self._frame["refused"].to_numpy(dtype=bool)
        every = np.ones(len(read), dtype=bool)
        whole = {
            own is read: self._summed(np.bincount(self._unit[own], minlength=len(self._of)) > 0)
            for own in (read, every)
        }
        rows = {str(name): values[name].to_numpy(dtype=float) for name in values.columns}
        due = {name: read if name in paid else every for name in rows}
        known = {name: due[name] & ~np.isnan(column) for name, column in rows.items()}
        means = pd.DataFrame({n: self._per_sample(rows[n], known[n]) for n in rows})
        averages, counts = self._per_line(means)
        found: dict[str, Any] = {}
        for name in rows:
            found[name] = averages[name]
            count = counts[name].to_numpy()
            if name in amounts:
                lacking = np.bincount(self._line[due[name] & ~known[name]], minlength=len(count))
                found[name] = averages[name].mask(lacking > 0)
            elif ((count > 0) & (count < whole[due[name] is read])).any():
                found[f"{name}_n"] = count
        return pd.DataFrame(found)

    def scores(self, names: Collection[str]) -> pd.DataFrame:
        """Return per scorer column `score_X` its mean per line, as the headline is computed.

        An outcome that scores 0 counts 0; rows without this score whose headline is known are left
        out (the scorer does not apply to them). NaN where the mean is known only as bounds:
        `bound_low_X` and `bound_high_X` are there if a line has them, `n_X` (samples) if a line
        has fewer than in all.
        """
        frame, found = self._frame, {}
        headline = frame["score"].to_numpy(dtype=float)
        cut = per_sample.is_cut(frame["outcome"]).to_numpy()
        zero = frame["outcome"].isin(_ZERO).to_numpy()
        foreign = frame["imported"].notna().to_numpy()
        samples = np.bincount(self._of)
        for name in names:
            score = frame[name].to_numpy(dtype=float)
            used = np.bincount(self._line[~np.isnan(score)], minlength=len(samples)) > 0
            # Our runs score such an outcome as no answer, where the scorer applies; logs do not.
            score = np.where(zero & (foreign | ~np.isnan(score)), 0.0, score)
            own = used[self._line] & (~np.isnan(score) | np.isnan(headline))
            mean, low, high, count = self._score(score, cut, own)
            kind = name.removeprefix("score_")
            found[name] = mean
            if not np.isnan(low).all():
                found |= {f"bound_low_{kind}": low, f"bound_high_{kind}": high}
            if (used & (count < samples)).any():
                found[f"n_{kind}"] = count
        return pd.DataFrame(found)

    def _score(self, score: _Numbers, cut: _Numbers, own: _Numbers) -> tuple[_Numbers, ...]:
        """Return (mean, low, high, samples) per line over the rows `own`; no mean for bounds."""
        known = ~np.isnan(score)
        mean = self._per_sample(score, own & known)
        rows = np.bincount(self._unit[own], minlength=len(self._of))
        lacking = np.bincount(self._unit[own & ~known], minlength=len(self._of))
        unsure = np.bincount(self._unit[own & cut], minlength=len(self._of)) > 0
        there = rows > 0
        share = np.divide(lacking, rows, out=np.zeros(len(rows)), where=there)
        least = np.nan_to_num(mean) * (1 - share)
        open_ = unsure | (share == 1)
        average = pd.Series(mean).groupby(self._of).mean().to_numpy()
        count = self._summed(there)
        size = np.maximum(count, 1)
        as_bounds = (self._summed(there & unsure) / size > bounds.CUT_SHARE) | (
            self._summed(share > 0) > 0
        )
        low = self._summed(np.where(there & ~open_, least, 0.0)) / size
        high = self._summed(np.where(there, np.where(open_, 1.0, least + share), 0.0)) / size
        return (
            np.where(as_bounds, np.nan, average),
            np.where(as_bounds, low, np.nan),
            np.where(as_bounds, high, np.nan),
            count.astype(int),
        )

    def _per_sample(self, values: _Numbers, known: _Numbers) -> _Numbers:
        """Return the mean of the known values of every sample; NaN where none is known."""
        at = self._unit[known]
        total = np.bincount(at, weights=values[known], minlength=len(self._of))
        count = np.bincount(at, minlength=len(self._of))
        found: _Numbers = np.full(len(self._of), np.nan)
        np.divide(total, count, out=found, where=count > 0)
        return found

    def _per_line(self, means: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return (means, counts) of the known samples of every line, by the line's number."""
        groups = means.groupby(self._of)
        return groups.mean(), groups.count()

    def _summed(self, values: _Numbers) -> _Numbers:
        summed: _Numbers = np.bincount(self._of, weights=values)
        return summed
