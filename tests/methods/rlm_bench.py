"""A session with scripted root and sub models and a real REPL, for tests of the RLM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import Answering

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.core.types import Context, Message, Reply, Sample, canonical_text, text_hash
from rlm_eval.models import Client, Sampling
from rlm_eval.repl import ReplConfig, open_pool
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.prompt_slices import SourceIndex

TEXT = "\n".join(f"Entry {n}: the ferry to Holm took {n * 37 % 91} passengers." for n in range(300))


def sample_of(
    value: str | tuple[str, ...] = TEXT, question: str = "How many on entry 7?"
) -> Sample:
    text = canonical_text(value)
    context = Context(text_hash(text), len(text), len(text) // 4, "approx4", lambda: value)
    return Sample("0123abcd", "toy", 0, question, context, "gold", 1024, "c", "i")


def turns(*replies: str) -> Callable[[Sequence[Message]], str]:
    """The n-th reply of a conversation; the last one repeats. Works for concurrent children."""

    def reply(messages: Sequence[Message]) -> str:
        asked = [m.content for m in messages if m.role == "assistant"]
        done = max((i + 1 for i, r in enumerate(replies) if r in asked), default=0)
        return replies[min(done, len(replies) - 1)]

    return reply


def shout(messages: Sequence[Message]) -> str:
    """A sub-model that answers in capitals."""
    return messages[-1].content.upper()[:80]


def block(code: str, fence: str = "python") -> str:
    return f"```{fence}\n{code}\n```"


@dataclass
class Bench:
    session: Session
    root: Any
    sub: Any

    def contents(self, n: int = -1) -> list[tuple[str, str]]:
        """A request to the root, as (role, content) pairs."""
        return [(m.role, m.content) for m in self.root.asked[n]]


@asynccontextmanager
async def rlm_bench(
    folder: Path,
    root: Callable[[Sequence[Message]], str | Reply | Exception] | Client,
    sub: Callable[[Sequence[Message]], str | Reply | Exception] | Client | None = shout,
    *,
    sample: Sample | None = None,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    repl: ReplConfig | None = None,
    pool: Any = None,
) -> AsyncIterator[Bench]:
    sample = sample or sample_of()
    clients = [c if hasattr(c, "complete") else Answering(c) for c in (root, sub)]
    endpoints = {
        slot: Endpoint(f"{slot}-model", client, sampling or Sampling(), None, lambda usage: None)
        for slot, client in zip(("root", "sub"), clients, strict=True)
        if slot == "root" or sub is not None
    }
    async with JsonlLog(folder / "journal.jsonl") as log, _pool(pool, repl) as opened:
        index = SourceIndex(sample.context.hash, sample.context.text())
        budget = Budget(limits or Limits())
        session = Session(sample, 0, endpoints, Journal(log), budget, opened, index)
        yield Bench(session, *clients)


@asynccontextmanager
async def _pool(pool: Any, config: ReplConfig | None) -> AsyncIterator[Any]:
    if pool is not None:
        yield pool
        return
    async with open_pool(config or ReplConfig(isolation="best")) as opened:
        yield opened
