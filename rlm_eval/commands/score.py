"""Score a stored run again, offline: with today's scorers, or shown under one named scorer.

rlm-eval score results/runs/scratch
rlm-eval score results/runs/scratch --scorer lenient
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlm_eval.commands import TRUST


def main(argv: Sequence[str]) -> int:
    """Rebuild each cell's task, score its stored answers, print the means, re-make the records."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--scorer", help="print this scorer's means instead of the headline's")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.results import cell_folders, write_records

    for folder in cell_folders(arguments.run):
        means = _score_cell(folder, trust=arguments.trust)
        wanted = arguments.scorer or next(iter(means), "")
        told = "no such scorer" if wanted not in means else f"{means[wanted]:.4f}"
        print(f"{folder.name}  {wanted}: {told}  ({', '.join(means)})")
    print(write_records(arguments.run))
    return 0


def _score_cell(folder: Path, *, trust: bool) -> dict[str, float]:
    """Append new verdicts to the cell's scores; the mean of every scorer, by name."""
    from rlm_eval.log import dumped
    from rlm_eval.store import CellStore
    from rlm_eval.trust import stored_cell
    from rlm_eval.types import Answer

    store = CellStore(folder)
    task = stored_cell(store.manifest, trust=trust).task
    samples = {sample.id: sample for sample in task.samples()}
    values: dict[str, list[float]] = {}
    # Unbuffered: a run that writes the same file meets whole lines.
    with (folder / "scores.jsonl").open("ab", buffering=0) as file:
        file.write(b"\n")  # ends the torn line that a killed run may have left
        for (sample_id, _), attempt in store.attempts.items():
            outcome = attempt.trajectory.outcome
            if sample_id not in samples or outcome.is_missing:
                continue
            answer = Answer(None) if outcome.scores_zero else attempt.trajectory.answer
            # A judge's verdict was paid for and stays; the deterministic scorers run anew.
            judged = tuple(score for score in attempt.scores if score.scorer == "judge")
            scores = (*judged, *task.score(samples[sample_id], answer))
            line = {"t": attempt.number, "scores": [asdict(score) for score in scores]}
            file.write(dumped(line, task.protected))
            for score in scores:
                if score.value is not None:
                    values.setdefault(score.scorer, []).append(score.value)
    return {name: sum(found) / len(found) for name, found in values.items()}
