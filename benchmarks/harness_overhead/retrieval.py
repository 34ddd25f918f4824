"""How long BM25 takes over one long context: to cut, to index, to answer; and its memory.

    PYTHONPATH=. python benchmarks/harness_overhead/retrieval.py --tokens 10M --repeats 3

The text is drawn from a Zipf-like vocabulary, about 4.4 characters a token. Prints one JSON line.
Processor time stands beside wall time, since other work on the machine lengthens only the latter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import resource
import statistics
import time

from rlm_eval.config.builder import parse_length
from rlm_eval.methods.retrieval.bm25 import Bm25, ranking
from rlm_eval.methods.retrieval.chunking import chunk_spans

CHARS_PER_TOKEN = 4.4
BEST = 40  # chunks asked for: the most that a shipped method takes


def make_text(tokens: int, seed: int = 0) -> tuple[str, list[str]]:
    """A text of about `tokens` tokens in lines of 18 words, and its vocabulary by frequency."""
    rng = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(80_000)]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    wanted, lines, chars = int(tokens * CHARS_PER_TOKEN), [], 0
    while chars < wanted:
        line = " ".join(rng.choices(words, cum_weights=weights, k=18))
        lines.append(line)
        chars += len(line) + 1
    return "\n".join(lines), words


def measure(tokens: int, chunk: int, repeats: int) -> dict[str, object]:
    """Medians of `repeats` rounds, seconds and milliseconds of one process."""
    text, words = make_text(tokens)
    cutting, indexing, own = [], [], []
    for _ in range(repeats):
        started = time.perf_counter()
        spans = chunk_spans(text, "tokens", chunk, 0, CHARS_PER_TOKEN)
        cut, used = time.perf_counter(), time.process_time()
        index = Bm25([text[s:e] for s, e in spans], 1.5, 0.75)
        cutting.append(cut - started)
        indexing.append(time.perf_counter() - cut)
        own.append(time.process_time() - used)
    rng, answers, answers_own = random.Random(1), [], []
    for _ in range(200):
        query = " ".join([*rng.choices(words[:200], k=8), *rng.choices(words, k=4)])
        started, used = time.perf_counter(), time.process_time()
        ranking(index.scores(query), most=BEST)
        answers.append((time.perf_counter() - started) * 1000)
        answers_own.append((time.process_time() - used) * 1000)
    return {
        "tokens": tokens,
        "chars": len(text),
        "chunks": len(spans),
        "cut_s": round(statistics.median(cutting), 2),
        "index_s": round(statistics.median(indexing), 2),
        "index_cpu_s": round(statistics.median(own), 2),
        "answer_ms_p50": round(statistics.median(answers), 2),
        "answer_ms_p99": round(statistics.quantiles(answers, n=100)[98], 2),
        "answer_cpu_ms_p50": round(statistics.median(answers_own), 2),
        "answer_cpu_ms_p99": round(statistics.quantiles(answers_own, n=100)[98], 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", default="10M", help="length of the context")
    parser.add_argument("--chunk", type=int, default=200, help="tokens per chunk")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(measure(parse_length(options.tokens), options.chunk, options.repeats)))
