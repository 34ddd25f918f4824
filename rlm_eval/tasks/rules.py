"""Shared by the baselines of generated tasks: sentences of a text, and the skimmer.

A skimmer reads the sentences that a rule ranks first, up to a share of the text. It answers with
the gold where it has read all of the evidence, as a perfect reader would, otherwise with nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply

MOST_READ = 0.25
"""Maximum share of the characters that a skimmer reads."""
Span = tuple[int, int]

_SENTENCE = re.compile(r"[^\n]+?(?:[.!?](?=\s)|(?=\n)|$)")


def sentences(text: str) -> list[Span]:
    """Spans of sentences; a line break also ends one."""
    return [match.span() for match in _SENTENCE.finditer(text)]


def lines(text: str) -> list[Span]:
    """Spans of non-empty lines."""
    return [match.span() for match in re.finditer(r"[^\n]+", text)]


def skim(sample: Sample, spans: Iterable[Span], gold: str, most: float = MOST_READ) -> Reply:
    """Read `spans` in order, at most the share `most` of the text; answer `gold` or ""."""
    total, read, kept = sample.context.chars, 0, []
    for start, end in spans:
        if read + end - start > most * total:
            break
        kept.append((start, end))
        read += end - start
    kept.sort()
    merged: list[list[int]] = []
    for start, end in kept:
        if merged and start <= merged[-1][1] + 1:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    whole = all(any(s <= a and b <= e for s, e in merged) for a, b in sample.evidence)
    return Reply(gold if whole and sample.evidence else "", read / total if total else 0.0)


def matching(
    name: str,
    pattern: Callable[[Sample], re.Pattern[str]],
    gold: Callable[[Sample], str],
    units: Callable[[str], list[Span]] = sentences,
) -> Baseline:
    """A skimmer that reads the units matching a regular expression, in random order.

    Where they exceed `MOST_READ` of the text it reads as many as fit.
    """

    def answer(sample: Sample) -> Reply:
        text, wanted = sample.context.text(), pattern(sample)
        found = [(a, b) for a, b in units(text) if wanted.search(text, a, b)]
        rng(name, sample.id).shuffle(found)
        return skim(sample, found, gold(sample))

    return Baseline(name, Kind.SKIMMER, answer)


def rule(name: str, answer: Callable[[Sample], str], kind: Kind = Kind.NO_MODEL) -> Baseline:
    """A baseline that applies a rule to the whole text (or, for a `PRIOR`, to none of it)."""
    read = 0.0 if kind is Kind.PRIOR else 1.0
    return Baseline(name, kind, lambda sample: Reply(answer(sample), read))


def one_of(sample: Sample, name: str, choices: Sequence[str]) -> str:
    """A deterministic random choice; "" where there is none."""
    return rng(name, sample.id).choice(choices) if choices else ""
