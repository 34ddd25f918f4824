"""One REPL on the host: runs blocks, serves their calls, replaces a lost worker.

Implements the order of events that `interface.Repl` promises; `host.py` handles the bytes.

Effect of a lost worker on its block: `losses.py`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rlm_eval.core.errors import ReplCrash, ReplUnavailable
from rlm_eval.repl.blocks import INTERRUPTED, Binding, Block, checked, result, value_of, why
from rlm_eval.repl.calls import Calls
from rlm_eval.repl.host import BlockClock, Connection, Frame, Idle, Link
from rlm_eval.repl.interface import (
    JSON,
    BlockResult,
    HostFunction,
    ReplConfig,
    ReplValueError,
    Value,
)
from rlm_eval.repl.losses import LOSSES, OWN_LOSSES, Losses, Lost
from rlm_eval.repl.wire import Op, WireError

_LOG = logging.getLogger(__name__)
_START_SECONDS = 120.0
_END_SECONDS = 10.0
_STARTS = 6
_RETRY_SECONDS = 0.1  # doubled each time


class WorkerRepl:
    """`interface.Repl` over workers that `launch` starts."""

    def __init__(
        self,
        config: ReplConfig,
        launch: Callable[[], Awaitable[Link]],
        functions: Mapping[str, HostFunction],
        variables: Mapping[str, JSON],
    ) -> None:
        self._config = config
        self._launch = launch
        self._functions = functions
        self._log: list[Block | Binding] = [Binding(k, v) for k, v in variables.items()]
        self._link: Link | None = None
        self._connection: Connection | None = None
        self._orders = 0
        self._reply: asyncio.Future[Any] | None = None
        self._calls: Calls | None = None
        self._starting = False
        self._clock: BlockClock | None = None
        self._fatal: Exception | None = None
        self._idle = Idle()
        self._busy = ""
        self._closed = False

    # -- what methods use

    async def run(self, code: str) -> BlockResult:
        """See `interface.Repl.run`."""
        with self._alone("run"):
            await self._ensure()
            block = Block(code)
            try:
                found = await self._run(block)
            except ReplUnavailable:
                # The sample is run again and replays the paid calls from the journal.
                await block.end_calls(wait=True)
                raise
            finally:
                await block.end_calls()
            return found

    async def _run(self, block: Block) -> BlockResult:
        diverged, losses = False, Losses()
        while True:
            try:
                done, clock = await self._run_block(block)
                break
            except Lost as lost:
                self._raise_fatal()
                clock, error = self._last_clock, self._last_clock.reached or "worker_lost"
                if losses.blame(lost):
                    await block.end_calls()
                    return await self._lost_result(block, clock, error, str(lost))
                if lost.killed:  # with a fork server many are lost at once: it logs its restart
                    _LOG.warning(
                        "a REPL worker was killed from outside (by the kernel, for memory?): its "
                        "block runs again"
                    )
                diverged |= await self._restore()
                self._raise_fatal()
                block.begin_again()
        self._log.append(block)
        self._raise_fatal()
        await block.end_calls()
        return result(block, done, clock, self._config, diverged=diverged or block.has_unasked)

    async def _lost_result(
        self, block: Block, clock: BlockClock, error: str, told: str
    ) -> BlockResult:
        wall, waited = clock.wall(), clock.waited()
        diverged = await self._restore()
        reason = why(error, self._config) or told
        text = f"{error}: {reason}; its process is gone, all variables are as before it.\n"
        return BlockResult(
            "", 0, text, len(text), error, None, wall, waited, block.calls, block.failed,
            {}, None, restored=True, diverged=diverged,
        )  # fmt: skip

    async def get(self, name: str) -> Value | None:
        """See `interface.Repl.get`."""
        with self._alone("get"):
            await self._ensure()
            losses = Losses()
            while True:
                try:
                    done = await self._order(Op.GET, name)
                    break
                except Lost as lost:
                    await self._restore()
                    if losses.blame(lost):
                        what = f"{name}: its str() ended the worker: {lost}"
                        raise ReplValueError(what) from None
            if not isinstance(done, dict):
                raise ReplValueError(f"{name}: the worker described it in a way that cannot be")
            if not done.get("found"):
                return None
            if done.get("error"):
                raise ReplValueError(f"{name}: {done.get('message')}")
            return value_of(done.get("value"))

    async def set(self, name: str, value: JSON) -> None:
        """See `interface.Repl.set`."""
        with self._alone("set"):
            await self._ensure()
            self._log.append(Binding(name, value))
            try:
                await self._order(Op.SET, [name, value])
            except Lost:
                await self._restore()

    @contextmanager
    def _alone(self, operation: str) -> Iterator[None]:
        """Raise RuntimeError where another operation is in progress: frames would be mixed up."""
        if self._busy:
            raise RuntimeError(
                f"this REPL is in the middle of {self._busy}(): await it before {operation}(), or "
                "open another REPL"
            )
        self._busy = operation
        try:
            yield
        finally:
            self._busy = ""

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    # -- starting, restoring, ending

    async def start(self) -> None:
        """Start a worker with the variables of the log so far.

        Raises `ReplUnavailable`; `ReplCrash` where the variables themselves end it.
        """
        await self._restore()

    async def _start(self) -> None:
        """Start a new worker. Raises `ReplUnavailable`: no code of the model has run in it."""
        try:
            self._link = link = await self._launch()
        except OSError as error:
            raise ReplUnavailable(f"a REPL worker cannot be started: {error}") from error
        ready = self._expect()
        self._starting = True
        self._idle = Idle()
        self._connection = Connection(
            link.sock, self._config.message_mb << 20, self._on_frame, self._on_lost
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                found = await ready
        except (Lost, TimeoutError) as error:
            code = await self._reap()
            raise ReplUnavailable(f"a REPL worker did not start (exit {code}): {error}") from None
        finally:
            self._starting = False
        if isinstance(found, dict) and found.get("error"):
            await self._reap()
            raise ReplUnavailable(f"a REPL worker did not start: {found['error']}")

    async def _ensure(self) -> None:
        """Replace a worker that died between blocks (out of memory, killed from outside)."""
        self._fatal = None
        if self._connection is None or self._connection.lost is not None:
            await self._restore()

    async def _restore(self) -> bool:
        """Start a new worker with the state of the log. Return true if a block ran differently.

        Raises `ReplCrash` where the code itself ends it while the log is run again,
        `ReplUnavailable` where the machine does.
        """
        own = outside = failed = 0
        while True:
            await self._reap()
            if self._closed:
                raise ReplCrash("the REPL is closed")
            try:
                await self._start()
            except ReplUnavailable:
                failed += 1
                if failed == _STARTS:
                    raise
                await asyncio.sleep(_RETRY_SECONDS * 2 ** (failed - 1))
                continue
            try:
                return await self._run_log()
            except Lost as lost:
                own += lost.is_own
                outside += not lost.is_own
                error = f"a REPL's state could not be made again after its worker was lost: {lost}"
                if own == OWN_LOSSES:
                    await self._reap()
                    raise ReplCrash(error) from None
                if outside == LOSSES:
                    await self._reap()
                    raise ReplUnavailable(f"{error}, {lost.how}") from None

    async def _run_log(self) -> bool:
        diverged = False
        for entry in self._log:
            if isinstance(entry, Binding):
                await self._order(Op.SET, [entry.name, entry.value])
                continue
            again = entry.replay()
            await self._run_block(again)
            diverged |= entry.interrupted or again.trace != entry.trace
        return diverged

    async def _reap(self) -> int | None:
        """End the worker and wait until it is gone."""
        self._idle.cancel()
        link, self._link = self._link, None
        if self._connection is not None:
            self._connection.drop("ended by the host")
        if link is None:
            return None
        link.signal(signal.SIGKILL)
        try:
            async with asyncio.timeout(_END_SECONDS):
                return await link.ended()
        except TimeoutError:
            return None

    async def close(self) -> None:
        """End the REPL permanently."""
        self._closed = True
        await self._reap()

    # -- orders and frames

    def _expect(self) -> asyncio.Future[Any]:
        self._reply = asyncio.get_running_loop().create_future()
        return self._reply

    async def _run_block(self, block: Block) -> tuple[dict[str, Any], BlockClock]:
        claimed = await self._order(Op.RUN, block.code, block)
        clock, connection = self._last_clock, self._connection
        assert connection is not None
        try:
            done = checked(claimed)
        except WireError as error:
            connection.drop(f"the worker reported a result that cannot be: {error}")
            raise Lost(connection.lost) from None
        block.interrupted = done["error"] == INTERRUPTED
        out, err = done["stdout"], done["stderr"]
        block.trace = (done["error"], hash(out[0]), hash(err[0]))
        return done, clock

    async def _order(self, op: Op, value: Any, block: Block | None = None) -> Any:
        """Send an order and wait for its end under the block's limits. Raises `Lost`."""
        link, connection = self._link, self._connection
        assert link is not None
        assert connection is not None
        self._idle.end(link)
        reply = self._expect()
        self._orders += 1
        # A block that ended in time must end again, even on a machine that is busier now.
        patience = 3 if block and block.is_replay and not block.interrupted else 1
        self._last_clock = self._clock = clock = BlockClock(
            link,
            seconds=self._config.block_seconds * patience,
            cpu_seconds=self._config.block_cpu_seconds,
            grace=self._config.interrupt_grace_seconds,
            interrupt=lambda: link.signal(signal.SIGINT),
            kill=lambda: connection.drop("it did not end when interrupted"),
            cpu_began=self._idle.cpu_seconds,
        )
        calls = None
        if block is not None:
            calls = self._calls = Calls(self._functions, block, connection, clock, self._end_by)
        connection.send(op, self._orders, value)
        finished = False
        try:
            done = await reply
            finished = True
        except Lost as lost:
            clock.close()
            if connection.by_peer:
                await lost.find_out(link)
            raise
        finally:
            clock.close()
            self._clock = self._calls = None
            if not finished:
                connection.drop("abandoned")  # still running: no longer usable
        self._idle.begin(link, at_once=isinstance(done, dict) and bool(done.get("threads")))
        if calls is not None:
            calls.end()
        return done

    def _end_by(self, error: Exception) -> None:
        """Record a host function's error that the model must not see: `run` raises it."""
        self._fatal = self._fatal or error
        if self._clock is not None:
            self._clock.stop("stopped")

    def _on_lost(self, why: str) -> None:
        waiting = self._reply is not None and not self._reply.done()
        if self._link is not None:
            # Where a channel broke during a block, the way the worker ends shows the cause: one
            # that is about to end cannot be stopped, one that continues must not run unmetered.
            in_block = waiting and self._connection is not None and self._connection.by_peer
            self._link.signal(signal.SIGSTOP if in_block else signal.SIGKILL)
        if self._reply is not None and waiting:
            self._reply.set_exception(Lost(why))

    def _on_frame(self, frame: Frame) -> None:
        op, number, value, mark = frame
        if op == Op.CALL:
            if self._calls is not None:
                self._calls.take(number, value, mark)
            elif self._connection is not None:
                self._connection.send(Op.RAISE, number, ["error", "no block is running", None])
        elif self._reply is None or self._reply.done():
            return  # an end that no task waits for
        elif (op == Op.READY and self._starting) or (op == Op.DONE and number == self._orders):
            self._reply.set_result(value)
        else:
            raise WireError(f"operation {op} with id {number}")
