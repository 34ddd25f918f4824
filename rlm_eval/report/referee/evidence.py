"""Everything that the checks read: records of the runs, and the stored answers and golds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.core.types import Outcome
from rlm_eval.core.whole_text import whole_text
from rlm_eval.records import baselines, union
from rlm_eval.records.record import load_records
from rlm_eval.report import summary
from rlm_eval.report.tables import card
from rlm_eval.report.viewer.rows import run_names
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import CellStore
from rlm_eval.storage.imported import ABOUT, about_import
from rlm_eval.storage.jsonl import read_lines

MISSING = tuple(outcome.value for outcome in Outcome if outcome.is_missing)
"""Outcomes that are failures of the surroundings, not of the method."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    """Name of the check."""
    level: str
    """`alarm`: a claim may not hold; `note`: to be said; `fine`; `unknown`: cannot be checked."""
    text: str
    """What was found, with its counts; one sentence or two."""
    rows: tuple[str, ...] = ()
    """The rows behind it, a line each."""


@dataclass(frozen=True)
class Evidence:
    """Runs as the checks see them."""

    runs: tuple[Path, ...]
    """Run directories, their records made anew."""
    frame: pd.DataFrame = field(repr=False)
    """Prepared records (`report.summary.prepare`)."""
    manifests: list[dict[str, Any]] = field(repr=False)
    """Of every cell."""

    @classmethod
    def of(cls, runs: Sequence[Path]) -> Evidence:
        """Reads the runs. Raises `RlmEvalError` where one has no records."""
        runs = union.distinct(runs)
        known = card.manifests(runs)
        frame = summary.prepare(baselines.joined(load_records(runs), runs), known)
        return cls(tuple(runs), frame, known)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """run, cell_id, sample_id, epoch -> answer, target, question, context, as stored.

        A lone surrogate in a text is `?`.

        `context` is its hash, `shared` what samples of one context have in common; `blind` = the
        log names no context.
        """
        rows = []
        for run, name in run_names(self.runs).items():
            for folder in started_cells(run):
                store = CellStore(folder)
                if store.manifest["facts"].get("protected"):
                    continue
                asked = {str(line.get("id")): line for line in read_lines(folder / "samples.jsonl")}
                for (sample, epoch), attempt in store.attempts.items():
                    line = asked.get(sample, {})
                    hashed = (line.get("context") or {}).get("hash")
                    row = {
                        "run": name,
                        "cell_id": store.manifest["identity"],
                        "sample_id": sample,
                        "epoch": float(epoch),
                        "answer": attempt.trajectory.answer.text,
                        "target": line.get("target"),
                        "question": line.get("question", ""),
                        "context": hashed,
                        "shared": str(line.get("cluster", sample)),
                        "blind": hashed is None and line.get("cluster") == sample,
                    }
                    rows.append(whole_text(row))
        keys = ["run", "cell_id", "sample_id", "epoch"]
        columns = [*keys, "answer", "target", "question", "context", "shared", "blind"]
        texts = pd.DataFrame(rows, columns=columns).astype({"blind": bool})
        texts = texts.drop_duplicates(keys)
        of_record = ["task_label", "series", "outcome", "score", "length", "chars", "question_hash"]
        of_record += ["method", "root", "scorer"]
        facts = self.frame[[*keys, *of_record]]
        return facts.merge(texts, on=keys, how="inner")

    @cached_property
    def imports(self) -> list[dict[str, Any]]:
        """What `rlm-eval import` wrote of each imported run."""
        return [about_import(run) for run in self.runs if (run / ABOUT).exists()]

    @cached_property
    def imported(self) -> pd.DataFrame:
        """The records that were imported."""
        return self.frame[self.frame["imported"].notna()]

    @cached_property
    def direct(self) -> frozenset[str]:
        """Methods whose prompt is the whole context."""
        named = {m["facts"].get("direct") for m in self.manifests}
        return frozenset({str(name) for name in named if name} | {"long_context", "base"})
