"""Tell how many samples a difference needs, or which difference n samples can show.

rlm-eval power --n 50
rlm-eval power --difference 0.1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Print the table for paired right/wrong scores."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--n", type=int, help="paired samples")
    given.add_argument("--difference", type=float, help="difference of score, 0 to 1")
    arguments = parser.parse_args(argv)

    from rlm_eval.report import power

    print(power(difference=arguments.difference, n=arguments.n))
    return 0
