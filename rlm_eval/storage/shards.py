"""A large cell in shards: one process per shard, merged with a check that nothing is missing.

Shard 3/16 (counted from 1) runs samples 2, 18, 34, ... of the cell. A shard's directory is that of
a cell (`cell_store`), under `<run>/shards/<cell>/<k>-of-<n>/`; the merged one is under `cells/` and
holds `merged.json`: what was counted and compared. A resume continues the merged cell.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.paths import sync_folder
from rlm_eval.core.types import Sample
from rlm_eval.storage.cell_store import BASELINES, CellStore, read_manifest, write_json
from rlm_eval.storage.damage import read_mapping
from rlm_eval.storage.jsonl import dumped, read_lines
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.stale_code import HASHES, changed

T = TypeVar("T")
_DRAFT, _OLD = "merging-", "replaced-"
"""Beginnings of the names of a merge under way, and of the merged cell that it replaces."""
LOGS = ("samples.jsonl", "journal.jsonl", "trajectories.jsonl", "scores.jsonl")


class HasShard(Protocol):
    """The part of a cell that is used here."""

    @property
    def id(self) -> str: ...
    @property
    def shard(self) -> Shard | None: ...


@dataclass(frozen=True)
class Shard:
    """One shard of a cell."""

    number: int
    """Number, from 1."""
    of: int
    """Shards in all."""

    @property
    def folder(self) -> str:
        """Name of its directory."""
        return f"{self.number:0{len(str(self.of))}d}-of-{self.of}"

    def of_samples(self, samples: Sequence[T]) -> list[T]:
        """Return the shard's samples."""
        return list(samples[self.number - 1 :: self.of])


def parse_shard(value: object) -> Shard | None:
    """Parse `3/16`, or nothing. Raises `ConfigError`."""
    if value in (None, ""):
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", str(value).strip())
    if not match or not 1 <= int(match.group(1)) <= int(match.group(2)):
        raise ConfigError(f"shard={value}: give part/parts counted from 1, as shard=3/16")
    return Shard(int(match.group(1)), int(match.group(2)))


def shard_facts(shard: Shard | None, whole: Sequence[Sample]) -> dict[str, Any]:
    """Return the shard's facts for its manifest, so that a merge can check that the parts fit."""
    if shard is None:
        return {}
    facts = {"number": shard.number, "of": shard.of, "samples": len(whole)}
    return {"shard": {**facts, "samples_hash": _hash(sample.id for sample in whole)}}


def shard_folders(run: Path, cell: str) -> list[Path]:
    """Return the started shards of a cell; the folder may also hold a merge under way."""
    return sorted(p.parent for p in (run / "shards" / cell).glob("*-of-*/manifest.json"))


def missing_shards(run: Path, cell: str) -> list[str]:
    """Return the names of the unfinished shards. Raises `RlmEvalError` where none was started."""
    folders = shard_folders(run, cell)
    if not folders:
        raise RlmEvalError(f"{run}: no shards of {cell}")
    # By their names: a shard that ends reads no file of the others.
    parts = {int(folder.name.rpartition("-of-")[2]) for folder in folders}
    if len(parts) > 1:
        raise RlmEvalError(
            f"{run / 'shards' / cell}: parts of several divisions ({sorted(parts)}); keep one"
        )
    wanted = [Shard(k + 1, *parts).folder for k in range(*parts)]
    return [name for name in wanted if not (run / "shards" / cell / name / "DONE").exists()]


def merge_done(run: Path, cells: Iterable[HasShard]) -> Iterator[str]:
    """Merge the cells whose last shard has just ended; report each result."""
    for cell in dict.fromkeys(cell.id for cell in cells if cell.shard is not None):
        if not shard_folders(run, cell):  # the caller has reported why
            yield f"{cell}: no shard has begun"
        elif missing := missing_shards(run, cell):
            yield f"{cell}: {len(missing)} shards to go"
        else:
            yield f"{cell}: merged into {merge(run, cell)}"


