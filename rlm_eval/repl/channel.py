"""The worker's end of the channel: frames that no interrupt can tear, shared by its threads.

One descriptor serves all threads of the model's code. There is no reader thread (it would cost a
switch per message): a thread that waits for a frame reads for all (leader and followers).
Interrupts (SIGINT) are raised only in the model's own code or while waiting, never while a frame is
half read or half written.
"""

from __future__ import annotations

import _thread
import os
import select
from contextlib import suppress
from os import read, writev
from typing import Any

from rlm_eval.repl import wire
from rlm_eval.repl.wire import HEAD, Op

_CHUNK = 1 << 18


class Interrupted(KeyboardInterrupt):
    """A limit of the block was reached; variables assigned so far are kept."""

    __module__ = "builtins"  # shown by this name, without the scaffold's


class _Slot:
    """A place where a waiting thread finds its frame."""

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        self.lock.acquire()
        self.frame: tuple[int, int, Any] | None = None

    def wake(self) -> None:
        with suppress(RuntimeError):  # already awake
            self.lock.release()


class Channel:
    """Framed, thread-safe, interruptible only between frames."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        self._fd = fd
        self.max_bytes = max_bytes
        self._buffer = bytearray()
        self._outbox = wire.Outbox()
        self._reading = _thread.allocate_lock()
        self._writing = _thread.allocate_lock()
        self._slots: dict[int, _Slot] = {}
        self._requests = _Slot()
        self._inbox: list[tuple[int, int, Any]] = []
        self._calls = 0
        self._main = _thread.get_ident()
        self._masked = 0
        self._waiting = False
        self._pending = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.running = False

    # -- interrupts: only the main thread gets them

    def on_signal(self, *_: object) -> None:
        """Handle SIGINT: raise where no operation is half done, else remember it."""
        if not self.running:
            return
        if self._masked and not self._waiting:
            self._pending = True
        else:
            raise Interrupted

    def mask(self) -> None:
        """Block interrupts, in the main thread."""
        if _thread.get_ident() == self._main:
            self._masked += 1

    def unmask(self) -> None:
        """Allow interrupts again; one that arrived meanwhile is raised here."""
        if _thread.get_ident() == self._main:
            self._masked -= 1
            if self._pending and not self._masked:
                self._pending = False
                if self.running:
                    raise Interrupted

    def _interruptible(self, wait: Any) -> None:
        if _thread.get_ident() != self._main:
            wait()
            return
        self._waiting = True
        try:
            if self._pending:
                self._pending = False
                if self.running:
                    raise Interrupted
            wait()
        finally:
            self._waiting = False

    # -- frames

    def send(self, op: Op, number: int, value: Any) -> None:
        """Write one frame. Raises `WireError` where the value cannot or may not be sent."""
        frame = wire.pack(op, number, value)
        wire.check(frame, value, self.max_bytes)
        self.mask()
        try:
            with self._writing:
                outbox = self._outbox
                outbox.add(frame)
                while outbox:
                    outbox.wrote(writev(self._fd, outbox.buffers()))
        except OSError:
            os._exit(71)  # the host is gone, or the code closed the channel
        finally:
            self.unmask()

    def request(self) -> tuple[int, int, Any]:
        """Wait for the host's next order and return it."""
        self.mask()
        try:
            while not self._inbox:
                self._wait(self._requests)
            return self._inbox.pop(0)
        finally:
            self._pending = False
            self.unmask()

    def call(self, name: str, args: Any, kwargs: Any) -> tuple[int, int, Any]:
        """Send a call to the host and wait for the answering frame."""
        self.mask()
        slot = _Slot()
        try:
            with self._writing:
                self._calls += 1
                number = self._calls
            self._slots[number] = slot
            try:
                self.send(Op.CALL, number, [name, args, kwargs])
                while slot.frame is None:
                    self._wait(slot)
                return slot.frame
            finally:
                del self._slots[number]
                self._hand_over()
        finally:
            self.unmask()

    def _wait(self, slot: _Slot) -> None:
        """Read frames for all threads, or sleep until the reading thread hands over."""
        if not self._reading.acquire(False):
            self._interruptible(slot.lock.acquire)
            return
        try:
            while slot.frame is None and not (slot is self._requests and self._inbox):
                self._interruptible(self._poll.poll)
                self._read()
        finally:
            self._reading.release()
            self._hand_over()

    def _hand_over(self) -> None:
        """Wake a thread that still waits, so that one always reads."""
        for slot in list(self._slots.values()):
            if slot.frame is None:
                slot.wake()
                return
        if _thread.get_ident() != self._main:
            self._requests.wake()

    def _read(self) -> None:
        data = read(self._fd, _CHUNK)
        if not data:
            os._exit(0)
        buffer = self._buffer
        try:
            buffer += data
        except MemoryError:
            os._exit(72)  # bytes are lost: no frame after this one can be read
        while len(buffer) >= HEAD.size:
            op, number, json_bytes, n_texts, body = HEAD.unpack_from(buffer)
            end = HEAD.size + body
            if len(buffer) < end:
                return
            with memoryview(buffer) as view, view[HEAD.size : end] as part:
                value = wire.unpack(json_bytes, n_texts, part)
            del buffer[:end]
            if op in (Op.REPLY, Op.RAISE):
                waiting = self._slots.get(number)
                if waiting is not None:  # else it was interrupted: the reply comes too late
                    waiting.frame = (op, number, value)
                    waiting.wake()
            else:
                self._inbox.append((op, number, value))
                self._requests.wake()
