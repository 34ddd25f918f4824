"""Texts of lines with a position-dependent number or date, with needles among them.

Like `haystack.build`, for lines whose prefix (a clause number, a time) is known only after all of
them are placed. The lines' contents are elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.tokens import Tokenizer
from rlm_eval.tasks.base import fit
from rlm_eval.tasks.haystack import Filler, trim


def build(
    filler: Filler,
    needles: Sequence[str],
    arrange: Callable[[list[str]], list[str]],
    prefix: str,
    room: int,
    length: int,
    tokenizer: Tokenizer,
) -> tuple[str, int, list[tuple[int, int]]]:
    """Text, tokens and the needles' character spans (without their prefixes).

    `arrange(lines)` inserts the needles among the filler's lines and prefixes every line; `prefix`
    is one of typical length. Lines end with a newline; the filler's costs are those of the lines
    after a space, without the prefix. Raises `RlmEvalError` where nothing fits the length.
    """
    own = tokenizer.cost(prefix.rstrip(" "))
    needle_cost = sum(tokenizer.cost(f" {line}") + own for line in needles)

    def make(budget: float, slack: float, most: int = 3) -> str:
        left = budget - needle_cost
        units, costs = filler(max(0.0, left))
        return "".join(arrange(trim(units, costs + own, left, slack, most)))

    try:
        text, tokens = fit(make, room, length, tokenizer)
    except RlmEvalError:  # short lines of few distinct lengths: three do not always fit
        text, tokens = fit(functools.partial(make, most=8), room, length, tokenizer)
    starts = [text.index(line) for line in needles]
    return text, tokens, [(s, s + len(line)) for s, line in zip(starts, needles, strict=True)]


def numbered(
    depths: Sequence[float], needles: Sequence[str], prefix: str
) -> Callable[..., list[str]]:
    """An arrangement: insert each needle after the share `depth` of the lines, then number all.

    `prefix.format(n)` precedes line `n`, counted from 1.
    """
    placed = sorted(enumerate(depths), key=lambda pair: pair[1], reverse=True)

    def arrange(lines: list[str]) -> list[str]:
        found = list(lines)
        for number, depth in placed:
            found.insert(round(depth * len(lines)), needles[number])
        return [prefix.format(n) + line for n, line in enumerate(found, 1)]

    return arrange
