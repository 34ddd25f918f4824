"""Seconds and memory of the OOLONG generators, and seconds to score a million pairs.

    python benchmarks/harness_overhead/tasks_oolong.py --length 1M

Warm: the tokenizer and the grammar are loaded before the clock starts; the cache folder is empty.
Prints one JSON line. Target: `oolong_gen` of 1M tokens in 2 s, memory within 6 times the text.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

from rlm_eval.config.builder import parse_length
from rlm_eval.core.tokens import DEFAULT, get_tokenizer
from rlm_eval.scoring.pairs import PairSet, pairs_f1
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.pairs import OolongPairsGen


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, own processor seconds and the result of `work`."""
    wall, own = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - own, result


def peak() -> int:
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", default="1M")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    arguments = parser.parse_args()
    length = parse_length(arguments.length)
    get_tokenizer(DEFAULT).count("warm")  # its ranks are in the user's cache
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RLM_EVAL_CACHE"] = folder
        list(OolongGen(n=1, length=4096).samples())  # warm
        before = peak()
        gen, gen_own, samples = timed(lambda: list(OolongGen(n=1, length=length, seed=1).samples()))
        memory = (peak() - before) / samples[0].context.chars
        five, five_own, _ = timed(lambda: list(OolongGen(n=5, length=length, seed=2).samples()))
        queries = OolongPairsGen(n=20, length=length, seed=3)
        pairs, pairs_own, _ = timed(lambda: list(queries.samples()))
    users = frozenset(range(10_000, 10_000 + round((2 * arguments.pairs) ** 0.5) + 1))
    gold = PairSet(users, users)
    answer = "\n".join(f"({u}, {v})" for u, v in gold.pairs())
    scoring, scoring_own, score = timed(lambda: pairs_f1(gold.to_json(), answer))
    assert score.value == 1.0
    row = {
        "length": length,
        "oolong_gen_1_sample_s": gen,
        "oolong_gen_1_sample_cpu_s": gen_own,
        "oolong_gen_memory_over_text": memory,
        "oolong_gen_5_samples_s": five,
        "oolong_gen_5_samples_cpu_s": five_own,
        "oolong_pairs_gen_20_queries_s": pairs,
        "oolong_pairs_gen_20_queries_cpu_s": pairs_own,
        "pairs": len(gold),
        "pairs_f1_s": scoring,
        "pairs_f1_cpu_s": scoring_own,
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
