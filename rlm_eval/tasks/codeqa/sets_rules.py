"""Rules that answer `codeqa_gen_sets` without a model, from mentions of packages and words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.rules import MOST_READ, Span, matching, rule, sentences, skim

_README = re.compile(r"^=== file: \w+/(\w+)/README\.md ===\n(.*)$", re.MULTILINE)
_NAME = re.compile(r"\b[a-z]+_[a-z]+\b")
_WORD = re.compile(r"[a-z]{4,}")


def _readmes(sample: Sample) -> dict[str, str]:
    return {match[1]: match[2] for match in _README.finditer(sample.context.text())}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names))


def all_names(sample: Sample) -> str:
    """Name every package."""
    return _listed(list(_readmes(sample)))


def _mentioned(sample: Sample) -> str:
    """Name the four packages that the READMEs mention most."""
    counts = Counter(name for text in _readmes(sample).values() for name in _NAME.findall(text))
    return _listed([name for name, _ in counts.most_common(4)])


def _named(sample: Sample) -> str:
    """Name every package that another README mentions."""
    return _listed([n for text in _readmes(sample).values() for n in _NAME.findall(text)])


def _near(sample: Sample, start: str) -> str:
    """The packages that the README of a package mentions, and those whose READMEs mention it."""
    readmes = _readmes(sample)
    found = set(_NAME.findall(readmes.get(start, "")))
    found |= {name for name, text in readmes.items() if start and start in text}
    return _listed(list(found))


def _any_start(sample: Sample) -> str:
    return _near(sample, rng("start", sample.id).choice(sorted(_readmes(sample)) or [""]))


def _spelt_alike(sample: Sample) -> str:
    """The same, from the README most similar in spelling to the question."""

    def grams(text: str) -> set[str]:
        return {w[i : i + 4] for w in _WORD.findall(text.lower()) for i in range(len(w) - 3)}

    asked, readmes = grams(sample.question), _readmes(sample)
    return _near(sample, max(sorted(readmes), key=lambda n: len(asked & grams(readmes[n]))))


def _rare(sample: Sample) -> re.Pattern[str]:
    text = sample.context.text().lower()
    pieces = [set(_WORD.findall(text[a:b])) for a, b in sentences(text)]
    counts = Counter(word for piece in pieces for word in piece)
    asked = set(_WORD.findall(sample.question.lower()))
    rare = sorted(w for w in asked if 0 < counts[w] <= 0.05 * len(pieces))
    return re.compile(rf"\b(?:{'|'.join(rare)})\b" if rare else r"(?!)", re.IGNORECASE)


_MADE = re.compile(r"Written for an|The order came from|made to measure|pays for it")
"""The fixed words of a sentence on whom a package was made for."""


def _follow(sample: Sample) -> Reply:
    """Read whom the packages were made for; from the right one, follow the names.

    Its README and those of its dependencies, and every sentence that names one of them.
    """
    text, parts = sample.context.text(), sentences(sample.context.text())
    blocks = {match[1]: match.span() for match in _README.finditer(text)}
    made = [(a, b) for a, b in parts if _MADE.search(text, a, b)]
    rng("follow", sample.id).shuffle(made)
    read, left = list[Span](), MOST_READ * sample.context.chars
    for start, end in made:
        left -= end - start
        if left < 0:
            break
        read.append((start, end))
        if any(start <= a and b <= end for a, b in sample.evidence):
            who = next(name for name, (a, b) in blocks.items() if a <= start < b)
            named = re.compile(rf"\b(?:{'|'.join([who, *sample.target])})\b")
            read += [blocks[name] for name in (who, *sample.target)]
            inside = read[-len(sample.target) - 1 :]
            read += [
                (a, b)
                for a, b in parts
                if named.search(text, a, b) and not any(c <= a and b <= d for c, d in inside)
            ]
            break
    return skim(sample, read, _listed(sample.target))


def set_baselines() -> Sequence[Baseline]:
    """All rules of this module."""
    return (
        rule("all_names", all_names),
        rule("all_mentioned", _named),
        rule("most_mentioned", _mentioned),
        rule("around_any_package", _any_start),
        rule("around_the_best_spelling", _spelt_alike),
        matching("rare_question_words", _rare, lambda s: _listed(s.target)),
        Baseline("follow_names", Kind.SKIMMER, _follow),
        matching("names", lambda _: _NAME, lambda s: _listed(s.target)),
    )
