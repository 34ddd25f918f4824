"""From records to the cell table: series, task, length; accuracy, cost, time, behaviour.

The data frame behind tables and figures, one row per table line. Repeats of a sample are averaged
first; samples (in their clusters) are the units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rlm_eval.records.record import COLUMNS
from rlm_eval.report import imports, looks, per_sample, series, wording
from rlm_eval.report.distinct import each_once
from rlm_eval.report.hours import with_hours
from rlm_eval.report.means import Samples
from rlm_eval.report.tables import baselines
from rlm_eval.stats import intervals

if TYPE_CHECKING:
    from rlm_eval.report.figures.beside import Beside

KEYS = [*series.PLACE, *series.SERIES]
"""Key columns of a table line; rows that agree in these are repeats or samples of one cell."""

series_order = series.in_order
_LARGE = 20_000
"""Records from which other processes help: fewer are done before a process has started."""
_PARTS = 8
"""Parts of the lines that processes take in turn."""
_QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95}
_SPREAD = {
    "cost": "cost_cold",
    "observed": "cost_observed",
    "tokens": "total_tokens",
    "wall": "wall_seconds",
    "path": "critical_path_seconds",
}
_MEANS = {
    "input_tokens": "input_tokens",
    "cached_tokens": "cached_tokens",
    "output_tokens": "output_tokens",
    "root_tokens": "root_input_tokens",
    "sub_tokens": "sub_input_tokens",
    "calls": "n_calls",
    "sub_calls": "n_sub_calls",
    "turns": "turns",
    "error_steps": "n_error_steps",
    "coverage": "coverage",
    "reread": "reread",
    "evidence_seen": "evidence_seen",
    "gpu_seconds": "gpu_seconds",
    "core_seconds": "core_seconds",
    "service": "service_seconds",
    "queue": "queue_seconds",
    "first_token": "first_token_seconds",
    "token": "token_seconds",
}
_PAID = [
    "input_tokens", "cached_tokens", "output_tokens", "root_input_tokens", "sub_input_tokens",
    "gpu_seconds", "core_seconds", "service_seconds", "queue_seconds",
    "first_token_seconds", "token_seconds",
]  # fmt: skip
"""Columns of cost and time: not available for a refused prompt."""
_AMOUNTS = [
    "input_tokens", "cached_tokens", "output_tokens", "root_tokens", "sub_tokens",
    "gpu_seconds", "core_seconds",
]  # fmt: skip
"""Means that are unknown where one is: as cost, the mean of the others is not the cell's."""
_SUMS = {
    "truncated_calls": "n_truncated_calls",
    "failed_calls": "n_failed_calls",
    "server_cut_calls": "n_server_cut_calls",
    "re_rolls": "re_rolls",
    "diverged": "diverged_calls",
    "replayed_calls": "n_replayed_calls",
    "lost_attempts": "n_lost_attempts",
}


