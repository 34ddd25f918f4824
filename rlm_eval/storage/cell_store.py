"""A cell's directory: manifest first, append-only logs, completion marker last.

    <run>/cells/<cell>/manifest.json       what determines the cell, and its environment
                       samples.jsonl       the samples, without their contexts
                       journal.jsonl       every model call (see `journal`)
                       trajectories.jsonl  answer, outcome, executed blocks of finished attempts
                       scores.jsonl        every scorer's verdict on each of them
                       baselines.json      baselines without a model (see `baselines`)
                       DONE                counts, once every sample has a result

Plain JSON, one object per line. Of several attempts at one sample and epoch the last one counts.
"""

from __future__ import annotations

import functools
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.paths import FULL, replace_file
from rlm_eval.core.secrets import SECRETS
from rlm_eval.core.types import (
    Answer,
    Call,
    Context,
    Outcome,
    Sample,
    Score,
    Step,
    Totals,
    Trajectory,
)
from rlm_eval.storage.damage import damaged, read_mapping
from rlm_eval.storage.done import MARKER
from rlm_eval.storage.journal import JournalReader
from rlm_eval.storage.jsonl import JsonlLog, dumped, read_every, read_lines
from rlm_eval.storage.lost_calls import CALLS, LostCalls

SCHEMA_VERSION = 1
BASELINES = "baselines.json"

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def output_folder(path: Path, way_out: str = "name another with results= or -o") -> Path:
    """Make a folder that a user named, and check that files can be made in it.

    Raises `RlmEvalError` where they cannot: the user can change the cause of the errors caught
    here, while the same `OSError` from elsewhere may be a bug. The command line reports a full
    disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise
        why = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise RlmEvalError(f"{path}: cannot be written ({why}); {way_out}") from error
    return path


def write_json(path: Path, value: Any) -> None:
    """Replace a file by `value` as JSON without secrets, whole or not at all."""
    data = orjson.dumps(value, option=_OPTIONS)
    if SECRETS.are_in(data):
        data = orjson.dumps(SECRETS.tree(orjson.loads(data)), option=_OPTIONS)
    write_whole(path, data)


def folder_of(run: Path, name: str) -> Path:
    """Return the directory of a planned cell or shard."""
    return run / ("shards" if "/" in name else "cells") / name


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a cell's manifest. Raises `RlmEvalError` where there is none, it is damaged, or of
    another layout."""
    path = folder / "manifest.json"
    try:
        loaded = read_mapping(path)
    except FileNotFoundError as error:
        raise RlmEvalError(f"{path}: no manifest; this is not the folder of a cell") from error
    if (found := loaded.get("schema_version")) != SCHEMA_VERSION:
        raise RlmEvalError(
            f"{path}: written with schema version {found}, this release reads "
            f"{SCHEMA_VERSION}; use the release that wrote it, or another run name"
        )
    for name, kind in _NEEDED.items():
        if not isinstance(loaded.get(name), kind):
            raise RlmEvalError(
                f"{path}: damaged: no `{name}`; restore the file from a copy, or move the folder "
                "away and run the cell again"
            )
    return loaded


_NEEDED: Mapping[str, type] = {"identity": str, "facts": dict}
"""Keys of every manifest, which every reader needs."""


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file, whole or not at all, also where the machine disappears."""
    replace_file(path, data, durable=True)


@dataclass(frozen=True)
class RolloutResult:
    """One finished attempt at a sample, as stored."""

    number: int
    """Trajectory number in the cell's journal."""
    trajectory: Trajectory
    """The trajectory; its calls are read separately (`CellStore.load`)."""
    scores: tuple[Score, ...]
    """Scores, the headline first; empty where the sample is missing."""
    rerolls: int
    """Earlier finished attempts at the same sample and epoch."""
    diverged: int
    """Replies of earlier attempts that it did not request: its requests differed."""


