"""Score a stored run again, offline: with today's scorers, or shown under one named scorer.

rlm-eval score results/runs/scratch
rlm-eval score results/runs/scratch --scorer lenient
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Rebuild each cell's task, score its stored answers, print the means, re-make the records."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--scorer", help="print this scorer's means instead of the headline's")
    arguments = parser.parse_args(argv)

    from rlm_eval.results import cell_folders, write_records

    for folder in cell_folders(arguments.run):
        means = _score_cell(folder)
        wanted = arguments.scorer or next(iter(means), "")
        told = "no such scorer" if wanted not in means else f"{means[wanted]:.4f}"
        print(f"{folder.name}  {wanted}: {told}  ({', '.join(means)})")
    print(write_records(arguments.run))
    return 0


def _score_cell(folder: Path) -> dict[str, float]:
    """Append new verdicts to the cell's scores; the mean of every scorer, by name."""
    from rlm_eval.cell import stored_cell
    from rlm_eval.log import dumped
    from rlm_eval.rescoring import scored_again
    from rlm_eval.store import CellStore, score_line

    store = CellStore(folder)
    cell = stored_cell(store.manifest["config"])
    samples = list(cell.task.samples())
    values: dict[str, list[float]] = {}
    # Unbuffered: a run that writes the same file meets whole lines.
    with (folder / "scores.jsonl").open("ab", buffering=0) as file:
        file.write(b"\n")  # ends the torn line that a killed run may have left
        for attempt in scored_again(store, cell.task, cell.method, samples, everything=True):
            file.write(dumped(score_line(attempt), cell.task.protected))
            for score in attempt.scores:
                if score.value is not None:
                    values.setdefault(score.scorer, []).append(score.value)
    return {name: sum(found) / len(found) for name, found in values.items()}
