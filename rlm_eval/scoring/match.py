"""String-match scorers: RULER's two, a strict one with precision, and normalised answers.

RULER follows NVIDIA/RULER `scripts/eval/synthetic/constants.py` and `evaluate.py` @c3f5e3b, per row
and in [0, 1]. Substring matching rewards longer numbers and shotgun answers, so `strict` is
reported with it. Judges are elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from rlm_eval.core.types import Score
from rlm_eval.scoring import reference_call, said

_STRICT = "2"  # version of `strict`: 1 read reasoning as answers
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def postprocess(output: str) -> str:
    """RULER's postprocessing of a prediction: control characters become newlines, ends stripped."""
    return re.sub(r"[\x00-\x1f]", "\n", output.strip()).strip()


def _golds(gold: object) -> list[str]:
    return [str(g) for g in gold] if isinstance(gold, list | tuple) else [str(gold)]


def ruler_all(gold: object, output: str) -> Score:
    """Share of the gold strings that occur in the output, in any surroundings."""

    def reference() -> tuple[float, str | None]:
        text, golds = postprocess(said(output)), _golds(gold)
        return sum(g.lower() in text.lower() for g in golds) / len(golds), text

    return reference_call("official", reference)


def ruler_part(gold: object, output: str) -> Score:
    """1 where any gold string occurs in the output."""

    def reference() -> tuple[float, str | None]:
        text = postprocess(said(output))
        return max(float(g.lower() in text.lower()) for g in _golds(gold)), text

    return reference_call("official", reference)


def _same_shape(gold: str) -> str | None:
    """Pattern of all values that could be mistaken for `gold`; `None` for plain words."""
    if gold.isdigit():
        return rf"(?<![\w-])\d{{{len(gold)}}}(?![\w-])"
    if re.fullmatch(_UUID, gold.lower()):
        return rf"(?<![\w-]){_UUID}(?![\w-])"
    if gold.isupper() and gold.isalpha():
        return rf"(?<![\w-])[A-Z]{{{len(gold)}}}(?![\w-])"
    return None


def ruler_strict(gold: object, output: str) -> Score:
    """Ours: whole-token recall times precision among the values of the gold's shape.

    A value inside a longer number does not count, and every other value of the same shape (another
    7-digit number) lowers the score. Plain words have no shape and score recall only.
    """
    golds = dict.fromkeys(_golds(gold))
    if not golds or not isinstance(output, str):
        return Score("strict", 0.0 if golds else None, version=_STRICT)
    text = postprocess(said(output))
    folded = text.lower()
    hits = [g for g in golds if re.search(rf"(?<![\w-]){re.escape(g.lower())}(?![\w-])", folded)]
    named: set[str] = set()
    for shape in sorted(filter(None, {_same_shape(g) for g in golds})):
        flags = 0 if "A-Z" in shape else re.IGNORECASE
        named |= {value.lower() for value in re.findall(shape, text, flags)}
    named |= {g.lower() for g in hits}
    precision = len(hits) / len(named) if named else 0.0
    return Score("strict", len(hits) / len(golds) * precision, ", ".join(hits), _STRICT)


# Signs that distinguish answers: the minus of a number, the end of C++ and C#, and the marks inside
# a number or a name: 2.5 and 2,5 are neither 5 nor 25, 1/2 is no date, and foo_bar is not foo.
_SIGNS = re.compile(
    r"(?<!\w)-(?=\.?\d)|(?<=\w)[+#]+(?![\w+#])|(?<=\d)[.,](?=\d)|(?<=[^\W_])_+(?=[^\W_])"
    r"|(?<![\d/])\d+/(?=\d+(?![\d/]))"
)
_COMPARED = re.compile(r"[<>\u2264\u2265](?=\s*[-+]?\.?\d)")
"""The sign of "<5", kept where the gold has one: elsewhere it may end a tag or begin a quote."""
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d|,\d)")
_MINUS = "\N{MINUS SIGN}"
# Version of the normalising scorers: 1 dropped every sign, 2 read reasoning as answers, 3 split
# numbers at their marks, so that "2.5 km" had the words "5 km", 4 found foo in foo_bar.
_NORMALISED = "5"
_ARTICLES = ("a", "an", "the")


def _words(text: str, kept_signs: re.Pattern[str] = _SIGNS) -> list[str]:
    """The words without punctuation and symbols, except signs; 1,500 is 1500, and .5 is 0.5."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace(_MINUS, "-").replace("\\_", "_")
    folded = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), folded)
    folded = re.sub(r"(?<![\w.])\.(?=\d)", "0.", folded)
    kept = {place for match in kept_signs.finditer(folded) for place in range(*match.span())}
    bare = (c if i in kept or not _parts(c) else " " for i, c in enumerate(folded))
    return "".join(bare).split()


def _compared(text: str) -> str:
    """The words with the signs of comparison: `<5`, `<=5` and `\u2264 5` are kept."""
    text = re.sub(r"([<>])=", lambda sign: {"<": "\u2264", ">": "\u2265"}[sign[1]], text)
    text = re.sub(rf"({_COMPARED.pattern})\s*", r" \1", text)
    return " ".join(_words(text, re.compile(f"{_SIGNS.pattern}|{_COMPARED.pattern}")))


def _parts(char: str) -> bool:
    return unicodedata.category(char)[0] in "PSZ"  # punctuation, symbols, separators


def normalize(text: str) -> str:
    """NFKC, case-folded, without punctuation and English articles, single spaces."""
    return " ".join(word for word in _words(text) if word not in _ARTICLES)


_FORMS: tuple[Callable[[str], str], ...] = (
    normalize,
    lambda text: " ".join(_words(text)),
    lambda text: " ".join(text.casefold().split()),
)


def _form(gold: str) -> Callable[[str], str]:
    """Choose the normal form for comparing answers with `gold`: the first that is not empty.

    Otherwise no answer could be correct where the gold is "A" or "+".
    """
    if _COMPARED.search(gold):
        return _compared
    return next((form for form in _FORMS if form(gold)), normalize)


_EXACT = re.compile(r"exact answer\W*:[\s*_`]*(\S.*)", re.IGNORECASE)


def stated(text: str) -> str:
    """Return the last `Exact Answer:` line if there is one, otherwise the whole text."""
    found: list[str] = _EXACT.findall(text)
    return found[-1] if found else text


def normalized_exact(golds: Sequence[str], output: str | None) -> Score:
    """1 where the normalised answer (see `stated`) equals a gold (or alias)."""
    answer = stated(said(output or ""))
    right = any(_form(gold)(answer) == _form(gold)(gold) for gold in golds)
    return Score("exact", float(right), normalize(answer), _NORMALISED)


def normalized_contains(golds: Sequence[str], output: str | None) -> Score:
    """1 where a gold's normalised words occur consecutively, as whole words, in the output."""
    text = said(output or "")
    hits = [g for g in golds if f" {_form(g)(g)} " in f" {_form(g)(text)} "]
    return Score("contains", float(bool(hits)), hits[0] if hits else None, _NORMALISED)
