"""A large run through the whole harness: memory, start, resume and status of 100,000 calls.

    PYTHONPATH=. python benchmarks/harness_overhead/scale.py                   (some minutes)
    PYTHONPATH=. python benchmarks/harness_overhead/scale.py --samples 10200   (a million calls)

`rlm-eval run` on the scripted model: a fixed program that asks once per chunk, about 100 a sample.
It is killed (SIGKILL) half-way and started again. Start and resume are processor seconds, which do
not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

CALLS = 99  # a sample: its chunks, and one call over the notes


def command(folder: Path, samples: int) -> list[str]:
    return [
        "task=s_niah", "method=program_map", "model@root=scripted", "tokenizer=approx4",
        "length=16k", "method.settings={chunk_chars: 660, overlap_chars: 0}", f"n={samples}",
        "max_samples=16", "name=scale", f"results={folder}",
    ]  # fmt: skip


def size(journal: Path) -> int:
    return journal.stat().st_size if journal.exists() else 0


def run(folder: Path, samples: int, kill_at: int | None) -> tuple[float, float, float, float]:
    """(processor seconds to the first new call, seconds, processor seconds, peak MB)."""
    (folder / "scale" / "cells").mkdir(parents=True, exist_ok=True)
    old = list((folder / "scale" / "cells").glob("*/journal.jsonl"))
    before = size(old[0]) if old else 0
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rlm_eval", "run", "--no-report", *command(folder, samples)],
        env={**os.environ, "RLM_EVAL_CACHE": str(folder / "cache")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    first = None
    while True:
        pid, _, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        journals = list((folder / "scale" / "cells").glob("*/journal.jsonl"))
        now = size(journals[0]) if journals else 0
        if first is None and now > before:
            times = psutil.Process(process.pid).cpu_times()
            first = times.user + times.system
        if kill_at is not None and now >= kill_at:
            os.kill(process.pid, signal.SIGKILL)  # without waiting for it
        time.sleep(0.02)
    wall = time.perf_counter() - began
    process.returncode = 0  # it has been waited for
    assert first is not None, process.stderr.read() if process.stderr else ""
    return first, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1020)
    options = parser.parse_args()
    calls = options.samples * CALLS
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half = calls // 2 * 300  # bytes of a call, about
        first, wall, cpu, peak = run(folder, options.samples, half)
        (journal,) = (folder / "scale" / "cells").glob("*/journal.jsonl")
        with journal.open("rb") as file:
            made = sum(line.startswith(b'{"k":"call"') for line in file)
        print(f"start: first call after {first:.1f} CPU s; killed at {made} of {calls} calls "
              f"after {wall:.0f} s, {cpu:.0f} CPU s, peak {peak:.0f} MB")  # fmt: skip
        first, wall, cpu, peak = run(folder, options.samples, None)
        with journal.open("rb") as file:
            asked = sum(line.startswith(b'{"k":"call"') for line in file)
        print(f"resume: first new call after {first:.1f} CPU s; done after {wall:.0f} s, "
              f"{cpu:.0f} CPU s, records included; peak {peak:.0f} MB; {asked} calls asked in "
              f"all, journal {size(journal) / 1e6:.0f} MB")  # fmt: skip
        again = ["run", "--no-report", *command(folder, options.samples)]
        for what in (["status", str(folder / "scale")], again):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "rlm_eval", *what],
                env={**os.environ, "RLM_EVAL_CACHE": str(folder / "cache")},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(f"{what[0]} of the finished run: {time.perf_counter() - began:.1f} s")
        print(done.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
