"""A workbench for tests of the spine: sessions over a scripted client, journals on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.core.types import Context, Message, Reply, Sample, Usage, text_hash
from rlm_eval.models import EndpointInfo, Sampling
from rlm_eval.repl import ReplPool
from rlm_eval.session.prompt_check import PromptCheck
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.prompt_slices import SourceIndex


@dataclass
class Answering:
    """A client that answers by a function of the messages and counts what it was asked."""

    answer: Callable[[Sequence[Message]], str | Reply | BaseException]
    latency: float = 0.0
    asked: list[list[Message]] = field(default_factory=list)
    info: EndpointInfo = field(default_factory=lambda: EndpointInfo("answering"))

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        self.asked.append(list(messages))
        await asyncio.sleep(self.latency)
        result = self.answer(messages)
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, Reply):
            return result
        return Reply(result, "stop", Usage(input=10, output=len(result)))


def sample_of(text: str, question: str = "What is it?", identity: str = "0123abcd") -> Sample:
    context = Context(text_hash(text), len(text), len(text) // 4, "approx4", lambda: text)
    return Sample(identity, "test", 0, question, context, "gold", 1024, "c", "i")


@asynccontextmanager
async def session_over(
    client: Answering,
    folder: Path,
    sample: Sample,
    *,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    pool: ReplPool | None = None,
    epoch: int = 0,
    check: PromptCheck | None = None,
) -> AsyncIterator[Session]:
    """One session; the journal in `folder` is read first and appended to.

    Without `check`, the made-up usage of its client raises no alarm.
    """
    endpoint = Endpoint(
        "answering",
        client,
        sampling or Sampling(),
        None,
        lambda usage: None,
        check=check,
    )
    async with JsonlLog(folder / "journal.jsonl") as log:
        yield Session(
            sample,
            epoch,
            {"root": endpoint, "sub": endpoint, "judge": endpoint},
            Journal(log),
            Budget(limits or Limits()),
            pool,
            SourceIndex(sample.context.hash, sample.context.text()),
        )
