"""Files with the hub's columns and none of its data, to rehearse the paper's suites without a hub.

    python scripts/stand_in_data.py FOLDER SUITE ...                  (small, seconds: a rehearsal)
    python scripts/stand_in_data.py FOLDER SUITE ... --sizes paper    (minutes: for an estimate)

Windows, repositories and documents come from this project's generators; the queries of
BrowseComp+'s shape are encrypted as the hub's are, with the canary `stand-in`. Prints the
commands that make suites read them. A score on them is no score on the benchmarks.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

from rlm_eval.suites.schema import Entry, load
from rlm_eval.tasks.browsecomp.gen import BrowseCompGen
from rlm_eval.tasks.codeqa.gen import CodeQAGen
from rlm_eval.tasks.codeqa.longbench import DOMAIN
from rlm_eval.tasks.oolong.gen import OolongGen

CANARY = "stand-in"
SMALL = {"lengths": (1024, 2048), "codeqa": 2048, "documents": 30, "words": (60, 150)}
PAPER = {
    "lengths": (1024, *(2**k for k in range(13, 21))),
    "codeqa": 131_072,
    "documents": 1000,
    "words": (2900, 8100),
}
SIZES: dict[str, dict[str, Any]] = {"small": SMALL, "paper": PAPER}


def oolong(folder: Path, lengths: tuple[int, ...], rows: int) -> None:
    """Labelled windows and questions of OOLONG's shape; the pairs' golds follow from the labels."""
    lines = []
    for length in lengths:
        common: dict[str, Any] = {"n": rows, "length": length, "size": "official_lines"}
        plain = OolongGen(**common, tokenizer="approx4").samples()
        labelled = OolongGen(**common, tokenizer="approx4", with_labels=True).samples()
        texts: dict[str, str] = {}
        for number, (sample, with_labels) in enumerate(zip(plain, labelled, strict=True)):
            text = texts.setdefault(sample.cluster, with_labels.context.text())
            row = {
                "id": 10_000_000 + number,
                "context_len": length,
                "dataset": "trec_coarse",
                "context_window_id": list(texts).index(sample.cluster),
                "context_window_text": sample.context.text(),
                "context_window_text_with_labels": text,
                "question": sample.question,
                "answer": sample.target,
                "input_subset": "False",
                "num_labels": 6,
                **{k: sample.meta[k] for k in ("answer_type", "task", "task_group")},
            }
            lines.append(json.dumps(row))
    (folder / "oolong.jsonl").write_text("\n".join(lines) + "\n")


def codeqa(folder: Path, length: int, rows: int) -> None:
    """Four-way questions over generated packages, with LongBench-v2's columns."""
    made = []
    for sample in CodeQAGen(n=rows, length=length, tokenizer="approx4").samples():
        choices = re.findall(r"^\(([A-D])\) (.+)$", sample.question, re.MULTILINE)
        asked = re.search(r"this question: (.+?)\nChoices:", sample.question, re.DOTALL)
        assert asked is not None
        row = {"_id": sample.item, "domain": DOMAIN, "difficulty": "easy", "length": "short"}
        row |= {"question": asked[1], "answer": sample.target, "context": sample.context.text()}
        made.append(row | {f"choice_{letter}": text for letter, text in choices})
    (folder / "codeqa.json").write_text(json.dumps(made))


def browsecomp(folder: Path, documents: int, words: tuple[int, int], rows: int) -> None:
    """Encrypted queries with their evidence, and a corpus of `documents` more."""
    size = {"doc_words_min": words[0], "doc_words_max": words[1]}
    queries, corpus = [], []
    for sample in BrowseCompGen(n=rows, documents=documents, tokenizer="approx4", **size).samples():
        texts = [str(text) for text in sample.context.value()]
        named = [
            {"docid": f"{sample.index}-{i}", "text": t, "url": ""} for i, t in enumerate(texts)
        ]
        own = [named[int(i)] for i in str(sample.meta["evidence_docs"]).split(",")]
        gold = [named[int(str(sample.meta["gold_docs"]))]]
        row = {"query": sample.question, "answer": sample.target[0], "gold_docs": gold}
        row |= {"evidence_docs": own, "negative_docs": named[:2]}
        queries.append({"query_id": str(sample.index)} | {k: lock(v) for k, v in row.items()})
        corpus = corpus or named
    for name, found in (("queries", queries), ("corpus", corpus)):
        text = "".join(json.dumps(one) + "\n" for one in found)
        (folder / f"browsecomp_{name}.jsonl").write_text(text)


def lock(value: Any) -> Any:
    """Every string XORed with the repeated SHA-256 of the canary, in base64, as the hub has it."""
    if isinstance(value, str):
        key = cycle(hashlib.sha256(CANARY.encode()).digest())
        mixed = bytes(b ^ k for b, k in zip(value.encode(), key, strict=False))
        return base64.b64encode(mixed).decode()
    if isinstance(value, dict):
        return {name: lock(part) for name, part in value.items()}
    return [lock(part) for part in value]


def overrides(suite: str, folder: Path, small: bool) -> list[str]:
    """What makes a suite read these files, and in the small size ask for what they hold."""
    files = {
        "oolong_synth": {"path": f"{folder}/oolong.jsonl"},
        "oolong_synth_all": {"path": f"{folder}/oolong.jsonl"},
        "oolong_synth_paper": {"path": f"{folder}/oolong.jsonl"},
        "oolong_pairs": {"path": f"{folder}/oolong.jsonl", "golds": "derived"},
        "codeqa_rlm": {"path": f"{folder}/codeqa.json"},
        "browsecomp_plus": {
            "path": f"{folder}/browsecomp_queries.jsonl",
            "corpus_path": f"{folder}/browsecomp_corpus.jsonl",
        },
    }
    tiny = {"doc_words_min": SMALL["words"][0], "doc_words_max": SMALL["words"][1]}
    found: dict[str, None] = {}
    tasks: list[Entry] = [entry for part in load(suite).parts for entry in part.tasks]
    for entry in tasks:
        config = entry.overrides["task"]
        own: dict[str, Any] = dict(files.get(config, {}))
        if small and config.startswith("browsecomp"):
            # Sizes stay apart: 10, 15, 20 and 30 documents in place of 10, 50, 100 and 1,000.
            asked = int(entry.overrides.get("task.documents", "30"))
            own["documents"] = {10: 10, 50: 15, 100: 20}.get(asked, SMALL["documents"])
            own |= tiny if config.startswith("browsecomp_gen") else {}
        found |= dict.fromkeys(f"{entry.id}:task.{key}={value}" for key, value in own.items())
    return [*found, "length=1k"] if small else list(found)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("suites", nargs="*", help="print the overrides of these suites")
    parser.add_argument("--sizes", choices=SIZES, default="small")
    parser.add_argument("--rows", type=int, default=2, help="questions per task and length")
    arguments = parser.parse_args()
    folder, sizes = arguments.folder, SIZES[arguments.sizes]
    folder.mkdir(parents=True, exist_ok=True)
    oolong(folder, sizes["lengths"], arguments.rows)
    codeqa(folder, sizes["codeqa"], arguments.rows)
    browsecomp(folder, sizes["documents"], sizes["words"], arguments.rows)
    print(f"export BROWSECOMP_PLUS_CANARY={CANARY}")
    small = arguments.sizes == "small"
    script = "debug=scripted n=2" if small else "--estimate"
    for suite in arguments.suites:
        print(f"rlm-eval suite {suite} {script} {' '.join(overrides(suite, folder, small))}")


if __name__ == "__main__":
    main()
