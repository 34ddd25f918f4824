"""Answers and targets in a bundle, and the scores computed again from them, offline.

`answers.jsonl` has one line per result, `samples.jsonl` one per sample, without any context. Of
protected tasks both hold hashes in place of texts, to be compared with the data by its owners;
such results cannot be scored again from the bundle. A judge's verdict was paid for and is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.config.trust import stored_cell
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.reasoning import Final
from rlm_eval.core.types import Answer, Outcome, Score
from rlm_eval.records.record import headline
from rlm_eval.records.rescoring import JUDGE, readable
from rlm_eval.storage.cell_store import CellStore, sample_line, stored_sample
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.storage.published import ANSWERS, SAMPLES
from rlm_eval.suites.evidence.commitment import KEY as PLAN_KEY

if TYPE_CHECKING:
    import pandas as pd

    from rlm_eval.protocols import Method

_TEXTS = ("question", "target", "meta", "item", "cluster")
CLOSE = 1e-9
"""Relative difference of two floats that are the same number, computed on two machines."""


def hashed(value: Any) -> str:
    """`sha256:` and the digest of a value as canonical JSON."""
    data = _dumped(value, orjson.OPT_SORT_KEYS)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def collected(folders: Iterable[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(answer lines, sample lines) of the cells of a run, in a fixed order."""
    answers: list[dict[str, Any]] = []
    samples: dict[str, dict[str, Any]] = {}
    for folder in folders:
        store = CellStore(folder)
        manifest = store.manifest
        protected = bool(manifest["facts"]["protected"])
        method = stored_method(manifest)
        for line, attempt in store.load():
            trajectory = attempt.trajectory
            own = sample_line(stored_sample(line))
            answer = trajectory.answer
            is_final = isinstance(readable(answer, method, trajectory.calls).text, Final)
            said: dict[str, Any] = {
                "text": answer.text, "value": answer.value, "provenance": answer.provenance,
            }  # fmt: skip
            scores = [asdict(score) for score in attempt.scores]
            if protected:
                own |= {name: hashed(own[name]) for name in _TEXTS} | {"evidence": []}
                said |= {name: hashed(said[name]) for name in ("text", "value")}
                for score in scores:
                    score["parsed"] = score["flag"] = None
            samples.setdefault(own["id"], own | {"protected": protected})
            answers.append(
                {
                    "cell_id": manifest["identity"],
                    "sample_id": trajectory.sample,
                    "epoch": trajectory.epoch,
                    "outcome": trajectory.outcome.value,
                    "answer": said,
                    "is_final": is_final,
                    "scores": scores,
                }
            )
    answers.sort(key=_key)
    return answers, [samples[name] for name in sorted(samples)]


def stored_method(manifest: Mapping[str, Any]) -> Method:
    """The method of a cell that the user's own command made."""
    return stored_cell(manifest, trust=True).method


def _key(line: Mapping[str, Any]) -> tuple[str, str, int]:
    return line["cell_id"], line["sample_id"], line["epoch"]


