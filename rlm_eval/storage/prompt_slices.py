"""Prompts as slices: the parts of a stored text that a prompt repeats exactly.

Every maximal run of `MIN_RUN` characters or more that also occurs in the source becomes a place in
it; the rest stays literal text. Decoding returns the identical string. A run that occurs in the
source more than once is put at the nearest place after the previous one, and text that continues
where the previous run ended (quoted or numbered lines) becomes its continuation. The search follows
rsync: hashes of aligned blocks of the source, looked up for every window of the text.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import PromptPart, Slice

MIN_RUN = 32
"""Shorter repeats are chance (a word, a number) and stay literal."""

_BLOCK = 16  # a run of MIN_RUN - 1 characters always holds one aligned block of this size
_CHUNK = 1 << 20  # characters hashed at once: bounds the memory of indexing a 40 MB text
_FIRST_BATCH = 64  # windows of a batch after a run; more while nothing is found
_AHEAD = 1024  # windows hashed at once at least: as fast as a batch of 64
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64

_EIGHTH, _SEVEN = np.uint64(3), np.uint64(7)

_Run = tuple[int, int, int]
"""(start in the text, start in the source, length)."""

_Hashes = npt.NDArray[np.uint64]
_powers: list[_Hashes] = []


def _power_tables(size: int) -> tuple[_Hashes, _Hashes]:
    """Powers of the multiplier and of its inverse, 0 to `size` - 1, modulo 2^64."""
    if not _powers or len(_powers[0]) < size:
        size = max(size, _CHUNK + _BLOCK)
        inverse = pow(_MULTIPLIER, -1, 1 << 64)
        _powers[:] = [_geometric(_MULTIPLIER, size), _geometric(inverse, size)]
    return _powers[0], _powers[1]


def _geometric(base: int, size: int) -> _Hashes:
    factors = np.full(size, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _window_hashes(text: str) -> _Hashes:
    """Hash of every window of `_BLOCK` characters; equal windows have equal hashes."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    powers, inverses = _power_tables(len(codes))
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    windows = sums[_BLOCK:] - sums[:-_BLOCK]
    result: _Hashes = windows * inverses[: len(windows)]
    return result


