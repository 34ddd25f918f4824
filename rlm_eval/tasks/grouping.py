"""Skimmers that read all items about one name: the lines of a service, the clauses of a class.

A search for a name links items that lie far apart, so that a reader of a quarter of the names reads
all evidence about one of them. A task whose evidence is about a single name is answered in a
quarter of the samples, and more often where counts of lines or words single out the queried name.
Where one line of each name states what it stands for, and can be told by its place or shape, these
lines are an index of the text.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.rules import MOST_READ, Span, lines, skim

_WORD = re.compile(r"[a-z]{3,}")
Counts = Counter[str]


def _rarest(own: Sequence[str], counts: Counts) -> float:
    return min(counts[text] for text in own)


def _commonest(own: Sequence[str], counts: Counts) -> float:
    return -max(counts[text] for text in own)


def _lowest(own: Sequence[str], counts: Counts) -> float:
    return max(counts[text] for text in own)


def _repeated(own: Sequence[str], counts: Counts) -> float:
    return -min(counts[text] for text in own)


_RANKS: dict[str, Callable[[Sequence[str], Counts], float]] = {
    "any": lambda _, __: 0.0,
    "rarest": _rarest,
    "commonest": _commonest,
    "lowest": _lowest,
    "repeated": _repeated,
}
"""Rank of a group of texts from the number of groups with each; the lowest is read first."""


def grouped(text: str, key: re.Pattern[str]) -> dict[str, list[Span]]:
    """Name -> spans of the lines about it, by the first group of `key`, searched in each line."""
    found = dict[str, list[Span]]()
    for a, b in lines(text):
        if match := key.search(text[a:b]):
            found.setdefault(match[1], []).append((a, b))
    return found


@functools.lru_cache(maxsize=2)
def _known(
    text: str, key: re.Pattern[str], head: re.Pattern[str]
) -> tuple[dict[str, list[Span]], dict[bool, dict[str, list[str]]]]:
    """The groups; their contents without names and numbers, as lines and (true) as words."""
    groups = grouped(text, key)
    bare = {
        who: [head.sub("", text[a:b]).replace(who, "") for a, b in spans]
        for who, spans in groups.items()
    }
    return groups, {
        by_word: {who: _contents(texts, by_word) for who, texts in bare.items()}
        for by_word in (False, True)
    }


def group_skimmers(
    key: re.Pattern[str], prefix: str, gold: Callable[[Sample], str]
) -> Iterator[Baseline]:
    """Skimmers that read all lines about a name, name after name, up to a quarter of the text.

    The first group of `key` is a line's name; `prefix` matches what precedes its content (a number,
    a time). The names are ranked by how many others have the same lines or words, and at random.
    """
    head = re.compile(prefix)

    def skimmer(which: str, by_word: bool) -> Baseline:
        name = f"groups_by_{which}_{'word' if by_word else 'line'}"

        def answer(sample: Sample) -> Reply:
            groups, contents = _known(sample.context.text(), key, head)
            own = contents[by_word]
            counts = Counter(content for found in own.values() for content in set(found))
            order = list(groups)
            rng(name, sample.id).shuffle(order)
            order.sort(key=lambda who: _RANKS[which](own[who] or [""], counts))
            return skim(sample, _whole(groups, order, sample), gold(sample))

        return Baseline(name, Kind.SKIMMER, answer)

    for which in _RANKS:
        yield skimmer(which, by_word=False)
        if which != "any":
            yield skimmer(which, by_word=True)


def index_skimmer(
    name: str,
    key: re.Pattern[str],
    index: Callable[[str, Sequence[Span]], Sequence[Span]],
    gold: Callable[[Sample], str],
) -> Baseline:
    """A skimmer that reads one kind of line about every name, then searches for the names it needs.

    `index` selects, from a text and the lines about a name, those to read first: the lines that
    state what the name stands for. Where such a line is evidence, all lines about its name follow.
    """

    def answer(sample: Sample) -> Reply:
        text = sample.context.text()
        groups = grouped(text, key)
        first = [(span, who) for who, own in groups.items() for span in index(text, own)]
        rng(name, sample.id).shuffle(first)
        found, left = list[Span](), MOST_READ * sample.context.chars
        for (start, end), who in first:
            needed = any(start <= a and b <= end for a, b in sample.evidence)
            read = groups[who] if needed else [(start, end)]
            left -= sum(b - a for a, b in read)
            if left < 0:
                break
            found += read
        return skim(sample, found, gold(sample))

    return Baseline(name, Kind.SKIMMER, answer)


def _contents(texts: Sequence[str], by_word: bool) -> list[str]:
    """The texts without their numbers, or their distinct words."""
    if by_word:
        return sorted({word for text in texts for word in _WORD.findall(text.lower())})
    return [re.sub(r"\d+", "#", text) for text in texts]


def _whole(groups: dict[str, list[Span]], order: Sequence[str], sample: Sample) -> list[Span]:
    """The spans of the first groups that fit into a quarter of the text."""
    found, left = list[Span](), MOST_READ * sample.context.chars
    for who in order:
        left -= sum(b - a for a, b in groups[who])
        if left < 0:
            break
        found += groups[who]
    return found
