"""The one meter: every model call of a sample, by every method, at every depth, goes through here.

A `Session` serves one sample and epoch. It replays replies from the journal, reserves budget before
it sends a call, writes a paid reply to the journal before it returns it, and keeps the trajectory's
calls and steps. It depends on no method and no task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from rlm_eval.budget.limits import Budget
from rlm_eval.budget.prices import whole
from rlm_eval.budget.reservation import Charge, Density, reserve
from rlm_eval.core.errors import CallCancelled, ConfigError, LimitReached, ModelError, error_of
from rlm_eval.core.reasoning import split
from rlm_eval.core.types import (
    Answer,
    Call,
    Message,
    Prompt,
    PromptPart,
    Role,
    Sample,
    Step,
    Times,
    Usage,
)
from rlm_eval.models import ON_SEND, Client, Sampling, merged
from rlm_eval.models.waiting import working_time
from rlm_eval.repl import HostFunction, Repl, ReplPool
from rlm_eval.session import arguments
from rlm_eval.session.calls import cancelled, checked, failed, finished, guarded_client, unrepaired
from rlm_eval.session.prompt_check import PromptCheck
from rlm_eval.session.request_key import request_hash, seeded, sendable
from rlm_eval.session.window_check import check_window
from rlm_eval.storage.journal import Journal, StoredReplies, stored_call
from rlm_eval.storage.prompt_slices import SourceIndex

_TOGETHER_S = 0.02  # calls within this interval belong to one batch
_OFF_LOOP_CHARS = 20_000  # longer prompts are encoded in a thread


@dataclass(frozen=True)
class Endpoint:
    """An opened model as the session uses it."""

    name: str
    """Configured name."""
    client: Client
    """Who completes."""
    sampling: Sampling
    """Default sampling of the model, the run's overrides included."""
    window: int | None
    """Context window, tokens; `None` = unknown."""
    cost: Callable[[Usage], float | None]
    """List price of a call without cache discounts, US dollars; `None` = no price known."""
    count: Callable[[Sequence[Message]], Awaitable[int | None]] | None = None
    """Tokens of a prompt under the model's own tokenizer; `None` = no counter is available."""
    density: Density = field(default_factory=Density, compare=False)
    """How the reported prompt tokens compare with the bound from the text."""
    counter: str = "server"
    """Source of token counts: the model's server, or a tokenizer's name (without chat template)."""
    prefixes: tuple[str, str] = ("", "")
    """Of an embedder: the prefix of a question, and of a passage."""
    check: PromptCheck | None = None
    """Detects prompts that the server cut; `None` where nothing is sent."""


