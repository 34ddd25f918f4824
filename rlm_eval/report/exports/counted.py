"""Stored attempts behind a table of records: each once, copies left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.types import Sample
from rlm_eval.records import union
from rlm_eval.report.viewer.rows import run_names
from rlm_eval.report.viewer.trajectories import attempts
from rlm_eval.storage.cell_store import RolloutResult

if TYPE_CHECKING:
    import pandas as pd

Attempt = tuple[dict[str, Any], Sample, RolloutResult]
"""Manifest of its cell, sample, result."""


def counted(run_dirs: Sequence[Path], frame: pd.DataFrame) -> Iterator[tuple[str, Attempt]]:
    """Yield (name of the run in records, attempt) of the attempts in `frame`, copies left out."""
    seen = union.copies(frame)
    for run, name in run_names(run_dirs).items():
        for manifest, sample, attempt in attempts(run):
            who = (name, str(manifest["identity"]), sample.id, attempt.trajectory.epoch)
            if who not in seen:
                seen.add(who)
                yield name, (manifest, sample, attempt)


def cells(run_dirs: Sequence[Path], frame: pd.DataFrame) -> Iterator[tuple[str, list[Attempt]]]:
    """Yield (a name that no other cell has, its attempts); one cell is in memory at a time."""
    taken: Counter[str] = Counter()
    found = counted(run_dirs, frame)
    for (name, cell), own in groupby(found, key=lambda one: (one[0], str(one[1][0]["identity"]))):
        label = f"{name.replace('/', '-').strip('-.')}-{cell[:12]}"
        taken[label] += 1
        again = f"-{taken[label]}" if taken[label] > 1 else ""
        yield f"{label}{again}", [attempt for _, attempt in own]
