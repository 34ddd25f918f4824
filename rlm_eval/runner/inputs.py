"""Checks of a question and of texts that a program hands over, shared by `ask` and `sample`.

Many objects can be iterated over without yielding texts: a mapping yields its keys, a data frame
its column names. Taken as documents they would replace the user's text unnoticed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import ConfigError


def question_of(value: Any, where: str) -> str:
    """Return the question. Raises `ConfigError` unless it is a text that asks something."""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: question: {_shown(value)} is not a text")
    if not value.strip():
        raise ConfigError(f"{where}: question: nothing is asked")
    return value


def texts_of(value: Any, where: str) -> tuple[str, ...]:
    """Return the texts, in order; any iterable of texts is read once.

    Raises `ConfigError` for anything else: a mapping, a data frame, a set (it has no order), an
    open file (it yields lines), bytes, or an item that is not a text.
    """
    found = _items(value, where, "a text or a list of texts")
    for index, item in enumerate(found):
        if not isinstance(item, str):
            hint = "; decode it first" if isinstance(item, bytes) else ""
            raise ConfigError(f"{where}: item {index} is {_shown(item)}, no text{hint}")
    return tuple(str.__str__(item) for item in found)  # a subclass may be stored otherwise


def paths_of(value: Any, where: str) -> tuple[Path, ...]:
    """Return the paths of files, in order. Raises `ConfigError` as `texts_of` does."""
    found = _items(value, where, "a path or a list of paths")
    for index, item in enumerate(found):
        if not isinstance(item, str | Path):
            raise ConfigError(f"{where}: item {index} is {_shown(item)}, no path")
    return tuple(map(Path, found))


def _items(value: Any, where: str, wanted: str) -> tuple[Any, ...]:
    """Materialise an ordered iterable. Raises `ConfigError` for one that yields names or parts."""
    why = ""
    if isinstance(value, Mapping):
        why = "a mapping yields its keys; give list(it.values()) for its values"
    elif hasattr(value, "columns") or hasattr(value, "column_names"):
        why = "a data frame yields its column names; give one column, as df['text']"
    elif isinstance(value, Set):
        why = "a set has no order; give a sorted list"
    elif isinstance(value, bytes | bytearray | memoryview):
        why = "decode bytes first"
    elif isinstance(value, io.IOBase):
        why = "an open file yields its lines; give what its read() returns"
    elif isinstance(value, os.PathLike) or not isinstance(value, Iterable):
        why = f"give {wanted}"
    if why:
        raise ConfigError(f"{where}: {_shown(value)} is not {wanted}: {why}")
    return tuple(value)


def _shown(value: Any) -> str:
    """Return the class of a value, and a short value itself."""
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
    plain = value is None or isinstance(value, bool | int | float)
    return repr(value) if plain else f"an object of {name}"