def prepare(records: pd.DataFrame, manifests: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Prepare records for the report: plain dtypes, a `series` label, totals.

    Cells that agree in all `KEYS` but differ in their settings are never merged: `series` names
    the differing settings, from the manifests.
    """
    extra = [name for name in records.columns if name not in COLUMNS]
    frame = _with_floats(records.reindex(columns=[*COLUMNS, *extra]))
    for name in (*KEYS, "cluster", "item", "sample_id", "outcome"):
        if name != "length":
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    for name in ("cluster", "item"):  # only compared, never shown: numbers are faster
        frame[name] = pd.factorize(frame[name])[0]
    frame["length"] = frame["length"].fillna(wording.UNKNOWN_LENGTH)
    # Unknown for some imported rows; always known in records of an earlier release.
    recursion_unknown = frame["used_recursion"].isna() & frame["imported"].notna()
    for name in ("scripted", "generated", "protected", "used_recursion"):
        frame[name] = frame[name].fillna(False).astype(bool)
    frame["recursion_unknown"] = recursion_unknown.to_numpy()
    # GPU time at its price replaces a missing list price; captions state it.
    frame["gpu_priced"] = frame["cost_cold"].isna() & frame["cost_with_gpu"].notna()
    frame["cost_cold"] = frame["cost_cold"].fillna(frame["cost_with_gpu"])
    imports.tell_apart(frame, manifests)
    series.tell_prompts_apart(frame)
    series.tell_variants_apart(frame, manifests)
    frame["refused"] = _refused(frame)
    frame["total_tokens"] = frame["input_tokens"] + frame["output_tokens"]
    frame["series"] = series.labels(frame)
    looks.mark(frame)
    frame["task_label"] = each_once(
        lambda task, variant: task + (f" ({variant})" if variant else ""),
        frame["task"],
        frame["task_variant"],
    )
    return frame


def _with_floats(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records with a new index, columns of numbers first: as floats, unknown is NaN.

    They share one block of memory: written one by one, they would be copied again to defragment.
    """
    names = [name for name in records.columns if _is_number(str(name), records[name])]
    block = np.empty((len(names), len(records)))
    for values, name in zip(block, names, strict=True):
        values[:] = pd.to_numeric(records[name]).to_numpy(dtype=float, na_value=np.nan)
    numbers = pd.DataFrame(block.T, columns=names, copy=False)
    others = records.drop(columns=names).reset_index(drop=True)
    return pd.concat([numbers, others], axis="columns")


def _is_number(name: str, values: pd.Series) -> bool:
    kind = COLUMNS[name][0] if name in COLUMNS else name.partition("_")[0]
    return kind in ("int", "float", "score") or isinstance(
        values.dtype, pd.Int64Dtype | pd.Float64Dtype
    )


def _refused(frame: pd.DataFrame) -> pd.Series:
    """Return true for a context overflow without any tokens read: it cost no time and no money.

    An overflow after answered calls has their cost. With unknown tokens, it counts as unread if all
    calls failed, or at most one call was made and its failures are unknown.
    """
    calls, failed = frame["n_calls"].fillna(0), frame["n_failed_calls"]
    unread = (failed >= calls) | (failed.isna() & (calls <= 1))
    unread = unread.where(frame["input_tokens"].isna(), frame["input_tokens"] == 0)
    return (frame["outcome"] == "context_overflow") & unread


def summarise(frame: pd.DataFrame, beside: Beside | None = None) -> pd.DataFrame:
    """Return the cell table of a prepared frame, sorted by task, length and series.

    The processes `beside` this one take a part of the lines, if the frame is large.
    """
    rank = {name: i for i, name in enumerate(series.in_order(frame))}
    lines = _Lines(frame)
    table = pd.DataFrame(_divided(lines, beside) if beside and len(frame) >= _LARGE else lines.rows)
    keys, groups = list(lines.keys), lines.groups
    scorers = [name for name in frame.columns if name.startswith("score_")]
    samples = Samples(frame, lines.numbers)
    means = samples.means(
        frame[list(_MEANS.values())].set_axis(list(_MEANS), axis="columns"),
        amounts=_AMOUNTS,
        paid=[name for name, column in _MEANS.items() if column in _PAID],
    ).add_prefix("mean_")
    means = pd.concat([means, samples.scores(scorers)], axis="columns")
    sums = groups[list(_SUMS.values())].sum().reset_index(drop=True)
    # An empty sum is 0, which is valid only for complete records: old ones lack some columns.
    said = groups[list(_SUMS.values())].count().reset_index(drop=True) > 0
    sums = sums.where(said | ~table["imported"].to_numpy()[:, None])
    sums.columns = pd.Index(list(_SUMS))
    if (table["repeats"] == table["repeats_least"]).all():
        table = table.drop(columns="repeats_least")
    table = pd.concat([table, means, sums], axis="columns")
    paid = frame[[*keys, "gpu_seconds", "score"]]
    paid.loc[frame["refused"], "gpu_seconds"] = np.nan
    table = with_hours(table, paid, keys)
    order = table.assign(rank=table["series"].map(rank)).sort_values(
        ["task_label", "length", "rank"]
    )
    return order.drop(columns="rank").reset_index(drop=True)


class _Lines:
    """The lines of a cell table; another process receives the frame alone."""

    keys = (*KEYS, "series", "task_label")

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __reduce__(self) -> tuple[type[_Lines], tuple[pd.DataFrame]]:
        return _Lines, (self._frame,)

    @functools.cached_property
    def groups(self) -> Any:
        """The frame grouped by line."""
        return self._frame.groupby(list(self.keys), sort=False)

    @functools.cached_property
    def numbers(self) -> np.ndarray[Any, Any]:
        """The number of each record's line."""
        return np.asarray(self.groups.ngroup())

    @functools.cached_property
    def _inputs(self) -> list[tuple[pd.DataFrame, ...]]:
        """What `_row` takes, per line.

        Grouped by whole numbers, and once for all lines: ten text columns a line take far longer.
        """
        frame, number, keys = self._frame, self.numbers, list(self.keys)
        samples = dict(iter(per_sample.units(frame, keys).groupby(keys, sort=False)))
        paid = ~frame["refused"].to_numpy(dtype=bool)
        amounts = list(_SPREAD.values())
        spreads = _by_line(
            frame.loc[paid, ["item", "sample_id", "cluster", *amounts]],
            number[paid],
            dict.fromkeys(amounts, "mean") | {"cluster": "first"},
        )
        of_rules = _by_line(frame, number, baselines.aggregates(frame))
        return [
            (part, samples[key], spreads(line), of_rules(line))
            for line, (key, part) in enumerate(self.groups)
        ]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All lines."""
        return [_row(*one) for one in self._inputs]

    def part(self, number: int) -> list[dict[str, Any]]:
        """Return one of `_PARTS` parts of the lines."""
        size = -(-len(self._inputs) // _PARTS)
        return [_row(*one) for one in self._inputs[number * size : (number + 1) * size]]


def _divided(lines: _Lines, beside: Beside) -> list[dict[str, Any]]:
    parts = beside.share(_Lines.part, lines, _PARTS).results(lines.part)
    return [row for part in parts for row in part]


def _by_line(
    frame: pd.DataFrame, line: np.ndarray[Any, Any], how: Mapping[str, str]
) -> Callable[[int], pd.DataFrame]:
    """Aggregate the repeats of every sample; return a function from a line to its samples."""
    if not how:
        return lambda _: pd.DataFrame()
    found = frame.groupby([line, "item", "sample_id"], sort=False).agg(how)
    of = found.index.get_level_values(0)
    found = found.reset_index(drop=True)
    lines = dict(iter(found.groupby(of, sort=False)))
    return lambda number: lines.get(number, found.iloc[:0])


def _row(
    part: pd.DataFrame, samples: pd.DataFrame, of_samples: pd.DataFrame, of_rules: pd.DataFrame
) -> dict[str, Any]:
    """`of_samples`: amounts per sample with tokens read; `of_rules`: baselines per sample."""
    first = part.iloc[0]
    scored = samples[~samples["lost"]]
    accuracy = intervals.mean_interval(scored["score"], scored["cluster"])
    given_low, given_high = intervals.given_clusters(scored["score"], scored["cluster"])
    cut_share = float(samples["cut"].mean())
    low, high = per_sample.score_bounds(samples)
    counts = part["outcome"].value_counts()
    refused = part["refused"].to_numpy(dtype=bool)
    repeated = per_sample.over_repeats(part, len(samples))
    row: dict[str, Any] = {name: first[name] for name in [*KEYS, "series", "task_label"]}
    row |= {
        "n": len(samples),
        "repeats": repeated["repeats"],
        "n_scored": len(scored),
        "clusters": accuracy.clusters,
        "outcomes": " · ".join(f"{name} {count}" for name, count in counts.items()),
        "missing": int(samples["missing"].sum()),
        "cut_share": cut_share,
        "overflow_share": float((part["outcome"] == "context_overflow").mean()),
        "refused": int(refused.sum()),
        "as_bounds": per_sample.is_bounds(samples),
        "accuracy": accuracy.estimate,
        "low": accuracy.low,
        "high": accuracy.high,
        "given_low": given_low,
        "given_high": given_high,
        "interval": accuracy.method,
        "bound_low": low,
        "bound_high": high,
        "n_priced": int(of_samples["cost_cold"].notna().sum()),
        "n_counted": int(of_samples["total_tokens"].notna().sum()),
        "n_timed": int(of_samples["wall_seconds"].notna().sum()),
        "recursion": float("nan")
        if part["recursion_unknown"].any()
        else int(part["used_recursion"].sum()),
        "imported": bool(part["imported"].notna().any()),
        "rows": len(part),
        "window": first["root_window"],
        "concurrency": first["concurrency"],
        "scripted": bool(part["scripted"].any()),
        "generated": bool(part["generated"].any()),
        "protected": bool(part["protected"].any()),
        "isolation": first["isolation"],
        "prices": first["prices"],
        "gpu_priced": bool(part["gpu_priced"].any()),
    }
    row |= repeated | baselines.of_line(part, of_rules)
    for name, column in _SPREAD.items():
        row |= _spread(
            name,
            part[column].to_numpy()[~refused],
            of_samples[column].to_numpy(),
            of_samples["cluster"].to_numpy(),
        )
    return row


def _spread(
    name: str,
    values: np.ndarray[Any, Any],
    means: np.ndarray[Any, Any],
    clusters: np.ndarray[Any, Any],
) -> dict[str, float]:
    """Return mean, quantiles, max and total; all unknown if a value is missing.

    A mean over the priced half of a cell would not be the cell's mean. `values` has every repeat,
    for the max and the total; `means` has a mean over repeats per sample, `clusters` the samples'
    clusters: repeats are not additional samples for an interval.
    """
    known = values[~np.isnan(values)]
    # Samples without a latency (resumed ones) are excluded; one unknown price makes all unknown.
    whole = len(known) == len(values) or name in ("wall", "path")
    if not len(known) or not whole:
        names = ("mean", "mean_low", "mean_high", *_QUANTILES, "max", "total", "median_low",
                 "median_high")  # fmt: skip
        return {f"{name}_{q}": float("nan") for q in names}
    means, clusters = means[~np.isnan(means)], clusters[~np.isnan(means)]
    found = np.quantile(means, list(_QUANTILES.values()))
    low, high = intervals.quantile_interval(means, 0.5) or (float("nan"), float("nan"))
    mean_low, mean_high = intervals.amount_interval(means, clusters)
    return {
        f"{name}_median_low": low,
        f"{name}_median_high": high,
        f"{name}_mean": float(means.mean()),
        f"{name}_mean_low": mean_low,
        f"{name}_mean_high": mean_high,
        **{f"{name}_{q}": float(v) for q, v in zip(_QUANTILES, found, strict=True)},
        f"{name}_max": float(known.max()),
        f"{name}_total": float(known.sum()),
    }
