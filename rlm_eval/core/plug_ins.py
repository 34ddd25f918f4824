"""Errors of plug-ins: which member of which class returned or raised what, and where."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.group_errors import is_of_storage, leaves_of

_PACKAGE = __name__.partition(".")[0]


def named(plug_in: object, member: str) -> str:
    """Return `module.Class.member`."""
    cls = type(plug_in)
    return f"{cls.__module__}.{cls.__qualname__}.{member}"


def returned(plug_in: object, member: str, value: object, wanted: str) -> str:
    """Say what a member of a plug-in returned, and what it must return."""
    return f"{named(plug_in, member)} returned {value!r:.80}, not {wanted}"


@contextmanager
def guarded(
    plug_in: object,
    member: str,
    passes: tuple[type[Exception], ...] = (),
    way_out: str = "correct the code",
) -> Iterator[None]:
    """Turn what a member of a plug-in raises by its own fault into a `ConfigError` of one line.

    Errors of the harness pass (from a task group without the group), as do those in `passes` and a
    full disk. So does any error of this package's classes: the traceback shows our fault.
    """
    try:
        yield
    except SystemExit as error:  # it would end the process unexplained
        where = named(plug_in, member)
        raise ConfigError(f"{where} tried to end the process: {told(error)}") from error
    except Exception as error:
        several = list(leaves_of(error)) if isinstance(error, ExceptionGroup) else [error]
        foreign = [one for one in several if not isinstance(one, RlmEvalError)]
        if several != [error] and not foreign:
            raise several[0] from error
        is_ours = type(plug_in).__module__.partition(".")[0] == _PACKAGE
        if not foreign or is_ours or is_of_storage(foreign[0]) or isinstance(error, passes):
            raise
        why = told(foreign[0], plug_in)
        raise ConfigError(f"{named(plug_in, member)} failed: {why}; {way_out}") from error


def told(error: BaseException, plug_in: object = None) -> str:
    """Describe the error of a user's module in one line, with its file and line where known.

    The place is the last one in the folder of the plug-in's class, else the last one of all.
    """
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    text = " ".join(str(error).split())
    speaks = text and isinstance(error, ImportError | AttributeError)
    what = text if speaks else f"{type(error).__name__}: {text}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename not in _MACHINERY and not f.filename.startswith("<")]
    file = getattr(sys.modules.get(type(plug_in).__module__), "__file__", None)
    near = [f for f in own if file and Path(f.filename).is_relative_to(Path(file).parent)]
    place = (near or own)[-1:]
    return f"{place[0].filename}, line {place[0].lineno}: {what}" if place else what


_MACHINERY = (
    __file__,
    importlib.__file__,
    str(Path(__file__).parents[1] / "config" / "builder.py"),
)
"""Files of the frames between a configuration and a user's module."""
