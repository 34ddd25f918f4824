"""Seconds that a report takes: made-up records of a full sweep, 100,000 by default.

    python benchmarks/harness_overhead/report.py [records] [processes]

Prints wall and processor seconds of `report` (tables, figures as PDF, SVG and PNG, page, card),
imports included, and what was written. `processes` draw the figures, this one included: it makes
the tables first (as in `rlm-eval report`; default: one per core); with 1 all is done in turn. The
target is 5 s for 100,000 records on two cores. A plain loop, timed before and after, tells how
fast the machine was. The floor: a new interpreter that only reads the records and draws nine plain
figures of seven panels, each as PDF, SVG and PNG; compare it with the report in one process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "report"))


def _others() -> float:
    """Processor seconds of finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _loop() -> float:
    """Seconds of ten million additions: what the machine gives a plain Python program now."""
    started, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - started


_PLAIN = """
import io, sys
import pandas as pd
from matplotlib.figure import Figure
frame = pd.read_parquet(sys.argv[1])
for _ in range(9):
    figure = Figure(figsize=(6.75, 4.5))
    for axes in figure.subplots(3, 3).flat[:7]:
        for _ in range(3):
            axes.plot(range(8), range(8), marker="o")
    for kind, dpi in (("pdf", 72), ("svg", 72), ("png", 200)):
        figure.savefig(io.BytesIO(), format=kind, dpi=dpi)
"""


def _floor(records: Path) -> float:
    """Processor seconds of reading the records and drawing plain figures, imports included."""
    before = _others()
    subprocess.run([sys.executable, "-c", _PLAIN, str(records)], check=True)
    return _others() - before


def main(records: int, processes: int) -> None:
    """Make the records, time the report."""
    import made_frames as frames

    lengths = [2**k * 1024 for k in range(3, 11)]
    tasks = ["s_niah", "oolong_like", "pairs_like"]
    cells = len(lengths) * len(tasks) * len(frames.METHODS)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "made_up"
        run.mkdir()
        made = frames.frame(tasks=tasks, lengths=lengths, n=-(-records // cells))
        made.to_parquet(run / "records.parquet")
        before = _loop()
        started, worked = time.perf_counter(), time.process_time()
        others = _others()
        from rlm_eval.report import report
        from rlm_eval.report.figures.draw import Shape

        written = report([run], Path(folder) / "out", shape=Shape(processes=processes))
        wall, cpu = time.perf_counter() - started, time.process_time() - worked
        print(f"plain loop: {before:.2f} s before, {_loop():.2f} s after")
        size = sum(path.stat().st_size for path in written) / 1e6
        print(f"{len(made):,} records, {cells} cells: {wall:.1f} s wall, {cpu:.1f} s processor")
        used = _others() - others
        print(f"{processes} drawing: {used:.1f} s processor in the others")
        floor = _floor(run / "records.parquet")
        print(f"floor: {floor:.1f} s processor; all processes / floor: {(cpu + used) / floor:.2f}")
        print(f"{len(written)} files, {size:.1f} MB")


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    cores = len(os.sched_getaffinity(0))
    main(*given, *(100_000, cores)[len(given) :])
