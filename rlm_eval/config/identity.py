"""The identity of a configuration: the settings that determine its results, as JSON for hashing.

One rule applies to every field of every class in a cell:

* A field in the class's `RUNTIME` does not affect results and is always excluded.
* A field that the class had in the first release (`data/first_fields.json`) is always included.
* Any other field (added later, or of a plug-in's class) is included unless it has its default
  value. A new field whose default keeps the old behaviour therefore invalidates no published result
  and no unfinished run.

A class's behaviour is versioned by `VERSION` (1 where absent); it is included from 2 on. Raise it
when a method, a parser or a generator gives different results for the same configuration, and when
the default of a field added later changes. Its key is `version`, or `VERSION` for a class with a
field of that name, which would hide it. A class whose change concerns one mode alone states that
mode's version in the property `mode_version`: cells of other modes stay. Scorers have
versions of their own (`core.types.Score.version`): a stored answer is rescored without a call.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

_FIRST = Path(__file__).parent / "data" / "first_fields.json"


def identity(value: Any, versions: Mapping[str, int] | None = None) -> Any:
    """Return `value` as JSON by the rule above; a dataclass also contributes its class name.

    `versions` overrides the `VERSION` of the classes that it names, to compute the identity that a
    result had under the code that produced it.
    """
    return _plain(value, versions or {}, whole=False)


def settings(value: Any) -> Any:
    """Return `value` as JSON with all fields except `RUNTIME`, defaults included."""
    return _plain(value, {}, whole=True)


def hashed(value: Any) -> Any:
    """`settings` with every text hashed: comparable, and free of protected text."""
    if isinstance(value, dict):
        return {key: hashed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hashed(inner) for inner in value]
    if isinstance(value, str):
        return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return value


def versions_in(value: Any) -> dict[str, int]:
    """Class name -> `VERSION` of every dataclass in `value`."""
    if type(value) in _SCALARS:
        return {}
    if isinstance(value, Mapping):
        return {k: v for inner in value.values() for k, v in versions_in(inner).items()}
    if isinstance(value, list | tuple):
        return {k: v for inner in value for k, v in versions_in(inner).items()}
    if not _is_config(value):
        return {}
    inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {type(value).__name__: _version(value), **versions_in(inner)}


def changed_defaults(stored: Any, now: Any, place: str = "") -> list[str]:
    """List fields with different values in two `settings`, as `root.window: None, now 8192`."""
    if isinstance(stored, dict) and isinstance(now, dict):
        return [
            line
            for name in stored.keys() & now.keys()
            for line in changed_defaults(stored[name], now[name], f"{place}.{name}".strip("."))
        ]
    return [] if stored == now else [f"{place}: {stored!r}, now {now!r}"]


@functools.cache
def _first_fields() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(_FIRST.read_text())
    return found


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _version(value: Any) -> int:
    """A class whose change concerns one mode alone states that mode's version in `mode_version`."""
    version: int = getattr(value, "mode_version", getattr(type(value), "VERSION", 1))
    return version


_SCALARS = (str, int, float, bool, type(None))  # most values: a quick way past the other checks


def _plain(value: Any, versions: Mapping[str, int], *, whole: bool) -> Any:
    if type(value) in _SCALARS:
        return value
    if _is_config(value):
        name = type(value).__name__
        runtime: frozenset[str] = getattr(type(value), "RUNTIME", frozenset())
        first = _first_fields().get(name, ())
        fields = {
            f.name: _plain(getattr(value, f.name), versions, whole=whole)
            for f in dataclasses.fields(value)
            if f.name not in runtime
            and (whole or f.name in first or getattr(value, f.name) != _default(f))
        }
        version = versions.get(name, _version(value))
        own = any(f.name == "version" for f in dataclasses.fields(value))
        is_stated = version > 1 or (own and whole)  # a report reads its absence as 1 from `version`
        key = "VERSION" if own else "version"
        return {"class": name, **({key: version} if is_stated else {}), **fields}
    if isinstance(value, dict):
        return {str(k): _plain(v, versions, whole=whole) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, versions, whole=whole) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    """The field's default; `MISSING`, which equals no value, where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
