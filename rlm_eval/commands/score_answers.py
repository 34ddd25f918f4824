"""Score answers from JSON lines; prints each line with its score."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """See `rlm_eval.scoring.command`."""
    from rlm_eval.scoring.command import main as score_answers

    return score_answers(list(argv))
