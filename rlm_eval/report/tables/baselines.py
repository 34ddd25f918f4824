"""Baselines next to a score: the best skimmer and the best rule without a model, from records.

The columns of `rlm_eval.records.baselines` become means per table line, text, and paired
comparisons on the same samples. Where a published folder's records lack them, its `baselines.json`
has the means. Unknown values are NaN, printed as `not computed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from rlm_eval.records.baselines import BY_CODE, COLUMNS, NAMES, READ, STEPS
from rlm_eval.report import wording
from rlm_eval.report.tables.table import row_dicts
from rlm_eval.stats import paired
from rlm_eval.storage.cell_store import BASELINES

NOT_COMPUTED = "not computed"
SHOWN = {"skimmer": "skimmer", "no_model": "no model", "bag_of_words": "bag of words"}
"""Kind -> its name in tables and figures."""
MUST_EXCEED = ("skimmer", "no_model")
"""Kinds that a method must exceed to show that it reads the context."""
_LISTED = 8  # maximum comparisons listed in a caveat


def aggregates(frame: pd.DataFrame) -> dict[str, str]:
    """Column -> aggregation over a sample's repeats, for `of_line`; empty without baselines."""
    columns = [name for name in (*COLUMNS.values(), READ) if name in frame]
    if COLUMNS["prior"] not in columns:
        return {}
    return dict.fromkeys(columns, "first") | {"score": "mean", "cluster": "first"}


def of_line(part: pd.DataFrame, units: pd.DataFrame) -> dict[str, Any]:
    """Return the `base_...` columns for the records of one table line; NaN if unknown.

    `units` has a row per sample, by `aggregates`. Scores and shares in [0, 1];
    `base_<kind>_difference`, `_low`, `_high`: method minus baseline over the common samples, with
    its 95 % interval.
    """
    rules = {f"base_{k}_rule": _first(part, name) for k, name in NAMES.items()}
    row: dict[str, Any] = {f"base_{kind}": math.nan for kind in (*COLUMNS, "read")} | rules
    for percent, names in STEPS.items():
        row[f"base_at_{percent}"], row[f"base_at_{percent}_read"] = (_first(part, n) for n in names)
    row |= {"base_by_code": _first(part, BY_CODE) is True, "base_n": 0}
    for kind in MUST_EXCEED:
        row |= {f"base_{kind}_{end}": math.nan for end in ("difference", "low", "high")}
    if units.empty:
        return row
    columns = [name for name in units.columns if name not in ("score", "cluster")]
    values = {name: pd.to_numeric(units[name], errors="coerce") for name in columns}
    row |= {f"base_{k}": values[n].mean() for k, n in COLUMNS.items() if n in values}
    row |= {"base_read": values[READ].mean(), "base_n": int(values[COLUMNS["prior"]].notna().sum())}
    for kind in MUST_EXCEED:
        both = units["score"].notna() & values[COLUMNS[kind]].notna()
        if both.any():
            found = paired.compare(
                units.loc[both, "score"].to_numpy(dtype=float),
                values[COLUMNS[kind]][both].to_numpy(dtype=float),
                units.loc[both, "cluster"].to_numpy(),
            )
            row |= {
                f"base_{kind}_difference": found.difference,
                f"base_{kind}_low": found.low,
                f"base_{kind}_high": found.high,
            }
    return row


def _first(part: pd.DataFrame, name: str) -> Any:
    known = part[name].dropna() if name in part else part.iloc[:0, 0]
    found = known.iloc[0] if len(known) else math.nan
    return bool(found) if name == BY_CODE and len(known) else found


def with_published(table: pd.DataFrame, run_dirs: Sequence[Path]) -> pd.DataFrame:
    """Fill `base_...` columns that are unknown from `baselines.json` of a published folder.

    The file has means and paired differences (points, one digit) of samples that today's
    generators may not make again. A task and length with several variants stays unknown.
    """
    files = [path for run in run_dirs if (path := run / BASELINES).exists()]
    if not files:
        return table
    found = table.astype(dict.fromkeys([f"base_{kind}_rule" for kind in NAMES], object))
    for entry in [one for path in files for one in orjson.loads(path.read_bytes())["cells"]]:
        own = found[(found["task"] == entry["task"]) & (found["length"] == entry["length"])]
        if own["base_prior"].notna().any() or own["task_label"].nunique() != 1:
            continue
        for name, value in _published(entry).items():
            found.loc[own.index, name] = value
        methods = own["method"].value_counts()
        for at, method in own["method"].items():
            told = entry["method_minus_baseline"].get(method, {}) if methods[method] == 1 else {}
            for kind in MUST_EXCEED:
                names = [f"base_{kind}_{end}" for end in ("difference", "low", "high")]
                if kind in told:
                    found.loc[at, names] = [points / 100 for points in told[kind]]
    return found.copy()  # in one block: pandas warns of many


