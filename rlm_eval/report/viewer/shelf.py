"""Data behind the viewer: the list of samples, a trajectory, part of a context, a search.

Reads a cell's journal when one of its samples is opened. The list is rebuilt during a run. Of a
published folder, which has no calls, it shows question, answer, gold and scores.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Answer, Outcome, Trajectory
from rlm_eval.records.build import cost_of
from rlm_eval.report import summary, wording
from rlm_eval.report.tables import card
from rlm_eval.report.viewer import rows, trajectories
from rlm_eval.report.viewer.live import LiveRecords, Unfinished, facts_of
from rlm_eval.storage import published
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import CellStore, RolloutResult, stored_sample
from rlm_eval.storage.published import is_published
from rlm_eval.storage.search import answered_with, samples_with

if TYPE_CHECKING:
    from rlm_eval.report.hooks import ContextOf

_STRETCH = 200_000  # maximum characters of a context in one response
_LONGEST = 1_000_000  # maximum characters of one text in one response
_LOOK = 1.0  # minimum seconds between two checks of the run's files
_NO_CALLS = (
    "This folder was published without the calls of its samples: the run directory that it was "
    "published from has them."
)
_REST = 2.0  # minimum pause as a multiple of the last read's duration: limits load of large runs


class ViewerData:
    """The samples of some runs, by their address (`rows.address`)."""

    def __init__(self, run_dirs: Sequence[Path], context_of: ContextOf | None = None) -> None:
        """Raise `RlmEvalError` if a run has no records and no process that makes some."""
        self.context_of = context_of
        self._names = rows.run_names(run_dirs)
        self._live = LiveRecords(list(self._names))
        self._lock = threading.Lock()
        self._next_look = 0.0
        self.rows: list[dict[str, Any]] = []
        self._records: dict[str, dict[Any, Any]] = {}
        self._open: dict[str, Unfinished] = {}
        self._folders: dict[tuple[str, str], Path] = {}
        self._version = 0
        self._progress: dict[str, int] = {}
        # Cache the line positions of three cells, and one context.
        self._cell = functools.lru_cache(3)(lambda folder, _: CellStore(folder))
        self._context = functools.lru_cache(1)(self._read_context)
        self._results = functools.lru_cache(2)(published.results)
        self._published = {name: run for run, name in self._names.items() if is_published(run)}
        self._read()

    def _read(self) -> None:
        """Build the list of samples. Needs the lock, or exclusive access."""
        began = time.monotonic()
        records = self._live.load()
        known = card.manifests(self._live.run_dirs)
        stored: dict[str, dict[Any, Any]] = {}
        listed: list[dict[str, Any]] = []
        self._folders = {
            (name, facts_of(folder)["identity"]): folder
            for run, name in self._names.items()
            for folder in started_cells(run)
        }
        if records is not None:
            frame = summary.prepare(records, known)
            listed = rows.listed(frame)
            facts = frame[["run", "cell_id", "sample_id", "epoch", "protected"]].to_dict("records")
            stored = {_address(row): row for row in facts}
        labels = {(row["run"], row["cell"]): row for row in listed}
        open_: dict[str, Unfinished] = {}
        for one in self._live.unfinished:
            row = self._row(one, labels)
            listed.append(row)
            open_[f"{row['run']}/{row['cell']}/{row['sample']}/{row['epoch']}"] = one
        self.rows, self._records, self._open = listed, stored, open_
        self._progress = self._live.progress()
        self._version += 1
        self._next_look = time.monotonic() + max(_LOOK, _REST * (time.monotonic() - began))

    def _row(self, one: Unfinished, labels: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the list's line for an unfinished sample."""
        manifest, run = facts_of(one.folder), one.folder.parent.parent
        facts, length = manifest["facts"], one.line["length"]
        name = self._names[run]
        variant = facts.get("task_variant")
        row = {
            "task": f"{one.line['task']} ({variant})" if variant else one.line["task"],
            "length": wording.tokens_label(length),
            "tokens": length,
            "method": facts.get("method"),
            "model": rows.model_label(facts.get("root"), facts.get("sub")),
            "run": name,
            "cell": str(manifest["identity"])[:12],
        }
        same = labels.get((name, row["cell"]), {})
        row |= {key: same[key] for key in ("task", "method", "model") if key in same}
        ends = [call.times.end for call in one.calls]
        return row | {
            "outcome": "running",
            "failure": "",
            "sample": one.line["id"],
            "score": None,
            "cost": None,
            "calls": len(one.calls),
            "seconds": round(max(ends), 2) if ends else None,
            "index": one.line["index"],
            "epoch": one.epoch,
        }

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of the finished samples, in the order of their records."""
        return tuple(self._records)

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return all samples as columns (`rows.columns`), unless version `since` is current."""
        with self._lock:
            if time.monotonic() >= self._next_look:
                if self._live.is_changed():
                    self._read()
                else:
                    self._next_look = time.monotonic() + _LOOK
                self._progress = self._live.progress()
            found = {"version": self._version, **self._progress}
            if query.get("since") == str(self._version):
                return found
            return found | {"rows": rows.columns(self.rows)}

    def trajectory(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return one trajectory with its texts: `sample` is its address."""
        address = query["sample"]
        pool = trajectories.Pool(longest=_LONGEST)
        if (one := self._open.get(address)) is not None:
            manifest = facts_of(one.folder)
            pool.hidden = bool(manifest["facts"].get("protected"))
            line, attempt = one.line, _so_far(one)
        else:
            row = self._records[address]
            if row["run"] in self._published:
                return self._answered(address, row, pool)
            store = self._cell(self._folder(row), self._version)
            manifest, pool.hidden = store.manifest, bool(row["protected"])
            line, attempt = store.one(*self._stored(row, store.attempts, store.folder))
        item = trajectories.as_json(stored_sample(line), attempt, pool, cost_of(manifest))
        return {"item": item | {"key": address}, "texts": pool.texts}

    def _answered(
        self, address: str, row: Mapping[Any, Any], pool: trajectories.Pool
    ) -> dict[str, Any]:
        """Return a published result: its texts, those of a protected task as hashes, no calls."""
        folder, cell = self._published[row["run"]], row["cell_id"]
        results = self._results(folder)
        if not results:
            raise RlmEvalError(f"Only the record of this sample was published. {_NO_CALLS}")
        own = [(sample, epoch) for identity, sample, epoch in results if identity == cell]
        line, result = results[cell, *self._stored(row, own, folder)]
        item = trajectories.as_json(stored_sample(line, folder), result, pool, cost_of({}))
        return {"item": item | {"key": address, "note": _NO_CALLS}, "texts": pool.texts}

    def _stored(
        self, row: Mapping[Any, Any], every: Iterable[tuple[str, int]], folder: Path
    ) -> tuple[str, int]:
        """Return (sample, epoch) as stored: rows of merged cells are renumbered."""
        name = str(row["sample_id"])
        place = {key: row[key] for key in ("run", "cell_id", "sample_id")}
        same = sorted(
            int(other["epoch"])
            for other in self._records.values()
            if all(other[key] == value for key, value in place.items())
        )
        stored = sorted(e for sample, e in every if sample == name)
        epoch = int(row["epoch"])
        if len(stored) < len(same):
            raise RlmEvalError(
                f"{folder}: {len(same)} results of sample {name} are in the records, "
                f"{len(stored)} are stored: a file was truncated or deleted; restore it, or run "
                "the same command again"
            )
        return name, epoch if set(same) <= set(stored) else stored[same.index(epoch)]

    def context(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a chunk of a sample's context: `sample`, `start`, `end` in characters."""
        address = query["sample"]
        if (one := self._open.get(address)) is not None:
            folder, sample = one.folder, str(one.line["id"])
        else:
            row = self._records[address]
            folder, sample = self._folder(row), str(row["sample_id"])
        if facts_of(folder)["facts"].get("protected"):
            return {"text": "[protected: not shown]"}
        start = int(query["start"])
        try:
            text = self._context(folder, sample)
        except RlmEvalError as error:
            return {"text": f"[{error}]"}
        return {"text": text[start : min(int(query["end"]), start + _STRETCH)]}

    def search(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return addresses of samples whose texts contain the `words` (`search.samples_with`)."""
        cells: dict[tuple[str, str], list[str]] = {}
        for address, row in self._records.items():
            cells.setdefault((row["run"], row["cell_id"]), []).append(address)
        words = query["words"]
        hits = {key: samples_with(folder, words) for key, folder in self._folders.items()}
        for name, folder in self._published.items():
            answered = answered_with(self._results(folder), words)
            hits |= {(name, cell): samples for cell, samples in answered.items()}
        return {
            "found": [
                address
                for key, samples in hits.items()
                for address in cells.get(key, ())
                if str(self._records[address]["sample_id"]) in samples
            ]
        }

    def _folder(self, row: Mapping[Any, Any]) -> Path:
        try:
            return self._folders[row["run"], row["cell_id"]]
        except KeyError as error:
            raise RlmEvalError(
                f"run {row['run']} has no cell folder for this sample, only its record: restore "
                "the folder, or run the same command again"
            ) from error

    def _read_context(self, folder: Path, sample: str) -> str:
        found = self.context_of(CellStore(folder).manifest, sample) if self.context_of else None
        if found is None:
            raise RlmEvalError(
                f"the text of the context of sample {sample} is not at hand: `rlm-eval prefetch` "
                "with the arguments of the run fetches its data set"
            )
        return found


def _address(row: Mapping[Any, Any]) -> str:
    return rows.address(row["run"], row["cell_id"], row["sample_id"], row["epoch"])


def _so_far(one: Unfinished) -> RolloutResult:
    """Return an unfinished trajectory in the form of a finished one."""
    answer = Answer(None, provenance="not finished")
    trajectory = Trajectory(
        sample=str(one.line["id"]),
        epoch=one.epoch,
        answer=answer,
        outcome=Outcome.UNKNOWN,
        calls=one.calls,
        steps=(),
        wall_seconds=None,
    )
    return RolloutResult(0, trajectory, (), 0, 0)