def merge(run: Path, cell: str) -> Path:
    """Merge all shards of a cell; return its directory.

    One process merges at a time, the others wait. Raises `RlmEvalError` where a shard is not done,
    where the parts do not fit, or where the merged cell has newer results or is being written.
    """
    if missing := missing_shards(run, cell):
        raise RlmEvalError(f"{cell}: unfinished shards: {', '.join(missing)}")
    with Lease(run / "shards" / cell, waits=True) as lease:
        _clean(run, cell)
        return _merge(run, cell, lease)


def recover(run: Path, cell: str) -> None:
    """Restore a merged cell whose replacement was interrupted between its two renames."""
    if (run / "cells" / cell).exists() or not any((run / "shards" / cell).glob(f"{_OLD}*")):
        return
    with Lease(run / "shards" / cell, waits=True):
        _clean(run, cell)


def _clean(run: Path, cell: str) -> None:
    """Clean up after a killed merge; the caller holds the lease."""
    target = run / "cells" / cell
    for old in sorted((run / "shards" / cell).glob(f"{_OLD}*")):
        if not target.exists():
            old.rename(target)
        else:
            shutil.rmtree(old)
    for draft in (run / "shards" / cell).glob(f"{_DRAFT}*"):
        shutil.rmtree(draft)


def _merge(run: Path, cell: str, lease: Lease) -> Path:
    folders = shard_folders(run, cell)
    manifests = [read_manifest(folder) for folder in folders]
    first = manifests[0]
    for key, what in (("identity", "configurations"), ("samples_hash", "samples")):
        values = {m.get(key) or m["shard"][key] for m in manifests}
        if len(values) > 1:
            raise RlmEvalError(f"{cell}: the shards ran different {what}; run them again")
    if any(changed(first, m.get(HASHES) or {}) for m in manifests):
        raise RlmEvalError(f"{cell}: the shards ran different code; run them again with --redo all")
    target = run / "cells" / cell
    if target.exists():
        proof = _check_replaceable(target)
        if proof is not None and proof["parts"] == _parts(folders):
            return target  # another process was first
    for store in map(CellStore, folders):
        store.check(store.attempts)
    facts = {k: v for k, v in first.items() if k not in ("shard", "schema_version")}
    differing = sorted(
        k for k in ("code", "packages", "machine") if any(m[k] != first[k] for m in manifests)
    )
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=run / "shards" / cell))
    try:
        CellStore(draft).begin({**facts, "shards": len(folders), "shards_differ_in": differing}, [])
        parts = _copy(folders, draft)
        for folder in folders[:1]:  # every shard has the samples of the whole cell
            if (folder / BASELINES).exists():
                shutil.copyfile(folder / BASELINES, draft / BASELINES)
        proof = _prove(draft, first["shard"], first["config"]["epochs"], parts)
        write_json(draft / "merged.json", proof)
        counts = {"n": first["config"]["n"], "samples": first["shard"]["samples"]}
        CellStore(draft).finish({**counts, "epochs": proof["epochs"]})
    except BaseException:  # also an interrupted merge leaves nothing
        shutil.rmtree(draft)
        raise
    draft.chmod(folders[0].stat().st_mode)
    lease.check()
    _put(draft, target)
    return target


def _put(draft: Path, target: Path) -> None:
    """Put a merged cell in its place by renames; `_clean` completes an interrupted one."""
    target.parent.mkdir(exist_ok=True)
    try:
        if target.exists():
            with Lease(target):  # no process that resumes the earlier merge loses its writes
                _check_replaceable(target)
                old = target.rename(draft.with_name(draft.name.replace(_DRAFT, _OLD)))
                draft.rename(target)
            shutil.rmtree(old)
        else:
            draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(target.parent)
    sync_folder(draft.parent)


