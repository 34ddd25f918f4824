"""Rules that answer `s_niah_paraphrase` without a model, from counts, places and spelling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from rlm_eval.core.types import Sample
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.rules import Span, matching, one_of, rule, sentences, skim

NAME = re.compile(r"\b[A-Z][a-z]+(?:\s+[A-Z][a-z]+){1,2}\b")
"""A person's name: two or three capitalised words."""
_WORD = re.compile(r"[a-z]{3,}")


def _found(text: str) -> list[str]:
    """The names in a text, without a capitalised word that only begins a sentence."""
    names = []
    for name in NAME.findall(text):
        parts = name.split()
        names.append(" ".join(parts[1:] if parts[0] in ("It", "By", "The", "As") else parts))
    return names


def first_name(sample: Sample) -> str:
    """The first name in the text."""
    return next(iter(_found(sample.context.text())), "")


def _last_name(sample: Sample) -> str:
    return next(reversed(_found(sample.context.text())), "")


def _pieces(sample: Sample) -> list[str]:
    text = sample.context.text()
    return [text[a:b].strip() for a, b in sentences(text)]


def _best(score: Callable[[str, Counter[str], str], float]) -> Callable[[Sample], str]:
    """The name in the highest-scoring sentence; the score gets each word's sentence count."""

    def answer(sample: Sample) -> str:
        pieces = [piece for piece in _pieces(sample) if _found(piece)]
        counts = Counter(w for piece in pieces for w in set(_WORD.findall(piece)))
        best = max(pieces, key=lambda piece: score(piece, counts, sample.question), default="")
        return one_of(sample, "best", _found(best))

    return answer


def _commonness(piece: str, counts: Counter[str], _: str) -> float:
    words = set(_WORD.findall(piece))
    return sum(counts[w] for w in words) / (len(words) + 1)


def _rarest(piece: str, counts: Counter[str], _: str) -> float:
    return -min((counts[w] for w in _WORD.findall(piece)), default=0)


def _once(piece: str, counts: Counter[str], _: str) -> float:
    return sum(counts[w] == 1 for w in set(_WORD.findall(piece)))


def _shared(piece: str, counts: Counter[str], question: str) -> float:
    asked = set(_WORD.findall(question.lower()))
    return sum(1 / counts[w] for w in set(_WORD.findall(piece)) & asked)


def _grams(text: str) -> set[str]:
    return {w[i : i + 4] for w in _WORD.findall(text.lower()) for i in range(len(w) - 3)}


def _spelling(piece: str, _: Counter[str], question: str) -> float:
    return len(_grams(question) & _grams(piece)) / (len(piece) + 20)


def _rare_words(sample: Sample) -> re.Pattern[str]:
    """Pattern of the question's words that occur in few sentences."""
    pieces = [set(_WORD.findall(piece.lower())) for piece in _pieces(sample)]
    counts = Counter(word for piece in pieces for word in piece)
    asked = set(_WORD.findall(sample.question.lower()))
    rare = sorted(w for w in asked if 0 < counts[w] <= 0.05 * len(pieces))
    return re.compile(rf"\b(?:{'|'.join(rare)})\b" if rare else r"(?!)", re.IGNORECASE)


def _random_name(sample: Sample) -> str:
    return one_of(sample, "name", _found(sample.context.text()))


_FRAME = 0.12  # share of the sentences above which a sequence of words is part of a template


def _by_shared_words(sample: Sample) -> Reply:
    """Read the sentences whose sequences of three words recur most in others, templates aside."""
    text = sample.context.text()
    spans = sentences(text)
    own = {(a, b): _sequences(NAME.sub("#", text[a:b])) for a, b in spans}
    counts = Counter(item for items in own.values() for item in items)
    most = max(8, _FRAME * len(own))

    def rank(span: Span) -> float:
        told = [counts[item] for item in own[span] if counts[item] <= most]
        return -sum(told) / (1 + len(told))

    return skim(sample, sorted(spans, key=rank), str(sample.target[0]))


def _by_pairs(sample: Sample) -> Reply:
    """Read pairs of a sentence with a name and the one without that is most like it in spelling."""
    text = sample.context.text()
    spans = sentences(text)
    grams = {(a, b): _grams(NAME.sub("#", text[a:b])) for a, b in spans}
    counts = Counter(gram for found in grams.values() for gram in found)
    weights = {gram: 1 / count**2 for gram, count in counts.items()}
    named = [span for span in spans if _found(text[slice(*span)])]
    holders = dict[str, list[Span]]()
    for span in set(spans) - set(named):
        for gram in grams[span]:
            holders.setdefault(gram, []).append(span)
    found: list[tuple[float, Span, Span]] = []
    for span in named:
        likeness = dict[Span, float]()
        for gram in grams[span]:
            if counts[gram] <= max(8, _FRAME * len(spans)):
                for other in holders.get(gram, ()):
                    likeness[other] = likeness.get(other, 0.0) + weights[gram]
        if likeness:
            value, other = max((value, other) for other, value in likeness.items())
            found.append((value, span, other))
    found.sort(reverse=True)
    read = dict.fromkeys(span for _, *pair in found for span in pair)
    return skim(sample, read, str(sample.target[0]))


def _sequences(text: str) -> set[str]:
    """The sequences of three words beside no name."""
    words = re.findall(r"[a-z]+|#", text.lower())
    three = (words[i : i + 3] for i in range(len(words) - 2))
    return {" ".join(part) for part in three if "#" not in part}


def paraphrase_baselines() -> tuple[Baseline, ...]:
    """All rules of this module."""
    return (
        rule("first_name", first_name),
        rule("last_name", _last_name),
        rule("random_name", _random_name),
        rule("longest_sentence", _best(lambda piece, _, __: len(piece))),
        rule("shortest_sentence", _best(lambda piece, _, __: -len(piece))),
        rule("commonest_words", _best(_commonness)),
        rule("rarest_words", _best(_rarest)),
        rule("words_used_once", _best(_once)),
        rule("shared_words", _best(_shared)),
        rule("shared_spelling", _best(_spelling)),
        matching("rare_question_words", _rare_words, lambda s: str(s.target[0])),
        Baseline("by_shared_words", Kind.SKIMMER, _by_shared_words),
        Baseline("by_pairs", Kind.SKIMMER, _by_pairs),
        matching("names", lambda _: NAME, lambda s: str(s.target[0])),
    )
