"""Every baseline asks the same again: a second run takes all its replies from the journal."""

import base64
from pathlib import Path
from typing import Any

import pytest
from baseline_bench import Request, open_bench, sample_of

from rlm_eval.core.types import Reply
from rlm_eval.methods.closed_book import ClosedBook
from rlm_eval.methods.codeact import CodeAct
from rlm_eval.methods.long_context import LongContext
from rlm_eval.methods.rag import Rag
from rlm_eval.methods.react import React
from rlm_eval.methods.retrieval import dense
from rlm_eval.methods.summary_agent import SummaryAgent

DOCUMENTS = tuple(f"Note {n}: the lamp of room {n} is number {n * 37}." for n in range(30))
CODE = """```python
import random
parts = SEARCH('lamp room') if 'SEARCH' in globals() else ['a', 'b', 'b']
random.shuffle(parts)
print(llm_query_batched(parts + parts) if 'llm_query' in globals() else parts)
```"""


def root(request: Request) -> str:
    turns = sum(role == "assistant" for role, _ in request)
    if "SEARCH:" in request[0][1]:
        return "ANSWER: 148" if turns else "SEARCH: room 4"
    return CODE if not turns and request[0][0] == "system" else "ANSWER: 148"


def sub(request: Request) -> str:
    return request[-1][1].upper()[-120:]


def embed(request: Request) -> Reply:
    rows = b"".join(bytes([len(text) % 7, 60, 0, 60]) for _, text in request)
    return Reply(base64.b64encode(rows).decode(), "stop")


METHODS: list[Any] = [
    LongContext(),
    LongContext(over_window="middle", reserve_tokens=10),
    Rag(chunk_by="documents"),
    Rag(chunk_by="documents", retriever="dense"),
    Rag(chunk_by="documents", retriever="hybrid", embed_batch=7),
    ClosedBook(),
    React(chunk_by="documents"),
    SummaryAgent(piece_tokens=60, summary_tokens=30),
    SummaryAgent(piece_tokens=60, summary_tokens=30, mode="map_reduce"),
    CodeAct(),
    CodeAct(sub_calls=True),
    CodeAct(sub_calls=True, search=True, context_in_prompt=False, chunk_by="documents"),
]


@pytest.mark.parametrize("number", range(len(METHODS)))
async def test_a_second_run_asks_nothing(tmp_path: Path, number: int) -> None:
    method = METHODS[number]
    sample = sample_of(DOCUMENTS, "Which number has the lamp of room 4?")
    dense._cache.clear()
    windows = {"root": 330} if getattr(method, "over_window", "fail") != "fail" else {}
    scripts = {"root": root, "sub": sub, "embed": embed}
    options = {"windows": windows, "repl": method.runs_code}
    async with open_bench(tmp_path, sample, **options, **scripts) as bench:
        first = await method.solve(sample, bench.session)
        asked = len(bench.session.calls)
    dense._cache.clear()  # as in another process
    async with open_bench(tmp_path, sample, **options, **scripts) as bench:
        second = await method.solve(sample, bench.session)
        requests = {slot: client.requests for slot, client in bench.clients.items()}
        calls = bench.session.calls
    assert first.text == second.text
    assert requests == {"root": [], "sub": [], "embed": []}
    assert len(calls) == asked
    assert bench.session.diverged == 0
