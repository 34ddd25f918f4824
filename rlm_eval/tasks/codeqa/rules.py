"""Rules that answer the four-way questions of `codeqa_gen` without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import fmean

from rlm_eval.core.types import Sample
from rlm_eval.scoring.choice import LETTERS
from rlm_eval.tasks.baselines import Baseline, Kind
from rlm_eval.tasks.rules import Span, lines, matching, one_of, rule

_CHOICE = re.compile(r"^(?:\(([A-D])\)|([0-3]):) (.+)$", re.MULTILINE)
Rank = Callable[[Sample, str], float]
"""How high a choice stands by some rule; the highest is answered."""


def choices_of(sample: Sample) -> list[str]:
    """The texts of the four choices, in their order."""
    return [match[3] for match in _CHOICE.finditer(sample.question)]


def files(text: str) -> list[Span]:
    """The spans of the files of a package."""
    starts = [match.start() for match in re.finditer(r"^=== file: ", text, re.MULTILINE)]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def _words(sample: Sample) -> list[str]:
    """The question's own words, those of the choices and of the frame left out."""
    asked = re.search(r"question: (.+?)(?:\nChoices| based on)", sample.question, re.DOTALL)
    named = re.findall(r"[a-z][a-z0-9_]{2,}", asked[1] if asked else sample.question)
    text = sample.context.text()
    return [word for word in dict.fromkeys(named) if 0 < text.count(word) <= 0.01 * len(text) / 10]


def _rare(sample: Sample) -> re.Pattern[str]:
    words = _words(sample)
    return re.compile("|".join(map(re.escape, words)) if words else r"(?!)")


def _mentions(sample: Sample, choice: str) -> list[int]:
    found = re.finditer(rf"(?<![\w.]){re.escape(choice)}(?!\w)", sample.context.text())
    return [match.start() for match in found]


def _first(sample: Sample, choice: str) -> float:
    return -min(_mentions(sample, choice), default=sample.context.chars)


def _last(sample: Sample, choice: str) -> float:
    return max(_mentions(sample, choice), default=-1)


def _loaded(sample: Sample, choice: str) -> float:
    """Where the entry that the question names imports the choice."""
    entry = re.search(r"`\w+\.(\w+)\.\w+", sample.question)
    shown = re.search(
        rf"/{entry[1] if entry else ''}\.py ===\n(.*?)(?====)", sample.context.text(), re.DOTALL
    )
    return (shown[1] if shown else "").find(choice)


def _listed(sample: Sample, choice: str) -> float:
    """Where the settings list the choice in an order."""
    rows = re.findall(r"^order = .+$", sample.context.text(), re.MULTILINE)
    return max((row.find(choice) for row in rows), default=-1)


def _number(choice: str) -> float:
    return float(choice) if re.fullmatch(r"-?\d+", choice) else 0.0


def _middle(sample: Sample, choice: str) -> float:
    """How near a number is to the others."""
    return -fmean(abs(_number(choice) - _number(other)) for other in choices_of(sample))


def _ranked(place: int) -> Rank:
    def rank(sample: Sample, choice: str) -> float:
        known = sorted(choices_of(sample), key=lambda c: (_number(c), c))
        return float(known.index(choice) == place)

    return rank


def choice_baselines(stated: Callable[[str], str]) -> Sequence[Baseline]:
    """The rules; `stated` puts a letter in the asked form."""

    def best(name: str, rank: Rank, kind: Kind = Kind.NO_MODEL) -> Baseline:
        def answer(sample: Sample) -> str:
            known = choices_of(sample)
            ranks = [rank(sample, choice) for choice in known]
            ties = [LETTERS[i] for i, value in enumerate(ranks) if value == max(ranks)]
            return stated(one_of(sample, name, ties))

        return rule(name, answer, kind)

    def reversed_(rank: Rank) -> Rank:
        return lambda sample, choice: -rank(sample, choice)

    def gold(sample: Sample) -> str:
        return stated(str(sample.target))

    return (
        rule("choice_a", lambda _: stated("A"), Kind.PRIOR),
        rule("random_choice", lambda s: stated(one_of(s, "choice", LETTERS)), Kind.PRIOR),
        *(best(f"choice_{i + 1}_in_order", _ranked(i)) for i in range(4)),
        best("middle_number", _middle),
        best("extreme_number", reversed_(_middle)),
        best("longest_choice", lambda _, choice: len(choice)),
        best("shortest_choice", lambda _, choice: -len(choice)),
        best("first_in_text", _first),
        best("last_in_text", _last),
        best("most_mentioned", lambda s, choice: len(_mentions(s, choice))),
        best("least_mentioned", lambda s, choice: -len(_mentions(s, choice))),
        best("loaded_last", _loaded),
        best("loaded_first", reversed_(_loaded)),
        best("listed_last", _listed),
        best("listed_first", reversed_(_listed)),
        matching("lines_with_question_words", _rare, gold, lines),
        matching("files_with_question_words", _rare, gold, files),
    )
