"""Submits a sweep to a cluster: plans, writes and submits its jobs, each cell once.

The order of the steps only; `jobs` defines a job, `submission` sends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.cluster import serve_job, serving
from rlm_eval.cluster.job_states import cell_jobs, find_squeue
from rlm_eval.cluster.jobs import Cluster, packed, write_jobs
from rlm_eval.cluster.submission import (
    check_engines,
    check_gpus,
    check_start,
    planned_commands,
    planned_script,
    submit,
)
from rlm_eval.config.builder import build
from rlm_eval.config.cell import Cell, build_cell, merged, run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.messages import warn
from rlm_eval.runner.execution import confirm, confirmed_above
from rlm_eval.storage.budget_ledger import balance, check_left
from rlm_eval.storage.cell_folders import check_cells
from rlm_eval.storage.cell_store import output_folder
from rlm_eval.storage.done import covers
from rlm_eval.storage.lease import Lease, holder_of
from rlm_eval.storage.plan import plan


def send(
    overrides: Sequence[str],
    *,
    yes: bool = False,
    plan_only: bool = False,
    serve: bool = False,
    bind: str | None = None,
) -> int:
    """Plan the cells, write the job files, submit them, print how to follow; return the exit code.

    `yes` skips the question above `confirm_above`, `plan_only` submits nothing, `serve` adds a job
    that runs the models' servers on the address `bind` (`None`: reachable on its node only).
    """
    configs = expand(overrides)
    run, above = run_folder(configs[0]), confirmed_above(configs[0])
    cluster: Cluster = build(configs[0].cluster, "cluster")
    if cluster.shards > 1:
        parts = [f"{k + 1}/{cluster.shards}" for k in range(cluster.shards)]
        configs = [merged(config, {"shard": part}) for config in configs for part in parts]
    holder = serve_job.for_servers(cluster)
    if serve:
        configs = [serve_job.attached(config) for config in configs]
        cluster = serve_job.for_cells(cluster)
    cells = [build_cell(config) for config in configs]
    if serve:
        held = serving.models_of(cells)
        serve_job.gpus_of(held, holder)
        own = "time_min" in cluster.serve
        check_start(held, holder, "cluster.serve.time_min" if own else "cluster.time_min")
    check_gpus([[cell] for cell in cells], cluster)
    check_start((model for cell in cells for model in cell.models.values()), cluster)
    output_folder(run)
    check_cells(run / cell.folder for cell in cells)
    plan(run, cells)
    todo = _unsent(run, cells)
    left = len(cells) - len(todo)
    print(f"{len(cells)} cells" + (f", {left} of them done, queued or running" if left else ""))
    if not todo:
        return 0
    once = list({cell.id: cell for cell in todo}.values())  # the shards of a cell count once
    confirm(run, once, above, yes=yes)
    if cluster.executor == "slurm" and not plan_only:
        find_squeue()
    served = serving.served(todo) if serve else []
    if not plan_only:
        models = [model for cell in todo for model in cell.models.values()]
        for note in [*check_engines(models, cluster), *check_engines(served, holder)]:
            warn(note)
    budget = sweep_budget(configs[0])
    check_left(run, budget)
    with Lease(run, waits=True):  # one process at a time: each sees the others' jobs
        if not (todo := _unsent(run, todo)):
            print("another `submit` has submitted them meanwhile")
            return 0
        first = []
        if served and (missing := serve_job.without_server(run, served)):
            first = [serve_job.write(run, todo, missing, holder, bind)]
            if not plan_only:
                submit(run, first, holder)
        numbers = write_jobs(run, packed(todo, cluster.pack), cluster)
        holders = serve_job.holders(run) if serve else []
        waited = [job["submitted"]["id"] for job in holders if job["state"] != "running"]
        ids = {} if plan_only else submit(run, numbers, cluster, waited)
    if plan_only:
        for command in planned_commands(run, first, holder, str(run)):
            print(f"first, the servers: {command}")
        if first and planned_script(holder) != planned_script(cluster):
            for line in planned_script(holder):
                print(f"for the servers, {line}")
        print(f"jobs {numbers[0]} to {numbers[-1]} written to {run / 'jobs'}")
        print(f"one of them: rlm-eval job {run} NUMBER")
        for line in planned_script(cluster):
            print(line)
        for command in planned_commands(run, numbers, cluster, str(run)):
            print(f"all: {command}")
        return 0
    for job in holders:
        print(f"servers of {', '.join(job['models'])}: job {job['submitted']['id']}")
    if holders and cluster.executor == "slurm" and not all(job["bind"] for job in holders):
        warn("only jobs of the servers' node reach the servers; for other nodes add --bind node")
    for number, job_id in ids.items():
        print(f"job {number}: {cluster.executor} {job_id}")
    if told := balance(run, budget):
        print(f"budget: {told}")
    print(f"follow with: rlm-eval status {run}")
    print(f"then:        rlm-eval report {run}")
    return 0


def _unsent(run: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that are neither done, queued nor running."""
    queued = {name for name, (_, state) in cell_jobs(run).items() if state is not None}
    return [
        cell
        for cell in cells
        if cell.plan_id not in queued
        and not covers(run / cell.folder, cell.n, cell.epochs)
        and holder_of(run / cell.folder) is None
    ]
