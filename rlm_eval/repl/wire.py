"""Frames between the host and a worker: a small JSON head, and every longer text as raw UTF-8.

Both sides load this file; it needs only the standard library. Nothing is ever unpickled. Raw texts
make a batch of a thousand long prompts cheap: they are never escaped or parsed.

A frame is `HEAD` (operation, id, bytes of JSON, number of texts, bytes of the whole body), then the
lengths of the texts (u64 each), the JSON, the texts. In the JSON, `{"$": 3}` is the fourth text and
`{"$": [[key, value], ...]}` a dict that plain JSON would change.
"""

from __future__ import annotations

import codecs
import json
import os
import struct
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

HEAD = struct.Struct("!BIIIQ")
_BATCH = 1 << 19
_BUFFERS = 64
DEPTH = 100
"""Most levels of nested lists and dicts that a worker may send: later readers recurse."""
_VALUE_BYTES = 64
_DICT_BYTES = 232
SHORT = 200
"""Texts up to this many characters stay in the JSON."""
_STRING = {str}
_SCALAR = (bool, int, float)
_KEY = (str, *_SCALAR, type(None))
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode


class Op(IntEnum):
    """The kind of a frame."""

    # host -> worker
    RUN = 1
    GET = 2
    SET = 3
    REPLY = 4
    RAISE = 5
    # worker -> host
    READY = 16
    DONE = 17
    CALL = 18


class WireError(ValueError):
    """Raised for a frame that no correct peer sends, or a value that cannot be sent."""


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _utf8_bytes(text: str) -> int:
    """Return the length of a long text as UTF-8, without holding all of it twice."""
    if text.isascii():
        return len(text)
    return sum(len(_utf8(text[i : i + _BATCH])) for i in range(0, len(text), _BATCH))


def _flat(value: Any, texts: list[bytes | str]) -> Any:
    """Return `value` as JSON-ready data; longer texts are moved to `texts`."""
    if isinstance(value, str):
        if len(value) <= SHORT:
            return value
        # An ASCII text has as many bytes as characters, and need not be encoded yet.
        short = len(value) <= _BATCH and not value.isascii()
        texts.append(_utf8(value) if short else value)
        return {"$": len(texts) - 1}
    if value is None or isinstance(value, _SCALAR):
        return value
    if isinstance(value, list | tuple):
        if {*map(type, value)} == _STRING and max(map(len, value)) <= SHORT:
            return value  # a batch of short texts: no work for each
        return [_flat(item, texts) for item in value]
    if isinstance(value, dict):
        if "$" not in value and {*map(type, value)} <= _STRING:
            return {key: _flat(item, texts) for key, item in value.items()}
        pairs = []
        for key, item in value.items():
            if not isinstance(key, _KEY):
                raise WireError(f"a dict key of type {type(key).__name__} is not plain data")
            pairs.append([_flat(key, texts), _flat(item, texts)])
        return {"$": pairs}
    raise WireError(f"a value of type {type(value).__name__} is not plain data")


def _restore(value: Any, texts: list[str | None]) -> Any:
    if isinstance(value, list):
        return [_restore(item, texts) for item in value]
    if isinstance(value, dict):
        if "$" not in value:
            return {key: _restore(item, texts) for key, item in value.items()}
        stands_for = value["$"]
        if isinstance(stands_for, int):
            text, texts[stands_for] = texts[stands_for], None
            if text is None:  # a short frame would become any number of long messages
                raise ValueError("a text is used twice")
            return text
        return {_restore(key, texts): _restore(item, texts) for key, item in stands_for}
    return value


def pack(op: int, number: int, value: Any) -> list[bytes | str]:
    """Return the frame as parts, to be written one after the other through an `Outbox`.

    Raises `WireError` where `value` is not plain data (None, bool, int, float, str, list, tuple,
    dict with scalar keys), RecursionError where it is nested too deeply.
    """
    texts: list[bytes | str] = []
    data = _encode(_flat(value, texts)).encode("ascii")
    if not texts:
        return [HEAD.pack(op, number, len(data), 0, len(data)) + data]
    lengths = [len(text) if isinstance(text, bytes) else _utf8_bytes(text) for text in texts]
    body = 8 * len(lengths) + len(data) + sum(lengths)
    head = HEAD.pack(op, number, len(data), len(lengths), body)
    return [head + struct.pack(f"!{len(lengths)}Q", *lengths) + data, *texts]


def store(fd: int, value: Any) -> None:
    """Write a frame into an empty file; raises as `pack`.

    The lengths are written last, so that a long text is encoded only once and never held as bytes.
    """
    texts: list[bytes | str] = []
    data = _encode(_flat(value, texts)).encode("ascii")
    outbox = Outbox()

    def flush() -> int:
        written = 0
        while outbox:
            count = os.writev(fd, outbox.buffers())
            outbox.wrote(count)
            written += count
        return written

    os.lseek(fd, HEAD.size + 8 * len(texts), os.SEEK_SET)
    outbox.add([data])
    lengths = []
    for text in texts:
        known = isinstance(text, bytes) or text.isascii()
        if not known:
            flush()
        outbox.add([text])
        lengths.append(len(text) if known else flush())
    flush()
    head = HEAD.pack(0, 0, len(data), len(texts), 8 * len(texts) + len(data) + sum(lengths))
    os.pwrite(fd, head + struct.pack(f"!{len(texts)}Q", *lengths), 0)


