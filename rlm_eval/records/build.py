"""Builds a run's records: one flat row per sample, at current prices; can be rebuilt any time."""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rlm_eval.budget.prices import call_cost, snapshot_name
from rlm_eval.core import renamed
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.paths import replace_file
from rlm_eval.records import baselines
from rlm_eval.records.record import FILE, CallCost, record_of, to_frame
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_folders import all_started, copies_of
from rlm_eval.storage.cell_store import (
    CellStore,
    RolloutResult,
    output_folder,
    stored_sample,
)
from rlm_eval.storage.done import Done
from rlm_eval.storage.jsonl import read_lines, stale_lines
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.plan import why_no_run
from rlm_eval.storage.spend import first_requests

_LOG = logging.getLogger(__name__)


def cell_folders(run: Path) -> list[Path]:
    """Return the started cells of a run, without copies: a cell counts once.

    Raises `RlmEvalError` if there is none: the folder is no run, or no cell of it has begun.
    """
    found = _started(run)
    copies = copies_of(found)
    for copy, original in copies.items():
        _LOG.warning("%s: not counted, a copy of the cell %s", copy, original.name)
    return [folder for folder in found if folder not in copies]


def _started(run: Path) -> list[Path]:
    found = all_started(run)
    if not found:
        raise RlmEvalError(why_no_run(run, "cells"))
    return found


