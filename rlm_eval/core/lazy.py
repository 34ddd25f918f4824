"""Names of a package that are loaded on first use: `rl.methods.RLM`."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from rlm_eval.core.errors import ConfigError

_PLAIN = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "None",
}
"""Type of a field -> what to give."""


def lazy(
    package: str, modules: Mapping[str, str], own: Mapping[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package: `modules` maps each name to its module.

    `own` are the package's globals, for completion.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        _name_mistyped_fields(found)
        return found

    def names() -> list[str]:
        return sorted({*own, *modules})

    return load, names


def _name_mistyped_fields(cls: Any) -> None:
    """Make a dataclass name the field of a wrong type that its `__post_init__` fails on.

    Done here and not in the classes: their source is part of the results' code hashes.
    """
    check = getattr(cls, "__post_init__", None)
    if not dataclasses.is_dataclass(cls) or check is None or hasattr(check, "names_fields"):
        return

    @functools.wraps(check)
    def checked(self: Any, *given: Any) -> None:
        try:
            check(self, *given)
        except TypeError as error:
            if why := _mistyped(self):
                raise ConfigError(f"{type(self).__name__}: {why}") from error
            raise

    checked.names_fields = True  # type: ignore[attr-defined]
    setattr(cls, "__post_init__", checked)  # noqa: B010 - a type checker knows no such attribute


def _mistyped(value: Any) -> str | None:
    """Describe the first field whose value is not of its declared plain type."""
    try:
        hints = typing.get_type_hints(type(value))
    except (NameError, TypeError):
        return None
    for field in dataclasses.fields(value):
        hint = hints[field.name]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if not all(kind in _PLAIN for kind in kinds):
            continue
        found = getattr(value, field.name)
        if not isinstance(found, (*kinds, int) if float in kinds else kinds):
            wanted = " or ".join(_PLAIN[kind] for kind in kinds)
            return f"{field.name}={found!r:.60}: give {wanted}"
    return None
