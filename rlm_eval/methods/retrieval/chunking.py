"""Split a context into chunks: exact spans of its canonical text, by tokens, lines or documents.

The text is not rewritten, so a chunk is a place in the context and retrieval recall is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.spans import Span
from rlm_eval.core.types import DOCUMENT_SEPARATOR, canonical_text

UNITS = ("tokens", "lines", "documents")

_TINY = 64  # characters
_TAIL = 4  # a token chunk ends at a line or word end within its last quarter, if any


def chunk_spans(
    value: str | tuple[str, ...], unit: str, size: int, overlap: int, chars_per_token: float
) -> list[Span]:
    """Spans of the canonical text of `value`, in order; blank chunks are omitted.

    `size` and `overlap` are in tokens (at the rate `chars_per_token`) or in lines; a document is
    one chunk of any length. Raises `ConfigError` where documents are requested but the context is
    one text.
    """
    check_unit(value, unit)
    if not isinstance(value, str) and unit == "documents":
        spans = _documents(value)
        text = canonical_text(value)
    else:
        text = canonical_text(value)
        if unit == "lines":
            spans = _lines(text, size, overlap)
        else:
            chars, back = (max(1, round(n * chars_per_token)) for n in (size, overlap))
            spans = _pieces(text, chars, back if overlap else 0)
    return [span for span in spans if text[span[0] : span[1]].strip()]


def check_unit(value: str | tuple[str, ...], unit: str) -> None:
    """Raise `ConfigError` where documents are requested but the context is one text."""
    if unit == "documents" and isinstance(value, str):
        raise ConfigError(
            "method.chunk_by=documents: this task's context is one text; set "
            "method.chunk_by=lines or tokens, and method.chunk_size"
        )


def _documents(value: tuple[str, ...]) -> Iterator[Span]:
    at = 0
    for document in value:
        yield at, at + len(document)
        at += len(document) + len(DOCUMENT_SEPARATOR)


def _lines(text: str, size: int, overlap: int) -> Iterator[Span]:
    starts = [0]
    while (at := text.find("\n", starts[-1])) >= 0:
        starts.append(at + 1)
    ends = [start - 1 for start in starts[1:]] + [len(text)]
    for first in range(0, len(starts), size - overlap):
        last = min(first + size, len(starts)) - 1
        yield starts[first], ends[last]
        if last == len(starts) - 1:
            return


def _pieces(text: str, chars: int, overlap: int) -> Iterator[Span]:
    start = 0
    while start < len(text):
        end = _cut(text, start, start + chars)
        yield start, end
        if end == len(text):
            return
        # The overlap also starts at a word, but late enough to make progress.
        back = max(end - overlap, start + 1)
        start = end if not overlap else _word_start(text, back, end)


def halves(text: str, span: Span) -> list[Span]:
    """Split the span in two, at a line or word end if possible; return a tiny span unchanged."""
    start, end = span
    if end - start < _TINY:
        return [span]
    middle = _cut(text, start, (start + end) // 2)
    return [(start, middle), (middle, end)]


def _cut(text: str, start: int, end: int) -> int:
    """`end`, or a line or word end shortly before it."""
    if end >= len(text):
        return len(text)
    earliest = end - (end - start) // _TAIL
    for mark in ("\n", " "):
        at = text.rfind(mark, earliest, end)
        if at > start:
            return at + 1
    return end


def _word_start(text: str, at: int, end: int) -> int:
    """The first word start in `text[at:end]`, otherwise `at`."""
    space = text.find(" ", at - 1, end)
    return space + 1 if 0 <= space < end - 1 else at
