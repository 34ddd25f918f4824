"""Locations of configurations and suites: the package's and the user's.

The package's `configs/` and `benchmarks/` are folders at the top of a clone; a wheel contains
copies inside the package. A user's YAML files join them through Hydra's search path, from these
folders:

1. `--config-dir DIR` of any command (DIR precedes the folders of 2),
2. `RLM_EVAL_CONFIG_PATH`: folders, separated as in `PATH`,
3. `configs/` in the working directory.

A name refers to one configuration: a file with the same name and other contents in another folder
is an error, so that a user's file cannot silently replace a shipped one. Python modules next to a
`configs/` folder can be imported (`_target_: my_tasks.MyTask`); of two with one name and other
contents Python would import only one, so that is an error too (`modules`).
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.config.modules import check_modules
from rlm_eval.core.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

VARIABLE = "RLM_EVAL_CONFIG_PATH"
OPTION = "--config-dir"
_PACKAGE = Path(__file__).parents[1]


def _shipped(name: str) -> Path:
    """Path of a package folder: inside the package in a wheel, next to it in a clone."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONFIGS = _shipped("configs")
"""The package's configurations."""
BENCHMARKS = _shipped("benchmarks")
"""The package's suites."""

EARLIER_NAMES = Path(__file__).parent / "earlier_names"
"""Former names of configurations: they still compose, but no list shows them."""


def user_folders() -> list[Path]:
    """The user's configuration folders, as absolute paths, in the order above.

    Raises `ConfigError` where a named folder does not exist, where a file differs from one with
    the same name in an earlier folder or in the package, and where a file names a class of a module
    of which there are two.
    """
    found = _found()
    check_modules(found)
    for index, folder in enumerate(found):
        for path in sorted(folder.glob("*/*.yaml")):
            for earlier in (CONFIGS, *found[:index]):
                _check_same(path, earlier / path.relative_to(folder))
    return found


def _found() -> list[Path]:
    """`user_folders` without the check of their files."""
    found: list[Path] = []
    for text in os.environ.get(VARIABLE, "").split(os.pathsep):
        if not text.strip():
            continue
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"{OPTION} or {VARIABLE}: {folder}: no such folder")
        found.append(folder.resolve())
    here = Path("configs")
    groups = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    if any((here / group).is_dir() for group in groups):  # else another program's
        found.append(here.resolve())
    return [folder for folder in dict.fromkeys(found) if folder != CONFIGS.resolve()]


def _check_same(path: Path, other: Path) -> None:
    if other.is_file() and other.read_bytes() != path.read_bytes():
        group, name = path.parent.name, path.stem
        raise ConfigError(
            f"{path}: {other} has another {group} of this name; rename yours "
            f"({group}={name}_mine), or, in a clone, run the clone's own code "
            "(`pip install -e .`)"
        )


def config_folders(shipped: Path = CONFIGS) -> list[Path]:
    """All configuration folders, the package's first."""
    return [shipped, *user_folders()]


def groups(shipped: Path = CONFIGS) -> list[str]:
    """Names of the config groups."""
    found = {p.name for folder in config_folders(shipped) for p in folder.iterdir() if p.is_dir()}
    return sorted(found)


def names(group: str, shipped: Path = CONFIGS) -> list[str]:
    """Names of the configurations in a group; empty where the group does not exist."""
    folders = config_folders(shipped)
    return sorted({path.stem for folder in folders for path in folder.glob(f"{group}/*.yaml")})


def suite_folders() -> list[Path]:
    """Folders with suites: `benchmarks/` of the working directory, then the package's."""
    here = Path("benchmarks")
    own = [here.resolve()] if here.is_dir() else []
    return list(dict.fromkeys([*own, BENCHMARKS.resolve()]))


def extend_import_path() -> None:
    """Make modules in the working directory and next to the user's `configs/` importable.

    They are appended to the path, so that they hide no installed module.
    """
    for folder in (Path.cwd(), *(folder.parent for folder in _found())):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


@contextmanager
def chosen_on_command_line(arguments: list[str]) -> Iterator[list[str]]:
    """Yield the arguments without `--config-dir DIR`; in this block DIR is first in the variable.

    Jobs and servers started in this block inherit it through their environment.
    """
    rest, given = [], []
    queue = iter(arguments)
    for text in queue:
        name, equals, value = text.partition("=")
        if name != OPTION:
            rest.append(text)
            continue
        value = value if equals else next(queue, "")
        if not value:
            raise ConfigError(f"{OPTION}: name a folder")
        given.append(str(Path(value).expanduser().absolute()))
    before = os.environ.get(VARIABLE)
    if not given:
        yield rest
        return
    os.environ[VARIABLE] = os.pathsep.join([*given, *([before] if before else [])])
    try:
        yield rest
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@functools.cache
def join_hydra() -> None:
    """Add the user's folders and the former names to Hydra's search path for the package."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class UserConfigs(SearchPathPlugin):
        """Appends these folders after the package's; other Hydra applications are unaffected."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            main = [part.path for part in search_path.get_path() if part.provider == "main"]
            if any(
                Path(path.removeprefix("file://")).resolve() == CONFIGS.resolve() for path in main
            ):
                for folder in (*user_folders(), EARLIER_NAMES):
                    search_path.append("rlm_eval", f"file://{folder}")

    Plugins.instance().register(UserConfigs)


def group_help() -> str:
    """Describe the config groups: their comments in run.yaml and their configurations."""
    told = (CONFIGS / "run.yaml").read_text(encoding="utf-8")
    about = dict(re.findall(r"^  - (\w+)(?:@root)?: .*# (.*)", told, re.MULTILINE))
    lines = [f"config groups (GROUP=NAME; yours from {OPTION} DIR, {VARIABLE}, ./configs):"]
    for group, text in about.items():
        if found := names(group):
            lines.append(f"  {group:<10} {text}: {', '.join(found)}")
    return "\n".join(lines)
