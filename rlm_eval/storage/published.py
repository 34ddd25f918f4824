"""A published folder: a run's finished cells in few files, without their calls.

    manifest.json    the manifests of all cells; what they share stands once
    records.parquet  the records
    answers.jsonl    one line per result; absent in folders of early releases
    samples.jsonl    one line per sample, without its context
    endpoints.json   server usage, by process

Texts of protected tasks are hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlm_eval.core.types import Answer, Outcome, Score, Trajectory
from rlm_eval.storage.cell_store import RolloutResult
from rlm_eval.storage.damage import damaged, read_mapping
from rlm_eval.storage.jsonl import read_lines

MANIFESTS = "manifest.json"
ACCOUNTS = "endpoints.json"
ANSWERS = "answers.jsonl"
SAMPLES = "samples.jsonl"
RESTORE = "restore it from where it came"
"""Way out where a file of a published folder is damaged."""

Result = tuple[dict[str, Any], RolloutResult]
"""(sample line, result without its calls)."""


def is_published(folder: Path) -> bool:
    """Return whether this is a published folder, and not a run directory or a cell's folder."""
    files = (MANIFESTS, "records.parquet")
    return all((folder / name).is_file() for name in files) and not (folder / "cells").exists()


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the manifests of a published folder, by cell folder name.

    Raises `FileNotFoundError` without the file, `RlmEvalError` where it is damaged.
    """
    told = read_mapping(folder / MANIFESTS, RESTORE)
    with damaged(folder / MANIFESTS, RESTORE):
        return {name: {**told["of every cell"], **own} for name, own in told["cells"].items()}


def in_one(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return manifests in their published form: shared values are stored once."""
    first = next(iter(cells.values()))
    shared = {k: v for k, v in first.items() if all(m.get(k) == v for m in cells.values())}
    own = {n: {k: v for k, v in m.items() if k not in shared} for n, m in cells.items()}
    return {"of every cell": shared, "cells": own}


def results(folder: Path) -> dict[tuple[str, str, int], Result]:
    """Return (cell identity, sample id, epoch) -> result; empty where no answers were published."""
    with damaged(folder / SAMPLES, RESTORE):
        samples = {
            line["id"]: {name: value for name, value in line.items() if name != "protected"}
            for line in read_lines(folder / SAMPLES)
        }
    with damaged(folder / ANSWERS, RESTORE):
        return {
            (line["cell_id"], line["sample_id"], line["epoch"]): (
                samples[line["sample_id"]],
                _result(line),
            )
            for line in read_lines(folder / ANSWERS)
        }


def _result(line: Mapping[str, Any]) -> RolloutResult:
    trajectory = Trajectory(
        sample=line["sample_id"],
        epoch=line["epoch"],
        answer=Answer(**line["answer"]),
        outcome=Outcome(line["outcome"]),
        calls=(),
        steps=(),
        wall_seconds=None,
    )
    return RolloutResult(0, trajectory, tuple(Score(**score) for score in line["scores"]), 0, 0)