def _published(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `base_...` columns that an entry of a published `baselines.json` states."""
    kinds = {kind: rule for kind, rule in entry["kinds"].items() if kind in COLUMNS}
    row = {f"base_{kind}": rule["score"] for kind, rule in kinds.items()}
    row |= {f"base_{kind}_rule": rule["name"] for kind, rule in kinds.items()}
    for percent, step in zip(STEPS, entry["frontier"][1:], strict=True):
        row |= {f"base_at_{percent}": step["score"], f"base_at_{percent}_read": step["read"]}
    row |= {"base_read": kinds["skimmer"]["read"], "base_by_code": entry["solved_by_code"]}
    return row | {"base_n": entry["samples_made_again"]}


def columns_of(table: pd.DataFrame, row: Any) -> dict[str, str]:
    """Return the columns of the score table: percent, and the share of the text that was read."""
    found = {}
    for kind, title in SHOWN.items():
        if kind == "bag_of_words" and not table["base_bag_of_words"].notna().any():
            continue
        told = _percent(row[f"base_{kind}"], "none" if kind == "bag_of_words" else NOT_COMPUTED)
        if kind == "skimmer" and told != NOT_COMPUTED:
            told += f" (reads {_share(row['base_read'])})"
        found[f"{title} %"] = told
    return found | {"text needed %": needed(row)}


def needed(row: Any) -> str:
    """Return the smallest share of the text with which a skimmer matches the method, percent."""
    if math.isnan(row["base_prior"]) or row["as_bounds"] or math.isnan(row["accuracy"]):
        return NOT_COMPUTED if math.isnan(row["base_prior"]) else "bounds"
    steps = [(0.0, row["base_prior"])]
    steps += [(row[f"base_at_{p}_read"], row[f"base_at_{p}"]) for p in STEPS]
    shares = [read for read, score in steps if score >= row["accuracy"] - 1e-9]
    if not shares:
        return "up to 100 %"
    return f"at most {_share(min(shares))}" if min(shares) > 0 else "none (prior)"


def _percent(value: float, unknown: str) -> str:
    return unknown if math.isnan(value) else f"{100 * value:.1f}"


def _share(value: float) -> str:
    """Format a share of the text: `0.3 %`, `12 %`."""
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def lines(table: pd.DataFrame) -> pd.DataFrame:
    """Return the best rules, one line per task and length; empty if none is known."""
    rows = []
    known = table[table["base_prior"].notna()]
    for row in row_dicts(known.drop_duplicates(["task_label", "length"])):
        line = {"task": row["task_label"], "length": wording.tokens_label(row["length"])}
        line |= {"n": row["base_n"], "prior %": _percent(row["base_prior"], "")}
        for kind, title in SHOWN.items():
            if isinstance(row[f"base_{kind}_rule"], str):
                line[f"{title} %"] = _percent(row[f"base_{kind}"], NOT_COMPUTED)
                line[f"{title}: rule"] = row[f"base_{kind}_rule"]
            if kind == "skimmer":
                line["reads"] = _share(row["base_read"])
                for percent in STEPS:
                    line[f"skimmer of {percent} % at most"] = _percent(
                        row[f"base_at_{percent}"], ""
                    )
        rows.append(line | {"solved by code": "by design" if row["base_by_code"] else "no"})
    return pd.DataFrame(rows).fillna("none")


NOTE = (
    "Computed from the golds, without a model, on the samples of the cell (the first n of them). "
    "Prior: the best constant, or chance. No model: rules that look at the whole text and "
    "understand nothing. Skimmer: reads the first, random or searched items, 25 % of them at most, "
    "and gives the gold where they hold all evidence, else the prior. Bag of words: a word "
    "classifier trained on other seeds. The rule is chosen on one half of the samples and scored "
    "on the other."
)
"""Note below the table of `lines`."""


def sentences(table: pd.DataFrame) -> Iterator[str]:
    """Yield caveats: tasks that code solves, and lines not shown to exceed a baseline."""
    if "base_prior" not in table:
        return
    if len(by_code := table[table["base_by_code"]]):
        names = ", ".join(dict.fromkeys(by_code["task_label"]))
        yield (
            f"{names}: a search or a program solves it by design, with a quarter of the text "
            "read at most. A score there "
            "says whether a method searches, not how it reads."
        )
    found = list(_not_above(table[~table["base_by_code"] & ~table["as_bounds"]]))
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        yield (
            "Not shown to exceed a baseline that needs no model (paired difference in points, 95 % "
            f"interval, not adjusted for the number of lines): {'; '.join(found[:_LISTED])}{more}."
        )
    unknown = table[table["base_prior"].isna()]
    if "imported" in unknown and len(foreign := unknown[unknown["imported"].astype(bool)]):
        names = ", ".join(dict.fromkeys(foreign["task_label"]))
        yield (
            f"{names}: skimmer and no-model baseline are not computed: the samples of an imported "
            "log cannot be made again."
        )
        unknown = unknown[~unknown["imported"].astype(bool)]
    if len(unknown):
        names = ", ".join(dict.fromkeys(unknown["task_label"]))
        yield (
            f"{names}: skimmer and no-model baseline are not computed (the run has no "
            "baselines.json, and the samples cannot be made again offline). Run the cell again "
            "with n raised to have them."
        )


def _not_above(table: pd.DataFrame) -> Iterator[str]:
    for row in row_dicts(table):
        for kind in MUST_EXCEED:
            if row[f"base_{kind}_low"] <= 0:
                shown = [100 * row[f"base_{kind}_{end}"] for end in ("difference", "low", "high")]
                yield (
                    f"{row['task_label']} {wording.tokens_label(row['length'])}, {row['series']} "
                    f"against {SHOWN[kind]} {100 * row[f'base_{kind}']:.1f}: {shown[0]:+.1f} "
                    f"[{shown[1]:+.1f}, {shown[2]:+.1f}]"
                )
