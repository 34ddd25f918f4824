"""Prompts as slices: which part of a stored text a prompt repeats, exactly.

Every maximal run of `MIN_RUN` characters or more that also stands in the source becomes a place
in it; the rest stays literal text. Decoding gives back the very same string. A run that stands in
the source more than once is put at the nearest place after the previous one. The search is
rsync's idea: hashes of aligned blocks of the source, looked up for every window of the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rlm_eval.types import PromptPart, Slice

MIN_RUN = 32
"""Shorter repeats are chance (a word, a number) and stay literal."""

_BLOCK = 16  # a run of MIN_RUN - 1 characters always holds one aligned block of this size
_CHUNK = 1 << 20  # characters hashed at once: bounds the memory of indexing a 40 MB text
_FIRST_BATCH = 64  # windows looked up at once after a run; doubled while nothing is found
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
        # Most windows of a text stand nowhere in the source: 16 bits a block tell it without the
        # search in the sorted hashes, which misses the processor's caches.
        width = max(10, (16 * len(blocks)).bit_length())
        self._shift = np.uint64(64 - width)
        flags = np.zeros(1 << width, dtype=np.bool_)
        flags[self._hashes >> self._shift] = True
        self._filter = np.packbits(flags, bitorder="little")

    def encode(self, text: str) -> tuple[PromptPart, ...]:
        """`text` as literals and slices of this source; joined they give `text`."""
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
        while at <= len(text) - _BLOCK:
            hashes = _window_hashes(text[at : at + size + _BLOCK - 1])
            hits = self._hits(hashes)
            number = 0
            while number < len(hits):
                run = self._run_at(text, at, hashes, hits, number, done, after)
                if run is None:
                    number += 1
                    continue
                start, place, length = run
                if start > done:
                    parts.append(text[done:start])
                parts.append(Slice(self.name, place, place + length))
                done, after = start + length, place + length
                number = bisect_left(hits, done - at, number)
            at += len(hashes)
            # A run far beyond the batch: what was hashed for nothing must not grow. Else look at
            # more at once, as many short runs or none at all are ahead.
            size = _FIRST_BATCH if done > at + 4 * size else min(size * 2, _CHUNK)
            at = max(at, done)
        if done < len(text):
            parts.append(text[done:])
        return tuple(parts)

    def _hits(self, hashes: _Hashes) -> list[int]:
        """Offsets of the windows whose hash some block of the source has."""
        bits = hashes >> self._shift
        maybe = np.flatnonzero(
            (self._filter[bits >> _EIGHTH] >> (bits & _SEVEN).astype(np.uint8)) & 1
        )
        nearest = np.searchsorted(self._hashes, hashes[maybe])
        nearest[nearest == len(self._hashes)] = 0
        found: list[int] = maybe[self._hashes[nearest] == hashes[maybe]].tolist()
        return found

    def _run_at(
        self,
        text: str,
        at: int,
        hashes: _Hashes,
        hits: list[int],
        number: int,
        floor: int,
        after: int,
    ) -> _Run | None:
        """The run of `MIN_RUN` characters or more through a hit window; the batch starts at `at`.

        Every place that repeats it has an aligned block within the `_BLOCK` windows behind its
        first hit: of these the longest run wins, then the nearest that ends behind `after`, then
        the first of all. Nothing of the text before `floor` is taken.
        """
        runs: set[_Run] = set()
        for hit in hits[number : number + _BLOCK]:
            if hit >= hits[number] + _BLOCK:
                break
            runs |= set(self._runs(text, at + hit, hashes[hit], floor, after))
        return max(runs, key=lambda r: (r[2], r[1] + r[2] > after, -r[1]), default=None)

    def _runs(
        self, text: str, at: int, window: np.uint64, floor: int, after: int
    ) -> Iterator[_Run]:
        """Runs through the window at `at`: at the next place behind `after`, and at the first."""
        low = int(self._hashes.searchsorted(window, side="left"))
        if low + 1 < len(self._hashes) and self._hashes[low + 1] == window:
            high = int(self._hashes.searchsorted(window, side="right"))
            places = self._places[low:high]  # ascending: the sort is stable
            next_place = int(places.searchsorted(after))
        else:
            places, next_place = self._places[low : low + 1], 0
        for index in {next_place, 0}:
            if index >= len(places):
                continue
            place = int(places[index])
            if self.text[place : place + _BLOCK] != text[at : at + _BLOCK]:
                continue  # a hash collision
            back = _common_suffix(text, at, self.text, place, at - floor)
            ahead = _common_prefix(text, at, self.text, place)
            if back + ahead >= MIN_RUN:
                yield at - back, place - back, back + ahead


def decode(parts: tuple[PromptPart, ...], source: str) -> str:
    """The text that `SourceIndex.encode` was given."""
    return "".join(p if isinstance(p, str) else source[p.start : p.end] for p in parts)


def _common_prefix(a: str, i: int, b: str, j: int) -> int:
    """Length of the longest common prefix of `a[i:]` and `b[j:]`, by galloping."""
    limit = min(len(a) - i, len(b) - j)
    length, step = 0, 256
    while length < limit:
        size = min(step, limit - length)
        if a[i + length : i + length + size] == b[j + length : j + length + size]:
            length += size
            step *= 2
        elif size == 1:
            break
        else:
            step = max(size // 2, 1)
            limit = min(limit, length + size)
    return length


def _common_suffix(a: str, i: int, b: str, j: int, most: int) -> int:
    """Length of the longest common suffix of `a[:i]` and `b[:j]`, `most` characters at most."""
    limit = min(i, j, most)
    length = 0
    while length < limit and a[i - length - 1] == b[j - length - 1]:
        length += 1
    return length
