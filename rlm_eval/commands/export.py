"""Export runs: documented records, a data set folder for the Hub, chat data, Inspect logs.

rlm-eval export tables results/runs/quickstart -o results/export
rlm-eval export hub results/runs/quickstart -o results/hub
rlm-eval export chat results/runs/quickstart -o results/chat --min-score 1
rlm-eval export inspect results/runs/quickstart -o results/inspect
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser

KINDS = ("tables", "hub", "chat", "inspect")
"""Those of `report.exports.files`, which loads pandas."""


def main(argv: Sequence[str]) -> int:
    """Rebuild the records, write the export, print the paths."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("kind", choices=KINDS, help=f"format: {', '.join(KINDS)}")
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the export")
    parser.add_argument(
        "--min-score", type=float, default=1.0, help="chat: lowest score of an exported trajectory"
    )
    parser.add_argument(
        "--sub-calls",
        action="store_true",
        help="chat: also export each sub-call and child loop as a line",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.core.amounts import check_score

    check_score(arguments.min_score, "--min-score")  # before the records are rebuilt

    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.records.build import write_records
    from rlm_eval.report import export

    for run in arguments.runs:
        write_records(run)
    for path in export(
        arguments.runs,
        arguments.out,
        arguments.kind,
        context_of=ContextSource(trust=arguments.trust, runs=arguments.runs),
        min_score=arguments.min_score,
        sub_calls=arguments.sub_calls,
    ):
        print(path)
    return 0
