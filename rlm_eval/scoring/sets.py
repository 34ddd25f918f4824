"""F1 over sets of names, for questions with several answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from rlm_eval.core.types import Score
from rlm_eval.scoring import said

_IDENTIFIER = re.compile(r"(?<![\w.])[A-Za-z]\w*(?:_\w+|\.[A-Za-z]\w*)+")
_SEPARATOR = re.compile(r"[,;\n]|\band\b")
_FRAME = " \t`*_'\"()[]{}.:-\N{BULLET}"


def items(text: str, golds: Collection[str]) -> set[str]:
    """Extract the names that an answer lists.

    Where every gold is an identifier with an underscore or a dot, these are the identifiers of that
    shape anywhere in the text. Otherwise they are the pieces between commas, semicolons, line
    breaks and "and", after the last colon, in lower case.
    """
    if golds and all(_IDENTIFIER.fullmatch(gold) for gold in golds):
        return {name.lower() for name in _IDENTIFIER.findall(text)}
    pieces = (piece.strip(_FRAME) for piece in _SEPARATOR.split(text.rpartition(":")[2]))
    return {" ".join(piece.lower().split()) for piece in pieces} - {""}


def set_f1(golds: Sequence[str], output: str | None, ignore: Collection[str] = ()) -> Score:
    """Harmonic mean of precision and recall over names, in any order; each counts once.

    Names in `ignore` (those that the question itself gives) are not counted. No gold and no name in
    the answer scores 1; an answer that is `None` scores 0.
    """
    if output is None:
        return Score("f1", 0.0)
    wanted = {gold.lower() for gold in golds}
    named = items(str(said(output)), golds) - ({name.lower() for name in ignore} - wanted)
    hits = len(wanted & named)
    total = len(wanted) + len(named)
    value = 2 * hits / total if total else 1.0
    return Score("f1", value, ", ".join(sorted(named)) or None)
