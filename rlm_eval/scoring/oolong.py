"""OOLONG scorers: synthetic (official, the RLM repository's lenient one, fixed) and real.

Reimplements the behaviour of abertsch72/oolong `src/eval/eval_helpers.py` @adbf1cb (`official`,
`real`) and alexzhang13/rlm `training/environments/oolong/oolong/env.py` @72d6940 (`lenient`).
`fixed` is ours: a diagnostic that repairs the known parser bugs and never replaces `official`. The
construction of gold answers is elsewhere.
"""

from __future__ import annotations

import ast
import re
from datetime import datetime
from typing import Any

from rlm_eval.core.types import Score
from rlm_eval.scoring import counted, reference_call, said
from rlm_eval.scoring.dates import IncompleteDate, read_date, read_month
from rlm_eval.scoring.numbers import ungrouped

DECAY = 0.75
"""A count with error d scores DECAY**d."""
SHORT = 20
"""A candidate shorter than this is accepted unchanged by the official parser."""
PHRASES = ("more common", "less common", "same frequency")
LENIENT_PHRASES = ("more common than", "less common than", "same frequency as")

_TYPE = "ANSWER_TYPE."
_NUMERIC, _DATE = f"{_TYPE}NUMERIC", f"{_TYPE}DATE"
# For the synthetic scorers: 1 completed dates with today's date and read reasoning as answers.
_VERSION = "2"
# Of `fixed`: 2 read formal in "informal" and spam in "not spam" and "ham or spam", and knew no
# separator of thousands but the comma.
_FIXED_VERSION = "3"


def read_gold(gold: object) -> list[Any]:
    """Parse the accepted answers of a gold such as `[7]` or `[datetime.date(2023, 1, 3)]`.

    Raises `ValueError`, `SyntaxError` or `TypeError` for anything that is not a list literal.
    """
    text = str(gold)
    if "datetime" in text:
        return [datetime.strptime(text, "[datetime.date(%Y, %m, %d)]")]
    told = f"gold {text!r:.60} is not a list such as [7] or ['spam']"
    try:
        values = ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise type(error)(told) from error
    if not isinstance(values, list | tuple | str):
        raise TypeError(told)
    return list(values)


def is_answer_type(kind: str) -> bool:
    """True for `ANSWER_TYPE.NUMERIC` and the like; counts of another form compare as texts."""
    return kind.startswith(_TYPE)


def _decay(gold: object, predicted: str) -> float:
    return float(DECAY ** abs(int(str(gold)) - int(predicted)))


def _after_last_colon(output: str) -> str:
    """The candidate after the last colon; strip precedes the deletions, as in the reference."""
    if ":" not in output:
        return output if len(output) < SHORT else output.split()[-1]
    tail = output.split(":")[-1].strip()
    return tail.replace("*", "").replace("[", "").replace("]", "")


def _official(gold_text: object, answer_type: str, output: str) -> tuple[float, str]:
    gold = read_gold(gold_text)[0]
    candidate = _after_last_colon(output)
    if ":" in output and len(candidate) >= SHORT:
        candidate = next((p for p in PHRASES if p in candidate), candidate)
    if candidate == str(gold):
        return 1.0, candidate
    if candidate in PHRASES:
        return float(candidate in str(gold)), candidate
    try:
        if answer_type == _NUMERIC:
            return _decay(gold, candidate), candidate
        if answer_type == _DATE:
            date = read_date(candidate)
            return float(date == gold), str(date)
    except IncompleteDate:
        raise
    except Exception:  # noqa: BLE001 - as in the reference: an unconvertible value scores 0
        return 0.0, candidate
    return 0.0, candidate


def oolong_official(gold: object, answer_type: str, output: object) -> Score:
    """The benchmark's own scorer. Value in [0, 1]; `None` where the reference raises.

    `gold` is the dataset's answer string; `answer_type` its `ANSWER_TYPE.*` name.
    """

    def reference() -> tuple[float, str | None]:
        if not isinstance(output, str):
            raise TypeError("output is not a text")
        return _official(gold, answer_type, said(output))

    return reference_call("official", reference, _VERSION)


