"""One REPL on the host: runs blocks, serves their calls, replaces a lost worker.

Follows the order of things that `interface.Repl` promises; the bytes are `host.py`'s business.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rlm_eval.errors import ReplCrash
from rlm_eval.repl.host import MAX_IN_FLIGHT, BlockClock, Connection, Frame, Link
from rlm_eval.repl.interface import (
    JSON,
    BlockResult,
    HostFunction,
    ReplCallError,
    ReplConfig,
    ReplValueError,
    Value,
)
from rlm_eval.repl.record import (
    INTERRUPTED,
    Binding,
    Block,
    Reply,
    result,
    text_of,
    value_of,
    why,
)
from rlm_eval.repl.wire import Op, WireError

_START_SECONDS = 120.0
_END_SECONDS = 10.0
_RESTORE_ATTEMPTS = 3


class _Lost(Exception):
    """The worker is gone."""


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
        self._block: Block | None = None
        self._replay: dict[tuple[int, int], deque[Reply | None]] | None = None
        self._again: Block | None = None
        self._starting = False
        self._clock: BlockClock | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._fatal: BaseException | None = None
        self._asleep = False
        self._closed = False

    # -- what methods use

    async def run(self, code: str) -> BlockResult:
        """See `interface.Repl.run`."""
        await self._ensure()
        block = Block(code)
        try:
            done, clock = await self._run_block(block)
        except _Lost as lost:
            clock, error = self._last_clock, self._last_clock.reached or "worker_lost"
            wall, waited = clock.wall(), clock.waited()
            reason = why(error, self._config) or str(lost)
            if self._fatal is not None:
                raise self._fatal from None
            diverged = await self._restore()
            text = f"{error}: {reason}; its process is gone, all variables are as before it.\n"
            return BlockResult(
                "", 0, text, len(text), error, None, wall, waited, block.calls, block.failed,
                {}, None, restored=True, diverged=diverged,
            )  # fmt: skip
        self._log.append(block)
        if self._fatal is not None:
            raise self._fatal
        return result(block, done, clock, self._config)

    async def get(self, name: str) -> Value | None:
        """See `interface.Repl.get`."""
        await self._ensure()
        try:
            done = await self._order(Op.GET, name)
        except _Lost as lost:
            await self._restore()
            raise ReplValueError(f"{name}: its str() ended the worker: {lost}") from None
        if not done.get("found"):
            return None
        if done.get("error"):
            raise ReplValueError(f"{name}: {done.get('message')}")
        return value_of(done.get("value"))

    async def set(self, name: str, value: JSON) -> None:
        """See `interface.Repl.set`."""
        await self._ensure()
        self._log.append(Binding(name, value))
        try:
            await self._order(Op.SET, [name, value])
        except _Lost:
            await self._restore()

    # -- starting, restoring, ending

    async def start(self) -> None:
        """A worker with the variables of the log so far. Raises `ReplCrash`."""
        await self._restore()

    async def _start(self) -> None:
        self._link = link = await self._launch()
        ready = self._expect()
        self._starting = True
        self._connection = Connection(
            link.sock, self._config.message_mb << 20, self._on_frame, self._on_lost
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await ready
        except (_Lost, TimeoutError) as error:
            code = await self._reap()
            raise ReplCrash(f"a REPL worker did not start (exit {code}): {error}") from None
        finally:
            self._starting = False

    async def _ensure(self) -> None:
        """The worker may have died between blocks (out of memory, killed from outside)."""
        if self._closed:
            raise ReplCrash("the REPL is closed")
        if self._connection is None or self._connection.lost is not None:
            await self._restore()
        self._fatal = None

    async def _restore(self) -> bool:
        """A new worker with the state of the log. True where a block ran differently.

        Raises `ReplCrash` where the log cannot be run again.
        """
        for attempt in range(_RESTORE_ATTEMPTS):
            await self._reap()
            try:
                await self._start()
                return await self._run_log()
            except _Lost as lost:
                # It may have been killed from outside (memory) once more; what the code does
                # itself, it does again.
                if attempt + 1 == _RESTORE_ATTEMPTS:
                    await self._reap()
                    raise ReplCrash(
                        f"a REPL's state could not be made again after its worker was lost: {lost}"
                    ) from None
        raise AssertionError

    async def _run_log(self) -> bool:
        diverged = False
        for entry in self._log:
            if isinstance(entry, Binding):
                await self._order(Op.SET, [entry.name, entry.value])
                continue
            again, self._again = Block(entry.code), entry
            self._replay = {key: deque(replies) for key, replies in entry.replies.items()}
            try:
                await self._run_block(again)
            finally:
                self._replay = self._again = None
            diverged |= entry.interrupted or again.trace != entry.trace
        return diverged

    async def _reap(self) -> int | None:
        """End the worker and wait until it is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        """End it for good."""
        self._closed = True
        await self._reap()

    # -- orders and frames

    def _expect(self) -> asyncio.Future[Any]:
        self._reply = asyncio.get_running_loop().create_future()
        return self._reply

    async def _run_block(self, block: Block) -> tuple[dict[str, Any], BlockClock]:
        self._block = block
        done = await self._order(Op.RUN, block.code)
        clock = self._last_clock
        block.interrupted = done.get("error") == INTERRUPTED
        out, err = done["stdout"], done["stderr"] = text_of(done, "stdout"), text_of(done, "stderr")
        block.trace = (done.get("error"), hash(out[0]), hash(err[0]))
        return done, clock

    async def _order(self, op: Op, value: Any) -> dict[str, Any]:
        """Send an order and wait for its end under the block's limits. Raises `_Lost`."""
        link, connection = self._link, self._connection
        assert link is not None
        assert connection is not None
        if self._asleep:
            link.signal(signal.SIGCONT)
            self._asleep = False
        reply = self._expect()
        self._orders += 1
        self._last_clock = self._clock = BlockClock(
            link,
            seconds=self._config.block_seconds * self._patience(),
            cpu_seconds=self._config.block_cpu_seconds,
            grace=self._config.interrupt_grace_seconds,
            interrupt=lambda: link.signal(signal.SIGINT),
            kill=lambda: connection.drop("it did not end when interrupted"),
        )
        connection.send(op, self._orders, value)
        finished = False
        try:
            done = await reply
            finished = True
        finally:
            self._clock.close()
            self._clock = self._block = None
            if not finished:
                connection.drop("abandoned")  # still running: of no use any more
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)
        if not isinstance(done, dict):
            connection.drop("the worker sent a result that cannot be")
            raise _Lost(connection.lost)
        if done.get("threads"):
            # Threads that the code left running do not run while the model thinks.
            link.signal(signal.SIGSTOP)
            self._asleep = True
        return done

    def _patience(self) -> int:
        """A block that ended in time ends again, even on a machine that is busier now."""
        return 1 if self._again is None or self._again.interrupted else 3

    def _on_lost(self, why: str) -> None:
        if self._link is not None:
            self._link.signal(signal.SIGKILL)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(_Lost(why))

    def _on_frame(self, frame: Frame) -> None:
        op, number, value, mark = frame
        if op == Op.CALL:
            self._on_call(number, value, mark)
        elif self._reply is None or self._reply.done():
            return  # an end that nobody waits for
        elif (op == Op.READY and self._starting) or (op == Op.DONE and number == self._orders):
            self._reply.set_result(value)
        else:
            raise WireError(f"operation {op} with id {number}")

    def _on_call(self, number: int, value: Any, mark: tuple[int, int]) -> None:
        connection, block = self._connection, self._block
        assert connection is not None
        if block is None or self._clock is None:
            connection.send(Op.RAISE, number, ["error", "no block is running", None])
            return
        try:
            name, args, kwargs = value
            function = self._functions[name]
        except (ValueError, TypeError, KeyError):
            function = None
        if function is None or not (isinstance(args, list) and isinstance(kwargs, dict)):
            raise WireError("a call of something that is not there")
        block.calls += 1
        if self._replay is not None:
            recorded = self._replay.get(mark)
            if recorded:
                told = recorded.popleft()
                if told is not None:
                    connection.send(told[0], number, told[1])
            elif self._again is None or not self._again.interrupted:
                connection.drop(f"it asked {name} something else than the first time")
            return
        task = asyncio.get_running_loop().create_task(
            self._serve(connection, block, self._clock, number, function, args, kwargs, mark)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._tasks) >= MAX_IN_FLIGHT:
            connection.hold(True)

    async def _serve(
        self,
        connection: Connection,
        block: Block,
        clock: BlockClock,
        number: int,
        function: HostFunction,
        args: list[Any],
        kwargs: dict[str, Any],
        mark: tuple[int, int],
    ) -> None:
        """Await one host function; its result or error goes back and into the record."""
        told = block.replies.setdefault(mark, [])
        place = len(told)
        told.append(None)
        clock.call_began()
        try:
            try:
                inspect.signature(function).bind(*args, **kwargs)
            except TypeError as error:
                reply: Reply = (Op.RAISE, ["TypeError", f"{error}", None])
            else:
                reply = (Op.REPLY, await function(*args, **kwargs))
        except ReplCallError as error:
            reply = (Op.RAISE, [error.kind, str(error), error.results])
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it
            self._fatal = self._fatal or error
            clock.stop("stopped")
            return
        finally:
            clock.call_ended()
            connection.hold(False)
        block.failed += reply[0] == Op.RAISE
        try:
            connection.send(reply[0], number, reply[1])
            told[place] = reply
        except WireError as error:
            self._fatal = self._fatal or error
            clock.stop("stopped")
