"""Messages on standard error and in a log file: `--quiet`, `--log-level`, `--log-file`.

Results are not messages and go to standard output. Without `configured`, which the command line
enters, every message from `info` on is printed and no file is written.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.secrets import redact
from rlm_eval.core.terminal import MessageStream, printable

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""Names of `--log-level`, least severe first."""
OPTIONS = {
    "--quiet": "print warnings and errors only: the same as --log-level warning",
    "--log-level LEVEL": f"print messages of this level and above: {', '.join(LEVELS)} "
    "(default: info)",
    "--log-file FILE": "append every message from info on (with --log-level debug: from debug on) "
    "to FILE, with its time in UTC and its level; --quiet does not shorten it",
}
"""Option of every command -> its help."""


@dataclass
class _Sink:
    """The destination of messages."""

    level: int = logging.INFO
    """Least severe level that is printed."""
    file: TextIO | None = None
    """The log file."""
    file_level: int = logging.INFO
    """Least severe level that is written to `file`."""


_sink = _Sink()


def say(text: object, level: int = logging.INFO) -> None:
    """Append a message to the log file and print it on standard error, as their levels allow."""
    shown = printable(text)
    _append(shown, level)
    if level >= _sink.level and sys.stderr is not None:
        print(shown, file=_guarded(sys.stderr), flush=True)


@lru_cache(4)
def _guarded(stream: TextIO) -> MessageStream:
    """Return the stream as a `MessageStream`; always the same one, which reports its end once."""
    return MessageStream(stream)


def warn(text: object) -> None:
    """`say` at level `warning`."""
    say(text, logging.WARNING)


def fail(text: object) -> None:
    """`say` at level `error`."""
    say(text, logging.ERROR)


def log_only(text: object, level: int = logging.INFO) -> None:
    """Append a message to the log file, if there is one, and print nothing."""
    _append(printable(text), level)


def is_shown(level: int = logging.INFO) -> bool:
    """True where messages of `level` are printed."""
    return level >= _sink.level


def _append(shown: str, level: int) -> None:
    if _sink.file is None or level < _sink.file_level:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        _sink.file.write(f"{stamp} {logging.getLevelName(level)} {redact(shown)}\n")
        _sink.file.flush()
    except OSError as error:  # a full disk must not end a run over its log
        _sink.file = None
        warn(f"log file: {error}; the log ends here, the run goes on")


class _Handler(logging.Handler):
    """Passes records of the package's loggers to `say`."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), record.levelno)


@contextmanager
def configured(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Remove `OPTIONS` from a command's arguments and apply them until the end of the block.

    Yields the other arguments. Arguments after `--` are unchanged. Raises `ConfigError` for an
    unknown level, a missing value, `--quiet` with another level, or a file that cannot be opened.
    """
    global _sink
    rest, level, path = _taken(arguments)
    before, logger = _sink, logging.getLogger("rlm_eval")
    kept = logger.level, logger.propagate
    handler = _Handler()
    file = None
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigError(f"--log-file {path}: {error.strerror}; name another file") from error
    _sink = _Sink(level, file, min(level, logging.INFO))
    logger.addHandler(handler)
    logger.setLevel(_sink.file_level)
    logger.propagate = False
    try:
        yield rest
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = kept
        _sink = before
        if file is not None:
            file.close()


def _taken(arguments: Sequence[str]) -> tuple[list[str], int, Path | None]:
    """Return the other arguments, the level and the log file."""
    rest: list[str] = []
    named: str | None = None
    path: Path | None = None
    quiet = False
    queue = iter(arguments)
    for text in queue:
        name, equals, value = text.partition("=")
        if text == "--":
            rest += [text, *queue]
        elif text == "--quiet":
            quiet = True
        elif name in ("--log-level", "--log-file"):
            value = value if equals else next(queue, "")
            if name == "--log-file":
                if not value:
                    raise ConfigError("--log-file: name a file")
                path = Path(value).expanduser()
            elif value.lower() not in LEVELS:
                raise ConfigError(f"--log-level {value}: the levels are {', '.join(LEVELS)}")
            else:
                named = value.lower()
        else:
            rest.append(text)
    if quiet and named not in (None, "warning"):
        raise ConfigError(f"--quiet and --log-level {named}: give one of them")
    return rest, logging.WARNING if quiet else LEVELS[named or "info"], path
