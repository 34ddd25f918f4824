"""Rules that answer `browsecomp_gen` without a model, from counts, places and links of names.

Rules that use the generator's own phrases are in `phrase_rules`.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.base import data
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.browsecomp.phrase_rules import phrase_baselines
from rlm_eval.tasks.rules import matching, one_of, rule, sentences

_WORD = re.compile(r"[a-z]{3,}")
_YEAR = re.compile(r"\b1[89]\d\d\b")


@functools.cache
def shapes() -> dict[str, re.Pattern[str]]:
    """Patterns of the names, by kind."""
    world, words = data("world.json"), data("words.json")
    firsts, forms = "|".join(words["first_names"]), "|".join(world["kinds"])
    return {
        "person": re.compile(rf"\b(?=[A-Z])(?:{firsts})(?: (?:{firsts}))? [A-Z]\w+"),
        "institute": re.compile(rf"\b[A-Z]\w+ [A-Z]\w+ (?:{forms})\b"),
    }


def shape(sample: Sample) -> re.Pattern[str]:
    """Pattern of the names of the queried kind."""
    return shapes()["institute" if "institution" in sample.question else "person"]


def steps(sample: Sample) -> int:
    """Number of steps from the described entity to the queried one."""
    return len(re.findall(r"(?:instructor|parent institution) of", sample.question))


def _names(sample: Sample) -> list[str]:
    """All mentions of names, in order."""
    return shape(sample).findall(sample.context.text())


def _counted(most: bool) -> Callable[[Sample], str]:
    def answer(sample: Sample) -> str:
        counts = Counter(_names(sample))
        best = max if most else min
        wanted = best(counts.values(), default=0)
        return one_of(sample, "counted", [name for name, n in counts.items() if n == wanted])

    return answer


def _in_most_documents(sample: Sample) -> str:
    named = shape(sample)
    counts = Counter(n for text in sample.context.value() for n in set(named.findall(text)))
    wanted = max(counts.values(), default=0)
    return one_of(sample, "documents", sorted(n for n, count in counts.items() if count == wanted))


def _at(place: int) -> Callable[[Sample], str]:
    def answer(sample: Sample) -> str:
        found = _names(sample)
        return found[place] if found else ""

    return answer


def _best_sentence(score: Callable[[Sample, str, Counter[str]], float]) -> Callable[[Sample], str]:
    """The name of the queried kind in the highest-scoring sentence."""

    def answer(sample: Sample) -> str:
        text, names = sample.context.text(), shape(sample)
        pieces = [text[a:b] for a, b in sentences(text)]
        counts = Counter(w for piece in pieces for w in set(_WORD.findall(piece.lower())))
        named = [piece for piece in pieces if names.search(piece)]
        best = max(named, key=lambda piece: score(sample, piece, counts), default="")
        return one_of(sample, "best sentence", names.findall(best))

    return answer


def _shared(sample: Sample, piece: str, counts: Counter[str]) -> float:
    asked = set(_WORD.findall(sample.question.lower()))
    return sum(1 / counts[w] for w in set(_WORD.findall(piece.lower())) & asked)


def _trigrams(text: str) -> set[str]:
    return {w[i : i + 4] for w in _WORD.findall(text.lower()) for i in range(len(w) - 3)}


def _alike(sample: Sample, piece: str, _: Counter[str]) -> float:
    described = _trigrams(sample.question.split(". ")[0])
    return len(described & _trigrams(piece)) / (len(piece) + 20)


def _links(sample: Sample) -> dict[str, Counter[str]]:
    """Number of shared sentences for each pair of names."""
    text, names, links = sample.context.text(), shape(sample), dict[str, Counter[str]]()
    for a, b in sentences(text):
        found = set(names.findall(text[a:b]))
        for name in sorted(found):
            links.setdefault(name, Counter()).update(found - {name})
    return links


def _most_linked(sample: Sample) -> str:
    known = {name: len(others) for name, others in _links(sample).items()}
    return max(sorted(known), key=known.__getitem__, default="")


def _chained(sample: Sample, begin: Callable[[Sample, Sequence[str]], str]) -> str:
    """Walk from a start name, each time to the name that shares the most sentences with it."""
    links = _links(sample)
    name = begin(sample, sorted(links))
    for step in range(steps(sample)):
        near = links.get(name, Counter())
        most = max(near.values(), default=0)
        name = one_of(sample, str(step), sorted(n for n, c in near.items() if c == most))
    return name


def _alike_start(sample: Sample, starts: Sequence[str]) -> str:
    """The name whose surroundings are most similar in spelling to the description."""
    text, names = sample.context.text(), shape(sample)
    described = _trigrams(sample.question.split(". ")[0])
    best: Counter[str] = Counter()
    for a, b in sentences(text):
        alike = len(described & _trigrams(text[a:b]))
        for name in names.findall(text[a:b]):
            best[name] = max(best[name], alike)
    return max(starts, key=lambda name: best[name], default="")


def _gold(sample: Sample) -> str:
    return str(sample.target[0])


def _rare_words(sample: Sample) -> re.Pattern[str]:
    """Pattern of the question's words that occur in few sentences."""
    text = sample.context.text().lower()
    pieces = [set(_WORD.findall(text[a:b])) for a, b in sentences(text)]
    counts = Counter(word for piece in pieces for word in piece)
    asked = set(_WORD.findall(sample.question.lower()))
    rare = sorted(w for w in asked if 0 < counts[w] <= 0.05 * len(pieces))
    return re.compile(rf"\b(?:{'|'.join(rare)})\b" if rare else r"(?!)", re.IGNORECASE)


def browsecomp_baselines() -> tuple[Baseline, ...]:
    """All rules of this module."""
    return (
        rule("most_frequent_name", _counted(most=True)),
        rule("rarest_name", _counted(most=False)),
        rule("name_in_most_documents", _in_most_documents),
        rule("first_name", _at(0)),
        rule("last_name", _at(-1)),
        rule("longest_sentence", _best_sentence(lambda _, piece, __: len(piece))),
        rule("shortest_sentence", _best_sentence(lambda _, piece, __: -len(piece))),
        rule("shared_words", _best_sentence(_shared)),
        rule("shared_spelling", _best_sentence(_alike)),
        rule("most_linked_name", _most_linked),
        rule("random_chain", lambda s: _chained(s, lambda x, n: one_of(x, "start", n))),
        rule("spelling_chain", lambda s: _chained(s, _alike_start)),
        matching("rare_question_words", _rare_words, _gold),
        matching("years", lambda _: _YEAR, _gold),
        matching("names", shape, _gold),
        *phrase_baselines(shape, steps),
    )