class Session:
    """One sample's access to the models. See the module's docstring."""

    def __init__(
        self,
        sample: Sample,
        epoch: int,
        endpoints: Mapping[str, Endpoint],
        journal: Journal,
        budget: Budget,
        repls: ReplPool | None,
        index: SourceIndex,
    ) -> None:
        """`endpoints` are the models that the method calls, and `judge` where the task needs one.

        `index` is the index of the sample's canonical context; `repls` is `None` where the method
        runs no code.
        """
        self.sample = replace(sample, target=None)  # as a method sees it: without the gold
        self.epoch = epoch
        self.budget = budget
        self.calls: list[Call] = []
        self.steps: list[Step] = []
        self.notes: dict[str, Any] = {}
        self.partial: Answer | None = None
        self.shows_failures = False
        """Set by a method whose protocol shows failed calls to the model by design."""
        self.keeps_raw = False
        """Set by a method that reads thoughts which a server left in its replies."""
        self._endpoints = endpoints
        self._journal = journal
        self._repls = repls
        self._index = index
        self._stored: StoredReplies = journal.replies(sample.id, epoch)
        self._trajectory = journal.start(sample.id, epoch, sample.context.hash)
        self._occurrences: Counter[tuple[str, str]] = Counter()
        self._encoded: dict[str, tuple[PromptPart, ...]] = {}
        self._next_id = 0
        self._started = working_time()
        # Pause the sample's clock during replay: replay time is not latency.
        self._held_at: float | None = 0.0 if self._stored.unused else None

    @property
    def trajectory(self) -> int:
        """Number of this trajectory in the cell's journal."""
        return self._trajectory

    @property
    def diverged(self) -> int:
        """Replies of earlier attempts that this attempt did not request: its requests differed."""
        return self._stored.unused

    @property
    def slots(self) -> tuple[str, ...]:
        """The models of this run: what the method named, and `judge` where the task needs one."""
        return tuple(self._endpoints)

    def model_of(self, slot: str) -> str:
        """Return the configured name of the model in `slot`. Raises `ConfigError` if none."""
        return self._endpoint(slot).name

    def window_of(self, slot: str) -> int | None:
        """Return the window of `slot`'s model, tokens, or `None`. Raises `ConfigError` likewise."""
        return self._endpoint(slot).window

    def reply_cap_of(self, slot: str) -> int:
        """Return the largest reply of the model in `slot`, tokens; 0 where there is no cap."""
        return self._endpoint(slot).sampling.max_output_tokens or 0

    def counter_of(self, slot: str) -> str:
        """Return the source of token counts of the model in `slot`: `Endpoint.counter`."""
        return self._endpoint(slot).counter

    def prefixes_of(self, slot: str) -> tuple[str, str]:
        """Return the prefixes of a question and of a passage for the embedder in `slot`."""
        return self._endpoint(slot).prefixes

    async def count_tokens(self, messages: Sequence[Message], model: str = "root") -> int | None:
        """Count a prompt's tokens under the model's own tokenizer; `None` without a counter.

        Free: makes no model call. The count is kept in the journal, so that requests that depend on
        it are identical on replay. Raises `ProviderError` if the counting endpoint does not answer.
        """
        arguments.check_messages(messages, "count_tokens")
        endpoint = self._endpoint(model)
        messages = [sendable(message) for message in messages]
        request = request_hash(endpoint.name, messages, Sampling())
        if request not in self._journal.counts:
            told = None if endpoint.count is None else await endpoint.count(messages)
            if told is None:
                return None
            self._journal.write_count(request, told)
        return self._journal.counts[request]

    def elapsed(self) -> float:
        """Return the seconds since the sample's start, without outages and suspensions."""
        if self._held_at is not None:
            return self._held_at
        return round(working_time() - self._started, 4)

    def _catch_up(self, seconds: float) -> None:
        """Advance the sample's clock to at least `seconds`, the recorded end of a replayed call."""
        if self._held_at is not None:
            self._held_at = max(self._held_at, seconds)
        else:
            self._started -= max(0.0, seconds - self.elapsed())

    def _start_clock(self) -> None:
        """Start the clock: the journal has no further replies, or the attempt diverged from it."""
        if self._held_at is not None:
            self._started = working_time() - self._held_at
            self._held_at = None

    def add_step(self, step: Step) -> None:
        """Record an executed block."""
        self.steps.append(step)

    def note(self, key: str, value: Any) -> None:
        """Record a scalar for readers of the records."""
        arguments.check_note(key, value)
        self.notes[key] = value

    def outage(self) -> ModelError | None:
        """Return the provider failure that no retry repaired, unless the method shows failures.

        A sample with such a failure is missing, whatever its code made of the failure.
        """
        return None if self.shows_failures else unrepaired(self.calls)

    def offer(self, answer: Answer) -> None:
        """Set the best answer so far: used where a limit ends the trajectory."""
        arguments.check_offer(answer, self.calls)
        self.partial = answer

    def open_repl(
        self, context: Any, functions: Mapping[str, HostFunction], **options: Any
    ) -> AbstractAsyncContextManager[Repl]:
        """Open a REPL worker of the pool, seeded by the sample; `options` as `ReplPool.open`."""
        assert self._repls is not None, "a method that opens a REPL says runs_code"
        seed = int(self.sample.id[:8], 16) + self.epoch
        return self._repls.open(context, functions, seed=seed, **options)

    async def call(
        self,
        messages: Sequence[Message],
        *,
        role: Role,
        position: str,
        model: str = "root",
        depth: int = 0,
        turn: int = 0,
        parent: int | None = None,
        sampling: Sampling | None = None,
        closing: bool = False,
    ) -> Call:
        """Call a model and return the finished call.

        `position` is the deterministic path of the calling place; equal requests at one position
        are told apart by their order. Raises `ModelError` (the failed call is kept and metered) or
        `LimitReached` (nothing was sent). A `closing` call is the one that a reached limit of the
        sample still allows; it does not exceed a sweep's budget.
        """
        arguments.check_call(messages, role, position, model, depth, turn, parent, sampling)
        endpoint = self._endpoint(model)
        messages = [sendable(message) for message in messages]
        sampling = seeded(merged(endpoint.sampling, sampling), self.sample.id, self.epoch, position)
        request = request_hash(endpoint.name, messages, sampling)
        occurrence = self._occurrences[position, request]
        self._occurrences[position, request] += 1
        number, submitted = self._next_id, self.elapsed()
        self._next_id += 1
        draft = Call(
            id=number,
            parent=parent,
            depth=depth,
            role=role,
            turn=turn,
            position=position,
            slot=model,
            model=endpoint.name,
            prompt=await self._encoded_prompt(messages, role),
            reply="",
            reasoning="",
            finish_reason="",
            usage=Usage(),
            times=Times(submitted, submitted, None, submitted),
            attempts=0,
        )
        stored = self._stored.take(position, request, occurrence)
        if stored is not None:
            if role is Role.SUB and self._stored.overlap(position):
                # Threads of the model's code make their calls a moment after this one, without
                # waiting for its reply: the clock must not advance past this reply before they do.
                await asyncio.sleep(_TOGETHER_S)
            if endpoint.check is not None:
                endpoint.check.replayed(messages)
            return self._serve_again(endpoint, stored, draft)
        return await self._send(endpoint, messages, sampling, request, draft, closing=closing)

    def _endpoint(self, slot: str) -> Endpoint:
        if slot not in self._endpoints:
            raise ConfigError(
                f"no model in the slot {slot!r}; this run has {', '.join(self._endpoints)}: "
                f"add model@{slot}=NAME"
            )
        return self._endpoints[slot]

    def _serve_again(self, endpoint: Endpoint, stored: Mapping[str, Any], draft: Call) -> Call:
        names = ("id", "parent", "depth", "turn", "position", "slot")
        place = {name: getattr(draft, name) for name in names} | {"role": draft.role.value}
        call = stored_call(stored, place, draft.prompt)
        text, reasoning = split(call.reply, call.reasoning)
        call = replace(call, reply=text, reasoning=reasoning)
        # Charge replayed calls to the sample's limits, so that a limit triggers at the same call as
        # in the original run. Lost replies are excluded: the server caused them.
        known = call.usage if call.usage.total is not None else call.estimate
        self.budget.recount(known.total or 0, endpoint.cost(known))
        for usage in call.failed:
            self.budget.recount(usage.total or 0, endpoint.cost(whole(usage)), calls=0)
        self._journal.write_again(self._trajectory, stored, call)
        # Advance the sample's clock by the call's recorded time too. Not at once: the other calls
        # of its batch were made at the same moment.
        asyncio.get_running_loop().call_soon(self._catch_up, call.times.end)
        if not self._stored.unused:
            self._start_clock()
        self.calls.append(call)
        if call.error is not None:
            raise error_of(call)
        return call

    async def _send(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        sampling: Sampling,
        request: str,
        draft: Call,
        *,
        closing: bool,
    ) -> Call:
        self._journal.check()
        self._start_clock()
        await check_window(endpoint.name, endpoint.window, messages, draft, self.count_tokens)
        # Before the reservation: a call cancelled here must leave no reservation.
        expected = None if endpoint.check is None else await endpoint.check.expect(messages)
        charge = await reserve(
            self.budget,
            endpoint.cost,
            messages,
            sampling.max_output_tokens,
            lambda: self.count_tokens(messages, draft.slot),
            endpoint.density,
            template=endpoint.counter == "server",
            closing=closing,
        )
        if not closing:
            charge.check_seconds(self.elapsed())

        def sending(lost: int) -> None:
            charge.attempt(lost)
            self._journal.write_sent(self._trajectory, draft, charge.each, lost + 1)

        hook = ON_SEND.set(sending)
        try:
            with guarded_client(endpoint.client):
                answered = await endpoint.client.complete(messages, sampling)
            reply = checked(answered, endpoint.client)
        except ModelError as error:
            if not error.attempts:
                self._unsend(draft, charge)
                raise
            estimate = charge.settle(error.usage, error.failed, error.lost_attempts)
            self._keep(request, failed(draft, error, self.elapsed(), estimate))
            if isinstance(limit := error.__cause__, LimitReached) and limit.scope != "sample":
                raise limit from error  # an exhausted run budget is not an outcome of the sample
            raise
        except asyncio.CancelledError as error:
            end = error if isinstance(error, CallCancelled) else CallCancelled((), 1, 1)
            if not end.attempts:
                self._unsend(draft, charge)
                raise asyncio.CancelledError from None
            estimate = charge.settle(Usage(), end.failed, end.lost_attempts)
            self._keep(request, cancelled(draft, end, self.elapsed(), estimate))
            raise asyncio.CancelledError from None  # `asyncio.timeout` needs the plain kind
        except BaseException:  # nothing was sent: the journal cannot be written
            charge.release()
            raise
        finally:
            ON_SEND.reset(hook)
        estimate = charge.settle(
            reply.usage, reply.failed, reply.lost_attempts, name=reply.model or endpoint.name
        )
        call = finished(draft, reply, self.elapsed(), estimate, keeps_raw=self.keeps_raw)
        if endpoint.check is not None and expected is not None:
            least = endpoint.check.cut(expected, reply.usage)
            if least is not None:
                call = replace(call, prompt_tokens_at_least=least)
        self._keep(request, call)
        return call

    def _unsend(self, draft: Call, charge: Charge) -> None:
        charge.release()  # nothing reached the server: no call was made
        self._journal.write_sent(self._trajectory, draft, charge.each, 0)

    def _keep(self, request: str, call: Call) -> None:
        self._journal.write(self._trajectory, request, call)
        self.calls.append(call)

    async def _encoded_prompt(self, messages: Sequence[Message], role: Role) -> Prompt:
        long = sum(len(m.content) for m in messages) > _OFF_LOOP_CHARS

        def encode() -> Prompt:
            return Prompt(tuple((m.role, self._encode(m.content, role)) for m in messages))

        return await asyncio.to_thread(encode) if long else encode()

    def _encode(self, text: str, role: Role) -> tuple[PromptPart, ...]:
        if role not in (Role.ROOT, Role.CHILD_ROOT):
            return self._index.encode(text)
        # A root's history repeats its messages every turn: encode each text once.
        parts = self._encoded.get(text)
        if parts is None:
            parts = self._encoded[text] = self._index.encode(text)
        return parts
