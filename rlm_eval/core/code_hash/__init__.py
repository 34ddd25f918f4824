"""The hash of a class's behaviour: its syntax tree and that of all our code that it uses.

Computed from source files; nothing is imported or run. Starting at a class, every function, class
and constant that it names is followed through the imports, within this package and the class's own
package or folder. Left out are docstrings, comments, annotations, imports, names of modules and of
top-level definitions (numbered by order of reference; private attributes too), `VERSION` (part of
the identity), fields in `RUNTIME`, the `name` of a class that has a `former_name`, and
`SURROUNDINGS` of this package. A text constant that names a prompt or data file adds the file's
content. So moving or renaming code changes no hash, and a changed statement, constant or prompt
does.

A class that no file holds (one defined in a notebook) has a hash of its code objects and of the
values that they name (`live`).

Not covered: objects that the code reaches other than by name (the behaviour of a `Session` or a
REPL), and other packages; the manifest records their versions.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlm_eval.core.code_hash import live
from rlm_eval.core.code_hash.files import digest, package_files
from rlm_eval.core.code_hash.modules import Stamp, file_of, stamp
from rlm_eval.core.code_hash.walk import UnknownSourceError, Walk
from rlm_eval.core.loaded import check_unedited


def class_hash(target: str, *, only: str = "", without: str = "") -> str | None:
    """Return 16 hex digits for the class with this dotted name; `None` if its source is not found.

    `only` starts at this one method of the class; `without` leaves methods of this name out.
    """
    return _known(target, only, without)[0]


def running_hash(
    target: str, cls: type | None = None, *, only: str = "", without: str = ""
) -> str | None:
    """Return `class_hash` of a class that this process runs, or the hash of its code objects.

    The latter where no file holds the class (one defined in a notebook), see `live`. `cls` is the
    class itself where it is at hand; without it, the class that has this name now. `None` where
    neither can be computed: then the code is unknown, and equal to no other. Raises `ConfigError`
    where a source file was edited after it was loaded.
    """
    current = live.named(target)
    found = cls if cls is not None else current
    if found is None or (found is current and live.is_in_its_file(found)):
        hashed, _, sources = _known(target, only, without)
        if hashed is not None:
            check_unedited(sources.items())
            return hashed
    return live.live_hash(found, running_hash, only, without) if found is not None else None


def cache_key(target: str, *, without: str = "") -> str:
    """Return `running_hash` as part of a cache's key; where it is unknown, a key used only once.

    Where an earlier class of this name still lives, as in a notebook whose cell ran twice, the name
    does not tell which one asks: also unknown.
    """
    current = live.named(target)
    is_clear = current is None or not live.has_namesakes(current)
    found = running_hash(target, without=without) if is_clear else None
    return found if found is not None else secrets.token_hex(8)


def _known(target: str, only: str, without: str) -> _Made:
    key = (target, only, without, file_of(target.rpartition(".")[0]))
    known = _MADE.get(key)
    if known is None or known[0] is None or known[1] != {path: stamp(path) for path in known[1]}:
        known = _MADE[key] = _hashed(target, only, without)
    return known


@functools.cache
def _same() -> dict[str, list[str]]:
    known: dict[str, list[str]] = json.loads(SAME.read_text())
    return known


def same_code(found: str) -> list[str]:
    """Return the earlier hashes of the class with this hash, for the same code.

    Read from `same_code.json`: hashes that covered code now excluded (`SURROUNDINGS`), or the same
    code written differently. An entry ends with the next change of its code.
    """
    return _same().get(found, [])


SAME = Path(__file__).with_name("same_code.json")

_Made = tuple[str | None, dict[Path, Stamp], dict[str, Path]]

_MADE: dict[tuple[str, str, str, Path | None], _Made] = {}


def values_hash(values: Any) -> str:
    """Hash the contents of the files that the text values of a configuration name."""
    named = [
        package_files().get(text) or (digest(Path(text)) if "." in text else None)
        for text in _texts(values)
    ]
    return hashlib.sha256("\n".join(filter(None, named)).encode()).hexdigest()[:16]


def _texts(values: Any) -> Iterable[str]:
    if isinstance(values, Mapping):
        for key in sorted(values, key=str):
            yield from _texts(values[key])
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)
    elif isinstance(values, str) and len(values) < 1000:
        yield values


def _hashed(target: str, only: str, without: str) -> _Made:
    module, _, name = target.rpartition(".")
    walk = Walk(module.partition(".")[0], without)
    try:
        text = walk.text(module, name, only)
    except UnknownSourceError:
        return None, {}, {}
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return hashed, {path: stamp(path) for path in walk.files}, walk.sources
