"""Answer one question over your own files, by any method.

rlm-eval ask report.txt notes.txt 'Who signed the contract?' method=rlm model@root=coder-0.5b

Prints the answer, one line per repeat (`epochs=2`). Calls, tokens, cost and the run directory are
printed on standard error. The same question over the same contents is replayed from its journal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rlm_eval.commands import command_parser

_OVERRIDE = re.compile(r"[+~]{0,2}[\w@./]+=")


def main(argv: Sequence[str]) -> int:
    """Print the answer of every epoch; 0 where there is one, 1 where there is none."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("files", nargs="+", help="text files")
    parser.add_argument("question", help="the question, in quotes")
    parser.add_argument("overrides", nargs="*", help="overrides as for `rlm-eval run`")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before spending more than `confirm_above`"
    )
    given = parser.parse_intermixed_args(argv)
    # The parser cannot tell where the question is: overrides are recognised by their form.
    words = [*given.files, given.question, *given.overrides]
    overrides: list[str] = []
    while words and _OVERRIDE.match(words[-1]):
        overrides.insert(0, words.pop())
    if len(words) < 2:
        parser.error("name at least one file, then the question (in quotes), then any overrides")

    from rlm_eval.core.terminal import printable
    from rlm_eval.runner.questions import ask_now
    from rlm_eval.runner.signals import Signals

    if not any(override.startswith("method=") for override in overrides):
        overrides.insert(0, "method=rlm")
    done = ask_now(words[-1], words[:-1], overrides, Signals(), yes=given.yes)
    for text in done.texts:
        print("(no answer)" if text is None else printable(text))
    print(
        f"[{done.outcome.value}; {done.calls} calls; {done.paid}; {done.seconds:.1f} s; "
        f"rlm-eval view {done.folder}]",
        file=sys.stderr,
    )
    return 1 if None in done.texts else 0
