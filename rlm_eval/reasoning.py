"""What a model thought aloud, set apart from what it said.

Servers that know the model's template do this by themselves (`models/openai_dialect.py` reads their
fields); this is for the text that still has the tags, wherever it is parsed or scored.
"""

from __future__ import annotations

import re

_CLOSED = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN = re.compile(r"<(think|thinking|reasoning)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(think|thinking|reasoning)>", re.IGNORECASE)


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
