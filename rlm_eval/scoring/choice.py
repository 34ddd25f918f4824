"""Multiple-choice scorers of LongBench-v2: the official extraction and a robust one of ours.

`official` follows THUDM/LongBench `pred.py` (`extract_answer`): only the literal phrase counts, and
its first occurrence wins. `recommended` is ours and reads the stated choice: letters, or the RLM
paper's digits 0 to 3.
"""

from __future__ import annotations

import re

from rlm_eval.core.types import Score
from rlm_eval.scoring import reference_call, said

LETTERS, DIGITS = "ABCD", "0123"
# In "answer is A class named ..." the A is an article, not a choice. Words of reason or contrast
# ("A because ...") follow choices only.
_NO_ARTICLE = r"(?!(?<=a)[ \t]+(?!(?:because|since|as|and|but|not|due)\b)(?-i:[a-z]))"


def longbench_v2(gold: str, output: str) -> Score:
    """1 where the first `The correct answer is (X)` (also without brackets) names the gold."""

    def reference() -> tuple[float, str | None]:
        text = said(output).replace("*", "")
        match = re.search(r"The correct answer is \(([A-D])\)", text)
        match = match or re.search(r"The correct answer is ([A-D])", text)
        parsed = match.group(1) if match else None
        return float(parsed == gold), parsed

    return reference_call("official", reference)


def _denied(one: str) -> str:
    """Pattern of choices that the answer rules out: `not (A)`, `(A), (C) and (D) are wrong`."""
    listed = rf"\(?{one}\)?(?:(?:,? and|,? or|,) \(?{one}\)?){{0,3}}"
    wrong = r" (?:is|are) (?:wrong|incorrect|false|not)\b"
    return rf"(?:\bnot|n['\u2019]t) {listed}(?!\w)|(?<!\w){listed}{wrong}"


def last_choice(output: str, symbols: str = LETTERS) -> str | None:
    """Return the choice that `output` states; `None` where no form says it or several choices fit.

    The forms by rank: a statement ("the answer is B", `\\boxed{B}`, "option B is correct"; the last
    of several); a last or first line of B alone; one that begins "B: ", if no other choice begins a
    line; B in brackets, if no other choice is. With `DIGITS` the last rank is any lone digit.
    """
    one = f"[{symbols}{symbols.lower()}]"
    text = re.sub(r"[*`_$]", "", said(output))
    text = re.sub(_denied(one), "", text, flags=re.IGNORECASE)
    marked = rf"[\"'(]*({one})(?!\w|'\w|[.,]\d)"
    noun = "(?:choice |option )?"
    bare = r"(?:option|choice|answer) \(?" if symbols == DIGITS else r"(?<!\w)"
    statements = [
        rf"\\boxed\{{\s*(?:\\text\{{\s*)?\(?({one})\b",
        rf"(?:answer|choice|option)[\"']?\s*(?:is(?:\s*:)?|[:=\u2013-])\s*{noun}{marked}{_NO_ARTICLE}",
        rf"\b(?:choose|pick|select) {noun}{marked}{_NO_ARTICLE}",
        rf"{bare}({one})\)? is (?:the )?(?:correct|right|best)\b",
        rf"\b(?:so|thus|hence|therefore),? (?:it is |it's )?{marked}\W*$",
    ]
    found = [m for form in statements for m in re.finditer(form, text, re.IGNORECASE)]
    if found:
        return max(found, key=lambda m: m.start(1)).group(1).upper()
    lines = text.strip().split("\n")
    for line in (lines[-1], lines[0]):
        if alone := re.fullmatch(rf"\s*{noun}\(?({one})[).:]?\s*", line, re.IGNORECASE):
            return alone[1].upper()
    begin = re.compile(rf"\s*{noun}\(?({one})(?:[).:]| ?[\u2013-])\s(?!and\b|or\b)", re.IGNORECASE)
    begun = [begin.match(line) for line in lines]
    if (begun[0] or begun[-1]) and len(named := {m[1].upper() for m in begun if m}) == 1:
        return named.pop()
    last = r"(?<![\w.])([0-3])(?!\w|\.\d)" if symbols == DIGITS else rf"\(\s*({one})\s*\)"
    named = {choice.upper() for choice in re.findall(last, text)}
    return named.pop() if len(named) == 1 else None


def choice_recommended(gold: str, output: str | None, symbols: str = LETTERS) -> Score:
    """Ours: 1 where the stated choice is the gold; `symbols` are `LETTERS` or `DIGITS`."""
    parsed = last_choice(output or "", symbols)
    # Version 1 missed "B because ..." and read digits in brackets; 2 stripped fewer reasoning
    # forms; 3 took choices that an explanation names after the answer.
    return Score("recommended", float(parsed == gold), parsed, version="4")
