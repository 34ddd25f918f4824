"""Answer one question over your own files, by any method.

rlm-eval ask report.txt notes.txt 'Who signed the contract?' method=rlm model@root=coder-0.5b

Prints the answer; calls, tokens, cost and the run directory go to the error stream.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[+~]{0,2}[\w@./]+=")


def main(argv: Sequence[str]) -> int:
    """Print the answer; 0 where there is one, 1 where there is none."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval ask",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="+", metavar="FILE... QUESTION [OVERRIDE...]",
        help="text files, then the question, then overrides as for `rlm-eval run`",
    )  # fmt: skip
    words = parser.parse_args(argv).words
    overrides: list[str] = []
    while words and _OVERRIDE.match(words[-1]):
        overrides.insert(0, words.pop())
    if len(words) < 2:
        parser.error("name at least one file, then the question (in quotes), then any overrides")

    from rlm_eval.core.terminal import printable
    from rlm_eval.runner.ask import ask

    if not any(override.startswith("method=") for override in overrides):
        overrides.insert(0, "method=rlm")
    done = ask(words[-1], words[:-1], *overrides)
    print("(no answer)" if done.text is None else printable(done.text))
    tokens = [str(n) if n is not None else "?" for n in (done.input_tokens, done.output_tokens)]
    cost = "cost unknown" if done.cost is None else f"${done.cost:.4f}"
    print(
        f"[{done.outcome.value}; {done.calls} calls; {tokens[0]} + {tokens[1]} tokens; {cost}; "
        f"{done.seconds:.1f} s; rlm-eval view {done.folder}]",
        file=sys.stderr,
    )
    return 0 if done.text is not None else 1
