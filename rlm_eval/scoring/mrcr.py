"""MRCR scorers: openai/mrcr's grading and Google DeepMind's MRCR v2.

Both gate a difflib ratio: the answer must repeat a random string. The argument order and difflib's
`autojunk` follow the references, because the ratio depends on them. Sources: the openai/mrcr data
card; google-deepmind/eval_hub `mrcr_v2/run_evaluation.py` @67b7fd2.
"""

from __future__ import annotations

from difflib import SequenceMatcher

from rlm_eval.core.types import Score
from rlm_eval.scoring import reference_call, said

HASH_CHARS = 12
"""Length of the random string at the start of an MRCR v2 gold, characters."""


def mrcr_openai(gold: str, output: str, prefix: str) -> Score:
    """0 unless the output starts with `prefix`; otherwise the ratio of the two remainders."""

    def reference() -> tuple[float, str | None]:
        text = said(output)
        if not text.startswith(prefix):
            return 0.0, None
        rest = text.removeprefix(prefix)
        return float(SequenceMatcher(None, rest, gold.removeprefix(prefix)).ratio()), rest

    return reference_call("official", reference)


def mrcr_v2(gold: str, output: object) -> Score:
    """0 without the gold's hash; otherwise the ratio of the text after its last occurrence."""

    def reference() -> tuple[float, str | None]:
        target = gold.strip()
        if not isinstance(output, str) or len(target) < HASH_CHARS:
            return 0.0, None
        text = said(output).strip()
        start = text.rfind(target[:HASH_CHARS])
        if start < 0:
            return 0.0, None
        rest = text[start + HASH_CHARS :].strip()
        return SequenceMatcher(a=target[HASH_CHARS:].strip(), b=rest).ratio(), rest

    return reference_call("official", reference)
