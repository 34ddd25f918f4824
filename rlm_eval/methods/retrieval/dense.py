"""Dense retrieval: embeddings of the chunks by the model in the session's slot `embed`.

Calls go through the session like any other (role `embed`). The vectors of a context are computed
once per process and cached by content; the first sample that needs them is charged, and a note of
that sample records it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import BadRequest
from rlm_eval.core.types import Message, Role
from rlm_eval.methods.concurrent import all_of
from rlm_eval.methods.retrieval import Passages
from rlm_eval.protocols import Session

SLOT = "embed"
_LOG = logging.getLogger(__name__)
_KEPT_BYTES = 1 << 30
_LONG_S = 5.0  # longer estimates are printed, shorter ones only logged

Vectors = npt.NDArray[np.float32]
"""One row of length 1 per text."""

_cache: OrderedDict[Hashable, Vectors] = OrderedDict()
_locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)


async def dense_scores(
    session: Session, passages: Passages, key: Hashable, query: str, prefix: str, batch: int
) -> npt.NDArray[np.float32]:
    """Cosine similarity of `query` to every chunk.

    `key` identifies the context and its chunking; `prefix` is prepended to each chunk; each call
    embeds `batch` chunks. Propagates the session's exceptions.
    """
    vectors = await _chunk_vectors(session, passages, key, prefix, batch)
    found = await _embed(session, [query], "embed.query")
    if found.shape[1] != vectors.shape[1]:
        raise BadRequest(f"embeddings of {found.shape[1]} and {vectors.shape[1]} dimensions")
    scores: npt.NDArray[np.float32] = vectors @ found[0]
    return scores


async def _chunk_vectors(
    session: Session, passages: Passages, key: Hashable, prefix: str, batch: int
) -> Vectors:
    full = (key, prefix, session.model_of(SLOT))
    async with _locks[full]:
        if full in _cache:
            _cache.move_to_end(full)
            return _cache[full]
        count = len(passages.spans)
        texts = [
            [prefix + passages.chunk(n) for n in range(first, min(first + batch, count))]
            for first in range(0, count, batch)
        ]
        started = awake_time()
        done = [await _embed(session, texts[0], "embed.b0")]
        seconds = awake_time() - started
        # An upper bound: with concurrent requests the endpoint is faster.
        rate, left = len(texts[0]) / max(seconds, 1e-9), seconds * (len(texts) - 1)
        _LOG.log(
            logging.WARNING if left > _LONG_S else logging.INFO,
            "embedding %d chunks: %.0f a second by the first request, at most %.0f s more",
            count,
            rate,
            left,
        )
        session.note("embed_first_rate", round(rate, 1))
        done += await all_of(
            [_embed(session, t, f"embed.b{i}") for i, t in enumerate(texts) if i > 0]
        )
        vectors = np.concatenate(done)
        session.note("embedded_chunks", count)
        session.note("embed_seconds", round(awake_time() - started, 3))
        _cache[full] = vectors
        while len(_cache) > 1 and sum(v.nbytes for v in _cache.values()) > _KEPT_BYTES:
            _locks.pop(_cache.popitem(last=False)[0], None)
        return vectors


async def _embed(session: Session, texts: Sequence[str], position: str) -> Vectors:
    """Unit vectors of `texts`, from one call whose reply contains the vectors as base64."""
    call = await session.call(
        [Message("user", text) for text in texts], role=Role.EMBED, position=position, model=SLOT
    )
    try:
        flat = np.frombuffer(base64.b64decode(call.reply), dtype="<f2").astype(np.float32)
    except ValueError as error:  # includes binascii's errors
        raise BadRequest(
            f"{call.model} replied with text, not with vectors: no embedder; name one as "
            f"model@{SLOT}=NAME"
        ) from error
    if not flat.size or flat.size % len(texts):
        raise BadRequest(f"{flat.size} numbers do not make {len(texts)} vectors")
    vectors = flat.reshape(len(texts), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.float32(1e-9))
    return unit
