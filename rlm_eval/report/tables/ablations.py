"""Ablation tables: wordings of a prompt, equal budgets, right against wrong trajectories.

Each is made only if the records have its data: two prompts of a method, two methods on the same
task, sub-calls. The tables of every report are in `standard`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.report import per_sample, wording
from rlm_eval.report.tables.standard import Table, money, one, percent
from rlm_eval.stats import bounds
from rlm_eval.stats.intervals import linked, mean_interval
from rlm_eval.stats.paired import holm
from rlm_eval.stats.prompt_sensitivity import Spread, spread

RIGHT = 0.5
"""Minimum score for an answer of a graded task to count as right."""
_ENOUGH = 0.95
"""Share of a method's samples that its named budget covers: at its mean cost, half of the samples
of a method with a steady cost would exceed it."""
_UNSURE = {"cut off": "cut", "missing": "missing"}
_WHO = ["method", "variant", "root", "sub"]
_PAID = [
    "task_label", "length", "root", "sub", "series", "sample_id", "cluster", "score", "cost_cold",
    "total_tokens", "refused",
]  # fmt: skip
"""Columns behind the table of budgets; its many selections of rows copy no others."""
_RECURSION = [
    "task_label", "length", "series", "score", "n_sub_calls", "n_child_calls", "coverage",
    "habit_syntax_error_blocks",
]  # fmt: skip
"""Columns behind the table of right and wrong trajectories; the last is optional."""


def build(frame: pd.DataFrame) -> list[Table]:
    """Return the tables that the frame (`summary.prepare`) allows, in reading order."""
    found = [prompts(frame), budgets(frame), right_and_wrong(frame)]
    return [table for table in found if not table.rows.empty]


def prompts(frame: pd.DataFrame) -> Table:
    """Build mean, worst, best and range over prompts, per method, task and length."""
    lines: list[dict[str, Any]] = []
    found = []
    several = frame.groupby(_WHO, sort=False)["prompt"].transform("nunique") > 1
    for who, part in frame[several].groupby(_WHO, sort=False):
        units = per_sample.units(part, ["prompt"])
        places = list(units.groupby(["task_label", "length"], sort=True))
        if len(places) > 1:
            places.append((("all together", np.nan), units))
        for (task, length), own in places:
            line = {"task": task, "length": _length(length), "method": _who(who, frame)}
            seen = _spread(own)
            shares = own.groupby("prompt")[["cut", "missing"]].mean().max()
            why = [word for word, name in _UNSURE.items() if shares[name] > bounds.CUT_SHARE]
            if seen is not None:
                lines.append(line | _wordings(*seen) | {"why": why})
                found.append(seen[1])
    for line, p in zip(lines, holm([s.p for s in found]), strict=True):
        unsure: Any = line.pop("why")
        line["p, Holm"] = wording.probability(p)
        line["verdict"] = "the wording matters" if p < 0.05 else "not shown to matter"
        if unsure:
            line["verdict"] = f"no verdict: more than 5 % {unsure[0]}"
    note = (
        "Each method with every prompt it was run with, on the samples that all of them answered. "
        "Range: best mean minus worst. By chance: the range to be expected if the wording did not "
        "matter, from 2,000 exchanges of the prompts within each cluster; p from the same, after "
        "Holm over this table. A method is as good as its worst reasonable prompt until shown "
        "otherwise."
    )
    return Table("prompts", "Sensitivity to the prompt", note, pd.DataFrame(lines))


def _spread(units: pd.DataFrame) -> tuple[list[str], Spread] | None:
    """Return the prompts' names and their spread over the samples that all of them answered."""
    keys = ["task_label", "length", "sample_id"]
    scores = units.pivot_table(index=keys, columns="prompt", values="score").dropna()
    if scores.shape[1] < 2 or scores.empty:
        return None
    of = units.drop_duplicates(keys).set_index(keys).loc[scores.index]
    clusters = linked(of["cluster"], of["item"])  # an item recurs at every length
    return list(scores.columns), spread(scores.to_numpy(), clusters)


