"""Synthetic record tables for tests and the benchmark: made numbers, labelled as such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlm_eval.records import record

METHODS = ("long_context", "rag", "rlm")


def frame(
    *,
    tasks: Sequence[str] = ("s_niah",),
    methods: Sequence[str] = METHODS,
    lengths: Sequence[int] = (1024, 2048, 4096),
    n: int = 20,
    per_cluster: int = 1,
    priced: bool = True,
    roots: Sequence[str] = ("model-a",),
    subs: Sequence[str] = ("",),
    depths: Sequence[int] = (1,),
    seed: int = 0,
) -> pd.DataFrame:
    """Records of a full grid; scores fall with length, RLM falls least."""
    rng = np.random.default_rng(seed)
    parts = [
        _cell(rng, task, method, length, n, per_cluster, priced, root, sub, depth)
        for task in tasks
        for method in methods
        for root in roots
        for sub in subs
        for length in lengths
        for depth in (depths if method == "rlm" else (1,))
    ]
    return pd.concat(parts, ignore_index=True)


def _cell(
    rng: np.random.Generator,
    task: str,
    method: str,
    length: int,
    n: int,
    per_cluster: int,
    priced: bool,
    root: str,
    sub: str,
    depth: int,
) -> pd.DataFrame:
    doublings = np.log2(length / 1024)
    rate = {"long_context": 0.97 - 0.17 * doublings, "rag": 0.7, "rlm": 0.9 - 0.03 * doublings}
    index = np.arange(n)
    tokens = {"long_context": length, "rag": 900, "rlm": 2500 + 60 * doublings}[method]
    inputs = np.round(tokens * rng.lognormal(0, 0.4 if method == "rlm" else 0.05, n))
    is_rlm = method == "rlm"
    score = (rng.random(n) < max(0.02, rate[method])).astype(float)
    calls = rng.integers(2, 12, n) if is_rlm else np.ones(n)
    wall = 0.5 + inputs / 400
    facts = {
        "run": "synthetic",
        "cell_id": f"{task}-{method}-{length}-{root}-{sub}-{depth}",
        "variant": f"depth={depth}" if depth > 1 else None,
        "sample_id": [f"{task}-{length}-{i}" for i in index],
        "item": [f"{task}-{i}" for i in index],
        "cluster": [f"{task}-{i // per_cluster}" for i in index],
        "epoch": 0,
        "index": index,
        "task": task,
        "length": length,
        "chars": 4 * length,
        "method": method,
        "root": root,
        "sub": sub or root,
        "prompt": "own_short" if is_rlm else "plain",
        "generated": True,
        "scripted": False,
        "protected": False,
        "root_window": 3000,
        "concurrency": 1,
        "outcome": "ok",
        "score": score,
        "scorer": "official",
        "failure": np.where(score == 1, None, rng.choice(["seen_and_missed", "not_parsed"], n)),
        "n_calls": calls,
        "n_root_calls": np.minimum(calls, 3),
        "n_sub_calls": np.maximum(calls - 3, 0),
        "used_recursion": calls > 3,
        "max_depth": (calls > 3).astype(int),
        "turns": np.minimum(calls, 3),
        "n_truncated_calls": 0,
        "n_failed_calls": 0,
        "n_replayed_calls": 0,
        "input_tokens": inputs,
        "cached_tokens": inputs // 3,
        "output_tokens": 20.0 + calls * 10,
        "root_input_tokens": inputs // 2,
        "sub_input_tokens": inputs // 2 if is_rlm else 0,
        "cost_cold": inputs * 1e-6 if priced else None,
        "cost_observed": inputs * 0.7e-6 if priced else None,
        "prices": "made up, 2026-01-01",
        "wall_seconds": wall,
        "critical_path_seconds": wall * 0.9,
        "coverage": np.clip(inputs / length, 0, 1),
        "reread": rng.uniform(1, 3, n),
        "provenance": "variable" if is_rlm else "root_text",
        "meta_depth": np.round(100 * index / max(1, n - 1)),
        "score_official": score,
        "habit_strategy": rng.choice(["search", "chunk_map", "ask"], n) if is_rlm else None,
        "depth_limit": depth if is_rlm else None,
    }
    made = record.to_frame(pd.DataFrame(facts).to_dict("records"))
    if method == "long_context":
        over = (made["length"] > 3000).to_numpy()
        made.loc[over, "outcome"] = "context_overflow"
        made.loc[over, ["score", "score_official"]] = 0.0
        made.loc[over, "failure"] = "error"
        made.loc[over, "n_failed_calls"] = 1  # refused before anything was read
        made.loc[over, ["input_tokens", "cached_tokens", "output_tokens"]] = 0
        made.loc[over, ["cost_cold", "cost_observed"]] = 0.0 if priced else None
    return made
