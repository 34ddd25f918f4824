"""Rescores stored runs with the installed scorers, for `rlm-eval score`. Offline and free."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rlm_eval.config.trust import stored_cell
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Outcome, Score
from rlm_eval.records.record import means
from rlm_eval.records.rescoring import scored_again
from rlm_eval.runner.kept_samples import stored_samples
from rlm_eval.storage.cell_logs import writer_of
from rlm_eval.storage.cell_store import CellStore, score_line
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.stale_code import code_of_cell, hashes_in, rescored


def check_scorer(name: str, folders: Sequence[Path], *, trust: bool) -> None:
    """Raise `RlmEvalError` if no cell has this scorer; nothing is written then."""
    known: dict[str, None] = {}
    for scores in (_stored_names, lambda folder: _names_now(folder, trust=trust)):
        known |= dict.fromkeys(found for folder in folders for found in scores(folder))
        if name in known:
            return
    near = difflib.get_close_matches(name, known, 3) or list(known)
    raise RlmEvalError(f"--scorer {name}: no cell of this run has it; near: {', '.join(near)}")


def _stored_names(folder: Path) -> set[str]:
    """Return the scorers of the cell's stored verdicts."""
    return {s.scorer for done in CellStore(folder).attempts.values() for s in done.scores}


def _names_now(folder: Path, *, trust: bool) -> set[str]:
    """Return the current scorers of the cell's task, from its first stored answer."""
    store = CellStore(folder)
    cell = stored_cell(store.manifest, trust=trust)
    samples = stored_samples(folder, cell.task)
    for attempt in scored_again(store, cell.task, cell.method, samples, everything=True):
        return {score.scorer for score in attempt.scores}
    return set()


def score_cell(folder: Path, *, trust: bool) -> dict[str, float]:
    """Append new verdicts to the cell's scores; return the mean of every scorer, by name.

    Raises `LeaseHeld` while a run writes the cell, `Untrusted` if it names foreign code.
    """
    cell = stored_cell(CellStore(folder).manifest, trust=trust)
    found: list[tuple[Outcome, Sequence[Score]]] = []
    with Lease(folder) as lease:
        store = CellStore(folder)
        samples = stored_samples(folder, cell.task)
        writer = writer_of(folder, lease)
        with closing(JsonlLog(folder / "scores.jsonl", cell.task.protected, writer)) as file:
            for attempt in scored_again(store, cell.task, cell.method, samples, everything=True):
                file.append(score_line(attempt))
                found.append((attempt.trajectory.outcome, attempt.scores))
        lease.check()
        store.amend(hashes_in(rescored(store.manifest, code_of_cell(cell), store, samples)))
    return means(found)