def size(frame: Sequence[bytes | str]) -> int:
    """Return the bytes of a frame."""
    start = frame[0]
    assert isinstance(start, bytes)
    return int(HEAD.size + HEAD.unpack_from(start)[4])


def decoded_size(data: bytes, n_texts: int) -> int:
    """Return the most bytes that JSON text takes once it is decoded; its `n_texts` texts left out.

    Counted by its punctuation, before any of it is decoded: `[],[],` becomes 26 times its size.
    """
    values, dicts = data.count(b",") + data.count(b"["), data.count(b"{")
    return len(data) + _VALUE_BYTES * (values + n_texts) + _DICT_BYTES * dicts


def check(frame: Sequence[bytes | str], value: Any, max_bytes: int, depth: int = DEPTH) -> None:
    """Raise `WireError` where the host would refuse the frame of `value`.

    Too large encoded or decoded, or nested deeper than `depth`.
    """
    if (total := size(frame)) > max_bytes:
        raise WireError(f"{total:,} bytes in one message; at most {max_bytes:,} pass")
    start = frame[0]
    assert isinstance(start, bytes)
    _, _, json_bytes, n_texts, _ = HEAD.unpack_from(start)
    at = HEAD.size + 8 * n_texts
    data = start[at : at + json_bytes]
    if decoded_size(data, n_texts) > max_bytes:
        raise WireError(
            f"one message of too many values: about {max_bytes // _VALUE_BYTES:,} numbers, short "
            "texts and lists pass at once"
        )
    if is_deep(value, data, depth):
        raise WireError(f"lists and dicts nested deeper than {depth} do not pass")


def is_deep(value: Any, data: bytes, depth: int = DEPTH) -> bool:
    """Return true if lists and dicts are nested more than `depth` deep.

    `data` is the JSON of `value`: where it has few brackets the check is skipped.
    """
    if data.count(b"[") + data.count(b"{") <= depth:
        return False
    level = [value]
    for _ in range(depth):
        inner: list[Any] = []
        for one in level:
            items = one.values() if isinstance(one, dict) else one
            inner += [item for item in items if isinstance(item, list | tuple | dict)]
        if not inner:
            return False
        level = inner
    return True


class Outbox:
    """Queue of outgoing frames. Texts become bytes when they are due, not all at once."""

    def __init__(self) -> None:
        self._parts: deque[bytes | tuple[str, int]] = deque()
        self._ready: deque[memoryview] = deque()
        self._ready_bytes = 0
        self._later = 0

    @property
    def pending(self) -> int:
        """Return the bytes still to be written; a text not encoded yet counts by its characters."""
        return self._later + self._ready_bytes

    def __bool__(self) -> bool:
        return bool(self._parts or self._ready)

    def add(self, frame: Sequence[bytes | str]) -> None:
        """Queue a frame."""
        for part in frame:
            self._later += len(part)
            if isinstance(part, bytes):
                self._parts.append(part)
            else:
                self._parts.extend((part, start) for start in range(0, len(part), _BATCH))

    def buffers(self) -> list[memoryview]:
        """Return the next buffers to write, for `writev` or `sendmsg`."""
        while self._parts and self._ready_bytes < _BATCH and len(self._ready) < _BUFFERS:
            part = self._parts.popleft()
            if isinstance(part, tuple):
                text, start = part
                text = text[start : start + _BATCH]
                self._later -= len(text)
                part = _utf8(text)
            else:
                self._later -= len(part)
            self._ready.append(memoryview(part))
            self._ready_bytes += len(part)
        return list(self._ready)

    def wrote(self, count: int) -> None:
        """Record that so many bytes of `buffers()` were written."""
        self._ready_bytes -= count
        while self._ready and count >= len(self._ready[0]):
            count -= len(self._ready.popleft())
        if count:
            self._ready[0] = self._ready[0][count:]


def unpack(json_bytes: int, n_texts: int, body: memoryview, max_bytes: int | None = None) -> Any:
    """Return the value in a frame's body.

    Raises `WireError` for an inconsistent body and, where `max_bytes` is given (the sender is not
    trusted), for one that would take more than that once decoded, or is nested deeper than `DEPTH`.
    """
    start = 8 * n_texts
    if start + json_bytes > len(body):
        raise WireError("a frame's parts are longer than the frame")
    data = bytes(body[start : start + json_bytes])
    if max_bytes is not None and decoded_size(data, n_texts) > max_bytes:
        raise WireError(f"{len(data):,} bytes of JSON and {n_texts:,} texts hold too many values")
    lengths = struct.unpack_from(f"!{n_texts}Q", body)
    if start + json_bytes + sum(lengths) != len(body):
        raise WireError("a frame's parts do not add up to its length")
    at = start + json_bytes
    texts: list[str | None] = []
    try:
        for length in lengths:
            texts.append(codecs.utf_8_decode(body[at : at + length], "surrogatepass", True)[0])
            at += length
        value = _decode(str(data, "ascii"))
        if b'"$"' in data:
            value = _restore(value, texts)
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise WireError(f"a frame cannot be read: {type(error).__name__}: {error}") from error
    if max_bytes is not None and is_deep(value, data):
        raise WireError(f"lists and dicts nested deeper than {DEPTH}")
    return value
