"""Sub-calls for the root's code: `llm_query`, `rlm_query` and their batches.

Every call goes through the session, so limits and usage cover the whole tree. A failed call raises
in the model's code (or, in some dialects, returns `Error: ...`). Follows arXiv:2512.24601 v3 and
github.com/alexzhang13/rlm; the endpoint limits concurrency, not a constant.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlm_eval.core.errors import EndpointUnusable, LimitReached, ModelError, ReplCrash, Suspended
from rlm_eval.core.types import Message, Role
from rlm_eval.protocols import Session
from rlm_eval.repl import HostFunction, ReplCallError

if TYPE_CHECKING:
    from rlm_eval.methods.rlm.settings import LoopSettings

Query = Callable[..., Awaitable[str]]


@dataclass
class RolloutState:
    """State shared by all loops of one sample."""

    config: LoopSettings
    """The method's settings."""
    session: Session
    """The sample's only meter."""
    stop: LimitReached | None = None
    """The first limit hit by a call in a block; the loops end after their current blocks."""
    failed: ModelError | ReplCrash | None = None
    """The last sub-call's failure."""
    notes: Counter[str] = field(default_factory=Counter)
    """Counts for the trajectory's notes."""
    gate: asyncio.Semaphore | None = None
    """Limits concurrent sub-calls where the settings do."""


@dataclass
class CallSite:
    """The running block."""

    position: str
    """Its position path."""
    turn: int
    """Turn of its loop."""
    call: int | None
    """The root call that wrote the block."""
    sub_calls: int = 0
    """Number of prompts sent so far."""
    children: Counter[str] = field(default_factory=Counter)
    """Count of equal children, distinguished by their order."""