def _check_replaceable(target: Path) -> dict[str, Any] | None:
    """Return the checks of an earlier merge; `None` where no cell was started there.

    Raises `RlmEvalError` where the cell has more than an earlier merge.
    """
    if not (target / "manifest.json").exists():
        return None
    path = target / "merged.json"
    proof = read_mapping(path) if path.exists() else {}
    if proof.get("files") != _hashes(target):
        raise RlmEvalError(f"{target} has newer results than its merge; refusing to overwrite it")
    return proof


def _parts(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return name, calls and hashes of every shard."""
    return [
        {
            "shard": folder.name,
            "calls": sum(line.get("k") == "call" for line in read_lines(folder / "journal.jsonl")),
            "files": _hashes(folder),
        }
        for folder in folders
    ]


def _copy(folders: Sequence[Path], draft: Path) -> list[dict[str, Any]]:
    """Join the logs; numbers of trajectories, calls and texts continue from part to part."""
    shift = {"t": 0, "c": 0, "x": 0}
    parts = _parts(folders)
    samples: list[dict[str, Any]] = []
    sealed = bool(read_manifest(folders[0])["facts"]["protected"])
    for folder in folders:
        top: Counter[str] = Counter()
        samples += read_lines(folder / "samples.jsonl")
        for name in LOGS[1:]:
            with (draft / name).open("ab") as out:
                _append(out, read_lines(folder / name), shift, top, sealed)
                _to_disk(out)
        for key in shift:
            shift[key] += top[key]
    with (draft / "samples.jsonl").open("wb") as out:
        samples.sort(key=lambda line: line["index"])
        out.writelines(dumped(line, sealed) for line in samples)
        _to_disk(out)
    return parts


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _append(
    out: BinaryIO,
    lines: Iterator[dict[str, Any]],
    shift: Mapping[str, int],
    top: Counter[str],
    sealed: bool,
) -> None:
    for line in lines:
        kind = line.get("k")
        for key, own in (("t", "t"), ("c", "c"), ("of", "c"), ("redo", "t")):
            if key in line:
                top[own] = max(top[own], line[key] + (key != "redo"))
                line[key] += shift[own]
        if kind == "text":
            top["x"] = max(top["x"], line["id"] + 1)
            line["id"] += shift["x"]
        if kind == "call":
            named = [p for _, *message in line["prompt"] for p in message if isinstance(p, int)]
            top["x"] = max(top["x"], 1 + max(named, default=-1))  # its own line may be damaged
            line["prompt"] = [
                [role, *(p + shift["x"] if isinstance(p, int) else p for p in message)]
                for role, *message in line["prompt"]
            ]
        out.write(dumped(line, sealed))


def _prove(
    draft: Path, whole: Mapping[str, Any], epochs: int, parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Read the merged cell back and compare it with what the shards planned and counted."""
    store = CellStore(draft)
    ids = [line["id"] for line in read_lines(draft / "samples.jsonl")]
    everyone = {(name, epoch) for name in ids for epoch in range(epochs)}
    calls = sum(line.get("k") == "call" for line in read_lines(draft / "journal.jsonl"))
    checks = {
        "every planned sample is there, in order": _hash(ids) == whole["samples_hash"],
        "no sample is there twice": len(set(ids)) == len(ids) == whole["samples"],
        "every sample and epoch has a result": not any(map(store.needs_run, everyone)),
        "no other result is there": set(store.attempts) == everyone,
        "every call is there": calls == sum(part["calls"] for part in parts),
    }
    if failed := [what for what, holds in checks.items() if not holds]:
        raise RlmEvalError(f"{draft.parent}: not merged; failed checks: {'; '.join(failed)}")
    return {
        "checks": sorted(checks),
        "samples": len(ids),
        "epochs": epochs,
        "calls": calls,
        "parts": parts,
        "files": _hashes(draft),
    }


def _hashes(folder: Path) -> dict[str, str]:
    return {name: _file_hash(folder / name) for name in LOGS if (folder / name).exists()}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