def _wordings(names: list[str], seen: Spread) -> dict[str, Any]:
    order = np.argsort(seen.means)
    worst, best = int(order[0]), int(order[-1])
    return {
        "prompts": len(names),
        "n": seen.n,
        "clusters": seen.clusters,
        "mean %": percent(seen.mean),
        "worst %": percent(seen.means[worst]),
        "worst prompt": names[worst],
        "best %": percent(seen.means[best]),
        "best prompt": names[best],
        "range, pp": f"{100 * seen.range:.1f}",
        "by chance, pp": f"{100 * seen.by_chance:.1f}",
        "p": wording.probability(seen.p),
    }


def budgets(frame: pd.DataFrame) -> Table:
    """Build the scores of each root model's methods under an equal budget per sample."""
    lines: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    several = len(set(frame["root"]) - {""}) > 1
    units = dict(iter(per_sample.units(frame).groupby(["task_label", "length"])))
    for task, length, root, part in _by_root(frame[_PAID]):
        spent, unit = _spent(part)
        if part["series"].nunique() < 2 or spent is None:
            continue
        repeats = _rows(part.assign(spent=spent), units[task, length])
        own = {str(series): _Spent.of(rows) for series, rows in repeats.groupby("series")}
        columns |= dict.fromkeys(own)
        costs = repeats[~repeats["lost"]].groupby("series")["spent"]
        for budget, names in _rungs(costs.quantile(_ENOUGH)):
            line = {"task": task, "length": _length(length)} | ({"root": root} if several else {})
            line |= {"budget": f"enough for {names}", "per sample": money(budget), "unit": unit}
            lines.append(line | {series: found.within(budget) for series, found in own.items()})
    rows = pd.DataFrame(lines)
    if not rows.empty:
        rows = rows[[*rows.columns.difference(list(columns), sort=False), *columns]].fillna("")
    note = (
        "Equal budgets, from what was observed: a sample counts with its score where it cost no "
        "more than the budget, else as wrong, as if it had been stopped there without an answer "
        "(a lower bound for a method that would answer when stopped). Score % [95 % interval]; as "
        "`x to y`, those wrong and those right, where more than 5 % were cut off within the budget "
        "or some are missing. "
        "Budgets are what 95 % of a method's samples cost at most, cold list price; of alike ones "
        "(15 %) the largest, which pays for them all; tokens where a price is unknown."
    )
    return Table("budgets", "Score within equal budgets", note, rows)


def _by_root(frame: pd.DataFrame) -> Iterator[tuple[Any, Any, str, pd.DataFrame]]:
    """Yield (task, length, root, rows): a root's rows, and rootless rows on its sub-models."""
    for (task, length), part in frame.groupby(["task_label", "length"], sort=True):
        for root in sorted(set(part["root"]) - {""}) or [""]:
            own = part["root"] == root
            subs = {root, *part.loc[own, "sub"]}
            yield task, length, root, part[own | ((part["root"] == "") & part["sub"].isin(subs))]


def _without_models(series: pd.Series) -> pd.Series:
    """Return series labels without their models if they stay unique."""
    short = series.str.replace(r" \([^()]*\)", "", regex=True)
    return short if short.nunique() == series.nunique() else series


def _rungs(costs: pd.Series) -> Iterator[tuple[float, str]]:
    """Yield the distinct budgets, smallest first, each with the methods named after it.

    Budgets within 15 % of the smallest are merged into the largest, which covers all of them; the
    smallest would score methods that cost a few per cent more as 0.
    """
    rest = costs[costs > 0].sort_values()
    while len(rest):
        alike = rest[rest <= 1.15 * rest.iloc[0]]
        yield float(alike.iloc[-1]), ", ".join(map(str, alike.index))
        rest = rest.iloc[len(alike) :]


def _spent(part: pd.DataFrame) -> tuple[pd.Series | None, str]:
    """Return each row's cost and its unit; `None` if neither money nor tokens are known for all."""
    known = part[part["score"].notna()]
    for column, unit in (("cost_cold", "USD"), ("total_tokens", "tokens")):
        values = part[column].where(~part["refused"], 0.0)
        if not known.empty and values[known.index].notna().all() and values.sum() > 0:
            return values, unit
    return None, ""


