"""A scripted client, a session around it, and small samples: enough to pin a method's requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.core.types import Context, Message, Reply, Sample, Usage, canonical_text, text_hash
from rlm_eval.models import EndpointInfo, Sampling
from rlm_eval.repl import ReplConfig, open_pool
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.jsonl import JsonlLog
from rlm_eval.storage.prompt_slices import SourceIndex

Request = list[tuple[str, str]]
Script = Callable[[Request], str | Reply] | Sequence[str | Exception]


@dataclass
class ScriptedClient:
    """Answers by a function or from a list, and keeps every request as (role, content) pairs."""

    script: Script
    requests: list[Request] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    seconds: float = 0.0

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        request = [(m.role, m.content) for m in messages]
        self.requests.append(request)
        self.samplings.append(sampling)
        await asyncio.sleep(self.seconds)
        if callable(self.script):
            given: str | Reply | Exception = self.script(request)
        else:
            given = self.script[len(self.requests) - 1]
        if isinstance(given, Exception):
            raise given
        if isinstance(given, Reply):
            return given
        return Reply(given, "stop", Usage(input=10, output=5))

    async def check(self) -> EndpointInfo:
        return EndpointInfo("scripted")


def sample_of(
    value: str | tuple[str, ...], question: str = "What is the code?", **facts: Any
) -> Sample:
    """A sample over `value`, measured at four characters a token."""
    text = canonical_text(value)
    context = Context(text_hash(text), len(text), -(-len(text) // 4), "approx4", lambda: value)
    fields = {"target": "7391", "length": 1024, "cluster": "c0", "item": "i0"} | facts
    return Sample("00ff00ff", "toy", 0, question, context, **fields)


@dataclass
class Bench:
    """An open session and the clients behind its slots."""

    session: Session
    clients: Mapping[str, ScriptedClient]

    def requests(self, slot: str = "root") -> list[Request]:
        """What the model of a slot was asked, in order."""
        return self.clients[slot].requests

    def check_metered(self) -> None:
        """Every request of every client is a call of the session, and no other new call is."""
        asked = sum(len(client.requests) for client in self.clients.values())
        assert asked == sum(not call.replayed for call in self.session.calls)


@asynccontextmanager
async def open_bench(
    folder: Path,
    sample: Sample,
    *,
    windows: Mapping[str, int] | None = None,
    counts: Callable[[str], int | None] | None = None,
    cap: int | None = None,
    repl: bool = False,
    **scripts: Script,
) -> AsyncIterator[Bench]:
    """A session with a scripted model in each named slot (`root=[...]`); a REPL pool if asked.

    `counts` is the models' own tokenizer, `None` = nobody tells, `None` from it = not of this
    text; `cap` ends their replies.
    """
    clients = {slot: ScriptedClient(script) for slot, script in scripts.items()}

    async def count(messages: Sequence[Message]) -> int | None:
        found = [counts(m.content) if counts else None for m in messages]
        known = [tokens for tokens in found if tokens is not None]
        return sum(known) if len(known) == len(found) else None

    endpoints = {
        slot: Endpoint(
            slot,
            client,
            Sampling(max_output_tokens=cap),
            (windows or {}).get(slot),
            lambda usage: None,
            count,
        )
        for slot, client in clients.items()
    }
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(JsonlLog(folder / "journal.jsonl"))
        pool = open_pool(ReplConfig(isolation="best")) if repl else None
        if pool is not None:
            await stack.enter_async_context(pool)
        index = SourceIndex(sample.context.hash, sample.context.text())
        session = Session(sample, 0, endpoints, Journal(log), Budget(Limits()), pool, index)  # type: ignore[arg-type]  # no pool where no REPL is opened
        bench = Bench(session, clients)
        yield bench
        bench.check_metered()
