"""Exit codes of `rlm-eval`. A run that a signal ended exits with 128 plus the signal's number."""

from __future__ import annotations

import signal

DONE = 0
NEGATIVE = 1
BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM

EXIT_CODES = {
    DONE: "Done: everything that was asked for was done and, where something was checked, it "
    "passed.",
    NEGATIVE: "Done, with a negative result, or not finished: see `NEGATIVE_RESULTS`. Also a "
    "Python traceback, which is a bug: please report it.",
    BAD_INPUT: "The input was refused before or while it was used: an unknown command, option or "
    "setting, a file that cannot be read, a missing dependency, a full disk. The message names "
    "the place and the next step.",
    INTERRUPTED: "Ctrl-C (SIGINT) ended the command before its work was done; the same command "
    "resumes.",
    TERMINATED: "SIGTERM ended a run before its work was done; the same command resumes.",
}
"""Exit code -> its meaning."""

NEGATIVE_RESULTS = {
    "run": "A cell is unfinished; the messages say why, and the same command resumes.",
    "suite": "A cell is unfinished; the messages say why, and the same command resumes.",
    "job": "A cell of the job is unfinished.",
    "doctor": "No tier of isolation that `repl.isolation=strict` accepts works on this machine.",
    "ask": "A repeat has no answer.",
    "status": "A planned cell is unfinished or damaged, or its shards are not merged.",
    "prefetch": "Something that the cells need could not be fetched.",
    "score": "A cell was not scored: another process writes it.",
    "replay": "A replayed attempt differs from its stored result, or `--accept` was refused; with "
    "`--set`, a cell is unfinished.",
    "verify": "A check failed.",
    "validate": "A proof of a task failed.",
    "referee": "With `--strict`, an alarm was raised.",
}
"""Command -> meaning of its exit code 1. Other commands do not return it."""