def _rows(part: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """Return every repeat with its score, cost and flags.

    `units` has the place's samples (`per_sample.units`). Series are named as in the table.
    """
    marked = part[["series", "sample_id", "cluster", "score", "spent"]].merge(
        units[["series", "sample_id", "cut"]], on=["series", "sample_id"]
    )
    names = part["series"].drop_duplicates()
    short = dict(zip(names, _without_models(names), strict=True))
    return marked.assign(series=marked["series"].map(short), lost=marked["score"].isna())


@dataclass(frozen=True, slots=True)
class _Spent:
    """Scores and costs of a series as columns; evaluated once per budget."""

    score: np.ndarray[Any, Any]
    spent: np.ndarray[Any, Any]
    sample: np.ndarray[Any, Any]
    """Index of the sample; its repeats share it."""
    clusters: np.ndarray[Any, Any]
    """Cluster by sample index."""
    cut: np.ndarray[Any, Any]
    """True if the sample was truncated, in this repeat or another."""
    lost: np.ndarray[Any, Any]
    """True if the repeat has no score."""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Spent:
        """Build from the rows of `_rows` of one series."""
        _, first, sample = np.unique(rows["sample_id"], return_index=True, return_inverse=True)
        names = ("score", "spent", "cluster", "cut", "lost")
        score, spent, cluster, cut, lost = (rows[name].to_numpy() for name in names)
        return cls(score, spent, sample, cluster[first], cut, lost)

    def within(self, budget: float) -> str:
        """Return the score if each sample may cost `budget`, repeats averaged; or its bounds."""
        # A repeat without a result has an unknown cost.
        paid = self.lost | (self.spent <= budget * (1 + 1e-9))
        cut = self._means(paid & self.cut) > 0  # over the budget it is wrong, whatever the answer
        if self.lost.any() or cut.mean() > bounds.CUT_SHARE:
            unsure = self.lost | self.cut
            ends = (np.where(paid, np.where(unsure, x, self.score), 0.0) for x in (0.0, 1.0))
            low, high = (100 * self._means(end).mean() for end in ends)
            return f"{low:.1f} to {high:.1f}"
        found = mean_interval(self._means(np.where(paid, self.score, 0.0)), self.clusters)
        return f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"

    def _means(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the mean per sample."""
        return np.bincount(self.sample, weights=values) / np.bincount(self.sample)


def right_and_wrong(frame: pd.DataFrame) -> Table:
    """Build sub-calls and code errors of right trajectories, and of all others."""
    lines = []
    recursive = frame["series"].isin(frame.loc[frame["used_recursion"], "series"].unique())
    recursing = frame.loc[recursive, [name for name in _RECURSION if name in frame]]
    scored = recursing[recursing["score"].notna()]
    for (task, length, series), part in scored.groupby(
        ["task_label", "length", "series"], sort=True
    ):
        line = {"task": task, "length": _length(length), "method": series}
        for word, own in (("right", part["score"] >= RIGHT), ("wrong", part["score"] < RIGHT)):
            line |= {word: int(own.sum())} | dict(_habits(part[own], word))
        lines.append(line)
    note = (
        f"Right: a score of {RIGHT} or more. Means per trajectory; the share with a syntax error "
        "counts trajectories with at least one block that was no Python. The measures of "
        "arXiv:2512.24601 v3, figures 4b and 10, whose bound for graded scores is not stated."
    )
    title = "Sub-calls and broken code, right and wrong answers"
    return Table("right_and_wrong", title, note, pd.DataFrame(lines))


def _habits(part: pd.DataFrame, word: str) -> Iterator[tuple[str, str]]:
    calls = part["n_sub_calls"] + part["n_child_calls"].fillna(0)
    yield f"sub-calls, {word}", one(calls.mean())
    yield f"coverage %, {word}", percent(part["coverage"].mean())
    broken = part.get("habit_syntax_error_blocks", pd.Series(dtype=float)).astype(float).dropna()
    yield f"syntax error %, {word}", percent((broken > 0).mean())


def _who(who: Any, frame: pd.DataFrame) -> str:
    """Return method, variant and models; the models only if they distinguish series."""
    method, variant, root, sub = who
    pair = root if sub in ("", root) else f"{root} > {sub}"
    several = len(frame[["root", "sub"]].drop_duplicates()) > 1
    return " ".join(
        [str(method), *([f"[{variant}]"] if variant else []), *([f"({pair})"] if several else [])]
    )


def _length(length: Any) -> str:
    return "all" if pd.isna(length) else wording.tokens_label(length)
