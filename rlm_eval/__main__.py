"""Run the command line: `python -m rlm_eval` is `rlm-eval`."""

import sys

from rlm_eval.cli import main

sys.exit(main())