def _lenient(gold_text: object, answer_type: str, output: str) -> tuple[float, str]:
    gold: Any
    try:
        gold = read_gold(gold_text)[0]
    except (LookupError, SyntaxError, TypeError, ValueError):
        gold = str(gold_text)
    lowered, wanted = output.lower(), str(gold).lower()
    found = max((lowered.rfind(p), p) for p in LENIENT_PHRASES)
    candidate = found[1] if found[0] >= 0 else _after_last_colon(output)
    if candidate.lower() == wanted:
        return 1.0, candidate
    try:
        if answer_type == _NUMERIC:
            return _decay(gold, candidate), candidate
        if answer_type == _DATE:
            return float(read_date(candidate) == gold), candidate
    except IncompleteDate:
        raise
    except Exception:  # noqa: BLE001 - as in the reference
        return 0.0, candidate
    anywhere = bool(wanted) and wanted not in LENIENT_PHRASES and wanted in lowered
    return float(anywhere), candidate


def oolong_lenient(gold: object, answer_type: str, output: object) -> Score:
    """The RLM repository's scorer: case-folded, last phrase wins, a gold anywhere scores 1."""
    text = output if isinstance(output, str) else "" if output is None else str(output)
    return reference_call("lenient", lambda: _lenient(gold, answer_type, said(text)), _VERSION)


_KEY = re.compile(r"\b(?:label|answer|user|date)\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.0+)?(?![\w]|\.\d)")
_NO_STATEMENT = re.compile(
    r"(?:\b(?:not|non|no|or|nor|and|than|neither)|n['’]t)(?:\s+(?:a|an|the))?[\s\"'“‘(]+$"
)
"""The words before a label at the end of a reply that does not answer with this label alone."""
_NEGATED = re.compile(
    r"(?:\bnot|\bneither|n't)\s+(?:the\s+)?(?:more|less) common|not the same freq\w+"
)
_PHRASE = re.compile("|".join(PHRASES))
_DATES = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{4}"
    r"|[A-Za-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
    r"|\d{1,2}(?:st|nd|rd|th)? (?:of )?[A-Za-z]{3,9}\.?,? \d{4}"
)
_EDGES = " \t\r\n.,;:!?\"'`“”‘’#()[]{}$"


