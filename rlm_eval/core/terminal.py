"""Terminals: makes text that a model may have written safe to print, and survives their end.

A terminal executes control characters: escape sequences move the cursor, set the window's title or
fill the clipboard, a carriage return overwrites printed text, direction marks reorder it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, TextIO

_LOG = logging.getLogger(__name__)

_OBEYED = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff]"
)


def printable(text: object) -> str:
    """Return `str(text)` with control and unencodable characters written as `\\u001b`.

    Line ends and tabs stay. The format is that of JSON: a line of JSON keeps its meaning.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


class MessageStream:
    """A text stream that discards what is written once nobody can read it; it says so once.

    A closed terminal or pipe, or a full disk, must not end a run over its messages. Otherwise like
    the stream that it replaces.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_gone = False

    def write(self, text: str) -> int:
        """Write `text`, or discard it."""
        self._unless_gone(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless nobody can read it."""
        self._unless_gone(self._stream.flush)

    def _unless_gone(self, act: Callable[[], object]) -> None:
        if self._is_gone:
            return
        try:
            act()
        except UnicodeError:  # of the text, and a `ValueError` as that of a closed file
            raise
        except (OSError, ValueError) as error:
            self._is_gone = True  # first: the warning is printed here, too
            name = getattr(self._stream, "name", "a stream")
            _LOG.warning("%s: %s; nothing more is printed there, the command goes on", name, error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