@dataclass
class CellStore:
    """Reads and appends to one cell directory. Writing needs the cell's lease."""

    folder: Path
    """`<run>/cells/<cell>`."""
    attempts: dict[tuple[str, int], RolloutResult] = field(default_factory=dict)
    """Latest attempt by (sample id, epoch); calls and steps left out."""
    since: dict[tuple[str, int], int] = field(default_factory=dict)
    """First trajectory that counts, where a redo set earlier ones aside."""
    redone: dict[tuple[str, int], str] = field(default_factory=dict)
    """Outcomes that the last redo of a result named; empty for redos of earlier releases."""
    stale: int = 0
    """Results and scores ignored because their writer had lost the cell's lease."""
    free: int = 0
    """First trajectory number above those of all results and scores."""

    def __post_init__(self) -> None:
        known = read_manifest(self.folder) if (self.folder / "manifest.json").exists() else {}
        self._lost = LostCalls.of_cell(self.folder, known)
        scores: dict[tuple[Any, ...], tuple[Score, ...]] = {}
        with damaged(self.folder / "scores.jsonl"):
            for _, line in self._counting("scores.jsonl"):
                of = (line["sample"], line["epoch"]) if "sample" in line else ()
                scores[line["t"], *of] = tuple(Score(**score) for score in line["scores"])
        self._places: dict[tuple[str, int], int] = {}  # of the lines of the attempts
        with damaged(self.folder / "trajectories.jsonl"):
            for place, line in self._counting("trajectories.jsonl"):
                who = (line["sample"], line["epoch"])
                if "redo" in line:
                    self.since[who], self.redone[who] = line["redo"], line.get("outcomes", "")
                    continue
                own = scores.get((line["t"], *who), scores.get((line["t"],)))
                if own is not None:  # else a lost machine removed them
                    self._places[who] = place
                    self._keep(_attempt({**line, "steps": ()}, own))

    def _counting(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (place, line) of the whole lines of a log that count; stale ones are counted."""
        for place, line, is_rightful in read_every(self.folder / name):
            self.stale += not is_rightful
            if line is not None and ("t" in line or "redo" in line):
                self.free = max(self.free, line.get("redo", 0), line.get("t", -1) + 1)
                if is_rightful:
                    yield place, line

    def needs_run(self, who: tuple[str, int]) -> bool:
        """Return true if (sample id, epoch) has no result yet, or a missing one."""
        done = self.attempts.get(who)
        return (
            done is None
            or done.trajectory.outcome.is_missing
            or done.number < self.since.get(who, 0)
        )

    def invalidate(self, trajectories: JsonlLog, who: tuple[str, int], of: str) -> None:
        """Mark a finished sample for a redo: its calls are made anew, its result stays on disk.

        `of` names the outcomes that the user's redo runs again.
        """
        first = self.attempts[who].number + 1
        trajectories.append({"redo": first, "sample": who[0], "epoch": who[1], "outcomes": of})
        self.since[who] = first
        self.redone[who] = of

    @property
    def manifest(self) -> dict[str, Any]:
        """Read the stored manifest. Raises `RlmEvalError` where the cell was never started."""
        return read_manifest(self.folder)

    def begin(self, manifest: Mapping[str, Any], samples: list[Sample]) -> None:
        """Write manifest and samples; no call is made before this returned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "manifest.json", {"schema_version": SCHEMA_VERSION, **manifest})
        now = {sample.id for sample in samples}
        path = self.folder / "samples.jsonl"
        # A smaller n than before runs fewer samples; it removes none.
        before = [line for line in read_lines(path) if line["id"] not in now]
        sealed = bool(manifest["facts"]["protected"])
        lines = [*map(sample_line, samples), *before]
        write_whole(path, b"".join(dumped(line, sealed) for line in lines))
        (self.folder / MARKER).unlink(missing_ok=True)

    def amend(self, facts: Mapping[str, Any]) -> None:
        """Replace facts of the manifest that do not determine the cell: prices."""
        known = self.manifest
        if any(known.get(name) != value for name, value in facts.items()):
            write_json(self.folder / "manifest.json", {**known, **facts})

    def append(
        self,
        trajectories: JsonlLog,
        scores: JsonlLog,
        attempt: RolloutResult,
    ) -> None:
        """Store a finished attempt: its scores first, so that a trajectory is never unscored."""
        scores.append(score_line(attempt))
        trajectories.append(_line(attempt))
        self._keep(attempt)

    def append_scores(self, scores: JsonlLog, attempt: RolloutResult) -> None:
        """Store new scores of a stored attempt; its later line counts."""
        scores.append(score_line(attempt))
        self._keep(attempt)

    def finish(self, counts: Mapping[str, int]) -> None:
        """Write the completion marker."""
        write_json(self.folder / MARKER, dict(counts))

    def load(self) -> Iterator[tuple[dict[str, Any], RolloutResult]]:
        """Yield (sample line, attempt with its calls) for every sample of the cell that has one."""
        lines, calls = self._read()
        found = defaultdict(list)
        for (sample, _), attempt in sorted(self.attempts.items()):
            found[sample].append(attempt)
        for sample, line in lines.items():
            for attempt in found[sample]:
                yield line, self._whole(attempt, calls)

    def one(self, sample: str, epoch: int) -> tuple[dict[str, Any], RolloutResult]:
        """Return the `load` item of one sample; the journal's places are read once and kept.

        Raises `KeyError` where it has no result, `RlmEvalError` where its line was lost.
        """
        attempt = self.attempts[sample, epoch]
        lines, calls = self._index
        if sample not in lines:
            raise RlmEvalError(
                f"{self.folder / 'samples.jsonl'}: lacks sample {sample}, whose result is stored: "
                "the file was truncated or deleted; restore it, or run the same command again"
            )
        return lines[sample], self._whole(attempt, calls)

    def unfinished(self) -> Iterator[tuple[dict[str, Any], int, int, tuple[Call, ...]]]:
        """Yield (sample line, epoch, trajectory, calls so far) of started samples without a result.

        Of several trajectories of a sample and epoch, the last one.
        """
        lines, calls = self._index
        last = {(sample, epoch): n for n, (sample, epoch, _) in sorted(calls.starts.items())}
        for (sample, epoch), number in last.items():
            done = self.attempts.get((sample, epoch))
            if sample in lines and (done is None or done.number != number):
                yield lines[sample], epoch, number, calls.of(number)

    def _read(self) -> tuple[dict[str, dict[str, Any]], JournalReader]:
        path = self.folder / "samples.jsonl"
        with damaged(path):
            lines = {str(line.get("id")): line for line in read_lines(path)}
        with damaged(self.folder / "journal.jsonl"):
            return lines, JournalReader(self.folder / "journal.jsonl")

    _index = functools.cached_property(_read)

    def check(self, whom: Iterable[tuple[str, int]], journal: JournalReader | None = None) -> None:
        """Raise `RlmEvalError` where the journal (`None` = read it) lacks calls of results."""
        self._lost.check(sorted(self._places[who] for who in whom), journal)

    def _whole(self, attempt: RolloutResult, calls: JournalReader) -> RolloutResult:
        """Return a stored attempt with its calls and steps. Raises as `check`."""
        trajectory = attempt.trajectory
        line = self._lost.whole(self._places[trajectory.sample, trajectory.epoch], calls)
        with damaged(self.folder / "journal.jsonl"):
            own = calls.of(attempt.number)
        return replace(attempt, trajectory=replace(trajectory, calls=own, steps=_steps(line)))

    def _keep(self, attempt: RolloutResult) -> None:
        trajectory = replace(attempt.trajectory, calls=(), steps=())
        who = (trajectory.sample, trajectory.epoch)
        self.attempts[who] = replace(attempt, trajectory=trajectory)


