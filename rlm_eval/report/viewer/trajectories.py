"""Stored trajectories as plain JSON for the page and the viewer: prompts as pieces with places.

Text is pooled (a growing chat repeats its past) and given once. Slices of the context keep their
place; their text is added where the context can be rebuilt. Protected tasks give lengths and
hashes only. Nothing is escaped here: the page puts every text in as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.spans import merge
from rlm_eval.core.types import Call, Sample, Slice, text_hash
from rlm_eval.records.build import cost_of
from rlm_eval.records.coverage import slices_of
from rlm_eval.records.record import CallCost
from rlm_eval.report import wording
from rlm_eval.storage.cell_store import CellStore, RolloutResult, stored_sample

if TYPE_CHECKING:
    import pandas as pd

    from rlm_eval.report.hooks import ContextOf

BUDGET = 20_000_000
"""Characters of trajectory text that one page embeds; the rest is shown by `rlm-eval view`."""
_LONGEST = 100_000  # characters of one text; more helps no reader of a page
_JOURNAL = 256_000_000  # bytes of a journal that a report reads; larger ones are for `view`


@dataclass
class Pool:
    """Texts by number, each kept once, up to a budget."""

    hidden: bool = False
    """True leaves out all text (protected tasks)."""
    left: int = BUDGET
    """Characters that still fit."""
    longest: int = _LONGEST
    """Characters kept of one text."""
    texts: list[Any] = field(default_factory=list)
    """The texts; what was left out is `{"chars": n, "hash": h, "head": text}`."""
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, text: str | None) -> int | None:
        """The number of this text."""
        if text is None:
            return None
        key = f"{self.hidden}{text}"
        if key not in self._numbers:
            self._numbers[key] = len(self.texts)
            self.texts.append(self._kept(text))
        return self._numbers[key]

    def _kept(self, text: str) -> Any:
        room = 0 if self.hidden else max(0, min(self.longest, self.left))
        if len(text) <= room:
            self.left -= len(text)
            return text
        self.left -= room
        facts = {"chars": len(text), "hash": text_hash(text), "head": text[:room]}
        return facts | ({"protected": True} if self.hidden else {})


def _joined(evidence: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans with at most a line's end between them as one: all lines are one mark on the page."""
    return [(start, end - 1) for start, end in merge((s, e + 1) for s, e in evidence)]


def as_json(
    sample: Sample, attempt: RolloutResult, pool: Pool, cost: CallCost, context: str | None = None
) -> dict[str, Any]:
    """One trajectory; every text is a number in `pool`. `context` fills the slices' text."""
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
    """(cell manifest, sample, attempt with its calls) of every finished sample of a run."""
    for folder in sorted(p.parent for p in run.glob("cells/*/manifest.json")):
        store = CellStore(folder)
        manifest = store.manifest
        for line, attempt in store.load():
            yield manifest, stored_sample(line), attempt


def embed(
    run_dirs: Sequence[Path], frame: pd.DataFrame, context_of: ContextOf | None, per_cell: int = 20
) -> dict[str, Any]:
    """What `report.html` embeds: the first samples of every cell until the budget is spent.

    Wrong and cut-off samples come first: they are what a reader looks for.
    """
    first = frame.sort_values("score", na_position="first", kind="stable")
    cells = first[["cell_id", "sample_id", "epoch", *LISTED]].groupby(
        ["run", "cell_id"], sort=False
    )
    rows = {key: part.head(per_cell).to_dict("records") for key, part in cells}
    pool = Pool()
    items = []
    for run in run_dirs:
        for folder in sorted(p.parent for p in run.glob("cells/*/manifest.json")):
            journal = folder / "journal.jsonl"
            if pool.left <= 0 or (journal.exists() and journal.stat().st_size > _JOURNAL):
                continue
            store = CellStore(folder)
            manifest = store.manifest
            pool.hidden, cost = bool(manifest["facts"].get("protected")), cost_of(manifest)
            for row in rows.get((run.name, manifest["identity"]), ()):
                who = str(row["sample_id"]), int(row["epoch"])
                if who not in store.attempts or pool.left <= 0:
                    continue
                line, attempt = store.one(*who)
                context = context_of(manifest, who[0]) if context_of else None
                item = as_json(stored_sample(line), attempt, pool, cost, context)
                items.append(listed(row) | item)
    return {"texts": pool.texts, "items": items, "total": len(frame)}


LISTED = ("run", "series", "task_label", "length", "outcome", "failure", "score", "cost_cold")


def listed(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What the list of trajectories shows and filters by; unknown is null."""
    import pandas as pd

    values = {name: row[name] for name in LISTED}
    if values["length"] == wording.UNKNOWN_LENGTH:
        values["length"] = None
    return {name: None if pd.isna(value) else value for name, value in values.items()}
