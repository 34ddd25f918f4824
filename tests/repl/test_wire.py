"""Frames: what a worker's bytes may become on the host, before any of it is decoded."""

import tracemalloc

import pytest

from rlm_eval.repl import wire
from rlm_eval.repl.wire import HEAD, Op, WireError, pack, unpack

LIMIT = 1 << 20


def body(data: bytes, texts: tuple[bytes, ...] = ()) -> tuple[int, int, memoryview]:
    lengths = b"".join(len(text).to_bytes(8, "big") for text in texts)
    return len(data), len(texts), memoryview(lengths + data + b"".join(texts))


@pytest.mark.parametrize(
    "part", [b"[],", b"{},", b'{"a":{}},', b"1.5,", b'"ab",', b"[[],[]],", b'{"$":[]},', b"12345,"]
)
def test_what_is_accepted_takes_no_more_than_the_limit(part):
    """The largest frame of such parts that passes, and one of twice as many."""

    def frame(count: int):
        return body(b"[" + part * count + b"0]")

    low, high = 1, LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        try:
            unpack(*frame(middle), LIMIT)
        except WireError:
            high = middle
        else:
            low = middle
    accepted = frame(low)
    tracemalloc.start()
    value = unpack(*accepted, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(value) == low + 1
    assert peak < 1.5 * LIMIT
    refused = frame(2 * low)
    tracemalloc.start()
    with pytest.raises(WireError, match="too many values"):
        unpack(*refused, LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(refused[2]) + 10_000


@pytest.mark.parametrize(
    ("data", "texts", "why"),
    [
        (b"0", (b"",) * 20_000, "too many values"),
        (b"[" * 200 + b"]" * 200, (), "deeper"),
        (b'{"a":' * 200 + b"0" + b"}" * 200, (), "deeper"),
        (b'[{"$":0},{"$":0}]', (b"text",), "used twice"),
        (b'[{"$":0},{"$":-1}]', (b"text",), "used twice"),
        (b'{"$":[[[],1]]}', (), "cannot be read"),
        (b'{"$":1}', (b"text",), "cannot be read"),
        (b"[" * 10_000, (), "cannot be read"),
        (b"1" * 5000, (), "cannot be read"),
        (b"nonsense", (), "cannot be read"),
        (b"0", (b"\xff",), "cannot be read"),
    ],
)
def test_a_frame_that_no_worker_sends_is_refused(data, texts, why):
    with pytest.raises(WireError, match=why):
        unpack(*body(data, texts), 1 << 20)


def test_what_a_worker_may_send_arrives():
    value = {"a": [1, 2.5, None, True, "x" * 1000, "ü" * 300], 3: {"$": ["y" * 500]}}
    for _ in range(wire.DEPTH - 4):
        value = [value]
    frame = pack(Op.CALL, 1, value)
    wire.check(frame, value, LIMIT)
    joined = b"".join(part if isinstance(part, bytes) else part.encode() for part in frame)
    _, _, json_bytes, n_texts, _ = HEAD.unpack_from(joined)
    assert unpack(json_bytes, n_texts, memoryview(joined)[HEAD.size :], LIMIT) == value


@pytest.mark.parametrize("value", [[[]] * 20_000, ["x" * 201] * 6000, "x" * (LIMIT + 1)])
def test_a_worker_learns_of_it_before_it_sends(value):
    with pytest.raises(WireError, match=r"too many values|bytes in one message"):
        wire.check(pack(Op.CALL, 1, value), value, LIMIT)


def test_what_waits_to_be_written_is_counted():
    outbox = wire.Outbox()
    outbox.add(pack(Op.REPLY, 1, ["ü" * 1_000_000, "x" * 600_000, "short"]))
    assert outbox.pending >= 1_600_000
    while outbox:
        outbox.wrote(min(70_000, sum(map(len, outbox.buffers()))))
    assert outbox.pending == 0
