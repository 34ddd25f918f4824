"""Parser of server-sent events (html.spec.whatwg.org, server-sent events).

Line ends of three kinds, comments, a byte order mark, data over several lines. Common deviations of
servers are accepted: JSON objects on adjacent `data:` lines without a blank line between them, and
plain JSON in place of a stream. Not covered: event names, ids, reconnection.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

import orjson

BOM = b"\xef\xbb\xbf"
BEGINNINGS = (b"data:", b"event:", b": ", b"id:", b"retry:")
_NO_FIELD = (b"{", b"[", b'"', b"<")
"""First bytes of JSON and web pages, but of no event field: the body's end ends them."""
_FIELDS = (b"data", b"error")
"""Fields that hold an event; old servers of llama.cpp send their errors as a field of that name."""


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each event. A body that is no stream is one event."""
    lines: list[bytes] = []
    buffer, first = b"", True
    async for chunk in chunks:
        buffer += chunk
        if first and len(buffer) >= len(BOM):
            buffer, first = buffer.removeprefix(BOM), False
        if buffer.lstrip()[:1] in _NO_FIELD and not lines:
            continue
        *whole, buffer = _split(buffer)
        for line in whole:
            if line:
                lines += _data(line)
            elif lines:
                yield b"\n".join(lines)
                lines = []
    rest = buffer.strip()
    lines += [rest] if rest[:1] in _NO_FIELD else _data(rest)
    if lines:
        yield b"\n".join(lines)


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
    """Return the JSON texts of an event: one, or several on separate lines."""
    if b"\n" not in data:
        return [data]
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return [line for line in data.split(b"\n") if line.strip()]
    return [data]
