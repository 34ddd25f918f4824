"""Rebuild the tables, figures, README and seal of a published folder from its records.

    rlm-eval seal results/published/*

For folders that were published without a seal, and after a change of the report's code. Records,
plan, manifests, answers and manual notes are not changed. No run directory is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Seal the folders one after the other."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="published folders")
    arguments = parser.parse_args(argv)

    from rlm_eval.suites.evidence.publishing import remake

    for folder in arguments.folders:
        remake(folder)
        print(folder)
    return 0
