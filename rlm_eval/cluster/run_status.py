"""Status of a run's cells, from its files: done, running (where), queued, failed (why)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rlm_eval.budget.limits import Limits
from rlm_eval.cluster.job_states import cell_jobs, jobs_of
from rlm_eval.cluster.serve_job import holders
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.messages import warn
from rlm_eval.core.terminal import printable
from rlm_eval.storage.budget_ledger import balance, planned
from rlm_eval.storage.cell_folders import all_started, copies_of
from rlm_eval.storage.cell_store import CellStore, folder_of, read_manifest
from rlm_eval.storage.damage import read_mapping
from rlm_eval.storage.done import MARKER, Done
from rlm_eval.storage.imported import about_import
from rlm_eval.storage.lease import holder_of
from rlm_eval.storage.plan import why_no_run
from rlm_eval.storage.shards import missing_shards
from rlm_eval.storage.spend import first_requests, total_of_run


def imported_status(run: Path) -> str:
    """Describe an imported run: it has no plan and no missing samples."""
    about = about_import(run)
    rows = sum(file["rows"] for file in about["files"])
    told = f"imported ({about['kind']}): {rows} rows of {len(about['files'])} files; nothing runs"
    return "\n".join([told, *(f"- {line}" for line in about["told"])])


def print_status(run: Path) -> int:
    """Print one line per planned cell of a run directory; return 0 if all are done, else 1.

    Raises `RlmEvalError` if the run has no plan.
    """
    if (run / "imported.json").exists():
        print(imported_status(run))
        return 0
    if not (names := planned(run)):
        raise RlmEvalError(why_no_run(run, "plan.json"))
    shards = {name.partition("/")[0] for name in names if "/" in name}
    try:
        jobs = cell_jobs(run)
    except RlmEvalError as error:  # the cells' own files give the other states
        warn(f"the state of the queue is unknown: {error}")
        jobs = {}
    folders = {name: folder_of(run, name) for name in names}
    replaced = replaced_cells(folders)
    done = left = unmerged = 0
    for name, folder in folders.items():
        told = state(folder, *jobs.get(name, (None, None)))
        done += (is_done := told.startswith("done"))
        later = replaced.get(name.partition("/")[0])
        if later and not is_done and holder_of(folder) is None:
            told = f"unfinished  of an earlier release; replaced by {later}"
        else:
            left += not is_done
        print(printable(f"{name}  {told}"))
    for cell in sorted(shards):
        told = merge_state(run, cell)
        if cell in replaced:
            told = f"{told}  of an earlier release; replaced by {replaced[cell]}"
        else:
            unmerged += told != "merged"
        print(f"{cell}  shards {told}")
    for copy, original in copies_of(all_started(run)).items():
        print(printable(f"{copy.name}  not counted, a copy of the cell {original.name}"))
    for told in server_lines(run):
        print(printable(told))
    print(f"{done} of {done + left} cells done; spent: {total_of_run(run, names)}")
    if (proofs := first_requests(run)).calls:
        print(f"preflight requests: {proofs}")
    configs = [config for job in jobs_of(run) for config in job["configs"]]
    if budget := balance(run, Limits(**configs[-1]["budget"]) if configs else None):
        again = "; the same command again may spend the rest" if left else ""
        print(f"budget: {budget}{again}")
    return 1 if left or unmerged else 0


def server_lines(run: Path) -> list[str]:
    """Return a line for each server job (`submit --serve`) that has not ended."""
    try:
        return [
            f"servers of {', '.join(job['models'])}  job {job['submitted']['id']}: {job['state']}"
            for job in holders(run)
        ]
    except RlmEvalError:  # an unknown queue was reported above
        return []


def replaced_cells(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return cell id -> id of the cell that a later release started from the same configuration."""
    begun = {n: f for n, f in folders.items() if (f / "manifest.json").exists()}
    return {
        earlier: name.partition("/")[0]
        for name, folder in begun.items()
        for earlier in read_manifest(folder).get("replaces", ())
    }


def merge_state(run: Path, cell: str) -> str:
    """Describe whether a sharded cell is complete."""
    if (run / "cells" / cell / "merged.json").exists():
        return "merged"
    try:
        missing = missing_shards(run, cell)
    except RlmEvalError as error:  # no shard has started, or they do not fit together
        return f"not merged yet: {error}"
    return "not merged yet" + (f" (not done: {', '.join(missing)})" if missing else "")


def state(folder: Path, job: str | None = None, queued: str | None = None) -> str:
    """Describe one cell; `job` was submitted for it, `queued` is the cluster's state of the job."""
    counted, stored = "", 0
    if (folder / "samples.jsonl").exists():
        store = CellStore(folder)
        facts = store.manifest
        with (folder / "samples.jsonl").open("rb") as file:
            total = sum(1 for _ in file) * facts["config"]["epochs"]
        finished = sum(not store.needs_run(who) for who in store.attempts)
        stored = len(store.attempts)
        counted = f"{finished} of {total} samples  "
    if (folder / MARKER).exists():
        done = Done.of(folder)
        if stored < (expected := done.results if done else 0):
            return (
                f"damaged  {expected} results were stored, {stored} can be read: a file was "
                "truncated or deleted; restore it, or run the same command again"
            )
        return f"done  {counted}".rstrip()
    if holder := holder_of(folder):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
        of_job = f", job {job}" if job else ""
        return f"running  {counted}on {holder.host} (process {holder.pid}{of_job}) since {since}"
    if queued is not None:
        return f"queued  {counted}job {job}: {queued}"
    why = folder / "unfinished.json"
    if why.exists():
        return f"failed  {counted}{read_mapping(why).get('why')}"
    gone = f"job {job} has ended; see jobs/log and submit again" if job else ""
    if counted:
        return f"interrupted  {counted}{gone or 'the same command resumes'}"
    return f"missing  {gone}".rstrip()
