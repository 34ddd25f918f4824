"""Browse the trajectories of runs, with whole contexts, on a local page.

rlm-eval view results/runs/quickstart
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser


def main(argv: Sequence[str]) -> int:
    """Serve on 127.0.0.1 until Ctrl-C."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (0 = any free port)")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65_535:
        parser.error(f"--port {arguments.port}: give 1 to 65535, or 0 for any free port")

    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.report import view

    contexts = ContextSource(trust=arguments.trust, runs=arguments.runs)
    view(arguments.runs, port=arguments.port, context_of=contexts)
    return 0
