"""Text that UTF-8 can encode. The code of a model can make lone surrogates, which it cannot.

Logs keep them as they are. Tables, exports and pages show `?` in their place.
"""

from __future__ import annotations

from typing import Any


def whole_text(value: Any) -> Any:
    """Return a JSON value with every lone surrogate replaced by `?`.

    Other values, and the entries of a tuple, stay as they are.
    """
    if isinstance(value, str):
        return value if _is_whole(value) else value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [whole_text(one) for one in value]
    if isinstance(value, dict):
        return {whole_text(name): whole_text(one) for name, one in value.items()}
    return value


def _is_whole(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
