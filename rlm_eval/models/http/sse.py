"""Parser of server-sent events (html.spec.whatwg.org, server-sent events).

Line ends of three kinds, comments, a byte order mark, data over several lines. Common deviations of
servers are accepted: JSON objects on adjacent `data:` lines without a blank line between them, and
plain JSON in place of a stream, or of one of its events. What is found never depends on how the
bytes were cut into packets. Not covered: ids, reconnection, names of events other than an error's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable

import orjson

BOM = b"\xef\xbb\xbf"
BEGINNINGS = (b"data:", b"event:", b": ", b"id:", b"retry:")
DONE = b"[DONE]"
"""The data that ends a stream."""
_NO_FIELD = (b"{", b"[", b'"', b"<")
"""First bytes of JSON and web pages, but of no event field."""
_FIELDS = (b"data", b"error")
"""Fields that hold an event; old servers of llama.cpp send their errors as a field of that name."""
_ERROR = re.compile(rb"(?:^|[._-])error$", re.IGNORECASE)
_MOST_PLAIN = 1 << 16
"""Bytes of plain JSON up to which its end is looked for, rather than the body's."""


class Failed(bytes):
    """Data of an event named `error`: an error whatever it holds, and if it is empty."""


async def events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Yield the data of each event, up to `DONE`. A body that is no stream is one event.

    Nothing after `DONE` is read: a server may leave the connection open.
    """
    parser = _Parser()
    buffer, first = bytearray(), True
    async for chunk in chunks:
        buffer += chunk
        if first and len(buffer) >= len(BOM):
            buffer, first = buffer.removeprefix(BOM), False
        if b"\n" in chunk or b"\r" in chunk:
            *whole, rest = _split(bytes(buffer))
            buffer = bytearray(rest)
            for line in whole:
                for data in parser.line(line):
                    yield data
                if parser.done:
                    return
        if buffer.endswith(DONE) and _data(bytes(buffer)) == [DONE]:  # its line end may never come
            break
    for data in parser.end(bytes(buffer)):
        yield data


class _Parser:
    """Collects lines into events."""

    def __init__(self) -> None:
        self.done = False
        """True after `DONE`."""
        self._lines: list[bytes] = []
        self._plain: list[bytes] = []
        """Lines of a JSON value, or of a web page, that no field announced."""
        self._name = b""

    def line(self, line: bytes) -> list[bytes]:
        """Return the events that this line, without its end, completes."""
        if self._plain:
            if not self._ends_plain(line):
                self._plain.append(line)
                return []
        elif line.lstrip()[:1] in _NO_FIELD:
            found = self._event()
            self._plain.append(line)
            return found
        if not line:
            return self._event()
        name, _, value = line.partition(b":")
        if name == b"event":
            found = self._event()
            self._name = value.strip()
            return found
        found = self._event() if self._plain else []
        data = _data(line)
        if data == [DONE]:
            self.done = True
            return [*found, *self._event(), DONE]
        self._lines += data
        return found

    def end(self, rest: bytes) -> list[bytes]:
        """Return the events that the body's end completes; `rest` is its last line."""
        found = [] if self.done else self.line(rest.strip())
        return found + self._event()

    def _event(self) -> list[bytes]:
        """Return the event so far, if there is one."""
        data = b"\n".join(self._plain or self._lines).strip()
        failed = bool(_ERROR.search(self._name))
        self._lines, self._plain, self._name = [], [], b""
        if failed:
            return [Failed(data)]
        return [data] if data else []

    def _ends_plain(self, line: bytes) -> bool:
        """Return true if the plain lines are whole before this one: a blank one, or a field's."""
        if line and not line.startswith(BEGINNINGS):
            return False
        text = b"\n".join(self._plain)
        if len(text) > _MOST_PLAIN:
            return False
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return True


def _split(buffer: bytes) -> list[bytes]:
    """Split into lines and an unfinished rest. A final `\r` may be half of `\r\n`: it waits."""
    held = b"\r" if buffer.endswith(b"\r") else b""
    lines = buffer.removesuffix(held).splitlines(keepends=True)
    rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
    return [line.rstrip(b"\r\n") for line in lines] + [rest + held]


def _data(line: bytes) -> list[bytes]:
    name, _, value = line.partition(b":")
    return [value.strip()] if name in _FIELDS and value.strip() else []


def objects(data: bytes) -> list[bytes]:
    """Return the JSON texts of an event: one, or several on separate lines; a web page is one."""
    if b"\n" not in data or data.startswith(b"<"):
        return [data]
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return [line for line in data.split(b"\n") if line.strip()]
    return [data]
