"""Seconds and memory of the generators: one fresh process per case, an empty sample cache.

    python benchmarks/harness_overhead/tasks.py [CASE ...]

`cold` includes the start of Python and the loading of the tokenizer; `warm` starts the clock after
a small sample of the same task. Processor seconds stand beside wall seconds, since other work on
the machine lengthens only the latter. RULER's own generator (its repository @c3f5e3b, tiktoken, two
cores) took 12.9 s for one cold sample of 131,072 tokens, 17.2 s for 50 and 14.0 s for five of
1,048,576. Memory is the peak above the loaded process, over the size of the text in UTF-8.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

# case: (module, class, fields, cold, target in wall seconds or None, RULER's seconds or None)
CASES = {
    "s_niah_131k": ("s_niah", "SNiah", {"n": 1, "length": 131072}, True, 2.0, 12.9),
    "s_niah_131k_x50": ("s_niah", "SNiah", {"n": 50, "length": 131072}, True, 4.0, 17.2),
    "niah_noise_131k_x50": (
        "s_niah", "SNiah", {"n": 50, "length": 131072, "haystack": "noise"}, True, 4.0, 17.2,
    ),
    "s_niah_1m": ("s_niah", "SNiah", {"n": 1, "length": 2**20}, False, 0.5, None),
    "s_niah_10m": ("s_niah", "SNiah", {"n": 1, "length": 10 * 2**20}, False, None, None),
    "multikey_2_1m": (
        "s_niah", "SNiah", {"n": 1, "length": 2**20, "haystack": "needle"}, False, None, None,
    ),
    "ruler_vt_131k_x5": (
        "ruler", "VariableTracking", {"n": 5, "length": 131072}, True, None, 1.9,
    ),
    "ruler_fwe_131k_x5": ("ruler", "FrequentWords", {"n": 5, "length": 131072}, True, None, 1.2),
    "oolong_gen_1m": ("oolong_gen", "OolongGen", {"n": 1, "length": 2**20}, False, 2.0, None),
    "browsecomp_gen_1k": (
        "browsecomp_gen", "BrowseCompGen", {"n": 1, "documents": 1000}, True, 20.0, None,
    ),
    "ledger_1m": ("ledger", "Ledger", {"n": 1, "length": 2**20}, False, None, None),
    "mrcr_v2_gen_1m": ("mrcr", "MrcrV2Gen", {"n": 1, "length": 2**20}, False, None, None),
    "codeqa_gen_1m": ("codeqa_gen", "CodeQAGen", {"n": 1, "length": 2**20}, False, None, None),
}  # fmt: skip
SMALL = {"length": 4096, "documents": 10, "n": 1, "seed": 99}


def case(name: str) -> dict[str, object]:
    """Run one case in this process; what it measured."""
    import importlib

    module, cls, fields, _, _, _ = CASES[name]
    task = getattr(importlib.import_module(f"rlm_eval.tasks.{module}"), cls)
    size = {k: v for k, v in SMALL.items() if k in fields or k in ("n", "seed")}
    warm_up = {**fields, **size}
    if not CASES[name][3]:
        list(task(**warm_up).samples())
    from rlm_eval.core.tokens import get_tokenizer

    get_tokenizer().count("loaded")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, own = time.perf_counter(), time.process_time()
    samples = list(task(**fields).samples())
    wall, own = time.perf_counter() - wall, time.process_time() - own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    text = max(len(s.context.text().encode()) for s in samples)
    again = time.perf_counter()
    list(task(**fields).samples())
    return {
        "wall_s": wall,
        "cpu_s": own,
        "tokens": samples[0].context.tokens,
        "memory_over_text": peak * 1024 / text,
        "from_cache_s": time.perf_counter() - again,
    }


def measure(name: str, ranks: Path) -> dict[str, object]:
    """Run one case in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "RLM_EVAL_CACHE": folder, "TIKTOKEN_CACHE_DIR": str(ranks.parent)}
        env["PYTHONPATH"] = str(ROOT)
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, __file__, "--in-process", name],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        whole = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row: dict[str, object] = json.loads(done.stdout)
    _, _, _, cold, target, ruler = CASES[name]
    if cold:  # less the second pass from the cache, which only this script makes
        spent = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        row |= {"wall_s": whole - float(str(row["from_cache_s"])), "cpu_s": spent}
    row = {"case": name, "start": "cold" if cold else "warm", **row}
    return row | {"target_s": target, "ruler_s": ruler}


def main() -> None:
    """Measure and print one JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--in-process")
    arguments = parser.parse_args()
    if arguments.in_process:
        print(json.dumps(case(arguments.in_process)))
        return
    sys.path.insert(0, str(ROOT))
    from rlm_eval.core.tokens import DEFAULT, find_ranks, get_tokenizer

    get_tokenizer(DEFAULT)  # fetched now, if ever
    ranks = find_ranks(DEFAULT)
    assert ranks is not None
    for name in arguments.cases or CASES:
        row = measure(name, ranks)
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
