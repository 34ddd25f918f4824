"""Resources shared by the cells of a run: opened models, REPL pools, slice indexes, endpoints.

Each is opened for the first cell that needs it and closed after the last one. The order of a run is
in `runner`, sharing of servers between models in `models.refcounted`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rlm_eval.budget.limits import Budget
from rlm_eval.budget.prices import cold_cost
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ConfigError, LimitReached, ModelError
from rlm_eval.core.tokens import get_tokenizer
from rlm_eval.core.types import Message, Outcome, Reply, Sample
from rlm_eval.methods import history_of
from rlm_eval.models import Client, EndpointInfo, Model, Sampling
from rlm_eval.protocols import missing
from rlm_eval.repl import ReplPool, open_pool
from rlm_eval.session.prompt_check import PromptCheck
from rlm_eval.session.session import Endpoint
from rlm_eval.storage.prompt_slices import SourceIndex
from rlm_eval.storage.server_usage import ServerUsageLog


class OpenModels:
    """Opened models of a run: each opened once, closed after the last cell that uses it."""

    def __init__(self, cells: Sequence[Cell], run: Path, budget: Budget) -> None:
        """`cells` in the order in which they will run, of the run directory `run`.

        Preflight requests are charged to `budget`, the sweep's.
        """
        self.accounts = ServerUsageLog(run)
        self._budget = budget
        self._last_use: dict[str, int] = {}
        self._histories: dict[str, tuple[str, ...]] = {}
        for index, cell in enumerate(cells):
            for slot, model in cell.models.items():
                key = repr(model)
                self._last_use[key] = index
                sent = history_of(cell.method) if slot == "root" else ("user",)
                self._histories[key] = max(self._histories.get(key, ()), sent, key=len)
        self._stacks: dict[str, AsyncExitStack] = {}
        self._clients: dict[str, Client] = {}
        self._infos: dict[str, EndpointInfo] = {}
        self._checks: dict[str, PromptCheck] = {}

    async def client(self, model: Model) -> Client:
        """Return the model's client; open it with one cheap preflight request if needed."""
        key = repr(model)
        if key not in self._clients:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(model.open())
                if lines := [line for line in missing(client, Client) if " lacks " in line]:
                    raise ConfigError(
                        f"{model.name}: {'; '.join(lines)}; see rlm_eval/protocols.py"
                    )
                prove = getattr(client, "prove", None)  # clients whose server receives turns
                proof = client.check() if prove is None else prove(self._histories[key])
                self._infos[key] = await proof
                usage = self._infos[key].check_usage
                tokens = usage.total or 0
                self._budget.spend(tokens, cold_cost(model.price)(usage))
                await self.accounts.opened(key, model, client, self._infos[key])
                self._stacks[key] = stack.pop_all()  # preflight passed: keep it open
            self._clients[key] = client
        return self._clients[key]

    async def endpoint(self, model: Model) -> Endpoint:
        """Return the model's endpoint for sessions; its prompt check is bound to the client."""
        client = await self.client(model)
        opened = endpoint(model, client)
        check = self._checks.setdefault(
            repr(model), PromptCheck(opened.count, exact=opened.counter == "server")
        )
        return replace(opened, check=check)

    async def info(self, model: Model) -> EndpointInfo:
        """Return the endpoint facts from the preflight request."""
        await self.client(model)
        return self._infos[repr(model)]

    async def release(self, index: int | None = None) -> None:
        """Close the models that no cell after `index` uses; all of them if it is `None`."""
        for key in list(self._stacks):
            if index is None or self._last_use[key] <= index:
                self._clients.pop(key, None)
                self._checks.pop(key, None)
                await self.accounts.closing(key)
                await self._stacks.pop(key).aclose()


class Pools:
    """REPL pools by their settings, started when the first method that runs code needs one."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._open: dict[str, ReplPool] = {}

    async def get(self, cell: Cell) -> ReplPool | None:
        """Return the cell's pool; `None` if its method runs no code."""
        if not cell.method.runs_code:
            return None
        key = repr(cell.repl)
        if key not in self._open:
            self._open[key] = await self._stack.enter_async_context(open_pool(cell.repl))
        return self._open[key]


class Indexes:
    """Slice indexes of the contexts in use; questions over one context share its index."""

    def __init__(self) -> None:
        self._latest: dict[str, asyncio.Task[SourceIndex]] = {}

    async def get(self, sample: Sample) -> SourceIndex:
        """Return the index of the sample's context; the text is loaded in a thread."""
        key = sample.context.hash
        if key not in self._latest:
            build = asyncio.to_thread(lambda: SourceIndex(key, sample.context.text()))
            self._latest[key] = asyncio.create_task(build)
            while len(self._latest) > 4:  # a long context's index is as large as its text
                self._latest.pop(next(iter(self._latest)))
        return await self._latest[key]


@dataclass(frozen=True)
class _ReplayClient:
    """Replay client: raises on any request that is not in the journal."""

    outcome: Outcome

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:  # noqa: ARG002
        """Raise `LimitReached` if a limit prevented the original call, else `ModelError`."""
        if self.outcome.value.startswith("limit:"):
            raise LimitReached(self.outcome, "here the stored attempt met its limit")
        raise ModelError("replay: the stored attempt made no such request")

    async def check(self) -> EndpointInfo:
        """Send no request."""
        return EndpointInfo("nobody")

    async def account(self) -> None:
        """Do nothing: there is no usage."""


def offline_endpoints(cell: Cell, outcome: Outcome) -> dict[str, Endpoint]:
    """Return the cell's endpoints without models, to replay an attempt with this outcome."""
    return {slot: endpoint(model, _ReplayClient(outcome)) for slot, model in cell.models.items()}


def endpoint(model: Model, client: Client) -> Endpoint:
    """Return an opened model's endpoint. Its named tokenizer counts tokens, else its client."""
    named: str | None = getattr(model, "tokenizer", None)

    async def count(messages: Sequence[Message]) -> int:
        def work() -> int:
            return sum(get_tokenizer(str(named)).count(m.content) for m in messages)

        return await asyncio.to_thread(work)

    return Endpoint(
        name=model.name,
        client=client,
        sampling=model.sampling,
        window=model.window,
        cost=cold_cost(model.price),
        count=count if named else getattr(client, "count_tokens", None),
        counter=named or "server",
        prefixes=(getattr(model, "query_prefix", ""), getattr(model, "passage_prefix", "")),
    )
