"""BrowseComp-Plus: parsing of a judge's reply, citations, calibration; and our strict verdict.

The reference functions follow texttron/BrowseComp-Plus `scripts_evaluation/evaluate_run.py`
@97c637c, quirks included (first match wins, "yesterday" is a yes, the last calibration bin is
skipped). `rlm_eval` itself uses `strict_verdict`. The judge's prompt and call are elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from rlm_eval.core.reasoning import without_thoughts

BIN = 100
"""Samples per calibration bin in the reference."""
_FLAGS = re.IGNORECASE | re.DOTALL


def _field(text: str, name: str, value: str) -> str | None:
    """First match of `name: value`; bold forms take precedence over the plain one."""
    for opening in (rf"\*\*{name}:\*\*", rf"\*\*{name}\*\*:", rf"{name}:"):
        match = re.search(rf"{opening}\s*{value}", text, _FLAGS)
        if match:
            return match.group(1).strip()
    return None


def _reasoning(text: str) -> str | None:
    bold_end = r"(?=\n\*\*correct:\*\*|\n\*\*correct\*\*:|\ncorrect:|$)"
    # Only a plain "correct:" ends a plain field, as in the reference.
    for opening, end in (
        (r"\*\*reasoning:\*\*", bold_end),
        (r"\*\*reasoning\*\*:", bold_end),
        ("reasoning:", r"(?=\ncorrect:|$)"),
    ):
        match = re.search(rf"{opening}\s*(.*?){end}", text, _FLAGS)
        if match:
            return match.group(1).strip()
    return None


def parse_judge(text: str | None) -> dict[str, Any]:
    """Parse the judge's fields as the reference does; `parse_error` where there is no verdict."""
    text = text or ""
    verdict = _field(text, "correct", "(yes|no)")
    confidence = _field(text, "confidence", r"(\d+(?:\.\d+)?)\s*%?")
    return {
        "extracted_final_answer": _field(text, "extracted_final_answer", r"(.*?)(?=\n|$)"),
        "reasoning": _reasoning(text),
        "correct": None if verdict is None else verdict.lower() == "yes",
        "confidence": None if confidence is None else min(float(confidence), 100.0),
        "parse_error": verdict is None,
    }


def strict_verdict(text: str) -> bool:
    """Ours: `{"correct": true|false}`, otherwise the last line `correct: yes|no`.

    Reasoning text is removed first (`reasoning`). Raises `ValueError` where there is no clear
    verdict: the judge call is then retried, and in the end the sample has no score.
    """
    said = without_thoughts(text)
    for candidate in reversed(re.findall(r"\{[^{}]*\}", said)):
        try:
            verdict = json.loads(candidate).get("correct")
        except (RecursionError, ValueError):  # lists nested too deeply, integers too long to parse
            continue
        if isinstance(verdict, bool):
            return verdict
    lines = re.findall(r"^[ \t*]*correct[ \t*]*:[ \t*]*(yes|no)\b", said, re.I | re.M)
    if not lines or len({line.lower() for line in lines}) > 1:
        raise ValueError(
            'no clear verdict: expected {"correct": true|false} or a line correct: yes'
        )
    return bool(lines[-1].lower() == "yes")


def citations(text: str | None) -> list[str]:
    """Document ids in square or full-width brackets, without duplicates, sorted as text.

    Every number within brackets counts, as in the reference (whose order is undefined).
    """
    inside = re.findall(r"\[([^\[\]]*?)\]", text or "") + re.findall(r"【([^【】]*?)】", text or "")
    return sorted({n for part in inside for n in re.findall(r"\d+", part)})


def citation_metrics(cited: Sequence[str], relevant: Sequence[str]) -> dict[str, float]:
    """Precision and recall of the cited ids; list lengths count duplicates."""
    hits = len(set(cited) & set(relevant))
    return {
        "num_citations": len(cited),
        "num_relevant": len(relevant),
        "precision": hits / len(cited) if cited else 0.0,
        "recall": hits / len(relevant) if cited and relevant else 0.0,
    }


def calibration_error(confidences: Sequence[float], correct: Sequence[float]) -> float:
    """The reference's calibration error in percent (p = 2, bins of 100 by confidence).

    The last bin is skipped, so fewer than 200 samples give exactly 0; fewer than 100 raise
    `IndexError`, as in the reference. Ties keep their order here; in the reference their order, and
    so the value, depends on the processor (NumPy's default argsort is not stable).
    """
    ranked = sorted(zip(confidences, correct, strict=True), key=lambda pair: pair[0])
    bins = [[i * BIN, (i + 1) * BIN] for i in range(len(ranked) // BIN)]
    bins[-1][1] = len(ranked)
    total = 0.0
    for start, end in bins[:-1]:
        part = ranked[start:end]
        gap = sum(c / 100 for c, _ in part) / len(part) - sum(y for _, y in part) / len(part)
        total += len(part) / len(ranked) * gap * gap
    return float(total**0.5 * 100)


def decrypt(ciphertext: str, password: str) -> str:
    """XOR the base64 bytes with the repeated SHA-256 of `password`; decode as UTF-8."""
    key = cycle(hashlib.sha256(password.encode()).digest())
    return bytes(c ^ k for c, k in zip(base64.b64decode(ciphertext), key, strict=False)).decode()
