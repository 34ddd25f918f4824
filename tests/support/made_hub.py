"""The data sets as the hub lays them out, made up: few rows, the real columns and encryption."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from itertools import cycle
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlm_eval.tasks.codeqa.longbench import DOMAIN
from rlm_eval.tasks.oolong.grammar import LABELS
from rlm_eval.tasks.oolong.queries import pairs_of, query_text
from rlm_eval.tasks.oolong.window import Row, parse, render

CANARY, SECRET = "a canary of the tests", "Zanzibar Quux"
LENGTH = 1024
SYNTH, REAL = "oolongbench/oolong-synth", "oolongbench/oolong-real"
PAIRS, CODE, MRCR = "mit-oasys/oolong-pairs", "zai-org/LongBench-v2", "openai/mrcr"
QUERIES, CORPUS = "Tevatron/browsecomp-plus", "Tevatron/browsecomp-plus-corpus"
COMMITS = {
    SYNTH: "f0d59eaf0febf130664cfceb710436c8e3216b2b",
    REAL: "6bc9ef04866fcf005c9749b70649be69dd37fffb",
    PAIRS: "d1e1522b86ac0c169bbc890b0471408aaa29e8fa",
    CODE: "2b48e494f2c7a2f0af81aae178e05c7e1dde0fe9",
    MRCR: "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d",
    QUERIES: "144cff8e35b5eaef7e526346aa60774a9deb941f",
    CORPUS: "b27b02bc3e45511b8b82a13e6f90ce761df726f6",
}
CARDS = {
    REAL: {
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "test", "path": f"{name}/test.jsonl"}],
            }
            for name in ("dnd", "toy_dnd")
        ]
    }
}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=10)
    return out.getvalue()


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def synth_rows(dataset: str, length: int, questions: int = 4) -> list[dict[str, Any]]:
    """Two windows of a length."""
    windows = [
        [
            Row(
                738_200 + 7 * i,
                10_000 + i % 25 + window,
                f"{dataset} {i} of {length}",
                LABELS[i % 6],
            )
            for i in range(60)
        ]
        for window in range(2)
    ]
    return [
        {
            "id": 10_000_000 + 10 * window + number,
            "context_len": length,
            "dataset": dataset,
            "context_window_text": render(lines, LABELS),
            "context_window_text_with_labels": render(lines, LABELS, True),
            "question": f"In the above data, how many data points are 'A{number}'?",
            "task_group": "counting",
            "task": "TASK_TYPE.NUMERIC_ONE_CLASS",
            "answer": f"[{number}]",
            "answer_type": "ANSWER_TYPE.NUMERIC",
            "input_subset": "False",
            "num_labels": 6,
            "context_window_id": window,
        }
        for window, lines in enumerate(windows)
        for number in range(questions)
    ]


def pairs_file(rows: list[dict[str, Any]]) -> bytes:
    golds = pairs_of(parse(rows[0]["context_window_text_with_labels"]))
    return json.dumps(
        [
            {
                "id": str(query),
                "question": query_text(query),
                "answer": [f"({u}, {v})" for u, v in gold.pairs()],
                "type": "list_of_answers",
            }
            for query, gold in golds.items()
        ]
    ).encode()


def code_rows() -> list[dict[str, Any]]:
    row = {
        "domain": DOMAIN,
        "sub_domain": "Code Repo QA",
        "difficulty": "hard",
        "length": "long",
        "question": "What does main do?",
        "choice_A": "reads",
        "choice_B": 'writes "{"',
        "choice_C": "sleeps",
        "choice_D": "fails",
        "answer": "C",
    }
    made = [row | {"_id": str(i), "context": f"def main(): sleep({i})\n" * 400} for i in range(6)]
    return [row | {"_id": "x", "domain": "Other", "context": "}" * 5000}, *made]


def mrcr_rows(needles: int, part: int) -> list[dict[str, Any]]:
    turns = [
        {"role": "user", "content": "Write a poem about owls"},
        {"role": "assistant", "content": "o" * 20_000},
        {"role": "user", "content": f"Prepend abcdefghij to poem {part} about owls"},
    ]
    row = {"answer": "abcdefghijoooo", "random_string_to_prepend": "abcdefghij"}
    row |= {"n_needles": needles, "desired_msg_index": 1, "total_messages": 3, "n_chars": 20_100}
    return [row | {"prompt": json.dumps(turns)}]


def lock(value: Any) -> Any:
    """Encrypted as the benchmark's columns are."""
    if isinstance(value, str):
        key = cycle(hashlib.sha256(CANARY.encode()).digest())
        locked = bytes(b ^ k for b, k in zip(value.encode(), key, strict=False))
        return base64.b64encode(locked).decode()
    if isinstance(value, dict):
        return {name: lock(part) for name, part in value.items()}
    return [lock(part) for part in value]


def query_rows() -> list[dict[str, Any]]:
    own = [{"docid": f"e{i}", "text": f"{SECRET} is evidence {i}.", "url": "u"} for i in range(3)]
    rows = []
    for number in range(4):
        row = {"query": f"Where is {SECRET} {number}?", "answer": f"{SECRET} answer {number}"}
        row |= {"gold_docs": own[:1], "evidence_docs": own, "negative_docs": own[:1]}
        rows.append({"query_id": str(number)} | {name: lock(part) for name, part in row.items()})
    return rows


def real_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": f"{window}-{number}",
            "context_window_id": window,
            "context_window_text": f"Ann: I rolled {window}.\n" * 300,
            "question": "How many rolls were there?" if number else "Which spells did Ann cast?",
            "answer": str(number),
            "question_type": "singledoc_rolls",
            "episodes": [1],
            "campaign": "c",
        }
        for window in ("w1", "w2")
        for number in range(3)
    ]


def repositories() -> dict[str, dict[str, bytes]]:
    """Repository -> path -> content."""
    ours = synth_rows("trec_coarse", LENGTH)
    others = synth_rows("trec_coarse", 2 * LENGTH)
    return {
        SYNTH: {
            "README.md": b"card",
            "data/validation-00000-of-00002.parquet": parquet(ours),
            "data/validation-00001-of-00002.parquet": parquet(
                [*synth_rows("spam", 4 * LENGTH), *others]
            ),
            "data/test-00000-of-00001.parquet": parquet(synth_rows("imdb", LENGTH)),
        },
        REAL: {
            "dnd/test.jsonl": json_lines(real_rows()),
            "toy_dnd/test.jsonl": json_lines([]),
        },
        PAIRS: {f"data/oolong-pairs-{LENGTH}.json": pairs_file(ours)},
        CODE: {"README.md": b"card", "data.json": json.dumps(code_rows(), indent=1).encode()},
        MRCR: {
            f"{needles}needle/{needles}needle_{part}.parquet": parquet(mrcr_rows(needles, part))
            for needles in (2, 8)
            for part in (0, 1)
        },
        QUERIES: {"data/test-00000-of-00001.parquet": parquet(query_rows())},
        CORPUS: {
            "data/train-00000-of-00001.parquet": parquet(
                [{"docid": f"d{i}", "text": f"plain document {i}", "url": "u"} for i in range(9)]
            )
        },
    }
