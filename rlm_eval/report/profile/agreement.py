"""Labels of trajectories by hand: agreement of the labels, and the classifier's confusion.

A folder of labels holds `trajectories.jsonl` (`id`, `source`, `task`, `blocks`), `labels.csv`
(`id`, `first`, `second`: two passes of one labeller) and, where somebody else labelled the same
trajectories, `second_labeller.csv` (`id`, `label`).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report.profile.codebook import STRATEGIES, UNKNOWN
from rlm_eval.report.profile.strategies import strategy

LABELS = (*STRATEGIES, UNKNOWN)
OTHER = "second_labeller.csv"


@dataclass(frozen=True)
class Labelled:
    """One trajectory with its labels."""

    id: str
    source: str
    """Who wrote the code: a script of this project, or a model by name."""
    first: str
    second: str
    found: str
    """The classifier's."""
    other: str | None = None
    """Of a second labeller; `None` without one."""


def read(folder: Path) -> list[Labelled]:
    """Every labelled trajectory. Raises `RlmEvalError` where files are missing or do not fit."""
    try:
        lines = (folder / "trajectories.jsonl").read_text("utf-8").splitlines()
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
            labels = {row["id"]: row for row in csv.DictReader(file)}
        rows = [json.loads(line) for line in lines]
        others = _others(folder / OTHER)
    except (OSError, KeyError, ValueError) as error:
        raise RlmEvalError(f"{folder}: no labels that can be read ({error})") from error
    if sorted(labels) != sorted(row["id"] for row in rows):
        raise RlmEvalError(f"{folder}: trajectories.jsonl and labels.csv have different ids")
    if others and sorted(others) != sorted(labels):
        raise RlmEvalError(f"{folder}: labels.csv and {OTHER} have different ids")
    said = {row[pass_] for row in labels.values() for pass_ in ("first", "second")}
    for name, given in (("labels.csv", said), (OTHER, set(others.values()))):
        if unknown := given - {*LABELS}:
            raise RlmEvalError(f"{folder}/{name}: {min(unknown)} is none of {', '.join(LABELS)}")
    return [
        Labelled(
            row["id"],
            row["source"],
            labels[row["id"]]["first"],
            labels[row["id"]]["second"],
            strategy(row["blocks"]),
            others.get(row["id"]),
        )
        for row in rows
    ]


def _others(path: Path) -> dict[str, str]:
    """Id -> label of the second labeller; empty without the file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["label"] for row in csv.DictReader(file)}


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two labellings; `None` where chance alone would agree on everything."""
    n = len(pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(left[name] * right[name] for name in left) / n**2
    observed = sum(a == b for a, b in pairs) / n
    return None if expected == 1 else (observed - expected) / (1 - expected)


def confusion(pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Counts by (label, found), both in the order of `LABELS`."""
    counts = Counter(pairs)
    return [[counts[row, column] for column in LABELS] for row in LABELS]


def told(rows: Sequence[Labelled]) -> str:
    """Agreement of the labels, and the classifier's confusion with them.

    The passes' confusion is that of the trajectories on which they agree; the second labeller's is
    that of all.
    """
    both = [row for row in rows if row.first == row.second]
    lines = [
        _agreement("first and second pass", [(row.first, row.second) for row in rows]),
        _agreement("classifier and first pass", [(row.first, row.found) for row in rows]),
        _agreement("classifier and second pass", [(row.second, row.found) for row in rows]),
        _agreement("classifier, where both passes agree", [(row.first, row.found) for row in both]),
        "",
        "Label (both passes) by row, classifier by column:",
        "",
        *_table([(row.first, row.found) for row in both]),
    ]
    other = [(row, row.other) for row in rows if row.other is not None]
    if other:
        lines += [
            "",
            _agreement("second labeller and first pass", [(o, row.first) for row, o in other]),
            _agreement("second labeller and second pass", [(o, row.second) for row, o in other]),
            _agreement("classifier and second labeller", [(o, row.found) for row, o in other]),
            "",
            "Label (second labeller) by row, classifier by column:",
            "",
            *_table([(o, row.found) for row, o in other]),
        ]
    return "\n".join(lines)


def _table(pairs: Sequence[tuple[str, str]]) -> list[str]:
    head = ["| | " + " | ".join(LABELS) + " |", "|" + " --- |" * (len(LABELS) + 1)]
    return head + [
        f"| {name} | " + " | ".join(str(count or "") for count in counts) + " |"
        for name, counts in zip(LABELS, confusion(pairs), strict=True)
    ]


def _agreement(what: str, pairs: Sequence[tuple[str, str]]) -> str:
    same = sum(a == b for a, b in pairs)
    found = kappa(pairs)
    return f"{what}: {same} of {len(pairs)}, kappa " + (
        "undefined" if found is None else f"{found:.2f}"
    )
