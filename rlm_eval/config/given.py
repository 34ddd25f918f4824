"""Objects from Python, checked field by field as a YAML's values are (`builder.typed`).

The default of a class is never checked, nor is a field whose type OmegaConf does not know: a class
of the user's may hold anything there.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlm_eval.config.builder import field_schema, hints_of, typed
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.plug_ins import told


def checked(value: Any, path: str) -> Any:
    """Return the dataclass `value` with every field of its declared type.

    Converts what a YAML converts: the text "2" for a whole number. An object whose fields have
    their types is returned itself. Raises `ConfigError` with the key path for a value of another
    type, and for one that the class rejects.
    """
    cls = type(value)
    try:
        hints = hints_of(cls)  # type: ignore[arg-type]  # a class can be hashed
    except (NameError, TypeError, AttributeError):  # names that exist for a type checker alone
        return value
    changed = {}
    for field in dataclasses.fields(value):
        if not field.init or field.name not in hints:
            continue
        old = getattr(value, field.name)
        new = _field(field, hints[field.name], old, path)
        if new is not old:
            changed[field.name] = new
    if not changed:
        return value
    try:
        return dataclasses.replace(value, **changed)
    except RlmEvalError:
        raise
    except (Exception, SystemExit) as error:  # a user's `__post_init__`
        raise ConfigError(f"{path}: {told(error)}") from error


def plain_number(value: Any) -> Any:
    """Return numpy's whole number, float or boolean as Python's own; other values unchanged."""
    if getattr(value, "shape", None) == () and hasattr(value, "dtype") and hasattr(value, "item"):
        found = value.item()
        return found if isinstance(found, bool | int | float) else value
    return value


def _field(field: dataclasses.Field[Any], hint: Any, old: Any, path: str) -> Any:
    if hint in (Any, object):
        return old
    if _is_object(old):
        return checked(old, f"{path}.{field.name}")
    if _alike(_default(field), old) or _holds_object(old) or not _is_known(field.name, hint):
        return old
    texts: list[str] = []
    new = typed(field.name, hint, _without_notation(plain_number(old), texts), path)
    new = _with_notation(new, texts)
    return old if _alike(new, old) else new


def _is_object(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _holds_object(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_object(inner) or _holds_object(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_is_object(inner) or _holds_object(inner) for inner in value)
    return False


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


@functools.lru_cache(maxsize=1000)
def _is_known(key: str, hint: Any) -> bool:
    """True where OmegaConf can check a value of this type."""
    if dataclasses.is_dataclass(hint):
        return True
    try:
        OmegaConf.structured(field_schema(key, hint))
    except (OmegaConfBaseException, TypeError, ValueError, AssertionError):
        return False
    return True


_MARK = "\0text {}\0"
"""Placeholder of a text that OmegaConf would read as its own notation."""


def _without_notation(value: Any, texts: list[str]) -> Any:
    """Replace texts with `${` or `???` by placeholders: the text of an object is literal."""
    if isinstance(value, dict):
        return {key: _without_notation(inner, texts) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_notation(inner, texts) for inner in value]
    if isinstance(value, str) and ("${" in value or value == "???"):
        texts.append(value)
        return _MARK.format(len(texts) - 1)
    return value


def _with_notation(value: Any, texts: list[str]) -> Any:
    if not texts:
        return value
    if isinstance(value, dict):
        return {key: _with_notation(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_notation(inner, texts) for inner in value]
    marks = {_MARK.format(index): text for index, text in enumerate(texts)}
    return marks.get(value, value) if isinstance(value, str) else value


def _alike(new: Any, old: Any) -> bool:
    """True where both are the same in an identity.

    A whole number in a field for floats stays as given: the identity of such a cell is known.
    """
    if isinstance(new, list | tuple) and isinstance(old, list | tuple):
        return len(new) == len(old) and all(map(_alike, new, old))
    if isinstance(new, dict) and isinstance(old, dict):
        return list(new) == list(old) and all(_alike(new[key], old[key]) for key in new)
    if type(new) is float and type(old) is int:
        return new == old
    try:
        return type(new) is type(old) and bool(new == old)
    except (TypeError, ValueError):  # an array compares item by item
        return False
