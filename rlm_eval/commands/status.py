"""Show a run's cells: done, running (by whom, since when), failed (why), missing.

rlm-eval status results/runs/scratch
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import orjson


def main(argv: Sequence[str]) -> int:
    """Print one line per planned cell; 0 where every one is done."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    run = parser.parse_args(argv).run

    from rlm_eval.errors import RlmEvalError

    plan = run / "plan.json"
    if not plan.exists():
        raise RlmEvalError(f"{run}: no plan.json; name a run directory, as results/runs/scratch")
    states = {
        name: state(run / "cells" / name) for name in orjson.loads(plan.read_bytes())["cells"]
    }
    for name, told in states.items():
        print(f"{name}  {told}")
    done = sum(told.startswith("done") for told in states.values())
    print(f"{done} of {len(states)} cells done")
    return 0 if done == len(states) else 1


def state(folder: Path) -> str:
    """One cell in words."""
    from rlm_eval.lease import holder_of
    from rlm_eval.store import CellStore

    if not (folder / "manifest.json").exists():
        why = folder / "unfinished.json"
        return f"failed: {orjson.loads(why.read_bytes())['why']}" if why.exists() else "missing"
    store = CellStore(folder)
    with (folder / "samples.jsonl").open("rb") as file:
        total = sum(1 for _ in file)
    counted = f"{len(store.attempts)} of {total} samples"
    if (folder / "DONE").exists():
        return f"done  {counted}"
    if holder := holder_of(folder):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
        return f"running on {holder.host} (process {holder.pid}) since {since}  {counted}"
    why = folder / "unfinished.json"
    reason = orjson.loads(why.read_bytes())["why"] if why.exists() else "interrupted"
    return f"unfinished  {counted}: {reason}"
