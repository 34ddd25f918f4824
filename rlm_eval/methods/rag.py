"""Retrieval-augmented generation: the best chunks of the context and the question, one call.

Not a method of the RLM paper (arXiv:2512.24601), so `rag_*` in every table, except as
`prequery_bm25` (the paper's appendix: the 40 best documents for the unmodified question, then one
call), which is this class with that setting. The evidence's retrieval recall is noted per sample,
to distinguish a wrong answer from a missed passage.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.renamed import current
from rlm_eval.core.spans import Span, share_within
from rlm_eval.core.types import Answer, Message, Role, Sample
from rlm_eval.methods.context_window import chars_per_token
from rlm_eval.methods.prompts import fill, load_prompt
from rlm_eval.methods.retrieval import Chunks, Passages, within_budget
from rlm_eval.methods.retrieval.bm25 import ranking
from rlm_eval.methods.retrieval.dense import SLOT, dense_scores
from rlm_eval.methods.retrieval.fusion import fuse
from rlm_eval.protocols import Session

RETRIEVERS = ("bm25", "dense", "hybrid")
ORDERS = ("rank", "position")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rag(Chunks):
    """Retrieve, then make one call. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    VERSION: ClassVar[int] = 3  # 2: text without spaces is also searched; 3: vowel signs

    retriever: str = "bm25"
    """`bm25`, `dense` (embeddings), or `hybrid` (both, by reciprocal rank fusion)."""
    top_k: int | None = 4
    """Maximum number of chunks; null = as many as fit `token_budget`."""
    token_budget: int | None = None
    """Maximum tokens of all chunks together; null = limited only by `top_k`. Of a best chunk that
    is longer, the beginning is kept."""
    passage_order: str = "position"
    """`rank` (best first) or `position` (context order)."""
    query_prefix: str = ""
    """Text before an embedded question; empty = the embedder's own setting (its training
    prefix)."""
    passage_prefix: str = ""
    """Text before an embedded chunk; likewise."""
    embed_batch: int = 64
    """Chunks per embedding call."""
    separator: str = "\n\n"
    """Text between two chunks in the prompt."""
    prompt: str = "rag/plain"
    """Shipped prompt, with `{passages}` and `{question}`."""
    prompt_file: str | None = None
    """The user's own prompt file, replacing `prompt`."""
    label: str = ""
    """Name in tables; empty = `rag`, with the retriever where it is not BM25."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retriever not in RETRIEVERS:
            raise ValueError(f"retriever={self.retriever}: one of {', '.join(RETRIEVERS)}")
        if self.passage_order not in ORDERS:
            raise ValueError(f"passage_order={self.passage_order}: one of {', '.join(ORDERS)}")
        sizes = [size for size in (self.top_k, self.token_budget) if size is not None]
        if self.embed_batch < 1:
            raise ValueError(f"embed_batch={self.embed_batch}: 1 or more")
        if not sizes or min(sizes) < 1:
            raise ValueError("top_k and token_budget: 1 or more; one of them may be null")
        least = self.chunk_size if self.chunk_by == "tokens" else 1
        if self.token_budget is not None and self.token_budget < least:
            raise ValueError(
                f"token_budget={self.token_budget}: not less than chunk_size={least}, or no chunk "
                "fits; raise it or lower chunk_size"
            )
        prompt = load_prompt(self.prompt, self.prompt_file)
        for place in ("{passages}", "{question}"):
            if place not in prompt.text:
                raise ValueError(f"prompt {prompt.name}: has no {place}")

    @property
    def former_name(self) -> str:
        """Table name in the first release: `rag_bm25`, ..."""
        return self.label or f"rag_{self.retriever}"

    @property
    def name(self) -> str:
        """`rag`, `rag_dense`, `rag_hybrid`, or the label."""
        return current(self.former_name)

    @property
    def slots(self) -> tuple[str, ...]:
        """Model slots that it calls."""
        return ("root",) if self.retriever == "bm25" else ("root", SLOT)

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_prompt(self.prompt, self.prompt_file).id

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Index (or use the cached index), retrieve, make one root call."""
        passages = await self.passages(sample)
        ranked = await self._ranked(sample, passages, session)
        budget = self.token_budget
        chars = None if budget is None else int(budget * chars_per_token(sample))
        chosen = within_budget(passages, ranked, self.top_k, chars)
        kept = [passages.spans[number] for number in chosen]
        if ranked and not kept and chars is not None:
            # Without this the model would answer without any context, as if nothing was found.
            kept = [_beginning(passages.spans[ranked[0]], chars, self, sample)]
            chosen = ranked[:1]
            if kept[0] != passages.spans[ranked[0]]:
                session.note("budget_too_small", True)
        session.note("retrieved_chunks", len(chosen))
        if not chosen:
            session.note("empty_retrieval", True)
            _LOG.warning("sample %s: no chunk was retrieved, the prompt holds none", sample.id[:8])
        session.note("retrieval_recall", share_within(sample.evidence, kept))
        if self.passage_order == "position":
            kept.sort()
        text = fill(
            load_prompt(self.prompt, self.prompt_file).text,
            passages=self.separator.join(passages.text[start:end] for start, end in kept),
            question=sample.question,
        )
        call = await session.call([Message("user", text)], role=Role.ROOT, position="t0")
        return Answer(text=call.reply, call=call.id)

    async def _ranked(self, sample: Sample, passages: Passages, session: Session) -> list[int]:
        """Rank the chunks, best first."""
        if self.retriever == "bm25" or not passages.spans:
            return passages.search(sample.question, self.top_k)
        query_prefix, passage_prefix = session.prefixes_of(SLOT)
        scores = await dense_scores(
            session,
            passages,
            self.index_key(sample),
            (self.query_prefix or query_prefix) + sample.question,
            self.passage_prefix or passage_prefix,
            self.embed_batch,
        )
        if self.retriever == "dense":
            return ranking(scores, None, self.top_k)
        return fuse([passages.search(sample.question), ranking(scores, None)])


def _beginning(span: Span, chars: int, method: Rag, sample: Sample) -> Span:
    """The first `chars` characters of a chunk; a chunk of tokens may exceed them by rounding."""
    start, end = span
    if method.chunk_by == "tokens":
        chars = max(chars, round(method.chunk_size * chars_per_token(sample)))
    return start, min(end, start + max(1, chars))
