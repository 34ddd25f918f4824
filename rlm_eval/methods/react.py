"""ReAct with BM25: the model searches the context until it answers, and never sees it whole.

ReAct (arXiv:2210.03629) over a word index, as the baseline in the RLM paper's first public version
(a blog post): 5 documents per search, or 10 where each line is a document. The prompts, the search
syntax and the number of turns are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.spans import Span, share_within
from rlm_eval.core.types import Answer, Message, Role, Sample
from rlm_eval.methods.agent_text import as_asked, directive, last_answer, load_parts
from rlm_eval.methods.context_window import chars_per_token
from rlm_eval.methods.prompts import fill
from rlm_eval.methods.retrieval import Chunks, Passages
from rlm_eval.protocols import Session
from rlm_eval.repl import clip

_PARTS = ("system", "task", "results", "nothing", "format", "last")


@dataclass(frozen=True)
class React(Chunks):
    """Reason, search, answer. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    history: ClassVar[tuple[str, ...]] = ("system", "user", "assistant", "user", "user")
    slots: ClassVar[tuple[str, ...]] = ("root",)
    VERSION: ClassVar[int] = 3  # 2: text without spaces is also searched; 3: vowel signs

    max_turns: int = 10
    """Maximum replies of the model before the final request for an answer."""
    format_patience: int = 3
    """Consecutive replies with neither search nor answer, after which the last one is the
    answer."""
    search_k: int = 5
    """Chunks per search."""
    result_tokens: int = 2000
    """Maximum tokens shown per chunk."""
    prompt: str = "react/plain"
    """Shipped prompt: parts system, task, results, nothing, format, last."""
    prompt_file: str | None = None
    """The user's own prompt; a file without parts is the system prompt."""
    label: str = "react_bm25"
    """Name in tables."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.max_turns, self.format_patience, self.search_k, self.result_tokens)
        if min(sizes) < 1:
            raise ValueError("max_turns, format_patience, search_k, result_tokens: 1 or more")
        load_parts(self.prompt, self.prompt_file, _PARTS, "system")

    @property
    def name(self) -> str:
        """`react_bm25`."""
        return self.label

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompt."""
        return load_parts(self.prompt, self.prompt_file, _PARTS, "system")[0].id

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Make a root call per turn, and after the last turn one more that requests the answer."""
        _, parts = load_parts(self.prompt, self.prompt_file, _PARTS, "system")
        passages = await self.passages(sample)
        found: list[Span] = []
        searches = empty = odd = in_a_row = 0
        messages = [
            Message("system", fill(parts["system"], k=str(self.search_k))),
            Message("user", fill(parts["task"], question=sample.question)),
        ]
        for turn in range(self.max_turns):
            session.note("searches", searches)
            session.note("format_errors", odd)
            session.note("retrieval_recall", share_within(sample.evidence, found))
            call = await session.call(messages, role=Role.ROOT, position=f"t{turn}", turn=turn)
            said = directive(call.reply, ("SEARCH", "ANSWER"))
            if said is not None and said[0] == "ANSWER":
                return Answer(text=as_asked(said[1], sample.question), call=call.id)
            in_a_row = in_a_row + 1 if said is None else 0
            odd += said is None
            session.note("format_errors", odd)
            if in_a_row == self.format_patience:
                return Answer(text=call.reply, call=call.id, provenance="fallback")
            if said is None:
                observed = parts["format"]
            else:
                searches += 1
                hits = passages.search(said[1], self.search_k)
                empty += not hits
                session.note("searches", searches)
                session.note("empty_searches", empty)
                found += [passages.spans[hit] for hit in hits]
                observed = self._results(parts, sample, passages, hits)
            messages += [Message("assistant", call.reply), Message("user", observed)]
        return await last_answer(session, messages, sample.question, parts["last"], self.max_turns)

    def _results(
        self, parts: dict[str, str], sample: Sample, passages: Passages, hits: list[int]
    ) -> str:
        if not hits:
            return parts["nothing"]
        most = int(self.result_tokens * chars_per_token(sample))
        texts = (f"[{n}]\n{clip(passages.chunk(hit), most)}" for n, hit in enumerate(hits, start=1))
        return fill(parts["results"], results="\n\n".join(texts))