def score_line(attempt: RolloutResult) -> dict[str, Any]:
    """Return the scores of an attempt as stored."""
    own = attempt.trajectory
    scores = [asdict(score) for score in attempt.scores]
    return {"t": attempt.number, "sample": own.sample, "epoch": own.epoch, "scores": scores}


def sample_line(sample: Sample) -> dict[str, Any]:
    """Return a sample as stored: everything but the context's text."""
    context = sample.context
    return {
        "id": sample.id,
        "task": sample.task,
        "index": sample.index,
        "question": sample.question,
        "context": {
            "hash": context.hash,
            "chars": context.chars,
            "tokens": context.tokens,
            "tokenizer": context.tokenizer,
        },
        "target": sample.target,
        "length": sample.length,
        "cluster": sample.cluster,
        "item": sample.item,
        "evidence": sample.evidence,
        "meta": dict(sample.meta),
        "output_cap": sample.output_cap,
    }


def stored_sample(line: Mapping[str, Any], folder: Path = Path()) -> Sample:
    """Return the sample of a stored line; its context's text cannot be loaded from it."""

    def absent() -> str:
        raise RlmEvalError(
            f"the text of context {line['context']['hash']} is not stored in the run; "
            "rebuild it from the task"
        )

    with damaged(folder / "samples.jsonl"):
        fields = dict(line)
        fields["context"] = Context(**line["context"], load=absent)
        fields["evidence"] = tuple((start, end) for start, end in line["evidence"])
        return Sample(**fields)


def _line(attempt: RolloutResult) -> dict[str, Any]:
    trajectory = attempt.trajectory
    return {
        "t": attempt.number,
        "sample": trajectory.sample,
        "epoch": trajectory.epoch,
        "outcome": trajectory.outcome.value,
        "answer": {
            "text": trajectory.answer.text,
            "value": trajectory.answer.value,
            "call": trajectory.answer.call,
            "provenance": trajectory.answer.provenance,
        },
        "error": trajectory.error,
        "wall_seconds": _rounded(trajectory.wall_seconds),
        "notes": dict(trajectory.notes),
        "rerolls": attempt.rerolls,
        "diverged": attempt.diverged,
        CALLS: len(trajectory.calls),
        "steps": [asdict(step) for step in trajectory.steps],
        **({} if trajectory.totals is None else {"totals": asdict(trajectory.totals)}),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _attempt(line: Mapping[str, Any], scores: tuple[Score, ...]) -> RolloutResult:
    trajectory = Trajectory(
        sample=line["sample"],
        epoch=line["epoch"],
        answer=Answer(**line["answer"]),
        outcome=Outcome(line["outcome"]),
        calls=(),
        steps=_steps(line),
        wall_seconds=line["wall_seconds"],
        error=line["error"],
        notes=line["notes"],
        totals=Totals(**line["totals"]) if "totals" in line else None,
    )
    return RolloutResult(line["t"], trajectory, scores, line["rerolls"], line["diverged"])


def _steps(line: Mapping[str, Any]) -> tuple[Step, ...]:
    return tuple(Step(**{**step, "calls": tuple(step["calls"])}) for step in line["steps"])
