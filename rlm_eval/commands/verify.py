"""Verify published folders offline: re-score answers, recompute tables and README numbers.

    rlm-eval verify results/published/smoke
    rlm-eval verify smoke --claim "tables/planned.csv row 1 column p, Holm"

Prints PASS or the first difference of each claim. A bare name stands for a folder in
results/published. What is covered: docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser


def main(argv: Sequence[str]) -> int:
    """Verify the bundles, or compute one claim."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("bundles", nargs="+", type=Path, help="published folders")
    parser.add_argument("--claim", metavar="NAME", help="compute and print this claim only")
    parser.add_argument(
        "--run", type=Path, help="compare the logs of this run with the sealed digests"
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="also draw the pictures again and compare their bytes",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)
    if len(arguments.bundles) > 1 and (arguments.claim or arguments.run):
        parser.error("--claim and --run need exactly one bundle")

    from rlm_eval.core.messages import warn
    from rlm_eval.core.terminal import printable
    from rlm_eval.suites.evidence.verify import Options, broken, claim, verify
    from rlm_eval.suites.publish import PUBLISHED

    failed = checks = 0
    for given in arguments.bundles:
        folder = given if given.exists() or given.is_absolute() else PUBLISHED / given
        if arguments.claim:
            print(printable(claim(folder, arguments.claim)))
            if (told := broken(folder)) is not None:
                warn(f"{folder}: {told}: this value is computed from files that were changed")
                return 1
            return 0
        print(folder)
        for found in verify(folder, Options(arguments.trust, arguments.run, arguments.figures)):
            print(printable(f"  {found.line()}"), flush=True)
            checks, failed = checks + 1, failed + (not found.passed)
    print(f"{checks - failed} of {checks} checks passed" if failed else f"PASS: {checks} checks")
    return 1 if failed else 0
