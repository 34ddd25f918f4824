"""Effect of a counterfactual: shared and new calls, paired difference, share of an effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.build import cell_folders
from rlm_eval.runner.counterfactual.change import Counterfactual
from rlm_eval.stats import bounds
from rlm_eval.storage.cell_store import read_manifest
from rlm_eval.storage.spend import spent

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 4_000
"""Bootstrap draws for the interval of a share."""
_PAIR = ["sample_id", "epoch"]


def told(
    run: Path, made: Path, plan: Sequence[Counterfactual], whole: Path | None, name: str = ""
) -> str:
    """Describe the effect, one block of lines per cell.

    `whole` is a run in which everything was changed, `name` a part of the name of its cell.

    Raises `RlmEvalError` if `whole` has no sample of the original.
    """
    from rlm_eval.records.record import load_records

    frame = load_records([run, made])
    other = None if whole is None else _of_cell(load_records([whole]), whole, name)
    return "\n\n".join("\n".join(_cell(frame, made, one, other)) for one in plan)


def _of_cell(frame: pd.DataFrame, run: Path, name: str) -> pd.DataFrame:
    """Return the records of the cells whose folder name contains `name`."""
    ids = [m["identity"] for m in map(read_manifest, cell_folders(run)) if name in m["cell_id"]]
    return frame[frame["cell_id"].isin(ids)]


def _cell(
    frame: pd.DataFrame, made: Path, one: Counterfactual, whole: pd.DataFrame | None
) -> Iterator[str]:
    a = frame[frame["cell_id"] == one.cell.identity]
    b = frame[frame["cell_id"] == one.original.identity]
    yield f"{one.folder.name}: counterfactual {', '.join(one.cell.origin['change'])}"  # type: ignore[index]
    calls = int(a["n_calls"].fillna(0).sum() + a["n_judge_calls"].fillna(0).sum())
    shared = int(a["n_replayed_calls"].fillna(0).sum())
    paid = spent(made / "cells" / one.cell.id)
    yield f"  calls: {calls:,}, of them {shared:,} shared with the original; paid for: {paid}"
    both = paired(a, b)
    if not len(both):
        yield "  no sample has a score on both sides"
        return
    up = int((both["score_a"] > both["score_b"]).sum())
    down = int((both["score_a"] < both["score_b"]).sum())
    yield f"  {len(both)} pairs: {up} better, {down} worse, {len(both) - up - down} equal"
    yield f"  {_difference(both)}"
    yield from _reservations(a, b, len(both))
    if whole is not None:
        yield f"  {_share(both, whole, one)}"


def _reservations(a: pd.DataFrame, b: pd.DataFrame, pairs: int) -> Iterator[str]:
    """Yield limits of the difference: truncated answers, pairs that lack a score."""
    for name, own in (("counterfactual", a), ("original", b)):
        cut = own["outcome"].str.startswith("limit:") | own["outcome"].isin(
            ("truncated", "unknown")
        )
        if cut.mean() > bounds.CUT_SHARE:
            yield f"  no verdict: {int(cut.sum())} of {len(own)} results of the {name} were cut off"
    if lost := len(a.merge(b, on=_PAIR)) - pairs:
        yield f"  {lost} pairs lack a score and are left out"


def paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return samples and epochs scored on both sides: `score_a`, `score_b`, `cluster`."""
    left = a[[*_PAIR, "score", "cluster"]].rename(columns={"score": "score_a"})
    right = b[[*_PAIR, "score"]].rename(columns={"score": "score_b"})
    return left.merge(right, on=_PAIR).dropna(subset=["score_a", "score_b"])


def _difference(both: pd.DataFrame) -> str:
    """Describe the counterfactual's score minus the original's, with interval and p."""
    from rlm_eval.stats import paired as stats

    means = both.groupby("sample_id").agg(
        a=("score_a", "mean"), b=("score_b", "mean"), cluster=("cluster", "first")
    )
    found = stats.compare(
        means["a"].to_numpy(dtype=float),
        means["b"].to_numpy(dtype=float),
        means["cluster"].to_numpy(dtype=str),
    )
    return (
        f"counterfactual - original: {100 * found.difference:+.1f} pp "
        f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}], p = {found.p:.4g} ({found.test})"
    )


def _share(both: pd.DataFrame, whole: pd.DataFrame, one: Counterfactual) -> str:
    """Describe the change's share of the difference between the original and another run."""
    ids = set(both["sample_id"])
    other = whole[whole["sample_id"].isin(ids) & whole["score"].notna()]
    if other.empty:
        raise RlmEvalError(
            f"--effect: that run has no sample of {one.folder.name}; name one over the same samples"
        )
    cells = other["cell_id"].unique()
    if len(cells) > 1:
        names = ", ".join(sorted({f"{m}" for m in other["method"]}))
        raise RlmEvalError(
            f"--effect: {len(cells)} cells of that run have these samples ({names}); name one with "
            "--effect-cell"
        )
    means = both.groupby("sample_id").agg(
        a=("score_a", "mean"), b=("score_b", "mean"), cluster=("cluster", "first")
    )
    means["c"] = other.groupby("sample_id")["score"].mean().astype(float)
    means = means.dropna()
    return share_words(
        means["a"].to_numpy(dtype=float), means["b"].to_numpy(dtype=float),
        means["c"].to_numpy(dtype=float), means["cluster"].to_numpy(dtype=str),
    )  # fmt: skip


Array = np.ndarray[Any, Any]


def share_words(a: Array, b: Array, c: Array, clusters: Array) -> str:
    """Describe the share of the effect `c - b` that the change to `a` alone gives, by sample.

    The interval is a percentile bootstrap over clusters. No share is given if the interval of the
    whole effect contains 0: the ratio would be meaningless.
    """
    names, places = np.unique(clusters, return_inverse=True)
    draws = np.random.default_rng(0).integers(0, len(names), size=(DRAWS, len(names)))
    weights = np.stack([np.bincount(d, minlength=len(names)) for d in draws])[:, places]
    count = weights.sum(axis=1)
    part, total = (weights @ (a - b)) / count, (weights @ (c - b)) / count
    low, high = np.percentile(total, [2.5, 97.5])
    effect = f"whole effect {100 * (c - b).mean():+.1f} pp [{100 * low:+.1f}, {100 * high:+.1f}]"
    if low <= 0 <= high:
        return f"{effect}: its interval contains 0, so no share is printed ({len(a)} samples)"
    ends = np.percentile(part / np.where(total == 0, np.nan, total), [2.5, 97.5])
    share = (a - b).mean() / (c - b).mean()
    return (
        f"{effect}; share of this change alone {share:.0%} [{ends[0]:.0%}, {ends[1]:.0%}] "
        f"({len(a)} samples, {len(names)} clusters)"
    )