def written(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Lines of JSON."""
    return b"".join(_dumped(line) + b"\n" for line in lines)


def _dumped(value: Any, option: int = 0) -> bytes:
    try:
        return orjson.dumps(value, option=option | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # made by a model's code: a lone surrogate, an integer beyond 64 bits
        return json.dumps(value, sort_keys=bool(option & orjson.OPT_SORT_KEYS)).encode()


def kept(bundle: Path, cells: Collection[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(answer lines, sample lines) that a bundle has of these cells, by identity."""
    answers = [a for a in read_lines(bundle / ANSWERS) if a["cell_id"] in cells]
    ids = {answer["sample_id"] for answer in answers}
    return answers, [s for s in read_lines(bundle / SAMPLES) if s["id"] in ids]


def write(bundle: Path, *parts: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Write both files where there is anything to write."""
    answers = sorted((line for part in parts for line in part[0]), key=_key)
    samples = {line["id"]: line for part in parts for line in part[1]}
    if answers:
        (bundle / ANSWERS).write_bytes(written(answers))
        (bundle / SAMPLES).write_bytes(written(samples[name] for name in sorted(samples)))


@dataclass
class Rescored:
    """What came of scoring a bundle's answers again."""

    scored: int = 0
    """Results whose scores came out of today's scorer."""
    kept_verdicts: int = 0
    """Results with a judge's verdict, which is not asked again."""
    impossible: Counter[str] = field(default_factory=Counter)
    """Reason -> results that could not be scored again."""
    difference: str | None = None
    """The first difference, in words."""


def scored_again(
    bundle: Path, manifests: Mapping[str, Mapping[str, Any]], records: pd.DataFrame, *, trust: bool
) -> Rescored:
    """Score every answer of a bundle again and compare with its stored scores and its records.

    Raises `Untrusted` where a manifest names foreign classes and `trust` is false.
    """
    found = Rescored()
    samples = {line["id"]: line for line in read_lines(bundle / SAMPLES)}
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for line in read_lines(bundle / ANSWERS):
        by_cell.setdefault(line["cell_id"], []).append(line)
    rows = _rows(records)
    # Every release that commits cells to their plan publishes their answers.
    answered = by_cell.keys() | {m["identity"] for m in manifests.values() if PLAN_KEY in m}
    for row in rows:
        if row[0] not in answered:
            found.impossible["published without answers"] += 1
    seen = set()
    for manifest in manifests.values():
        lines = by_cell.pop(manifest["identity"], [])
        task = stored_cell(manifest, trust=trust).task if lines else None
        for line in lines:
            if _key(line) in seen or _key(line) not in rows:
                found.difference = f"{ANSWERS}: {_told(line)} is not one result of the records"
                return found
            seen.add(_key(line))
            told = _compare(found, line, samples.get(line["sample_id"]), task, rows[_key(line)])
            if told is not None:
                found.difference = f"{_told(line)}: {told}"
                return found
    if by_cell:
        found.difference = f"{ANSWERS}: {next(iter(by_cell))[:12]} is not a cell of the bundle"
    lacking = {row for row in rows if row[0] in answered} - seen
    if lacking:
        cell, sample, epoch = min(lacking)
        found.difference = f"{ANSWERS}: no answer of cell {cell[:12]}, sample {sample}, {epoch}"
    return found


def _compare(
    found: Rescored, line: Mapping[str, Any], sample: Any, task: Any, row: Mapping[str, Any]
) -> str | None:
    """The first difference between an answer's scores, those of today's scorer and the record."""
    if sample is None:
        return f"{SAMPLES} does not have the sample"
    outcome = Outcome(line["outcome"])
    if outcome.value != row["outcome"]:
        return f"outcome {outcome.value}, but {row['outcome']} in the records"
    stored = [Score(**score) for score in line["scores"]]
    if told := _row_differs(row, outcome, stored):
        return told
    if outcome.is_missing:
        return None
    if sample["protected"]:
        if not task.protected:
            return f"{SAMPLES} says that its task is protected, which it is not"
        found.impossible["protected: hashes only"] += 1
        return None
    fields = {name: value for name, value in sample.items() if name != "protected"}
    text = line["answer"]["text"]
    answer = Answer(
        Final(text) if line["is_final"] and text is not None else text,
        line["answer"]["value"],
        provenance=line["answer"]["provenance"],
    )
    try:
        asked = Answer(None) if outcome.scores_zero else answer
        now = {s.scorer: s.value for s in task.score(stored_sample(fields), asked)}
    except RlmEvalError as error:
        found.impossible[f"needs more than the answer: {error}"[:120]] += 1
        return None
    then = {s.scorer: s.value for s in stored if s.scorer != JUDGE}
    found.kept_verdicts += any(s.scorer == JUDGE for s in stored)
    for name in sorted(now.keys() | then.keys()):
        if not close(now.get(name), then.get(name)):
            return f"score_{name} is {then.get(name)}, today's scorer gives {now.get(name)}"
    found.scored += 1
    return None


def _row_differs(row: Mapping[str, Any], outcome: Outcome, stored: list[Score]) -> str | None:
    said = {f"score_{score.scorer}": score.value for score in stored}
    said["score"] = headline(outcome, stored)
    for name, value in said.items():
        if not close(row.get(name), value):
            return f"{name} is {row.get(name)} in the records and {value} in {ANSWERS}"
    return None


def close(a: Any, b: Any) -> bool:
    """True where two values are the same number (or both are none)."""
    if a is None or b is None:
        return a is None and b is None
    return abs(float(a) - float(b)) <= CLOSE * max(1.0, abs(float(a)), abs(float(b)))


def _rows(records: pd.DataFrame) -> dict[tuple[str, str, int], dict[str, Any]]:
    names = ["cell_id", "sample_id", "epoch", "outcome", "score"]
    names += [name for name in records.columns if name.startswith("score_")]
    part = records[names].astype(object)
    rows = part.where(part.notna(), None).to_dict("records")
    return {(r["cell_id"], r["sample_id"], int(r["epoch"])): r for r in rows}  # type: ignore[misc]


def _told(line: Mapping[str, Any]) -> str:
    return f"cell {line['cell_id'][:12]}, sample {line['sample_id']}, epoch {line['epoch']}"


def answered_cells(bundle: Path) -> Iterator[str]:
    """The cells of which a bundle has answers."""
    yield from dict.fromkeys(line["cell_id"] for line in read_lines(bundle / ANSWERS))
