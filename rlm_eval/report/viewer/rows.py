"""Every sample of prepared records as compact columns for sorting, filtering and links.

Columns with few values are a list of values and a code per row; numbers are rounded. A sample's
address is `RUN/CELL/SAMPLE/EPOCH`, with the first 12 characters of the cell's id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.records.coverage import FAILURES
from rlm_eval.report import wording
from rlm_eval.report.distinct import each_once
from rlm_eval.report.series import model_pair

CODED = ("task", "length", "method", "model", "outcome", "failure", "run", "cell")
"""Columns with few values."""
_NUMBERS = {
    "score": ("score", 3),
    "cost": ("cost_cold", 8),
    "calls": ("n_calls", 0),
    "seconds": ("wall_seconds", 2),
    "index": ("index", 0),
    "epoch": ("epoch", 0),
}
OUTCOMES = {
    "ok": "the method returned an answer",
    "running": "not finished yet: the calls so far",
    "truncated": "the output cap of a model call ended the answer early",
    "context_overflow": "the prompt did not fit into the model's window: scores 0",
    "limit:tokens": "the sample's limit on tokens ended the answer early",
    "limit:cost": "the sample's limit on cost ended the answer early",
    "limit:calls": "the sample's limit on calls ended the answer early",
    "limit:time": "the sample's limit on time ended the answer early",
    "limit:depth": "the limit on recursion depth ended the answer early",
    "limit:turns": "the limit on turns ended the answer early",
    "no_answer": "the method returned nothing",
    "refused": "the provider refused to answer",
    "repl_crash": "the code that the model wrote killed its REPL: scores 0",
    "repl_unavailable": "the REPL was lost for reasons outside the method: missing, not wrong",
    "provider_error": "a model call failed for reasons outside the method: missing, not wrong",
    "server_cut": "a server cut the prompt without an error: missing, not wrong",
    "judge_error": "the judge failed: missing, not wrong",
    "cancelled": "the run was stopped: missing, not wrong",
    "unknown": "an imported row; whether the answer was cut is not known",
}
"""Outcome -> meaning, shown next to a sample."""


def words() -> dict[str, Mapping[str, str]]:
    """Return the meanings of outcomes and kinds of failure."""
    return {"outcomes": OUTCOMES, "failures": FAILURES}


def model_label(root: object, sub: object) -> str:
    """Return `root > sub`, or the only one of them."""
    return model_pair(root, sub) or "none"


def address(run: object, cell_id: object, sample: object, epoch: object) -> str:
    """Return the address of a sample in lists and links."""
    return f"{run}/{str(cell_id)[:12]}/{sample}/{int(float(str(epoch)))}"


def run_names(run_dirs: Sequence[Path]) -> dict[Path, str]:
    """Return run directory -> name in records (`load_records`): the folder's, or a unique path."""
    same = Counter(Path(run).name for run in run_dirs)
    return {Path(run): str(run) if same[Path(run).name] > 1 else Path(run).name for run in run_dirs}


def listed(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dictionary per row of a prepared frame; unknown is `None`, `score` is in [0, 1]."""
    found: dict[str, list[Any]] = {
        "task": list(map(str, frame["task_label"])),
        "length": each_once(wording.tokens_label, frame["length"]).tolist(),
        "tokens": _numbers(frame["length"].where(frame["length"] != wording.UNKNOWN_LENGTH), 0),
        "method": list(map(str, frame["series"])),
        "model": each_once(model_label, frame["root"], frame["sub"]).tolist(),
        "outcome": list(map(str, frame["outcome"])),
        "failure": frame["failure"].astype(object).where(frame["failure"].notna(), "").tolist(),
        "run": list(map(str, frame["run"])),
        "cell": each_once(lambda value: str(value)[:12], frame["cell_id"]).tolist(),
        "sample": list(map(str, frame["sample_id"])),
    }
    for name, (column, digits) in _NUMBERS.items():
        found[name] = _numbers(frame[column], digits)
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def _numbers(values: pd.Series, digits: int) -> list[float | int | None]:
    """Return rounded Python numbers; NaN becomes `None`."""
    plain: list[float] = values.to_numpy(dtype=float, na_value=np.nan).tolist()
    if digits:
        return [None if value != value else round(value, digits) for value in plain]
    return [None if value != value else round(value) for value in plain]


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `{name: [values, codes] or values}` of `listed` rows, for JSON."""
    made: dict[str, Any] = {}
    for name in CODED:
        values: dict[str, int] = {}
        codes = [values.setdefault(row[name], len(values)) for row in rows]
        made[name] = [list(values), codes]
    for name in ("tokens", "sample", *_NUMBERS):
        made[name] = [row[name] for row in rows]
    return made


def cells(table: pd.DataFrame) -> list[list[str]]:
    """Return (task, length, method) of every line of a cell table, the target of a link's index."""
    return [
        [str(row["task_label"]), wording.tokens_label(float(row["length"])), str(row["series"])]
        for row in table[["task_label", "length", "series"]].to_dict("records")
    ]