def rows(folder: Path, known: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return the records of one cell; `known` are the run's servers, by default read from disk.

    Raises `RlmEvalError` where stored results were lost or changed: the rest would look whole.
    """
    done = Done.of(folder)  # read first: the cell may finish meanwhile
    store = CellStore(folder)
    make = row_maker(store, known)
    found = list(store.load())
    if len(found) < (expected := max(done.results if done else 0, len(store.attempts))):
        raise RlmEvalError(
            f"{folder}: {expected} results were stored, {len(found)} can be read: a file was "
            "truncated or deleted; restore it, or run the same command again"
        )
    if done is not None:
        found = _asked_for(folder, done, found)
    made = [make(line, attempt) for line, attempt in found]
    for row in made:
        if not _is_score(row["score"]) and not row["imported"]:
            raise RlmEvalError(
                f"{folder}: sample {row['sample_id'][:8]} has the score {row['score']!r}, which is "
                "not in [0, 1]: a file was edited, or its scorer is wrong; `rlm-eval score RUN` "
                "scores stored answers again"
            )
    return made


def _asked_for(
    folder: Path, done: Done, found: Sequence[tuple[dict[str, Any], RolloutResult]]
) -> list[tuple[dict[str, Any], RolloutResult]]:
    """Leave out what an interrupted run of a larger n has left; see `Done.requested`."""
    order = [str(line["id"]) for line in read_lines(folder / "samples.jsonl") if "id" in line]
    ended = [one for one in found if not one[1].trajectory.outcome.is_missing]
    asked = done.requested(order, [_who(attempt) for _, attempt in ended])
    left = sum(_who(attempt) not in asked for _, attempt in ended)
    if left:
        _LOG.warning(
            "%s: %d results of an unfinished larger run are not counted: it was finished with "
            "n=%d epochs=%d; raise them to run the rest",
            folder, left, done.n, done.epochs,
        )  # fmt: skip
    return [one for one in found if _who(one[1]) in asked]


def _who(attempt: RolloutResult) -> tuple[str, int]:
    return attempt.trajectory.sample, attempt.trajectory.epoch


def _is_score(value: Any) -> bool:
    return value is None or 0 <= value <= 1


def row_maker(
    store: CellStore, known: Sequence[Mapping[str, Any]] | None = None
) -> Callable[[Mapping[str, Any], RolloutResult], dict[str, Any]]:
    """Return a function (sample line, attempt with its calls) -> record for one cell."""
    folder, manifest = store.folder, store.manifest
    facts = manifest["facts"]
    cell = {
        **facts,
        "method": renamed.current(facts["method"]),
        "run": folder.parent.parent.name,
        "cell_id": manifest["identity"],
        "prices": snapshot_name(),
        "root_window": facts.get("root_window") or _served_window(manifest),
        "judge": facts.get("judge") or _judge(manifest),
        "temperature": _temperature(manifest),
        "requested_models": _requested(manifest),
    }
    cost = cost_of(manifest)
    known = server_usage.servers(folder.parent.parent) if known is None else known
    shares = server_usage.shares(known, folder.name, manifest.get("gpu_hour_usd", {}))
    of_baselines = baselines.columns(folder)

    def make(line: Mapping[str, Any], attempt: RolloutResult) -> dict[str, Any]:
        sample = stored_sample(line, folder)
        row = record_of(cell, sample, attempt.trajectory, attempt.scores, cost, shares)
        if not facts.get("imported"):  # an imported log does not record retries
            row |= {"re_rolls": attempt.rerolls, "diverged_calls": attempt.diverged}
        return row | of_baselines.get(sample.id, {})

    return make


def _served_window(manifest: Mapping[str, Any]) -> int | None:
    """Return the root model's window in tokens as its server reported it; `None` = unknown."""
    window: int | None = (manifest.get("endpoints", {}).get("root") or {}).get("window")
    return window


def _judge(manifest: Mapping[str, Any]) -> str | None:
    """Return the judge's name for older manifests, whose facts lack it; `None` = no judge."""
    models = manifest.get("settings", {}).get("models", {})
    name: str | None = models.get("judge", {}).get("name")
    return name


def _requested(manifest: Mapping[str, Any]) -> str | None:
    """Return `root: a; sub: b`, the models that requests name; `None` where none is known."""
    models = manifest.get("settings", {}).get("models", {})
    named = {slot: told.get("model") for slot, told in models.items() if isinstance(told, Mapping)}
    return "; ".join(f"{slot}: {named[slot]}" for slot in sorted(named) if named[slot]) or None


def _temperature(manifest: Mapping[str, Any]) -> float | None:
    """Return the root model's configured temperature; `None` = the provider's default."""
    sampling = manifest.get("config", {}).get("root", {}).get("sampling") or {}
    found = sampling.get("temperature")
    return float(found) if isinstance(found, int | float) else None


def outside_samples(run: Path) -> dict[str, str]:
    """Return title -> text on the known usage outside samples: servers, caches, preflight."""
    known, found = server_usage.servers(run), {}
    for kind, (held, idle) in server_usage.device_seconds(known).items():
        share = f" ({idle / held:.0%})" if held else ""
        found[f"{kind}-seconds held"] = (
            f"{held:,.0f} from ready to stop, of them {idle:,.0f}{share} without a sample's call"
        )
    caches: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for server in known:
        caches[", ".join(server["models"])].update(server["prefix_cache"] or {})
    for models, cache in caches.items():
        if cache:
            told = f"{cache['hits']:,.0f} of {cache['queries']:,.0f} prompt tokens found"
            found[f"prefix cache of {models}"] = told
    if (proofs := first_requests(run)).calls:
        found["preflight requests"] = str(proofs)
    if stale := sum(stale_lines(folder) for folder in (run / "cells").glob("*")):
        found["lines left out"] = f"{stale:,} of processes that had lost their lease"
    return found


def cost_of(manifest: Mapping[str, Any]) -> CallCost:
    """Return the list price of a cell's calls, (cold, observed); unknown without named prices."""
    return call_cost(manifest.get("prices", {}))


def write_records(run: Path, more: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write `records.parquet` from every cell of a run and the rows `more`; return its path.

    Concurrent processes are serialized by a lease: the last one has read all cells.
    """
    path, buffer = run / FILE, io.BytesIO()
    _started(run)
    output_folder(run, f"{FILE} is made anew in it: copy the run to where it can")
    with Lease(run, waits=True):
        known = server_usage.servers(run)
        made = (row for folder in cell_folders(run) for row in rows(folder, known))
        to_frame(chain(made, more)).to_parquet(buffer, index=False)
        replace_file(path, buffer.getvalue())
    return path
