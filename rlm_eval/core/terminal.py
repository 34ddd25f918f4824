"""Text of a model, or with such text in it, on its way to a terminal.

A terminal obeys what it is sent: escape sequences move the cursor, set the window's title or fill
the clipboard, a carriage return overwrites what was there, direction marks reorder it.
"""

from __future__ import annotations

import re

_OBEYED = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff]"
)


def printable(text: object) -> str:
    """`str(text)` with what a terminal would obey, or cannot encode, written as `\\u001b`.

    Line ends and tabs stay. The form is that of JSON: a line of JSON keeps its meaning.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))
