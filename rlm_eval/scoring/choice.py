"""Multiple-choice scorers of LongBench-v2: the official extraction and a robust one of ours.

`official` follows THUDM/LongBench `pred.py` (`extract_answer`): only the literal phrase counts, and
its first occurrence wins. `recommended` is ours and reads the last stated choice: letters, or the
RLM paper's digits 0 to 3.
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


def last_choice(output: str, symbols: str = LETTERS) -> str | None:
    """Return the choice stated last: `(B)`, `answer is B`, a boxed B, or a final line with only B.

    With `DIGITS`, brackets alone are no statement (code is full of `f(2)`), and any lone digit
    counts where none of the other forms occurs.
    """
    text = re.sub(r"[*`_$]", "", said(output))
    one = f"[{symbols}{symbols.lower()}]"
    forms = [
        rf"\\boxed\{{\s*(?:\\text\{{)?\s*\(?({one})\b",
        rf"answer(?:\s+is|\s*:|\s+is\s*:)\s*(?:choice |option )?\(?({one})(?![\w']){_NO_ARTICLE}",
        rf"(?:^|\n)\s*\(?({one})[).:]?\s*$",
    ]
    if symbols == LETTERS:
        forms.append(rf"\(\s*({one})\s*\)")
    found = [m for form in forms for m in re.finditer(form, text, re.IGNORECASE)]
    if not found and symbols == DIGITS:
        found = list(re.finditer(r"\b([0-3])\b", text))
    return max(found, key=lambda m: m.start(1)).group(1).upper() if found else None


def choice_recommended(gold: str, output: str | None, symbols: str = LETTERS) -> Score:
    """Ours: 1 where the choice stated last is the gold; `symbols` are `LETTERS` or `DIGITS`."""
    parsed = last_choice(output or "", symbols)
    # Version 1 missed "B because ..." and read digits in brackets; 2 stripped fewer reasoning
    # forms.
    return Score("recommended", float(parsed == gold), parsed, version="3")
