"""Rebuild the tables, figures, README and seal of a published folder from its records.

    rlm-eval seal results/published/*

For folders that were published without a seal, and after a change of the report's code. Records,
plan, manifests, answers and manual notes are not changed. No run directory is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Seal the folders one after the other."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval seal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="published folders")
    arguments = parser.parse_args(argv)

    from rlm_eval.suites.evidence.publishing import remake

    for folder in arguments.folders:
        remake(folder)
        print(folder)
    return 0
