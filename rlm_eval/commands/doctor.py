"""Check this machine: the REPL's isolation tiers, or with --model a model's server.

rlm-eval doctor
rlm-eval doctor --model qwen3-8b root.engine.python=/path/to/bin/python

Each tier of isolation is tried. With --model the server is started as by a run, asked for one
reply, and stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.commands import command_parser
from rlm_eval.core.exit_codes import DONE, NEGATIVE


def main(argv: Sequence[str]) -> int:
    """See `rlm_eval.repl.doctor` and `rlm_eval.config.model_check`."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument(
        "--model", help="name in configs/model: start its server, request one reply, stop it"
    )
    parser.add_argument(
        "overrides", nargs="*", help="with --model: overrides as for `rlm-eval run`"
    )
    arguments = parser.parse_intermixed_args(list(argv))
    if arguments.model is None:
        if arguments.overrides:
            parser.error("overrides need --model NAME")
        from rlm_eval.repl.doctor import doctor

        print(told := doctor())
        return NEGATIVE if "\nrepl.isolation=strict: refused" in told else DONE
    from rlm_eval.config import model_check
    from rlm_eval.core.terminal import printable

    print(printable(model_check.run(arguments.model, arguments.overrides)))
    return DONE
