"""Invented one-line questions of six coarse answer types: the text of `oolong_gen`.

Not TREC: every name is made up, every sentence is from our own templates. What an answer type is
follows TREC's coarse classes (Li and Roth, 2002), as OOLONG uses them (arXiv:2511.02817).
Openings and tails are shared by all labels, so that neither the first words nor the punctuation
give the label away; no label word occurs in a text.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable

from rlm_eval.tasks.base import data

LABELS = (
    "abbreviation",
    "entity",
    "description and abstract concept",
    "human being",
    "location",
    "numeric value",
)
SHORT_SHARE = 0.12
"""Share of texts whose opening is so short that the clause shows in the first three words."""
TAIL_SHARE = 0.35

_SLOT = re.compile(r"\{(\w+)\}")


def _parts(template: str) -> tuple[list[str], list[str]]:
    """A template as texts and the slot names between them."""
    pieces = _SLOT.split(template)
    return pieces[::2], pieces[1::2]


@functools.cache
def _grammar() -> dict[str, dict[str, list[tuple[list[str], list[str]]]]]:
    raw = data("oolong_grammar.json")
    return {
        "clauses": {label: [_parts(t) for t in raw["templates"][label]] for label in LABELS},
        "tails": {"": [_parts(t) for t in raw["tails"]]},
    }


@functools.cache
def _openings() -> tuple[list[list[str]], list[list[str]]]:
    raw = data("oolong_grammar.json")
    return tuple([o.split("{q}") for o in raw[k]] for k in ("openings", "short_openings"))  # type: ignore[return-value]  # a pair by construction


@functools.cache
def _slots() -> dict[str, list[list[str]]]:
    slots: dict[str, list[list[str]]] = data("oolong_grammar.json")["slots"]
    return slots


def combinations(label: str) -> int:
    """Different clauses that the grammar has for a label, openings and tails not counted."""
    sizes = {name: math.prod(map(len, parts)) for name, parts in _slots().items()}
    clauses = _grammar()["clauses"][label]
    return sum(math.prod(sizes[slot] for slot in slots) for _, slots in clauses)


def text_maker(label: str, rng: random.Random) -> Callable[[], str]:
    """A function that draws one text of the label after another; texts may repeat."""
    uniform, slots = rng.random, _slots()
    clauses, tails = _grammar()["clauses"][label], _grammar()["tails"][""]
    long, short = _openings()

    def pick(options: list[str]) -> str:
        return options[int(uniform() * len(options))]

    def fill(part: tuple[list[str], list[str]]) -> str:
        texts, names = part
        out = texts[0]
        for text, name in zip(texts[1:], names, strict=True):
            out += "".join([pick(options) for options in slots[name]]) + text
        return out

    def make() -> str:
        openings = short if uniform() < SHORT_SHARE else long
        before, after = openings[int(uniform() * len(openings))]
        clause = fill(clauses[int(uniform() * len(clauses))])
        if uniform() < TAIL_SHARE:
            clause += " " + fill(tails[int(uniform() * len(tails))])
        return before + clause + after

    return make
