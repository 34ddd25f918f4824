"""F1 over sets of names, for questions with several answers."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from rlm_eval.core.types import Score
from rlm_eval.scoring import said

_VERSION = "2"
"""1 split golds that contain a separator, and kept the numbers of a list and the frame of a box."""
_IDENTIFIER = re.compile(r"(?<![\w.])[A-Za-z]\w*(?:_\w+|\.[A-Za-z]\w*)+")
_SEPARATOR = re.compile(r"[,;\n]|\band\b")
_FRAME = " \t`*_'\"()[]{}.:-\N{BULLET}"
_NUMBERED = re.compile(r"\(?\d+[.)]\s+(?=\S)")
_BOX = re.compile(r"\\boxed\s*\{")
_BRACES = re.compile(r"\\([{}])|\\text\s*\{([^{}]*)\}")
_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: they stand for nothing in a text
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


def items(text: str, golds: Collection[str]) -> set[str]:
    """Extract the names that an answer lists.

    Where every gold is an identifier with an underscore or a dot, these are the identifiers of that
    shape anywhere in the text. Otherwise they are the pieces between commas, semicolons, line
    breaks and "and", after the last colon, in lower case, without the numbers of a list; of the
    last `\\boxed{...}` where there is one. A gold within the text is not split.
    """
    if golds and all(_IDENTIFIER.fullmatch(gold) for gold in golds):
        return {name.lower() for name in _IDENTIFIER.findall(text)}
    text = _boxed(text.replace(_OPEN, " ").replace(_CLOSE, " "))
    whole = sorted((gold for gold in golds if _breaks(gold)), key=len, reverse=True)
    for number, gold in enumerate(whole):
        text = _occurrence(gold).sub(f"{_OPEN}{number}{_CLOSE}", text)
    found = set()
    for piece in _SEPARATOR.split(text.rpartition(":")[2]):
        bare = _NUMBERED.sub("", piece.strip(_FRAME), count=1)
        found.add(_key(_MARK.sub(lambda mark: whole[int(mark[1])], bare)))
    return found - {""}


def _key(name: str) -> str:
    """The form in which names are compared: lower case, single spaces, no frame."""
    return " ".join(name.strip(_FRAME).lower().split())


def _breaks(gold: str) -> bool:
    """True where a gold would not survive the splitting of an answer that repeats it."""
    return bool(_SEPARATOR.search(gold) or ":" in gold or _NUMBERED.match(gold.strip(_FRAME)))


def _occurrence(gold: str) -> re.Pattern[str]:
    words = r"\s+".join(map(re.escape, gold.split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


def _boxed(text: str) -> str:
    """The content of the last `\\boxed{...}`, otherwise the text."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return text
    start = boxes[-1].end()
    inside = _BRACES.sub(lambda match: match[2] or " ", text[start:])
    depth = 1
    for at, char in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth == 0:
            return inside[:at]
    return inside


def set_f1(golds: Any, output: str | None, ignore: Collection[str] = ()) -> Score:
    """Harmonic mean of precision and recall over names, in any order; each counts once.

    `golds` is a list of names, or one name. Names in `ignore` (those that the question itself
    gives) are not counted. No gold and no name in the answer scores 1; an answer that is `None`
    scores 0.
    """
    if output is None:
        return Score("f1", 0.0, version=_VERSION)
    several = isinstance(golds, list | tuple | set | frozenset)
    listed = [str(gold) for gold in (golds if several else [golds])]
    wanted = {_key(gold) or gold.lower() for gold in listed}
    named = items(str(said(output)), listed) - ({_key(name) for name in ignore} - wanted)
    hits = len(wanted & named)
    total = len(wanted) + len(named)
    value = 2 * hits / total if total else 1.0
    return Score("f1", value, ", ".join(sorted(named)) or None, _VERSION)
