"""Errors for stored files that this release cannot read: cut, emptied, edited, of another form.

A torn last line of a log is no damage (`jsonl`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import RlmEvalError

OF_CELL = "restore it, or move the cell's folder away and run the same command again"
"""Way out where a file of a cell is damaged."""
_WRONG_FORM = (KeyError, IndexError, TypeError, ValueError, AttributeError)


@contextmanager
def damaged(path: Path, way_out: str = OF_CELL) -> Iterator[None]:
    """Raise `RlmEvalError` for content of another form than ours, and for a file without access.

    `FileNotFoundError` passes: whether a file must be there is known to the caller alone. Use it
    around code that only reads: elsewhere these errors are faults of the code.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        why = error.strerror or _line(error)
        raise RlmEvalError(f"{path}: cannot be read ({why}); {way_out}") from error
    except _WRONG_FORM as error:
        kind = "lacks " if isinstance(error, KeyError) else ""
        raise RlmEvalError(f"{path}: damaged ({kind}{_line(error)}); {way_out}") from error


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def read_mapping(path: Path, way_out: str = OF_CELL) -> dict[str, Any]:
    """Read a JSON object. Raises `FileNotFoundError`, and `RlmEvalError` where it is damaged."""
    with damaged(path, way_out):
        loaded = orjson.loads(path.read_bytes())
        if not isinstance(loaded, dict):
            raise TypeError(f"a JSON object is due, not {type(loaded).__name__}")
    return loaded
