"""Build a typed object from a composed YAML node: the class in `_target_` is the schema.

Unlike Hydra's `instantiate`, an unknown key or a wrong type fails, with the full key path.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import os
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlm_eval import protocols
from rlm_eval.core import moved
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.plug_ins import told

_LENGTH = re.compile(r"^(\d+)\s*([kKmM]?)$")


def parse_length(value: object) -> int:
    """Tokens from `4096`, `4k` (4 x 1024) or `1M` (1024 x 1024).

    Raises `ConfigError` for anything else.
    """
    match = _LENGTH.match(str(value).strip())
    if not match or int(match.group(1)) == 0:
        raise ConfigError(f"length={value}: give tokens as 4096, 4k or 1M")
    return int(match.group(1)) * {"": 1, "k": 1024, "m": 1024**2}[match.group(2).lower()]


def locate(target: str, path: str) -> type[Any]:
    """Import the dataclass at a dotted name. Raises `ConfigError` with the key path.

    A name in this package must be a class defined there, not one that a module imports. Names of
    modules that have moved resolve to the new ones (`core.moved`).
    """
    target = moved.now(target)
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (Exception, SystemExit) as error:  # a module runs any code when it is imported
        hint = moved.hint(error.name) if isinstance(error, ImportError) else ""
        raise ConfigError(
            f"{path}._target_: cannot import {target!r}: {told(error)}{hint}"
        ) from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ConfigError(f"{path}._target_: {target!r} is not a dataclass")
    if target.startswith("rlm_eval.") and not found.__module__.startswith("rlm_eval."):
        raise ConfigError(f"{path}._target_: {target!r} is a class of {found.__module__}")
    return found


def build(node: DictConfig | Mapping[str, Any], path: str) -> Any:
    """Build the dataclass that `node._target_` names; nested `_target_` nodes are built first.

    `path` is the key path of the node in the whole configuration, for messages. Raises
    `ConfigError` with the full key path for an unknown key, a wrong type, a missing value or a
    value that the class rejects (`ValueError` from its `__post_init__`).
    """
    if not isinstance(node, Mapping | DictConfig):
        raise ConfigError(f"{path}: {node!r:.60} has no fields; compose it from its config group")
    values = {
        # One by one: an interpolation (of a secret, see `environment`) may refer outside the
        # node.
        str(key): OmegaConf.to_container(value, resolve=True)
        if OmegaConf.is_config(value)
        else value
        for key, value in node.items()
    }
    return _build(values, path)


def build_method(config: DictConfig, given: Mapping[str, Any]) -> Any:
    """Build the method of a configuration, or take the given one.

    An external engine runs in a folder of its own: its relative paths are those of the working
    directory, and become absolute, also in `config`, which a job of another folder may read. An
    absolute path in the identity is what it was before.
    """
    method = given["method"] if "method" in given else build(config.method, "method")
    if not hasattr(method, "runner"):
        return method
    from rlm_eval.methods.external import External

    if not isinstance(method, External):
        return method
    paths = {name: getattr(method, name) for name in ("runner", "python")}
    # A bare name of an interpreter is looked up in PATH.
    named = {n: Path(p) for n, p in paths.items() if p and (n == "runner" or os.sep in p)}
    # Not `resolve`: it would leave a virtual environment by its interpreter's link.
    whole = {n: os.path.abspath(p) for n, p in named.items()}  # noqa: PTH100
    changed: dict[str, Any] = {n: p for n, p in whole.items() if not named[n].is_absolute()}
    for name, path in changed.items():
        OmegaConf.update(config, f"method.{name}", path, force_add=True)
    return dataclasses.replace(method, **changed) if changed else method


def _build(values: dict[str, Any], path: str) -> Any:
    target = values.pop("_target_", None)
    if target is None:
        raise ConfigError(f"{path}: has no _target_; compose it from its config group")
    cls = locate(str(target), path)
    return construct(cls, values, path)


def construct(cls: type[Any], values: dict[str, Any], path: str) -> Any:
    """Build the dataclass `cls`: `build` for a node whose class is given."""
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(key, names, 3) or names
            raise ConfigError(
                f"{path}.{key}: unknown key of {cls.__name__}; near: {', '.join(near)}"
            )
    hints = hints_of(cls)  # type: ignore[arg-type]  # a class can be hashed
    found = {key: typed(key, hints[key], value, path) for key, value in values.items()}
    if lacking := protocols.abstract(cls):
        raise ConfigError(f"{path}: {'; '.join(lacking)}")
    try:
        return cls(**found)
    except RlmEvalError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's `__post_init__`
        raise ConfigError(f"{path}: {told(error)}") from error


_PLAIN = (bool, float, int, str)


@functools.lru_cache(maxsize=1000)
def hints_of(cls: type[Any]) -> dict[str, Any]:
    """Field -> its declared type. Raises `NameError` for a name that cannot be resolved."""
    return typing.get_type_hints(cls)


@functools.lru_cache(maxsize=1000)
def _as_it_is(hint: Any) -> tuple[type, ...]:
    """The types whose values OmegaConf does not convert in a field of this type."""
    inner = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return inner if all(one in (*_PLAIN, types.NoneType) for one in inner) else ()


@functools.lru_cache(maxsize=1000)
def field_schema(key: str, hint: Any) -> type:
    """A dataclass with one field, against which OmegaConf checks a value."""
    return dataclasses.make_dataclass("Field", [(key, hint)])


def typed(key: str, hint: Any, value: Any, path: str) -> Any:
    """Convert `value` to the field's type: nested dataclasses here, other types by OmegaConf.

    Raises `ConfigError` with the full key path where it cannot be converted.
    """
    if isinstance(value, dict) and "_target_" in value:
        return _build(dict(value), f"{path}.{key}")
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return construct(hint, {str(k): v for k, v in value.items()}, f"{path}.{key}")
    if type(value) in _as_it_is(hint) and value != "???":
        return value  # the common case
    try:
        merged = OmegaConf.merge(OmegaConf.structured(field_schema(key, hint)), {key: value})
        return getattr(OmegaConf.to_object(merged), key)
    except OmegaConfBaseException as error:
        full_key = getattr(error, "full_key", None) or key
        raise ConfigError(f"{path}.{full_key}: {str(error).splitlines()[0]}") from error