def _clean(output: str) -> str:
    text = re.sub(r"\\(?:boxed|text|textbf|mathrm)\s*\{([^{}]*)\}", r"\1", output)
    text = re.sub(r"\\(?:boxed|text|textbf|mathrm)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"[*`\[\]]", "", text)


def _candidates(output: str) -> list[str]:
    """Possible answers, best first: after a key, after the last colon, at the end."""
    text = _clean(output)
    keys = list(_KEY.finditer(text))
    behind_key = text[keys[-1].end() :].strip().split("\n")[0] if keys else ""
    lines = text.strip().split("\n")
    found = [behind_key, *([text.split(":")[-1]] if ":" in text else []), lines[-1], text]
    return [c.strip(_EDGES) for c in found if c.strip(_EDGES)]


def _complete_date(text: str) -> datetime | None:
    """Parse a complete date in `text`; `None` otherwise."""
    match = _DATES.search(text)
    try:
        return read_date(match.group() if match else text)
    except (ArithmeticError, TypeError, ValueError):
        return None


def _month_year(text: str) -> tuple[int, int] | None:
    numeric = re.search(r"\b(\d{1,2})/(\d{4})\b|\b(\d{4})-(\d{1,2})\b", text)
    if numeric:
        month, year, year_first, month_last = numeric.groups()
        return int(month or month_last), int(year or year_first)
    try:
        return read_month(text)
    except (ArithmeticError, TypeError, ValueError):
        return None


def _label_ends(folded: list[str], text: str) -> bool | None:
    """Whether `text` ends with a gold label that it states; `None` without one at its end."""
    stated = None
    for label in folded:
        if found := re.search(rf"(?<![\w-]){re.escape(label)}$", text.casefold()):
            stated = stated or not _NO_STATEMENT.search(text.casefold()[: found.start()])
    return stated


def _fixed(golds: list[Any], answer_type: str, output: str) -> tuple[float, str]:
    kind, texts = answer_type.rpartition(".")[2], _candidates(output)
    folded = [str(gold).casefold() for gold in golds]
    if kind in ("NUMERIC", "USER"):
        for text in texts:
            plain = ungrouped(text) if kind == "NUMERIC" else text
            numbers = [re.sub(r",|\.0+$", "", n) for n in _NUMBER.findall(plain)]
            if numbers and kind == "USER":
                alone = set(numbers) <= set(folded)
                return float(alone), " ".join(numbers)
            if numbers:
                number = (
                    numbers[0] if text is texts[0] and _KEY.search(_clean(output)) else numbers[-1]
                )
                return _decay(golds[0], number), number
    elif kind == "DATE":
        for date in filter(None, map(_complete_date, texts)):
            return float(date.date() == golds[0].date()), str(date)
    elif kind == "MONTH_YEAR":
        wanted = [_month_year(str(gold)) for gold in golds]
        for month in filter(None, map(_month_year, texts)):
            return float(month in wanted), f"{month[0]:02}/{month[1]}"
    elif kind == "COMPARISON":
        for text in texts:
            phrase = _PHRASE.search(_NEGATED.sub("", text.lower()))
            if phrase:
                return float(phrase.group() in folded[0]), phrase.group()
    elif texts:
        named = {part.strip(_EDGES) for part in texts[0].casefold().split(",")}
        ends = not _KEY.search(_clean(output)) and _label_ends(folded, texts[-1])
        return float(texts[0].casefold() in folded or named <= set(folded) or bool(ends)), texts[0]
    return 0.0, texts[0] if texts else ""


def oolong_fixed(gold: object, answer_type: str, output: object) -> Score:
    """Ours: the official scorer with its parser bugs repaired; a diagnostic, not a headline.

    Repairs: strip after the deletions, trailing punctuation and quotes, thousands separators, case,
    `\\boxed`, later colons, negated comparisons; any tied label is accepted.
    """
    text = said(output) if isinstance(output, str) else ""

    def repaired() -> tuple[float, str | None]:
        golds = read_gold(gold)
        value, parsed = _fixed(golds, answer_type, text)
        plain = oolong_official(gold, answer_type, text)
        # A repair never lowers a score, except for a negated phrase or label credited wrongly.
        negated = answer_type.endswith("COMPARISON") or (
            answer_type.endswith("LABEL")
            and _label_ends([str(one).casefold() for one in golds], _clean(text).strip(_EDGES))
            is False
        )
        if (plain.value or 0.0) > value and not negated:
            return plain.value or 0.0, plain.parsed
        return value, parsed

    return reference_call("fixed", repaired, _FIXED_VERSION)


def _typed(text: str) -> int | str | list[str]:
    """An integer; a list where there is a comma; otherwise the text."""
    try:
        return int(text)
    except ValueError:
        pass
    return [item.strip() for item in text.split(",") if item.strip()] if "," in text else text


def _real(gold_text: object, output: str) -> tuple[float, str]:
    gold = _typed(gold_text) if isinstance(gold_text, str) else gold_text
    boxed = re.search(r"\\boxed\{\\text\{([^}]*)\}\}", output)
    boxed = boxed or re.search(r"\\boxed\{+([^}]*)\}+", output)
    answer = _typed(boxed.group(1)) if boxed else output
    value = 0.0
    if isinstance(gold, int) and isinstance(answer, int):
        value = float(DECAY ** abs(gold - answer))
    elif isinstance(gold, str) and isinstance(answer, str):
        value = float(gold.strip().lower() == answer.strip().lower())
    elif isinstance(gold, list) and isinstance(answer, list):
        value = len(set(gold) & set(answer)) / len(gold) if gold else 0.0
    return value, str(answer)


def oolong_real(gold: object, output: object) -> Score:
    """The official scorer of OOLONG-real: typed by the gold, only answers inside `\\boxed{}`."""

    def reference() -> tuple[float, str | None]:
        if not isinstance(output, str):
            raise TypeError("output is not a text")
        return _real(gold, said(output))

    return reference_call("official", reference)


def oolong_scores(gold: str, answer_type: str, text: str | None) -> tuple[Score, ...]:
    """All scorers of a synthetic question, the headline first; counts also have a relative error.

    `relative` is max(0, 1 - d / gold): DECAY**d is uninformative for counts in the thousands.
    """
    arguments = gold, answer_type, text or ""
    scores = [oolong_official(*arguments), oolong_lenient(*arguments), oolong_fixed(*arguments)]
    if answer_type == _NUMERIC:
        wanted, parsed = int(read_gold(gold)[0]), scores[-1].parsed or ""
        found = re.fullmatch(r"-?\d+", parsed.strip())
        off = abs(int(parsed) - wanted) / max(wanted, 1) if found else 1.0
        scores.append(Score("relative", max(0.0, 1.0 - off), parsed, scores[-1].version))
    return tuple(counted(score) for score in scores)
