"""Small text tools that several methods share: reasoning set apart, prompt files in sections."""

from __future__ import annotations

import re

_CLOSED = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN = re.compile(r"<(think|thinking|reasoning)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(think|thinking|reasoning)>", re.IGNORECASE)
_SECTION = re.compile(r"^=== (\w+) *\n", re.MULTILINE)


def strip_reasoning(text: str) -> str:
    """`text` without reasoning tags, so that nothing inside them is parsed.

    A closing tag alone ends reasoning that the chat template opened; an opening tag alone means
    that the reply was cut while reasoning, so nothing after it was said.
    """
    if not (_OPEN.search(text) or _CLOSE.search(text)):
        return text
    text = _CLOSED.sub("", text)
    closes = list(_CLOSE.finditer(text))
    if closes:
        text = text[closes[-1].end() :]
    opened = _OPEN.search(text)
    return (text[: opened.start()] if opened else text).strip()


def sections(text: str) -> dict[str, str]:
    """The parts of a prompt file, by the name on the line `=== name` above each."""
    pieces = _SECTION.split(text)
    return {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
