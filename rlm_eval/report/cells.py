"""From records to one row per table line: who, what, length; accuracy, cost, time, behaviour.

Not a figure and not a file: the frame that tables and figures are drawn from. Repeats of a sample
are averaged first; samples (in their clusters) are the units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.records import COLUMNS
from rlm_eval.stats import intervals, missing

KEYS = ["task", "task_variant", "length", "method", "variant", "root", "sub", "prompt"]
"""What makes a line of the table; rows that agree in these are repeats or samples of one cell."""

SERIES = ["method", "variant", "root", "sub", "prompt"]
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
_SUMS = {
    "truncated_calls": "n_truncated_calls",
    "failed_calls": "n_failed_calls",
    "server_cut_calls": "n_server_cut_calls",
    "re_rolls": "re_rolls",
    "diverged": "diverged_calls",
    "replayed_calls": "n_replayed_calls",
    "lost_attempts": "n_lost_attempts",
}
_METHOD_ORDER = ["long_context", "rag", "summary_agent", "codeact", "react", "rlm"]


def prepare(records: pd.DataFrame, manifests: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Records with plain dtypes, a `series` label and totals; what all of the report works on.

    Cells that agree in all `KEYS` but differ in their configuration are never merged: their
    variant names the differing settings (from the manifests), or the cell where they are absent.
    """
    extra = [name for name in records.columns if name not in COLUMNS]
    frame = records.reindex(columns=[*COLUMNS, *extra])
    for name in frame.columns:
        kind = COLUMNS[name][0] if name in COLUMNS else name.partition("_")[0]
        if kind in ("int", "float", "score") or isinstance(
            frame[name].dtype, pd.Int64Dtype | pd.Float64Dtype
        ):
            frame[name] = pd.to_numeric(frame[name]).to_numpy(dtype=float, na_value=np.nan)
    for name in (*KEYS, "cluster", "item", "sample_id", "outcome"):
        if name != "length":
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    for name in ("cluster", "item"):  # only told apart, never shown: numbers are faster
        frame[name] = pd.factorize(frame[name])[0]
    for name in ("scripted", "generated", "protected", "used_recursion"):
        frame[name] = frame[name].fillna(False).astype(bool)
    frame = frame.copy()  # in one piece: the columns were set one by one
    # GPU time at its price stands in for a list price; captions say so.
    frame["gpu_priced"] = frame["cost_cold"].isna() & frame["cost_with_gpu"].notna()
    frame["cost_cold"] = frame["cost_cold"].fillna(frame["cost_with_gpu"])
    frame["variant"] = _variants(frame, {m["identity"]: m.get("config", {}) for m in manifests})
    frame["total_tokens"] = frame["input_tokens"] + frame["output_tokens"]
    frame["series"] = _labels(frame)
    frame["task_label"] = [
        task + (f" ({variant})" if variant else "")
        for task, variant in zip(frame["task"], frame["task_variant"], strict=True)
    ]
    return frame


def _variants(frame: pd.DataFrame, configs: Mapping[str, Any]) -> pd.Series:
    """The variant column, told apart where several configurations share a table line."""
    cells = frame[[*KEYS, "seed", "cell_id"]].drop_duplicates()
    names = {}
    for _, group in cells.groupby([*KEYS, "seed"], dropna=False, sort=False):
        leaves = {c: dict(_leaves(configs.get(c, {}))) for c in group["cell_id"]}
        keys = sorted({key for found in leaves.values() for key in found})
        differing = [k for k in keys if len({repr(v.get(k)) for v in leaves.values()}) > 1]
        for cell, variant in zip(group["cell_id"], group["variant"], strict=True):
            own = [f"{key.removeprefix('method.')}={leaves[cell].get(key)}" for key in differing]
            told = [variant, *(own or [str(cell)[-6:]])] if len(group) > 1 else [variant]
            names[cell] = ", ".join(part for part in told if part)
    return frame["cell_id"].map(names)


_RUNTIME = ("name", "results", "max_samples", "experiment", "debug", "n", "epochs", "port", "url")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a configuration, run-time settings left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _RUNTIME:
                yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _labels(frame: pd.DataFrame) -> pd.Series:
    """The shortest label that tells the series of this report apart: method, then what varies."""
    kinds = frame[SERIES].drop_duplicates()
    # A fixed program has no root: its sub model is named where it is not the root of the others.
    models = set(kinds["root"]) - {""} or set(kinds["sub"])
    labels = {}
    for row in kinds.itertuples(index=False):
        key = tuple(row)
        method, variant, root, sub, prompt = key
        parts = [str(method)]
        if variant:
            parts.append(f"[{variant}]")
        pair = " > ".join(dict.fromkeys(name for name in (root, sub) if name))
        # A model's switches (`models.shown_name`) change what it was sent: always named.
        if pair and (len(models) > 1 or pair not in models or " [" in pair):
            parts.append(f"({pair})")
        same = kinds[(kinds[SERIES[:-1]] == list(key[:-1])).all(axis=1)]
        if len(same) > 1:
            parts.append(f"prompt {prompt}")
        labels[key] = " ".join(parts)
    groups = frame.groupby(SERIES, sort=False, dropna=False)
    names = [labels[tuple(key)] for key in groups.size().index]
    return groups.ngroup().map(dict(enumerate(names)))


def series_order(frame: pd.DataFrame) -> list[str]:
    """Series labels in a fixed order: baselines first, RLM last, then by name."""
    pairs = frame[["method", "series"]].drop_duplicates()

    def rank(pair: tuple[str, str]) -> tuple[int, str, str]:
        known = [i for i, name in enumerate(_METHOD_ORDER) if pair[0].startswith(name)]
        return (known[-1] if known else len(_METHOD_ORDER) - 2, pair[0], pair[1])

    return [series for _, series in sorted(pairs.itertuples(index=False, name=None), key=rank)]


