"""The source text of this process's modules, as they were loaded.

A code hash comes from a source file, but a process runs what it imported. To detect a file that was
edited in between, the text of every module outside the standard library and the installed packages
is kept when it is imported (`importlib.reload` included), and, for modules that were there first,
when this module is imported.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

Version = tuple[int, int, int]
"""Inode, time of the last change, size."""

_INSTALLED = tuple(
    {
        f"{folder}{os.sep}"
        for key in ("stdlib", "platstdlib", "purelib", "platlib")
        for folder in (Path(sysconfig.get_path(key)), Path(sysconfig.get_path(key)).resolve())
    }
)
_TEXTS: dict[str, tuple[Version, bytes]] = {}
"""Absolute path of a source file -> its state when its module was last loaded."""


def _version(path: str) -> Version:
    status = Path(path).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _keep(path: str) -> bool:
    """Keep the text of a source file; false where there is no such file."""
    if path.startswith(_INSTALLED):
        return False
    try:
        version = _version(path)
        _TEXTS[path] = version, Path(path).read_bytes()
    except (OSError, ValueError):
        return False
    return True


class _Recorder:
    """An import hook that finds no module: it only keeps the text of the file to be loaded."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG004 - the protocol's
    ) -> ModuleSpec | None:
        """Return `None` always."""
        last = name.rpartition(".")[2]
        with suppress(Exception):  # an import must not fail here
            for folder in sys.path if path is None else path:
                base = f"{_absolute(folder)}{os.sep}{last}"
                if base.startswith(_INSTALLED):
                    continue
                if _keep(f"{base}{os.sep}__init__.py") or _keep(f"{base}.py"):
                    break
        return None


def _absolute(path: str) -> str:
    return path if path.startswith(os.sep) else str(Path(path).absolute())


def _file(module: ModuleType | None) -> str | None:
    """Absolute path of a loaded module's source file; `None` where there is none."""
    found = getattr(getattr(module, "__spec__", None), "origin", None)
    if found is None:
        found = getattr(module, "__file__", None)
    if not isinstance(found, str) or not found.endswith(".py"):
        return None
    return _absolute(found)


def _start() -> None:
    """Keep the texts of the modules that are loaded, and of those that will be."""
    if any(getattr(finder, "__name__", "") == _Recorder.__name__ for finder in sys.meta_path):
        return
    for module in list(sys.modules.values()):
        with suppress(Exception):  # modules may be any object
            if (path := _file(module)) is not None and not path.startswith(_INSTALLED):
                _keep(path)
    sys.meta_path.insert(0, _Recorder)


def check_unedited(files: Iterable[tuple[str, Path]]) -> None:
    """Check that the source files of loaded modules hold the code that was loaded.

    `files` are (module name, source file); modules that are not loaded pass, and so do changed
    comments and layout. Raises `ConfigError`, which names the first edited file.
    """
    for name, file in files:
        path = _absolute(str(file))
        if _file(sys.modules.get(name)) != path:
            continue
        if path not in _TEXTS:  # loaded in another way than by an import: from now on
            _keep(path)
            continue
        version, text = _TEXTS[path]
        with suppress(OSError):
            if _version(path) == version:
                continue
        if not _has_same_code(text, path):
            from rlm_eval.core.errors import ConfigError  # only here: see `_has_same_code`

            raise ConfigError(
                f"{path} was edited after it was loaded: this process runs the earlier code. "
                f"Restart the process, or load it again (importlib.reload of {name}) and make "
                "its objects anew"
            )
        with suppress(OSError):
            _TEXTS[path] = _version(path), text


def _has_same_code(text: bytes, path: str) -> bool:
    import ast  # only here: every start of the program imports this module

    try:
        now = Path(path).read_bytes()
        return now == text or ast.dump(ast.parse(now)) == ast.dump(ast.parse(text))
    except (OSError, SyntaxError, ValueError):
        return False


_start()
