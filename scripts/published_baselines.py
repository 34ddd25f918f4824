"""The baselines of a published study, on its very samples, beside its numbers.

    python scripts/published_baselines.py results/published/length_sweep

Makes the samples of every cell again from its manifest, keeps those whose ids stand in the
published records, and writes `baselines.json` into the folder: what the rules score, how much text
the skimmers read, and each method's paired difference to them. Samples that the generators of today
do not make again are counted, never replaced.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from rlm_eval.config.trust import stored_cell
from rlm_eval.runner.manifest import git_state
from rlm_eval.stats import paired
from rlm_eval.storage.cell_store import BASELINES
from rlm_eval.suites.republish import manifests
from rlm_eval.tasks import ceilings

SHOWN = 5
"""Rules of a kind that are listed, the best first."""


def main(folder: Path) -> None:
    """Write `baselines.json` about the published study in `folder`."""
    records = pd.read_parquet(folder / "records.parquet")
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for manifest in manifests(folder).values():
        own = records[records["cell_id"] == manifest["identity"]]
        key = (str(own["task"].iloc[0]), int(own["length"].iloc[0]))
        if key not in cells:
            cells[key] = _of_samples(manifest, set(own["sample_id"]))
        measured = cells[key]["measured"]
        method = str(own["method"].iloc[0])
        cells[key]["methods"][method] = _against(own, measured)
    told = {
        "computed": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": f"python scripts/published_baselines.py {folder}",
        "code": git_state()["git"],
        "bound": f"the first {ceilings.MOST} samples, {ceilings.CHARACTERS:,} characters",
        "cells": [_told(*key, cells[key]) for key in sorted(cells)],
    }
    (folder / BASELINES).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _of_samples(manifest: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    task = stored_cell(manifest).task
    samples = [sample for sample in task.samples() if sample.id in ids]
    measured = ceilings.measure(task, samples)
    return {"published": len(ids), "measured": measured, "methods": {}}


def _against(own: pd.DataFrame, measured: dict[str, Any]) -> dict[str, Any]:
    """Method minus baseline in points, with its 95 % interval, over the samples of both."""
    scores = own.groupby("sample_id").agg(score=("score", "mean"), cluster=("cluster", "first"))
    both = [name for name in measured["samples"] if pd.notna(scores["score"].get(name))]
    place = {name: i for i, name in enumerate(measured["samples"])}
    found = {}
    for kind in ("skimmer", "no_model"):
        baseline = np.array(measured["kinds"][kind]["scores"])[[place[name] for name in both]]
        kept = scores.loc[both]
        diff = paired.compare(
            kept["score"].to_numpy(dtype=float), baseline, kept["cluster"].to_numpy(dtype=str)
        )
        found[kind] = [round(100 * v, 1) for v in (diff.difference, diff.low, diff.high)]
    return {"n": len(both), **found}


def _told(task: str, length: int, cell: dict[str, Any]) -> dict[str, Any]:
    measured = cell["measured"]
    kinds = {
        kind: {name: found[name] for name in ("name", "score", "read")}
        for kind, found in measured["kinds"].items()
    }
    rules = sorted(measured["rules"], key=lambda rule: (-rule["score"], rule["read"]))
    return {
        "task": task,
        "length": length,
        "samples_published": cell["published"],
        "samples_made_again": len(measured["samples"]),
        "solved_by_code": measured["solved_by_code"],
        "kinds": kinds,
        "frontier": measured["frontier"],
        "best_rules": {
            kind: [rule for rule in rules if rule["kind"] == kind][:SHOWN] for kind in kinds
        },
        "method_minus_baseline": cell["methods"],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
