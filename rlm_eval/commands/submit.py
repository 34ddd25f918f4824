"""Send a sweep to a cluster as job arrays and return at once; the same overrides as `run`.

rlm-eval submit cluster=slurm cluster.partition=gpu experiment=length_sweep
rlm-eval submit cluster=slurm cluster.shards=16 task=s_niah method=rlm length=1M n=800
rlm-eval submit --serve --bind node cluster=slurm experiment=length_sweep model@root=qwen3-8b
rlm-eval submit --plan experiment=length_sweep      (job files for an sbatch script of your own)

With --serve, one more job holds the models' servers, and the others attach to them.
The same command again submits only what is neither done nor queued nor running.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_eval.config.cell import Cell


def main(argv: Sequence[str]) -> int:
    """Plan the cells, write the jobs' files, submit them, say how to follow."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval submit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides: key=value, group=name")
    parser.add_argument("--yes", action="store_true", help="spend above `confirm_above` unasked")
    parser.add_argument("--plan", action="store_true", help="write the jobs' files, submit none")
    parser.add_argument(
        "--serve", action="store_true", help="one job holds the models' servers for all others"
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS",
        help="with --serve: listen on this address, for jobs of other nodes (`--bind node`: that "
        "of the node's name); without it only jobs of the servers' node reach them",
    )  # fmt: skip
    arguments = parser.parse_intermixed_args(argv)
    if arguments.bind and not arguments.serve:
        parser.error("--bind needs --serve")

    from rlm_eval.cluster import serve_job, serving
    from rlm_eval.cluster.job_states import find_squeue
    from rlm_eval.cluster.jobs import Cluster, packed, write_jobs
    from rlm_eval.cluster.submission import (
        check_engines,
        check_gpus,
        planned_commands,
        setup_lines,
        submit,
    )
    from rlm_eval.commands.run import confirm
    from rlm_eval.config.builder import build
    from rlm_eval.config.cell import build_cell, merged, run_folder, sweep_budget
    from rlm_eval.config.grid import expand
    from rlm_eval.storage.budget_ledger import balance, check_left
    from rlm_eval.storage.cell_store import check_cells, output_folder
    from rlm_eval.storage.lease import Lease
    from rlm_eval.storage.plan import plan

    configs = expand(arguments.overrides)
    run = run_folder(configs[0])
    cluster: Cluster = build(configs[0].cluster, "cluster")
    if cluster.shards > 1:
        parts = [f"{k + 1}/{cluster.shards}" for k in range(cluster.shards)]
        configs = [merged(config, {"shard": part}) for config in configs for part in parts]
    holder = serve_job.for_servers(cluster)
    if arguments.serve:
        configs = [serve_job.attached(config) for config in configs]
        cluster = serve_job.for_cells(cluster)
    cells = [build_cell(config) for config in configs]
    if arguments.serve:
        serve_job.gpus_of(serving.models_of(cells), holder)
    check_gpus([[cell] for cell in cells], cluster)
    output_folder(run)
    check_cells(run / cell.folder for cell in cells)
    plan(run, cells)
    todo = _unsent(run, cells)
    left = len(cells) - len(todo)
    print(f"{len(cells)} cells" + (f", {left} of them done, queued or running" if left else ""))
    if not todo:
        return 0
    once = list({cell.id: cell for cell in todo}.values())  # the shards of a cell are one
    confirm(run, once, float(configs[0].confirm_above), yes=arguments.yes)
    if cluster.executor == "slurm" and not arguments.plan:
        find_squeue()
    served = serving.served(todo) if arguments.serve else []
    if not arguments.plan:
        models = [model for cell in todo for model in cell.models.values()]
        for note in [*check_engines(models, cluster), *check_engines(served, holder)]:
            print(note, file=sys.stderr)
    budget = sweep_budget(configs[0])
    check_left(run, budget)
    with Lease(run, waits=True):  # one at a time: each sees the jobs of the others
        if not (todo := _unsent(run, todo)):
            print("another `submit` has sent them meanwhile")
            return 0
        first = []
        if served and (missing := serve_job.without_server(run, served)):
            first = [serve_job.write(run, todo, missing, holder, arguments.bind)]
            if not arguments.plan:
                submit(run, first, holder)
        numbers = write_jobs(run, packed(todo, cluster.pack), cluster)
        holders = serve_job.holders(run) if arguments.serve else []
        waited = [job["submitted"]["id"] for job in holders if job["state"] != "running"]
        ids = {} if arguments.plan else submit(run, numbers, cluster, waited)
    if arguments.plan:
        for command in planned_commands(run, first, holder, str(run)):
            print(f"first, the servers: {command}")
        print(f"jobs {numbers[0]} to {numbers[-1]} written to {run / 'jobs'}")
        print(f"one of them: rlm-eval job {run} NUMBER")
        for line in setup_lines(cluster):
            print(f"before (put it into scripts/rlm_eval.sbatch): {line}")
        for command in planned_commands(run, numbers, cluster, str(run)):
            print(f"all: {command}")
        return 0
    for job in holders:
        print(f"servers of {', '.join(job['models'])}: job {job['submitted']['id']}")
    if holders and cluster.executor == "slurm" and not all(job["bind"] for job in holders):
        print("only jobs of the servers' node reach them: add --bind node", file=sys.stderr)
    for number, job_id in ids.items():
        print(f"job {number}: {cluster.executor} {job_id}")
    if told := balance(run, budget):
        print(f"budget: {told}")
    print(f"follow with: rlm-eval status {run}")
    print(f"then:        rlm-eval report {run}")
    return 0


def _unsent(run: Path, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are neither done, queued nor running."""
    from rlm_eval.cluster.job_states import cell_jobs
    from rlm_eval.storage.lease import holder_of

    queued = {name for name, (_, state) in cell_jobs(run).items() if state is not None}
    return [
        cell
        for cell in cells
        if cell.plan_id not in queued
        and not (run / cell.folder / "DONE").exists()
        and holder_of(run / cell.folder) is None
    ]
