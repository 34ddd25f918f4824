"""Score answers from JSON lines; prints each line with its score."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Score the lines; 0 where every line was scored, 2 after an error (on stderr)."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("--scorer", required=True, help="name of the scorer, or `list`")
    parser.add_argument(
        "answers", nargs="?", metavar="IN.jsonl", help="JSON lines; `-` reads standard input"
    )
    arguments = parser.parse_args(argv)

    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.scoring.registry import SCORERS, find_scorer, score_lines

    if arguments.scorer == "list":
        print("\n".join(SCORERS))
        return 0
    if arguments.answers is None:
        parser.error("IN.jsonl is missing: name a file of JSON lines, or - for standard input")
    try:
        find_scorer(arguments.scorer)
        if arguments.answers == "-":
            _print(score_lines(sys.stdin, arguments.scorer, "<stdin>"))
        else:
            with Path(arguments.answers).open(encoding="utf-8") as lines:
                _print(score_lines(lines, arguments.scorer, arguments.answers))
    except (RlmEvalError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _print(rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
