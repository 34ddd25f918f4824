"""Dense and hybrid retrieval against a real embeddings endpoint on loopback."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from baseline_bench import Request, open_bench, sample_of

from rlm_eval.core.errors import BadRequest, ConfigError, ProviderError
from rlm_eval.core.types import Message, Reply, Role, Usage
from rlm_eval.methods.rag import Rag
from rlm_eval.models import Sampling
from rlm_eval.models.http.embedding import EmbeddingModel
from rlm_eval.runner.resources import endpoint as endpoint_of

MEANINGS = {"door": 0, "gate": 0, "code": 1, "number": 1, "cat": 2, "animal": 2}
LINES = ("A cat slept.", "The gate has the number 7391.", "A dog barked.", "Rain fell on the gate.")
AT = len(LINES[0]) + 1
EVIDENCE = ((AT, AT + len(LINES[1])),)
QUESTION = "Which code opens the door?"


def vector(text: str) -> list[float]:
    """A toy embedding: words of one meaning point the same way."""
    found = [0.0, 0.0, 0.0, 0.1]
    for word, axis in MEANINGS.items():
        found[axis] += word in text.lower()
    return found


def embed(request: Request) -> Reply:
    rows = np.array([vector(content) for _, content in request], dtype="<f2")
    return Reply(base64.b64encode(rows.tobytes()).decode(), "stop", Usage(input=7))


def rag(**settings: Any) -> Rag:
    return Rag(chunk_by="lines", chunk_size=1, top_k=1, **settings)


async def test_dense_finds_meanings_and_is_metered(tmp_path: Path) -> None:
    sample = sample_of("\n".join(LINES), QUESTION, evidence=EVIDENCE)
    method = rag(retriever="dense", embed_batch=3, query_prefix="query: ")
    async with open_bench(tmp_path, sample, root=["7391"] * 2, embed=embed) as bench:
        await method.solve(sample, bench.session)
        assert bench.requests() == [[("user", f"{LINES[1]}\n\n{QUESTION}")]]
        assert bench.requests("embed") == [
            [("user", line) for line in LINES[:3]],
            [("user", LINES[3])],
            [("user", f"query: {QUESTION}")],
        ]
        roles = [call.role for call in bench.session.calls]
        assert roles == [Role.EMBED, Role.EMBED, Role.EMBED, Role.ROOT]
        assert sum(call.usage.input or 0 for call in bench.session.calls[:3]) == 21
        assert bench.session.notes["embedded_chunks"] == 4
        assert bench.session.notes["retrieval_recall"] == 1.0
        await method.solve(sample, bench.session)  # the context's vectors are kept
        assert len(bench.requests("embed")) == 4


async def test_the_embedders_own_prefixes_are_used(tmp_path: Path) -> None:
    """Another embedder wants other ones, or none: they are a setting of the model."""
    sample = sample_of("\n".join(LINES) + " prefixed", QUESTION)
    own = EmbeddingModel(
        "e", "m", "http://127.0.0.1:1/v1", query_prefix="q: ", passage_prefix="p: "
    )
    async with open_bench(tmp_path, sample, root=["r"] * 2, embed=embed) as bench:
        opened = endpoint_of(own, bench.clients["embed"])
        bench.session._endpoints["embed"] = opened
        await rag(retriever="dense").solve(sample, bench.session)
        *passages, query = bench.requests("embed")
        assert query == [("user", f"q: {QUESTION}")]
        assert {content[:3] for _, content in passages[0]} == {"p: "}
        await rag(retriever="dense", query_prefix="other: ").solve(sample, bench.session)
        assert bench.requests("embed")[-1] == [("user", f"other: {QUESTION}")]


async def test_hybrid_uses_words_too(tmp_path: Path) -> None:
    gates = [f"Gate {n} was painted." for n in range(6)]
    lines = ("A gate without zebra has a number.", "What is the zebra of the cat?", *gates)
    sample = sample_of("\n".join(lines), "What is the code of the zebra door?")
    for retriever, best in (("bm25", lines[1]), ("hybrid", lines[0])):
        async with open_bench(tmp_path, sample, root=["r"], embed=embed) as bench:
            await rag(retriever=retriever).solve(sample, bench.session)
            assert bench.requests()[0][0][1].startswith(f"{best}\n\n")


async def test_without_an_embedder_the_way_out_is_told(tmp_path: Path) -> None:
    sample = sample_of("\n".join(LINES) + " none", QUESTION)
    async with open_bench(tmp_path, sample, root=[]) as bench:
        with pytest.raises(ConfigError, match="model@embed=NAME"):
            await rag(retriever="dense").solve(sample, bench.session)
    assert rag(retriever="dense").slots == ("root", "embed")
    assert rag().slots == ("root",)


async def test_vectors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    sample = sample_of("\n".join(LINES) + " odd", QUESTION)
    odd = Reply(base64.b64encode(b"\0\0" * 5).decode(), "stop")
    async with open_bench(tmp_path, sample, root=[], embed=lambda r: odd) as bench:
        with pytest.raises(BadRequest, match="5 numbers do not make 4 vectors"):
            await rag(retriever="dense").solve(sample, bench.session)


async def test_a_model_that_is_no_embedder_is_named(tmp_path: Path) -> None:
    sample = sample_of("\n".join(LINES) + " chat", QUESTION)
    async with open_bench(tmp_path, sample, root=[], embed=["I am a chat model!"]) as bench:
        with pytest.raises(BadRequest, match="no embedder; name one as model@embed=NAME"):
            await rag(retriever="dense").solve(sample, bench.session)


@asynccontextmanager
async def endpoint(reply: Any) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server with `/v1/embeddings` on loopback."""
    bodies: list[Any] = []

    async def serve(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response(reply)

    app = web.Application()
    app.router.add_post("/v1/embeddings", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/v1", bodies
    finally:
        await runner.cleanup()


async def test_the_embeddings_api() -> None:
    data = [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": [1.0, 0.5]}]
    body = {"data": data, "model": "minilm", "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    async with endpoint(body) as (url, bodies):
        model = EmbeddingModel(name="e", model="minilm", base_url=url)
        async with model.open() as client:
            messages = [Message("user", "one"), Message("user", "two")]
            reply = await client.complete(messages, Sampling(extra={"dimensions": 2}))
    assert bodies == [{"model": "minilm", "input": ["one", "two"], "dimensions": 2}]
    vectors = np.frombuffer(base64.b64decode(reply.text), dtype="<f2").tolist()
    assert vectors == [1.0, 0.5, 0.0, 2.0]
    assert (reply.usage.input, reply.model) == (9, "minilm")


async def test_a_reply_without_embeddings_is_an_error() -> None:
    async with endpoint({"data": [], "usage": None}) as (url, bodies):
        model = EmbeddingModel(name="e", model="m", base_url=url, retries=1, backoff_s=0.01)
        async with model.open() as client:
            with pytest.raises(ProviderError, match="shape"):
                await client.complete([Message("user", "x")], Sampling())
    assert len(bodies) == 2
