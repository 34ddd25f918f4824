"""Stored trajectories as plain JSON for the page and the viewer: prompts as parts with positions.

Text is pooled (a growing chat repeats its past) and stored once. Slices of the context keep their
position; their text is added if the context can be rebuilt. Protected tasks give lengths and hashes
only. Nothing is escaped here: the page inserts every text as text, never as markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.spans import merge
from rlm_eval.core.types import Call, Sample, Slice, text_hash
from rlm_eval.records.build import cost_of
from rlm_eval.records.coverage import slices_of
from rlm_eval.records.record import CallCost
from rlm_eval.report.viewer.rows import address, run_names
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import CellStore, RolloutResult, stored_sample

if TYPE_CHECKING:
    import pandas as pd

    from rlm_eval.report.hooks import ContextOf

BUDGET = 20_000_000
"""Maximum bytes of trajectories, as JSON, in one response of the viewer."""
_LONGEST = 12_000  # maximum characters of one text on a page; the viewer has the whole text
_LEAST = 2_000  # minimum bytes of a cell's share of a page; less cannot hold a trajectory
_JOURNAL = 256_000_000  # maximum bytes of a journal in a report; larger ones: use `view`


@dataclass
class Pool:
    """Texts by number, each stored once, up to a budget."""

    hidden: bool = False
    """True omits all text (protected tasks)."""
    left: int = BUDGET
    """Remaining budget in bytes of JSON."""
    longest: int = _LONGEST
    """Maximum characters stored of one text."""
    texts: list[Any] = field(default_factory=list)
    """The texts; an omitted one is `{"chars": n, "hash": h, "head": text}`."""
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, text: str | None) -> int | None:
        """Return the number of this text, adding it if it is new."""
        if text is None:
            return None
        key = f"{self.hidden}{text}"
        if key not in self._numbers:
            self._numbers[key] = len(self.texts)
            self.texts.append(self._kept(text))
        return self._numbers[key]

    def _kept(self, text: str) -> Any:
        size = len(json.dumps(text))
        fits = self.left * len(text) // size if text else 0  # escaped characters need several bytes
        room = 0 if self.hidden else max(0, min(self.longest, fits))
        if len(text) <= room:
            self.left -= size
            return text
        self.left -= room * size // len(text) if text else 0
        facts = {"chars": len(text), "hash": text_hash(text), "head": text[:room]}
        return facts | ({"protected": True} if self.hidden else {})


def _joined(evidence: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge spans separated by at most a line break, so that adjacent lines are one highlight."""
    return [(start, end - 1) for start, end in merge((s, e + 1) for s, e in evidence)]


def as_json(
    sample: Sample, attempt: RolloutResult, pool: Pool, cost: CallCost, context: str | None = None
) -> dict[str, Any]:
    """Return one trajectory; every text is a number in `pool`. `context` gives the slices' text."""
    trajectory = attempt.trajectory
    spans = slices_of(trajectory.calls, sample.context.hash)
    untimed = {call.id for call in trajectory.calls if "times" in call.unknown}
    return {
        "sample": sample.id,
        "index": sample.index,
        "epoch": trajectory.epoch,
        "question": pool.add(sample.question),
        "target": pool.add(str(sample.target)),
        "answer": pool.add(trajectory.answer.text),
        "provenance": trajectory.answer.provenance,
        "error": pool.add(trajectory.error),
        "wall": trajectory.wall_seconds,
        "context": {"hash": sample.context.hash, "chars": sample.context.chars},
        "evidence": [list(span) for span in _joined(sample.evidence)],
        "scores": [[s.scorer, s.value, pool.add(s.parsed), s.flag] for s in attempt.scores],
        "read": [
            [start, end, None if context is None else pool.add(context[start:end])]
            for start, end in merge(spans)
        ],
        "calls": [_call(call, sample.context.hash, pool, cost) for call in trajectory.calls],
        "steps": [
            {
                "call": step.call,
                "code": pool.add(step.code),
                "stdout": pool.add(step.stdout),
                "stdout_chars": step.stdout_chars,
                "stderr": pool.add(step.stderr),
                "seconds": None if step.call in untimed else step.wall_seconds,
                "error": step.error,
                "calls": list(step.calls),
            }
            for step in trajectory.steps
        ],
    }


def _call(call: Call, source: str, pool: Pool, cost: CallCost) -> dict[str, Any]:
    def part(value: Slice | str) -> Any:
        if isinstance(value, str):
            return pool.add(value)
        return [value.start, value.end] if value.source == source else pool.add("[other text]")

    return {
        "id": call.id,
        "parent": call.parent,
        "depth": call.depth,
        "role": call.role.value,
        "turn": call.turn,
        "model": call.model,
        "prompt": [[role, [part(p) for p in parts]] for role, parts in call.prompt.messages],
        "reply": pool.add(call.reply),
        "reasoning": pool.add(call.reasoning) if call.reasoning else None,
        "finish": call.finish_reason,
        "usage": [call.usage.input, call.usage.cached, call.usage.output],
        "cost": cost(call)[0],
        "times": [None] * 3
        if "times" in call.unknown
        else [call.times.submit, call.times.start, call.times.end],
        "error": pool.add(call.error),
        "replayed": call.replayed,
    }


def attempts(run: Path) -> Iterator[tuple[dict[str, Any], Sample, RolloutResult]]:
    """Yield (cell manifest, sample, attempt with its calls) of every finished sample of a run."""
    for folder in started_cells(run):
        store = CellStore(folder)
        manifest = store.manifest
        for line, attempt in store.load():
            yield manifest, stored_sample(line, folder), attempt


def embed(
    run_dirs: Sequence[Path],
    frame: pd.DataFrame,
    context_of: ContextOf | None,
    per_cell: int = 20,
    room: int = BUDGET,
) -> dict[str, Any]:
    """Select trajectories for `report.html`: the first of every cell, at most `room` bytes of JSON.

    Every cell has an equal share; unused bytes go to later cells. Wrong and truncated samples come
    first: readers look for them. Items are keyed by their address (`rows.address`).
    """
    # Sorting copies the columns: only those that are used.
    told = frame[["run", "cell_id", "sample_id", "epoch", "score"]]
    first = told.sort_values("score", na_position="first", kind="stable").drop(columns="score")
    kept = first.groupby(["run", "cell_id"], sort=False)
    chosen = {key: part.head(per_cell).to_dict("records") for key, part in kept}
    pool, items = Pool(), []
    folders = [
        (name, folder) for run, name in run_names(run_dirs).items() for folder in started_cells(run)
    ]
    for place, (name, folder) in enumerate(folders):
        journal = folder / "journal.jsonl"
        share = room // (len(folders) - place)
        if share < _LEAST or (journal.exists() and journal.stat().st_size > _JOURNAL):
            continue
        store = CellStore(folder)
        manifest = store.manifest
        pool.hidden, pool.left = bool(manifest["facts"].get("protected")), share
        cost = cost_of(manifest)
        for row in chosen.get((name, manifest["identity"]), ()):
            who = str(row["sample_id"]), int(row["epoch"])
            if who not in store.attempts or pool.left < _LEAST:
                continue
            line, attempt = store.one(*who)
            context = context_of(manifest, who[0]) if context_of else None
            item = as_json(stored_sample(line), attempt, pool, cost, context)
            item["key"] = address(row["run"], row["cell_id"], *who)
            pool.left -= len(json.dumps(item))
            items.append(item)
        room -= share - max(0, pool.left)
    return {"texts": pool.texts, "items": items, "total": len(frame)}
