"""Embedding models behind `/v1/embeddings` (OpenAI, vLLM, llama.cpp, text-embeddings-inference).

A client like any other, so that embedding calls are metered, limited, retried and journalled like
other calls: each message of a request is one text, and the reply's text is their vectors, in order,
as base64 of little-endian 16-bit floats. Not a chat model: it cannot fill a root or sub slot.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rlm_eval.core.types import Message, Reply
from rlm_eval.models import Sampling
from rlm_eval.models.endpoint import Dialect
from rlm_eval.models.http.http_errors import TransientError
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import OpenAIDialect, usage_of


@dataclass(frozen=True)
class EmbeddingModel(OpenAIModel):
    """An embedding endpoint: name, address, window and price as for any other model."""

    VERSION: ClassVar[int] = 1  # vectors hold no thoughts

    query_prefix: str = ""
    """Prefix of a question, where the model was trained with one (`search_query: `)."""
    passage_prefix: str = ""
    """Prefix of a passage, likewise."""

    @property
    def dialect(self) -> Dialect:
        """Return the dialect of this endpoint."""
        return EmbeddingDialect()


@dataclass(frozen=True)
class EmbeddingDialect(OpenAIDialect):
    """The embeddings API: no sampling, no streams."""

    path = "/embeddings"
    most_bytes = 512 << 20

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """Return the request; of `sampling` only `extra` (as `dimensions`) is sent."""
        del stream
        return {"model": model, "input": [m.content for m in messages]} | sampling.extra

    def reply(self, body: Any, prompt_bytes: int) -> Reply:
        """Parse the vectors of a whole body. Raises `TransientError` where it holds none."""
        import numpy as np

        if not isinstance(body, dict):
            raise TransientError("the reply is not a JSON object")
        # Embeddings have no completion: a known output of zero keeps the call's cost known.
        usage = replace(usage_of(body.get("usage"), prompt_bytes), output=0)
        try:
            rows = sorted(body["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], dtype="<f2")
        except (KeyError, TypeError, ValueError) as error:
            raise TransientError(
                f"the reply holds no embeddings: {error!r}", usage=usage
            ) from error
        if vectors.ndim != 2:
            raise TransientError(f"embeddings of shape {vectors.shape}", usage=usage)
        text = base64.b64encode(vectors.tobytes()).decode()
        return Reply(text, "stop", usage, model=str(body.get("model") or ""))