@dataclass
class SubCalls:
    """Host functions of one loop. `place` is set before each block."""

    tree: RolloutState
    depth: int
    """Depth of the loop whose code makes the calls."""
    place: CallSite
    child: Callable[[CallSite, str, Any, str | None, str], Awaitable[str]]
    """Runs a child loop: (place, its position, context, question, model slot) -> answer."""
    one_argument: bool
    """True for the official form of `rlm_query`."""

    def functions(self) -> dict[str, HostFunction]:
        """Host functions by their names in the REPL."""
        if self.tree.config.depth == 0:
            return {}
        rlm, rlm_batched = (
            (self.rlm_query_official, self.rlm_query_batched_official)
            if self.one_argument
            else (self.rlm_query, self.rlm_query_batched)
        )
        return {
            "llm_query": self.llm_query,
            "llm_query_batched": self.llm_query_batched,
            "rlm_query": rlm,
            "rlm_query_batched": rlm_batched,
        }

    async def llm_query(self, prompt: str, model: str | None = None) -> str:
        """Make one plain call: one user message, no history."""
        return (await self._each([self._plain(prompt, model)]))[0]

    async def llm_query_batched(self, prompts: list[str], model: str | None = None) -> list[str]:
        """Make plain calls concurrently; answers in request order."""
        return await self._each([self._plain(p, model) for p in _list(prompts)], batch=True)

    async def rlm_query(
        self, context: Any, query: str | None = None, model: str | None = None
    ) -> str:
        """Run a child loop over `context`; at the depth limit, make a plain call."""
        return (await self._each([self._child(context, query, model)]))[0]

    async def rlm_query_batched(
        self, contexts: list[Any], query: str | list[str] | None = None, model: str | None = None
    ) -> list[str]:
        """Run child loops concurrently; one question for all, or one each."""
        contexts = _list(contexts)
        queries = query if isinstance(query, list) else [query] * len(contexts)
        if len(queries) != len(contexts):
            raise ReplCallError(
                f"{len(contexts)} contexts, but {len(queries)} questions", "ValueError"
            )
        pairs = zip(contexts, queries, strict=True)
        return await self._each([self._child(c, q, model) for c, q in pairs], batch=True)

    async def rlm_query_official(self, prompt: Any, model: str | None = None) -> str:
        """Run the official form: the whole prompt is the child's context."""
        return await self.rlm_query(prompt, None, model)

    async def rlm_query_batched_official(
        self, prompts: list[Any], model: str | None = None
    ) -> list[str]:
        """Run a batch of the official form."""
        return await self.rlm_query_batched(prompts, None, model)

    def _plain(self, prompt: Any, model: str | None) -> Callable[[], Awaitable[str]]:
        slot = self._slot(model, self.tree.config.sub_models, self.depth)
        if not isinstance(prompt, str):
            kind = type(prompt).__name__
            raise ReplCallError(f"a prompt must be a str, not {kind}", "TypeError")
        return self._sent([Message("user", prompt)], slot)

    def _sent(self, messages: list[Message], slot: str) -> Callable[[], Awaitable[str]]:
        """Prepare a plain call with these messages."""
        place, session = self.place, self.tree.session

        async def ask() -> str:
            async with self.tree.gate or nullcontext():
                call = await session.call(
                    messages,
                    role=Role.SUB,
                    position=place.position,
                    model=slot,
                    depth=self.depth + 1,
                    turn=place.turn,
                    parent=place.call,
                )
            return call.as_sent

        return ask

    def _child(
        self, context: Any, query: str | None, model: str | None
    ) -> Callable[[], Awaitable[str]]:
        config = self.tree.config
        if self.depth + 1 >= config.depth:
            self.tree.notes["rlm_query_fallbacks"] += 1
            text = context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)
            return self._plain(f"{text}\n\n{query}" if query else text, model)
        if not isinstance(context, str | list | dict):
            kind = type(context).__name__
            raise ReplCallError(f"a context must be str, list or dict, not {kind}", "TypeError")
        if not isinstance(query, str | None):
            kind = type(query).__name__
            raise ReplCallError(f"a question must be a str, not {kind}", "TypeError")
        slot = self._slot(model, config.child_models, self.depth)
        key = _digest([context, query, slot])
        place = self.place
        number = place.children[key]
        place.children[key] += 1
        position = f"{place.position}/{key}" + (f"-{number}" if number else "")
        return lambda: self.child(place, position, context, query, slot)

    def _slot(self, model: str | None, by_depth: list[str], depth: int) -> str:
        """Select the session's slot: by depth, or by the name that the code passed."""
        if model is None:
            return by_depth[min(depth, len(by_depth) - 1)]
        if not isinstance(model, str):  # `llm_query("Find", [context])`: the text as an argument
            kind = type(model).__name__
            raise ReplCallError(f"a model must be named by a str, not {kind}", "TypeError")
        session = self.tree.session
        slots = sorted(slot for slot in session.slots if slot in ("root", "sub"))
        known = {slot: slot for slot in slots}
        known |= {session.model_of(slot): slot for slot in slots}
        if model not in known:
            names = ", ".join(dict.fromkeys(session.model_of(slot) for slot in reversed(slots)))
            raise ReplCallError(f"model {model!r} is not available; use {names}", "ValueError")
        return known[model]

    async def _each(
        self, asks: list[Callable[[], Awaitable[str]]], batch: bool = False
    ) -> list[str]:
        """Run calls concurrently; a failure raises or enters the list, as configured."""
        config, place = self.tree.config, self.place
        most = config.max_sub_calls_per_block
        if most is not None and place.sub_calls + len(asks) > most:
            self.tree.notes["sub_call_limit_hits"] += 1
            raise ReplCallError(
                f"this block may make {most} sub-calls: {place.sub_calls} made, "
                f"{len(asks)} more asked for",
                "SubCallLimit",
            )
        place.sub_calls += len(asks)
        failures: dict[int, Exception] = {}
        suspended: list[Suspended] = []
        results: list[str | None] = [None] * len(asks)

        async def one(index: int) -> None:
            try:
                results[index] = await self._guarded(asks[index])
            except ReplCallError as error:
                failures[index] = error
            except Suspended as error:  # its siblings in flight are billed: wait for them
                suspended.append(error)

        if len(asks) == 1:
            await one(0)
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    for index in range(len(asks)):
                        group.create_task(one(index))
            except ExceptionGroup as several:  # the siblings are cancelled; one reason is enough
                raise several.exceptions[0] from None
        if suspended:
            raise suspended[0]
        if failures and config.failed_sub_calls == "text":
            return [
                f"Error: {failures[i]}" if i in failures else r or "" for i, r in enumerate(results)
            ]
        if failures:
            first = failures[min(failures)]
            assert isinstance(first, ReplCallError)
            if not batch:
                raise first
            message = f"{len(failures)} of {len(asks)} sub-calls failed, the first one: {first}"
            raise ReplCallError(message, first.kind, results)
        return [result or "" for result in results]

    async def _guarded(self, ask: Callable[[], Awaitable[str]]) -> str:
        """Make one call; convert its failures to the form that the model's code receives."""
        if self.tree.stop is not None:
            raise ReplCallError(str(self.tree.stop), "LimitReached")
        try:
            return await ask()
        except EndpointUnusable:
            raise
        except LimitReached as error:
            self.tree.stop = self.tree.stop or error
            raise ReplCallError(str(error), "LimitReached") from error
        except (ModelError, ReplCrash) as error:
            self.tree.failed = error
            raise ReplCallError(str(error), type(error).__name__) from error


def _digest(value: Any) -> str:
    """Hash a child's arguments, which may be any plain data."""
    try:
        text = json.dumps(value, sort_keys=True)
    except TypeError:  # keys of several types have no order: take that of the code
        text = json.dumps(value)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def _list(value: Any) -> list[Any]:
    """Check a batch: a string passed as a batch would send one call per character."""
    if isinstance(value, list):
        return value
    raise ReplCallError(f"a batch must be a list, not {type(value).__name__}", "TypeError")


async def no_child(*_: Any) -> str:
    """`SubCalls.child` for a method without child loops."""
    raise LookupError("no child loops here")
