"""Rules that answer the four-way questions of `codeqa_gen` without a model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from statistics import fmean

from rlm_eval.core.types import Sample
from rlm_eval.scoring.choice import LETTERS
from rlm_eval.tasks.baselines import Baseline, Kind
from rlm_eval.tasks.rules import Span, lines, matching, one_of, rule

_CHOICE = re.compile(r"^(?:\(([A-D])\)|([0-3]):) (.+)$", re.MULTILINE)
Rank = Callable[[Sample, str], float]
"""Score of a choice under a rule; the highest choice is the answer."""


def choices_of(sample: Sample) -> list[str]:
    """The texts of the four choices, in order."""
    return [match[3] for match in _CHOICE.finditer(sample.question)]


def files(text: str) -> list[Span]:
    """Spans of the files in a package."""
    starts = [match.start() for match in re.finditer(r"^=== file: ", text, re.MULTILINE)]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def _words(sample: Sample) -> list[str]:
    """The question's own words, without those of the choices and of the frame."""
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


@functools.lru_cache(maxsize=2)
def _files(text: str) -> dict[str, str]:
    """The files of a package, keyed by name without the package's name."""
    found = re.findall(r"^=== file: \w+/(\S+) ===\n(.*?)(?=^=== file: |\Z)", text, re.M | re.S)
    return dict(found)


def _plugins(sample: Sample) -> list[str]:
    """Sources of the modules that the question's entry imports, in that order."""
    own = _files(sample.context.text())
    entry = re.search(r"`\w+\.(\w+)\.\w+", sample.question)
    lines = own.get(f"{entry[1] if entry else ''}.py", "").split("\n")
    named = [name for line in lines if "import" in line for name in re.findall(r"\w+", line)]
    return [own[f"{name}.py"] for name in dict.fromkeys(named) if f"{name}.py" in own]


def _loaded(sample: Sample, choice: str) -> float:
    """Position at which the entry imports the module with the choice."""
    return next((i for i, code in enumerate(_plugins(sample)) if f'"{choice}"' in code), -1)


def _set(sample: Sample) -> tuple[str, list[tuple[str, str]]]:
    """(settings of the entry's group, the word of each part and the key that its code reads)."""
    plugins = [code for code in _plugins(sample) if re.search(r'"\w+\.\w+"', code)]
    keys = [key for code in plugins for key in re.findall(r'"(\w+)\.(\w+)"', code)[:1]]
    words = [word for code in plugins for word in re.findall(r'"(\w+)"', code)[-1:]]
    name = f"settings/{keys[0][0]}.toml" if keys else ""
    pairs = list(zip(words, [key for _, key in keys], strict=False))
    return _files(sample.context.text()).get(name, ""), pairs


def _listed(sample: Sample, choice: str) -> float:
    """Position of the part with the choice in an order in the settings."""
    settings, parts = _set(sample)
    order = re.search(r"^order = .+$", settings, re.MULTILINE)
    return max((order[0].find(key) for word, key in parts if order and word == choice), default=-1)


def _priority(sample: Sample, choice: str) -> float:
    """The number or switch in the settings for the part with the choice."""
    settings, parts = _set(sample)
    given = dict(re.findall(r"^(\w+) = (\d+|true|false)$", settings, re.MULTILINE))
    values = [given.get(key, "0") for word, key in parts if word == choice]
    return max((float(v) if v.isdigit() else float(v == "true") for v in values), default=-1)


def _number(choice: str) -> float:
    return float(choice) if re.fullmatch(r"-?\d+", choice) else 0.0


def _middle(sample: Sample, choice: str) -> float:
    """Closeness of a number to the others."""
    return -fmean(abs(_number(choice) - _number(other)) for other in choices_of(sample))


def _ranked(place: int) -> Rank:
    def rank(sample: Sample, choice: str) -> float:
        known = sorted(choices_of(sample), key=lambda c: (_number(c), c))
        return float(known.index(choice) == place)

    return rank


def choice_baselines(stated: Callable[[str], str]) -> Sequence[Baseline]:
    """All rules; `stated` formats a letter as the answer."""

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
        best("highest_priority", _priority),
        best("lowest_priority", reversed_(_priority)),
        best("highest_priority_first", lambda s, c: 9 * _priority(s, c) - _loaded(s, c)),
        best("highest_priority_last", lambda s, c: 9 * _priority(s, c) + _loaded(s, c)),
        matching("lines_with_question_words", _rare, gold, lines),
        matching("files_with_question_words", _rare, gold, files),
    )
