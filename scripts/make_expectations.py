"""Write `rlm_eval/runner/planning/data/expectations.json`: what trajectories used.

    python scripts/make_expectations.py

Sources: mean costs and sub-calls of arXiv:2512.24601 and of others who repeated it, and our own
published records. A source that gives dollars only is turned into tokens at the prices of its day
by a stated split; priced the same way again, the row gives the published figure back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.core.renamed import current

ROOT = Path(__file__).parent.parent
PAPER = "arXiv:2512.24601, table 1, mean API cost"
PLACES = {
    "codeqa": ("constant", 300_000),  # 23K to 4.2M tokens
    "browsecomp": ("constant", 8_500_000),
    "oolong": ("linear", 131_072),
    "pairs": ("quadratic", 32_768),
}
PRICES = {  # US dollars per million prompt and completion tokens
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "qwen3-coder-480b": (0.45, 1.8),
    "qwen3-8b": (0.2, 0.2),
    "rlm-qwen3-8b": (0.2, 0.2),
    "claude-haiku-4-5": (1.0, 5.0),
}
COSTS = {  # (family, root, sub): dollars a task on codeqa, browsecomp, oolong, pairs
    ("codeact", "gpt-5", ""): (0.06, 0.71, 0.61, 0.75),
    ("codeact_sub", "gpt-5", "gpt-5-mini"): (0.06, None, 0.85, 1.11),
    ("summary", "gpt-5", ""): (1.31, None, 0.13, 0.13),
    ("rlm", "gpt-5", "gpt-5-mini"): (0.11, 0.99, 0.43, 0.33),
    ("rlm_d0", "gpt-5", ""): (0.18, 0.44, 0.37, 0.69),
    ("rlm_d2", "gpt-5", "gpt-5-mini"): (0.15, 0.55, 1.10, 0.33),
    ("rlm_d3", "gpt-5", "gpt-5-mini"): (0.15, 0.51, 0.51, 0.39),
    ("codeact", "qwen3-coder-480b", ""): (0.17, 0.39, 1.51, 1.54),
    ("codeact_sub", "qwen3-coder-480b", "qwen3-coder-480b"): (0.28, None, 1.83, 1.49),
    ("summary", "qwen3-coder-480b", ""): (1.26, 8.98, 0.15, 0.05),
    ("rlm", "qwen3-coder-480b", "qwen3-coder-480b"): (0.92, 0.84, 0.61, 1.02),
    ("rlm_d0", "qwen3-coder-480b", ""): (0.18, 0.82, 0.32, 1.77),
    ("rlm_d2", "qwen3-coder-480b", "qwen3-coder-480b"): (1.88, 1.05, 1.03, 1.61),
    ("rlm_d3", "qwen3-coder-480b", "qwen3-coder-480b"): (1.65, 1.10, 0.80, 1.67),
    ("rlm", "qwen3-8b", "qwen3-8b"): (0.04, 0.03, 0.19, 0.05),
    ("rlm", "rlm-qwen3-8b", "qwen3-8b"): (0.02, 0.01, 0.04, 0.02),
    ("react", "gpt-5", ""): (None, 2.06, None, None),
}
SUB_CALLS = {  # figure 10 of v3, over right and wrong answers: codeqa, browsecomp, oolong, pairs
    "gpt-5": (2.2, 54, 18, 25),
    "qwen3-coder-480b": (2.3, 5, 300, 85),
    "qwen3-8b": (9, 10, 200, 48),
    "rlm-qwen3-8b": (2.5, 2.5, 150, 60),
}
SPLITS = {  # family: (turns assumed, root's share of the money, prompt's share of each model's)
    "rlm": (6, 0.4, 0.5),
    "rlm_d0": (8, 1.0, 0.6),
    "rlm_d2": (6, 0.4, 0.5),
    "rlm_d3": (6, 0.4, 0.5),
    "codeact": (6, 1.0, 0.8),
    "codeact_sub": (6, 0.8, 0.8),
    "summary": (4, 1.0, 0.8),
    "react": (10, 1.0, 0.8),
}
BASE = {  # (root, place): (prompt tokens, dollars)
    ("gpt-5", "codeqa"): (90_000, 0.13),
    ("gpt-5", "oolong"): (100_000, 0.14),
    ("gpt-5", "pairs"): (26_000, 0.16),
    ("qwen3-coder-480b", "codeqa"): (240_000, 0.13),
    ("qwen3-coder-480b", "oolong"): (120_000, 0.06),
    ("qwen3-coder-480b", "pairs"): (26_000, 0.05),
    ("qwen3-8b", "codeqa"): (32_000, 0.01),
    ("qwen3-8b", "pairs"): (26_000, 0.01),
}
WANG = "Think, But Don't Overthink (Wang), mean tokens of its raw data"
MINRLM = "minRLM's evaluation, mean tokens per query (15 % taken as completion)"
TOLD = [  # (family, density, context, root, prompt tokens, completion tokens, source)
    ("rlm", "linear", 700, "deepseek-v3.2", 5_419, 2_711, WANG),
    ("rlm", "constant", 3_700, "deepseek-v3.2", 21_581, 3_595, WANG),
    ("rlm", "linear", 700, "kimi-k2-thinking", 38_263, 9_132, WANG),
    ("rlm", "constant", 3_700, "kimi-k2-thinking", 109_732, 9_445, WANG),
    ("rlm_d2", "linear", 700, "deepseek-v3.2", 4_008, 2_553, WANG),
    ("rlm_d2", "constant", 3_700, "deepseek-v3.2", 17_058, 3_029, WANG),
    ("rlm_d2", "linear", 700, "kimi-k2-thinking", 44_060, 8_986, WANG),
    ("rlm_d2", "constant", 3_700, "kimi-k2-thinking", 81_972, 7_650, WANG),
    ("long_context", "linear", 700, "kimi-k2-thinking", 702, 2_518, WANG),
    ("long_context", "constant", 3_700, "kimi-k2-thinking", 3_660, 647, WANG),
    ("long_context", "constant", 3_700, "deepseek-v3.2", 3_747, 86, WANG),
    ("rlm", "constant", 95_000, "gpt-5-mini", 66_497, 11_735, MINRLM),
    ("rlm", "constant", 34_000, "gpt-5-mini", 58_101, 10_253, MINRLM),
    ("rlm", "constant", 3_700, "gpt-5-mini", 13_841, 2_442, MINRLM),
    ("rlm", "linear", 12_000, "gpt-5-mini", 12_217, 2_156, MINRLM),
]
OWN = {
    "long_context": "long_context",
    "rag": "rag",
    "program_map": "map",
    "summary_agent": "summary",
    "rlm": "rlm",
}


def bought(dollars: float, model: str, prompt_share: float) -> tuple[int, int]:
    """(prompt tokens, completion tokens) for a sum of money."""
    prompt, completion = PRICES[model]
    return (
        round(1e6 * dollars * prompt_share / prompt),
        round(1e6 * dollars * (1 - prompt_share) / completion),
    )


def row(
    family: str, density: str, context: int, root: str, used: dict[str, Any], source: str
) -> dict[str, Any]:
    """One line of the file; `used`: slot -> [calls, prompt tokens, completion tokens] a sample."""
    about = {"family": family, "density": density, "context": context, "root": root}
    return about | {"used": used, "source": source}


def of_costs() -> list[dict[str, Any]]:
    """Rows that were published as dollars."""
    rows = []
    for (family, root, sub), costs in COSTS.items():
        turns, share, prompt = SPLITS[family]
        source = f"{PAPER}; its split into tokens is assumed"
        if family == "react":
            source = source.replace("table 1", "figure 7 of v3")
        for at, (place, dollars) in enumerate(zip(PLACES, costs, strict=True)):
            if dollars is None:
                continue
            own = "codeact_bm25" if (family, place) == ("codeact", "browsecomp") else family
            used = {"root": [turns, *bought(share * dollars, root, prompt)]}
            if sub:
                calls = SUB_CALLS[root][at]
                used["sub"] = [calls, *bought((1 - share) * dollars, sub, prompt)]
            rows.append(row(own, *PLACES[place], root, used, source))
    nano = f"{PAPER}; its split into tokens is assumed"
    # Every token read once by GPT-5-nano, the rest of the money GPT-5's.
    used = {"root": [1, 58_000, 7_250], "sub": [34, 8_500_000, 0]}
    rows.append(row("summary", *PLACES["browsecomp"], "gpt-5", used, nano))
    for (root, place), (prompt_tokens, dollars) in BASE.items():
        prompt_rate, rate = PRICES[root]
        left = round((1e6 * dollars - prompt_tokens * prompt_rate) / rate)
        source = f"{PAPER}; its split into tokens is assumed"
        used = {"root": [1, prompt_tokens, left]}
        rows.append(row("long_context", *PLACES[place], root, used, source))
    source = "Rickesh/rlm-oolong-reproduction, mean cost and 4.4 root calls; split assumed"
    for family, dollars, turns in (("long_context", 0.17, 1.0), ("rlm", 0.19, 4.4)):
        used = {"root": [turns, *bought(dollars, "claude-haiku-4-5", 0.8)]}
        rows.append(row(family, *PLACES["oolong"], "claude-haiku-4-5", used, source))
    return rows


def of_tokens() -> list[dict[str, Any]]:
    """Rows that were published as tokens of all models together."""
    rows = []
    for family, density, context, root, prompt, completion, source in TOLD:
        turns = SPLITS[family][0] if family in SPLITS else 1
        rows.append(
            row(family, density, context, root, {"root": [turns, prompt, completion]}, source)
        )
    return rows


def of_records() -> list[dict[str, Any]]:
    """Our own published cells."""
    path = ROOT / "results" / "published" / "length_sweep" / "records.parquet"
    frame = pd.read_parquet(path)
    rows = []
    for (_, length, method), own in frame.groupby(["task", "length", "method"]):
        mean = own.mean(numeric_only=True)
        sub = [mean["n_calls"] - mean["n_root_calls"]]
        sub += [
            mean[f"{kind}_tokens"] - mean[f"root_{kind}_tokens"] for kind in ("input", "output")
        ]
        root = [mean["n_root_calls"], mean["root_input_tokens"], mean["root_output_tokens"]]
        used = {
            slot: [round(calls, 2), round(prompt), round(completion)]
            for slot, (calls, prompt, completion) in (("root", root), ("sub", sub))
            if calls
        }
        source = "results/published/length_sweep, n = 40 a cell"
        density = str(own["density"].iloc[0])
        rows.append(row(OWN[current(method)], density, int(length), "coder-0.5b", used, source))
    return rows


def speeds() -> list[dict[str, Any]]:
    """Prompt and completion tokens a second of the default model."""
    frame = pd.read_parquet(ROOT / "results" / "published" / "length_sweep" / "records.parquet")
    tokens = frame["input_tokens"] + frame["output_tokens"]
    both_cores = frame["core_seconds"].sum() / 2
    source = "results/published/length_sweep: tokens per second of two virtual cores, all cells"
    cells = [frame[column] for column in ("task", "length", "method")]
    each = tokens.groupby(cells).sum() / (frame["core_seconds"].groupby(cells).sum() / 2)
    each = each[each.index.get_level_values("method") == "long_context"]
    return [
        {
            "models": ["coder-0.5b", "coder-0.5b-vllm"],
            "tokens_per_second": round(tokens.sum() / both_cores),
            "slowest": round(0.75 * each.min()),
            "fastest": round(1.25 * each.max()),
            "hardware": "two virtual cores, no GPU",
            "source": source,
        }
    ]


def made() -> str:
    """The text of the file."""
    contexts = {"CodeQA": PLACES["codeqa"][1], "BrowseCompPlus": PLACES["browsecomp"][1]}
    data = {
        "about": "Made by scripts/make_expectations.py; used: slot -> [calls, prompt tokens, "
        "completion tokens] of a mean sample",
        "contexts": contexts,
        "rows": [*of_costs(), *of_tokens(), *of_records()],
        "speeds": speeds(),
    }
    lines = json.dumps(data, separators=(",", ":")).replace('{"family"', '\n{"family"')
    return lines + "\n"


if __name__ == "__main__":
    (ROOT / "rlm_eval/runner/planning/data/expectations.json").write_text(made())
