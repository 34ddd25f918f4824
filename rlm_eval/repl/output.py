"""Captured output of a block, and its traceback cut to the model's lines. Loaded by workers."""

from __future__ import annotations

import io
import linecache
import sys
import traceback
from collections import deque
from types import TracebackType
from typing import Any

BLOCK_FILE = "<block {}>"
_FRAMES = 12


class OutputLimit(Exception):
    """The block printed more than a block may."""

    __module__ = "builtins"


class Capture(io.TextIOBase):
    """A text sink that keeps the head and the tail of what is written, and counts all of it."""

    encoding = "utf-8"
    errors = "surrogatepass"

    def __init__(self, keep: int, limit: int) -> None:
        self._head_room = keep - keep // 2
        self._tail_room = keep // 2
        self._limit = limit
        self.buffer = _Bytes(self)
        self._reset()

    def _reset(self) -> None:
        self._head: list[str] = []
        self._head_chars = 0
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._chars = 0

    def take(self) -> tuple[str, int]:
        """What is kept, and the full length; starts anew."""
        tail = "".join(self._tail)[-self._tail_room :]
        missing = self._chars - self._head_chars - len(tail)
        mark = f"\n... [{missing:,} more characters] ...\n" if missing else ""
        text, chars = "".join(self._head) + mark + tail, self._chars
        self._reset()
        return text, chars

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stays open: the code may print again."""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._chars > self._limit:
            raise OutputLimit(f"the block printed more than {self._limit:,} characters")
        size = len(text)
        self._chars += size
        room = self._head_room - self._head_chars
        if room > 0:
            self._head.append(text[:room])
            self._head_chars += min(size, room)
            text = text[room:]
        if text:
            text = text[-self._tail_room :]
            self._tail.append(text)
            self._tail_chars += len(text)
            while self._tail_chars - len(self._tail[0]) >= self._tail_room:
                self._tail_chars -= len(self._tail.popleft())
        return size


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes are decoded and captured with the text."""

    def __init__(self, text: Capture) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._text.write(block.decode("utf-8", "replace"))
        return len(block)


def missing_package(error: ModuleNotFoundError) -> str:
    """Return a hint how to provide a missing third-party package; empty for a standard module."""
    top = str(error.name or "").split(".")[0]
    if not top.isidentifier() or top in sys.stdlib_module_names:
        return ""
    return (
        f"{top!r} is not available here: only the standard library is, and the packages that the "
        "run lists in repl.packages.\n"
    )


def remember_source(name: str, code: str) -> None:
    """Make tracebacks show the lines of a block."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)


def describe(error: BaseException, trace: TracebackType | None) -> str:
    """Return the traceback with only the model's own lines; causes and contexts likewise."""
    described = traceback.TracebackException(type(error), error, trace, compact=True)
    seen: set[int] = set()
    todo: list[traceback.TracebackException | None] = [described]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        own = [frame for frame in one.stack if frame.filename.startswith("<block ")]
        if len(own) > 2 * _FRAMES:
            own = own[:_FRAMES] + own[-_FRAMES:]
        one.stack = traceback.StackSummary.from_list(own)
        todo += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return "".join(described.format())
