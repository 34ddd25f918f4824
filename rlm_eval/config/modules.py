"""Python modules that a user's YAML files name: one name is one module.

Python imports the first module of a name on its path, or the one that is loaded already. With two
folders that each contain a `my_tasks.py`, the YAML of one folder would run the class of the other,
under the same cell identity.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.core.code_hash.modules import file_of, installed
from rlm_eval.core.errors import ConfigError

_TARGET = re.compile(r"""\b_target_["']?\s*:\s*["']?(\w+)\.\w""")
_IMPORT = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
_PACKAGE = __name__.partition(".")[0]


def check_modules(folders: Sequence[Path]) -> None:
    """Check that each module whose class a YAML of these folders names exists only once.

    The same for the modules that such a module imports, libraries excluded.

    Searched are the working directory, the folders that contain these `folders`, and what Python
    would import, or has imported, under that name. Raises `ConfigError`, which names two modules
    with different contents.
    """
    places = list(dict.fromkeys((Path.cwd().resolve(), *(folder.parent for folder in folders))))
    users: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            for name in _TARGET.findall(path.read_text(encoding="utf-8", errors="replace")):
                if name != _PACKAGE:
                    users.setdefault(name, path)
    queue = list(users.items())
    for name, user in queue:  # grows while it is read
        for place in _check_once(name, user, places):
            for imported in _imported(place):
                if imported not in users:
                    users[imported] = place
                    queue.append((imported, place))


def _check_once(name: str, user: Path, places: Sequence[Path]) -> list[Path]:
    """Return the modules of this name in `places`; `user` is a file that names it."""
    own = [place for folder in places if (place := _in(folder, name)) is not None]
    found = list(own)
    loaded = file_of(name)
    if loaded is not None:
        place = loaded.parent if loaded.name == "__init__.py" else loaded
        found.insert(0, place.resolve())
        if user.suffix == ".py" and any(found[0].is_relative_to(path) for path in installed()):
            return []  # an import of a library
        found = [place for place in found if not _is_namespace(place)]
    for other in dict.fromkeys(found[1:]):
        if _differ(found[0], other):
            raise ConfigError(
                f"{user}: there are two modules {name} with different contents, {found[0]} and "
                f"{other}; Python imports only one of them. Rename yours ({name}_mine), also "
                "where it is named"
            )
    return own


def _in(folder: Path, name: str) -> Path | None:
    """Return the module or package of this name in a folder, as Python chooses."""
    module, package = folder / f"{name}.py", folder / name
    if (package / "__init__.py").is_file():
        return package.resolve()
    if module.is_file():
        return module.resolve()
    return package.resolve() if next(package.glob("*.py"), None) else None


def _is_namespace(place: Path) -> bool:
    return place.is_dir() and not (place / "__init__.py").is_file()


def _imported(place: Path) -> set[str]:
    """Return the top-level modules that a module, or a package's modules, import by name."""
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    return {
        name
        for file in files
        for name in _IMPORT.findall(file.read_text(encoding="utf-8", errors="replace"))
        if name != _PACKAGE and name not in sys.stdlib_module_names
    }


def _differ(one: Path, other: Path) -> bool:
    """Return true where two modules, or two packages, do not hold the same source files.

    Folders without `__init__.py` are one package together: only files of the same name count.
    """
    if one.is_file() or other.is_file():
        return not (one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes())
    first, second = _sources(one), _sources(other)
    if not {Path("__init__.py")} & (first.keys() | second.keys()):
        return any(first[name] != second[name] for name in first.keys() & second.keys())
    return first != second


def _sources(package: Path) -> dict[Path, bytes]:
    return {path.relative_to(package): path.read_bytes() for path in package.rglob("*.py")}
