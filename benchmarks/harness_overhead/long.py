"""Cells of one and ten million tokens: seconds, peak memory, size of the log; with a figure.

    PYTHONPATH=. python benchmarks/harness_overhead/long.py                    (some minutes)
    PYTHONPATH=. python benchmarks/harness_overhead/long.py --lengths 100k,1M --figure FILE.png

Runs the suite `long_scale` (a script answers every call) cell by cell, each in a process of its
own with an empty cache, and reads the peak resident set (`VmHWM`) of the harness and of the largest
of its REPL workers while it runs: Linux only. The log is everything in the cell's folder. A REPL
worker counts pages that it shares with its fork server. Not here: many samples at once
(`scale.py`), and the word index alone (`retrieval.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from rlm_eval.config.builder import parse_length

METHODS = ("rlm", "rag", "program_map")
LOOK = 0.05  # seconds between two looks at the processes


def peak(pid: int) -> float:
    """Peak resident set of a process so far, in MB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def measure(method: str, length: str, folder: Path) -> dict[str, Any]:
    """One cell in a fresh process. Raises `RuntimeError` where the run fails."""
    command = [
        sys.executable, "-m", "rlm_eval", "suite", "long_scale", f"method={method}",
        f"length={length}", "--no-report", f"results={folder / 'runs'}",
    ]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, "RLM_EVAL_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("w"),
    )
    harness = worker = 0.0
    while process.poll() is None:
        harness = max(harness, peak(process.pid))
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            break
        worker = max([worker, *(peak(child.pid) for child in children)])
        time.sleep(LOOK)
    if process.wait():
        raise RuntimeError(f"{' '.join(command)}:\n{(folder / 'stderr').read_text()[-2000:]}")
    seconds = time.perf_counter() - began
    (cell,) = (folder / "runs").glob("*/cells/*")
    log = sum(file.stat().st_size for file in cell.rglob("*") if file.is_file())
    with (cell / "journal.jsonl").open("rb") as file:
        calls = sum(line.startswith(b'{"k":"call"') for line in file)
    return {
        "method": method,
        "tokens": parse_length(length),
        "seconds": round(seconds, 1),
        "harness_mb": round(harness),
        "worker_mb": round(worker),
        "log_mb": round(log / 1e6, 2),
        "calls": calls,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Three panels against the context length, a line per method."""
    from matplotlib import pyplot as plt

    from rlm_eval.report.figures.style import LINES, PAGE, RC
    from rlm_eval.report.looks import COLOURS, MARKERS

    panels = {
        "seconds": "wall seconds",
        "harness_mb": "peak memory, MB",
        "log_mb": "size of the log, MB",
    }
    with plt.rc_context(RC):
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.2), layout="constrained")
        for axis, (column, title) in zip(axes, panels.items(), strict=True):
            for n, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
                own = [row for row in rows if row["method"] == method]
                tokens = [row["tokens"] for row in own]
                values = [row[column] for row in own]
                style = {"color": COLOURS[n], "marker": MARKERS[n]}
                axis.plot(tokens, values, linestyle=LINES[n], label=method, **style)
                if column == "harness_mb":  # hollow: the largest REPL worker
                    inner = [row["worker_mb"] for row in own]
                    axis.plot(tokens, inner, linestyle=":", markerfacecolor="none", **style)
            axis.set(xscale="log", yscale="log", xlabel="context, tokens", title=title)
        axes[0].legend()
        axes[1].set_title("peak memory, MB (hollow: REPL worker)")
        figure.suptitle("Scripted model, one sample a cell", fontsize=8)
        figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="1M,10M")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--figure", type=Path, help="file of the figure (PNG, SVG or PDF)")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    rows = []
    for length in options.lengths.split(","):
        for method in options.methods.split(","):
            with tempfile.TemporaryDirectory() as name:
                rows.append(measure(method, length, Path(name)))
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