def units(frame: pd.DataFrame, extra: Sequence[str] = ()) -> pd.DataFrame:
    """One row per sample: score and cost averaged over repeats, cut or missing marked."""
    marked = frame.assign(
        cut=frame["outcome"].str.startswith("limit:") | (frame["outcome"] == "truncated"),
        lost=frame["score"].isna(),
    )
    by = list(dict.fromkeys(["task_label", "series", "length", "item", "sample_id", *extra]))
    return (
        marked.groupby(by, sort=False)
        .agg(
            score=("score", "mean"),
            cost=("cost_cold", "mean"),
            cluster=("cluster", "first"),
            cut=("cut", "max"),
            lost=("lost", "all"),
        )
        .reset_index()
    )


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """The cell table of a prepared frame, sorted by task, length and series."""
    rank = {name: i for i, name in enumerate(series_order(frame))}
    keys = [*KEYS, "series", "task_label"]
    samples = dict(iter(units(frame, keys).groupby(keys, sort=False)))
    groups = frame.groupby(keys, sort=False)
    table = pd.DataFrame([_row(part, samples[key]) for key, part in groups])
    scorers = [name for name in frame.columns if name.startswith("score_")]
    means = groups[[*_MEANS.values(), *scorers]].mean().reset_index(drop=True)
    sums = groups[list(_SUMS.values())].sum().reset_index(drop=True)
    means.columns = pd.Index([*(f"mean_{name}" for name in _MEANS), *scorers])
    sums.columns = pd.Index(list(_SUMS))
    table = pd.concat([table, means, sums], axis="columns")
    order = table.assign(rank=table["series"].map(rank)).sort_values(
        ["task_label", "length", "rank"]
    )
    return order.drop(columns="rank").reset_index(drop=True)


def _row(part: pd.DataFrame, samples: pd.DataFrame) -> dict[str, Any]:
    first = part.iloc[0]
    scored = samples[~samples["lost"]]
    accuracy = intervals.mean_interval(scored["score"], scored["cluster"])
    cut_share = float(samples["cut"].mean())
    low, high = missing.bounds(samples["score"], samples["cut"] | samples["lost"])
    counts = part["outcome"].value_counts()
    row: dict[str, Any] = {name: first[name] for name in [*KEYS, "series", "task_label"]}
    row |= {
        "n": len(samples),
        "repeats": part["epoch"].nunique(),
        "n_scored": len(scored),
        "clusters": accuracy.clusters,
        "outcomes": " · ".join(f"{name} {count}" for name, count in counts.items()),
        "missing": int(samples["lost"].sum()),
        "cut_share": cut_share,
        "overflow_share": float((part["outcome"] == "context_overflow").mean()),
        "as_bounds": cut_share > missing.CUT_SHARE or bool(samples["lost"].any()),
        "accuracy": accuracy.estimate,
        "low": accuracy.low,
        "high": accuracy.high,
        "interval": accuracy.method,
        "bound_low": low,
        "bound_high": high,
        "n_priced": int(part["cost_cold"].notna().sum()),
        "n_timed": int(part["wall_seconds"].notna().sum()),
        "recursion": int(part["used_recursion"].sum()),
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
    row |= _over_repeats(part)
    of_samples = part.groupby(["item", "sample_id"], sort=False)[list(_SPREAD.values())].mean()
    for name, column in _SPREAD.items():
        row |= _spread(name, part[column].to_numpy(), of_samples[column].to_numpy())
    return row


def _over_repeats(part: pd.DataFrame) -> dict[str, float]:
    """pass@K and pass^K over the K repeats of right/wrong samples; NaN without repeats."""
    unknown = {"pass_at": float("nan"), "pass_hat": float("nan")}
    repeats = part["epoch"].nunique()
    if repeats < 2:
        return unknown
    counts = part.groupby("sample_id")["score"].agg(["count", "sum"])
    counts = counts[counts["count"] == repeats]
    if counts.empty or not part["score"].dropna().isin((0.0, 1.0)).all():
        return unknown
    right = counts["sum"].astype(int)
    return {
        "pass_at": float(np.mean([missing.pass_at_k(repeats, c, repeats) for c in right])),
        "pass_hat": float(np.mean([missing.pass_hat_k(repeats, c, repeats) for c in right])),
    }


def _spread(
    name: str, values: np.ndarray[Any, Any], of_samples: np.ndarray[Any, Any]
) -> dict[str, float]:
    """Mean, quantiles, max and total of what is known; all unknown where a value is missing.

    A mean over the priced half of a cell would not be the cell's mean. `values` has every repeat,
    for the max and the total; `of_samples` the samples' means over theirs: repeats of a sample are
    no further samples for an interval.
    """
    known = values[~np.isnan(values)]
    # Samples without a latency (resumed ones) are left out; an unknown price spoils the cell.
    whole = len(known) == len(values) or name in ("wall", "path")
    if not len(known) or not whole:
        names = ("mean", *_QUANTILES, "max", "total", "median_low", "median_high")
        return {f"{name}_{q}": float("nan") for q in names}
    means = of_samples[~np.isnan(of_samples)]
    found = np.quantile(means, list(_QUANTILES.values()))
    low, high = intervals.quantile_interval(means, 0.5) or (float("nan"), float("nan"))
    return {
        f"{name}_median_low": low,
        f"{name}_median_high": high,
        f"{name}_mean": float(means.mean()),
        **{f"{name}_{q}": float(v) for q, v in zip(_QUANTILES, found, strict=True)},
        f"{name}_max": float(known.max()),
        f"{name}_total": float(known.sum()),
    }
