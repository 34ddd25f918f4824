"""Makes text that a model may have written safe to print on a terminal.

A terminal executes control characters: escape sequences move the cursor, set the window's title or
fill the clipboard, a carriage return overwrites printed text, direction marks reorder it.
"""

from __future__ import annotations

import re

_OBEYED = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff]"
)


def printable(text: object) -> str:
    """Return `str(text)` with control and unencodable characters written as `\\u001b`.

    Line ends and tabs stay. The format is that of JSON: a line of JSON keeps its meaning.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))
