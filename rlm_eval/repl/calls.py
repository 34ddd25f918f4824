"""The host calls of a block: awaited, recorded, and replayed from the record in a second run.

A block runs a second time for one of two reasons. A lost worker's state is rebuilt from the blocks
before: then only the record answers. Or the machine ended the worker in the middle of this very
block: then the record answers earlier calls, a call still in flight answers when it is done, and
only new calls are made. No call is made twice.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rlm_eval.repl.blocks import Block, Mark, Recorded, Reply
from rlm_eval.repl.host import MAX_IN_FLIGHT, BlockClock, Connection
from rlm_eval.repl.interface import HostFunction, ReplCallError
from rlm_eval.repl.wire import Op, WireError

MAX_CALLS = 100_000
"""Most calls of one block: each is kept, so that the block can be run again."""
MAX_REPLY_BYTES = 1 << 30
"""Most bytes of the replies to one block, kept likewise."""

_LEFT: Reply = (Op.RAISE, ["Cancelled", "the block ended before this call was answered", None])


class Calls:
    """Serves the calls of one run of a block."""

    def __init__(
        self,
        functions: Mapping[str, HostFunction],
        block: Block,
        connection: Connection,
        clock: BlockClock,
        fail: Callable[[Exception], None],
    ) -> None:
        """`fail` receives an error that must end the block: a host function's own error."""
        self._functions = functions
        self._block = block
        self._connection = connection
        self._clock = clock
        self._fail = fail
        self._open: set[int] = set()
        """Calls without an answer."""

    def take(self, number: int, value: Any, mark: Mark) -> None:
        """Process a call frame. Raises `WireError` for an invalid one."""
        block = self._block
        try:
            name, args, kwargs = value
            function = self._functions[name]
        except (ValueError, TypeError, KeyError):
            function = None
        if function is None or not (isinstance(args, list) and isinstance(kwargs, dict)):
            raise WireError("a call of something that is not there")
        if block.calls == MAX_CALLS or block.reply_bytes > MAX_REPLY_BYTES:
            raise WireError(
                f"more than {MAX_CALLS:,} calls, or {MAX_REPLY_BYTES >> 20:,} MiB of replies, in "
                "one block"
            )
        block.calls += 1
        self._open.add(number)
        recorded = block.next(mark)
        if recorded is not None:
            self._answer_again(number, recorded)
        elif not block.is_replay:
            recorded = block.record(mark)
            self._clock.call_began()
            recorded.told = self._answer(number)
            task = asyncio.get_running_loop().create_task(
                self._serve(recorded, function, args, kwargs)
            )
            block.tasks.add(task)
            task.add_done_callback(block.tasks.discard)
            if len(block.tasks) >= MAX_IN_FLIGHT:
                self._connection.hold(True)
        elif not block.interrupted:
            self._connection.drop(f"it asked {name} something else than the first time")

    def end(self) -> None:
        """Answer what is still open at the end of the block: a thread of the model's code may wait
        for it in a later block. In a second run the same calls are answered at the same point."""
        for number in sorted(self._open):
            self._send(number, _LEFT)

    def _answer_again(self, number: int, recorded: Recorded) -> None:
        if recorded.reply is not None:
            self._send(number, recorded.reply)
        elif recorded.told is not None:  # in flight since the block's first run
            self._clock.call_began()
            recorded.told = self._answer(number)

    def _answer(self, number: int) -> Callable[[Reply | None], None]:
        """Return the callback for a call's reply, `None` where the call ended without one."""

        def answer(reply: Reply | None) -> None:
            self._clock.call_ended()
            self._connection.hold(False)
            if reply is not None and number in self._open:
                self._send(number, reply)

        return answer

    def _send(self, number: int, reply: Reply) -> None:
        self._open.discard(number)
        if self._connection.lost is None:
            self._block.failed += reply[0] == Op.RAISE
        self._block.reply_bytes += self._connection.send(reply[0], number, reply[1])

    async def _serve(
        self,
        recorded: Recorded,
        function: HostFunction,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> None:
        """Await one host function; its result or error is sent back and recorded."""
        reply: Reply | None = None
        failure: Exception | None = None
        try:
            reply = await _result(function, args, kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, `run` raises it
            failure = error
        finally:
            told, recorded.told = recorded.told, None
            assert told is not None
            try:
                told(reply)
                recorded.reply = reply
            except WireError as error:
                failure = error
        if failure is not None:
            self._fail(failure)


async def _result(
    function: Callable[..., Awaitable[Any]], args: list[Any], kwargs: dict[str, Any]
) -> Reply:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return Op.RAISE, ["TypeError", f"{error}", None]
    try:
        return Op.REPLY, await function(*args, **kwargs)
    except ReplCallError as error:
        return Op.RAISE, [error.kind, str(error), error.results]