class SourceIndex:
    """One text, searchable for runs of `MIN_RUN` characters or more."""

    def __init__(self, name: str, text: str) -> None:
        """`name` becomes the slices' source: the text's hash."""
        self.name = name
        self.text = text
        hashes: list[_Hashes] = []
        for start in range(0, len(text) - _BLOCK + 1, _CHUNK):
            chunk = text[start : start + _CHUNK + _BLOCK - 1]
            if len(chunk) >= _BLOCK:
                hashes.append(_window_hashes(chunk)[::_BLOCK])
        blocks = np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)
        order = np.argsort(blocks, kind="stable")
        self._hashes = blocks[order]
        self._places = (order * _BLOCK).astype(np.int64)
        # Most windows of a text do not occur in the source: two flags among 16 bits per block show
        # this without the search in the sorted hashes, which misses the processor's caches.
        width = max(10, (16 * len(blocks)).bit_length())
        self._first, self._second = np.uint64(64 - width), np.uint64(max(0, 64 - 2 * width))
        self._mask = np.uint64((1 << width) - 1)
        flags = np.zeros(1 << width, dtype=np.bool_)
        flags[blocks >> self._first] = True
        flags[(blocks >> self._second) & self._mask] = True
        self._filter = np.packbits(flags, bitorder="little")

    def encode(self, text: str) -> tuple[PromptPart, ...]:
        """Encode `text` as literals and slices of this source; joined they give `text`."""
        if len(text) < MIN_RUN or not len(self._hashes):
            return (text,) if text else ()
        if len(self.text) >= MIN_RUN and (at := text.find(self.text)) >= 0:
            # The whole source inside the prompt: plain long context. Hashing it would be slow.
            whole = Slice(self.name, 0, len(self.text))
            before, after = text[:at], text[at + len(self.text) :]
            return (*self.encode(before), whole, *self.encode(after))
        return self._encode_runs(text)

    def _encode_runs(self, text: str) -> tuple[PromptPart, ...]:
        parts: list[PromptPart] = []
        done = 0  # text[:done] is encoded
        after = 0  # where the previous slice ended
        at, size = 0, _FIRST_BATCH
        first = end = 0  # the windows of text[first:end] are looked up
        while at <= len(text) - _BLOCK:
            if min(at + size, len(text)) > end:
                first, end = at, at + max(size, _AHEAD)
                known = self._hits(_window_hashes(text[first : end + _BLOCK - 1]))
            batch = slice(*(bisect_left(known[0], edge - first) for edge in (at, at + size)))
            hits, lows = known[0][batch], known[1][batch]
            number = 0
            while number < len(hits):
                run = self._run_at(text, first, hits, lows, number, done, after)
                number += 1
                while run is not None:
                    start, place, length = run
                    if start > done:
                        parts.append(text[done:start])
                    parts.append(Slice(self.name, place, place + length))
                    done, after = start + length, place + length
                    run = self._onward(text, done, after)
                number = bisect_left(hits, done - first, number)
            at += size
            # A run far beyond the batch: do not hash more in vain. Otherwise look up more at once,
            # since many short runs or none at all follow.
            size = _FIRST_BATCH if done > at + 3 * size else min(size * 4, _CHUNK)
            at = max(at, done)
        if done < len(text):
            parts.append(text[done:])
        return tuple(parts)

    def _hits(self, hashes: _Hashes) -> tuple[list[int], list[int]]:
        """Return windows whose hash a block of the source has: offsets, places in sorted hashes."""
        maybe = np.flatnonzero(self._flags(hashes >> self._first))
        maybe = maybe[self._flags((hashes[maybe] >> self._second) & self._mask) != 0]
        wanted = hashes[maybe]
        nearest = self._hashes.searchsorted(wanted)
        nearest[nearest == len(self._hashes)] = 0
        found = self._hashes[nearest] == wanted
        return maybe[found].tolist(), nearest[found].tolist()

    def _flags(self, bits: _Hashes) -> npt.NDArray[np.uint8]:
        # `clip` only because it is the fastest: every index is inside.
        flags = self._filter.take((bits >> _EIGHTH).view(np.int64), mode="clip")
        found: npt.NDArray[np.uint8] = (flags >> (bits & _SEVEN).astype(np.uint8)) & np.uint8(1)
        return found

    def _onward(self, text: str, done: int, after: int) -> _Run | None:
        """Return the run that continues the source at the previous one's end, after little text."""
        head = self.text[after : after + _BLOCK]
        at = text.find(head, done, done + MIN_RUN) if len(head) == _BLOCK else -1
        return None if at < 0 else self._run(text, at, after, done)

    def _run_at(
        self,
        text: str,
        at: int,
        hits: list[int],
        lows: list[int],
        number: int,
        floor: int,
        after: int,
    ) -> _Run | None:
        """Return the run of `MIN_RUN` characters or more through a hit window; hits begin at `at`.

        Every place that repeats it has an aligned block within the `_BLOCK` windows after its first
        hit: of these the longest run wins, then the nearest that ends after `after`, then the first
        of all. Text before `floor` is not used.
        """
        runs: list[_Run] = []
        for hit, low in zip(
            hits[number : number + _BLOCK], lows[number : number + _BLOCK], strict=True
        ):
            if hit >= hits[number] + _BLOCK:
                break
            for place in self._places_of(low, after):
                # Hashes may collide; a run may be too short.
                if run := self._run(text, at + hit, place, floor):
                    runs.append(run)  # noqa: PERF401
        if len(runs) < 2:
            return runs[0] if runs else None
        return max(runs, key=lambda r: (r[2], r[1] + r[2] > after, -r[1]))

    def _places_of(self, low: int, after: int) -> list[int]:
        """Return places of the block at `low` of the sorted hashes: after `after`, and first."""
        window = self._hashes[low]
        first = int(self._places[low])
        if low + 1 == len(self._hashes) or self._hashes[low + 1] != window:
            return [first]
        high = int(self._hashes.searchsorted(window, side="right"))
        places = self._places[low:high]  # ascending: the sort is stable
        following = int(places.searchsorted(after))
        return [first] if following in (0, len(places)) else [int(places[following]), first]

    def _run(self, text: str, at: int, place: int, floor: int) -> _Run | None:
        """Return the longest run through text[at] and source[place]."""
        ahead = _common_prefix(text, at, self.text, place)
        back = _common_suffix(text, at, self.text, place, at - floor)
        return (at - back, place - back, back + ahead) if back + ahead >= MIN_RUN else None


def decode(parts: tuple[PromptPart, ...], source: str) -> str:
    """Return the text that was passed to `SourceIndex.encode`."""
    return "".join(p if isinstance(p, str) else source[p.start : p.end] for p in parts)


def _common_prefix(a: str, i: int, b: str, j: int) -> int:
    """Return the length of the common prefix of `a[i:]` and `b[j:]`: galloping, then halving."""
    limit = min(len(a) - i, len(b) - j)
    same, different = 0, min(64, limit)
    while a[i + same : i + different] == b[j + same : j + different]:
        if different == limit:
            return limit
        same, different = different, min(3 * different - 2 * same, limit)
    # a[i:][:same] is common, a[i:][:different] is not
    while different - same > 1:
        half = (same + different) // 2
        if a[i + same : i + half] == b[j + same : j + half]:
            same = half
        else:
            different = half
    return same


def _common_suffix(a: str, i: int, b: str, j: int, most: int) -> int:
    """Return the length of the common suffix of `a[:i]` and `b[:j]`, at most `most` characters."""
    limit = min(i, j, most)
    length = 0
    while length < limit and a[i - length - 1] == b[j - length - 1]:
        length += 1
    return length
