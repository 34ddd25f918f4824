"""Show what this machine offers: the REPL's isolation, found by trying it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """See `rlm_eval.doctor`."""
    argparse.ArgumentParser("rlm-eval doctor", description=__doc__).parse_args(list(argv))
    from rlm_eval.doctor import doctor

    print(doctor())
    return 0
