"""Make a published folder's tables, figures, README and seal anew from its own records.

    rlm-eval seal results/published/*

For folders that were published before there were seals, and after a change of a report's code.
Records, plan, manifests, answers and notes by hand stay as they are. No run directory is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Seal the folders, one after the other."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="published folders")
    arguments = parser.parse_args(argv)

    from rlm_eval.suites.evidence.publishing import remake

    for folder in arguments.folders:
        remake(folder)
        print(folder)
    return 0
