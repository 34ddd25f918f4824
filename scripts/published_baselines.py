"""The baselines of a published study, on its very samples, beside its numbers.

    python scripts/published_baselines.py results/published/length_sweep

Makes the samples of every cell again from its manifest, keeps those whose ids stand in the
published records, writes `baselines.json` into the folder and seals it again. The file says what
the rules score, how much text the skimmers read, and each method's paired difference to them. An
entry whose samples the generators of today do not make again stays as the file has it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.git import git_state
from rlm_eval.records.baselines import bound
from rlm_eval.suites.evidence.bundle import Bundle
from rlm_eval.suites.evidence.publishing import remake
from rlm_eval.suites.evidence.rules import made_anew
from rlm_eval.suites.evidence.sources import Sources


def main(folder: Path) -> None:
    """Write `baselines.json` about the published study in `folder`."""
    told = {
        "computed": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": f"python scripts/published_baselines.py {folder}",
        "code": git_state()["git"],
        "bound": bound(),
        "cells": made_anew(Sources(Bundle(folder))),
    }
    text = orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    remake(folder, text)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except RlmEvalError as error:
        sys.exit(str(error))
