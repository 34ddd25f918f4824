"""Source files as tables of their top-level names; found and parsed, never imported."""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Stamp = tuple[int, int, int]
"""Inode, time of the last change, size."""


def stamp(path: Path) -> Stamp:
    """Return a value that is equal while a file is unchanged; zeros where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_ino, status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class Module:
    """A module's top-level names."""

    name: str
    """Dotted."""
    path: Path
    """Path of the source file."""
    bound: dict[str, list[ast.stmt]]
    """Name -> the statements that define or change it."""
    imports: dict[str, str]
    """Name -> dotted name of what was imported."""
    stars: tuple[str, ...]
    """Modules from which all names were imported."""


@functools.cache
def parsed(name: str, path: Path, version: Stamp) -> Module:  # noqa: ARG001 - a key
    """Parse the module in a file; `version` is its `stamp`. Raises `SyntaxError`."""
    tree = ast.parse(path.read_bytes())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    bound: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for defined in _defines(statement):
            bound.setdefault(defined, []).append(statement)
    imports, stars = imported(tree.body, package)
    return Module(name, path, bound, imports, stars)


def _defines(statement: ast.stmt) -> list[str]:
    """Names that a top-level statement defines or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return []
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
        return []
    if isinstance(statement, ast.Expr):
        base: ast.AST = statement.value
        while isinstance(base, ast.Call | ast.Attribute | ast.Subscript):
            base = base.func if isinstance(base, ast.Call) else base.value
        return [base.id] if isinstance(base, ast.Name) else []
    return sorted(stored(statement))


_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def stored(node: ast.AST) -> set[str]:
    """Return the names that a piece of syntax binds or changes an item of, without inner scopes."""
    found: set[str] = set()
    todo: list[ast.AST] = [node]
    while todo:
        child = todo.pop()
        if isinstance(child, _SCOPES):
            found.add(child.name)
            continue
        if isinstance(child, ast.Name) and not isinstance(child.ctx, ast.Load):
            found.add(child.id)
        elif isinstance(child, ast.Subscript | ast.Attribute) and isinstance(child.ctx, ast.Store):
            if isinstance(child.value, ast.Name):
                found.add(child.value.id)
        elif isinstance(child, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and child.name:
            found.add(child.name)
        if isinstance(child, ast.comprehension):
            todo += [child.iter, *child.ifs]
        elif not isinstance(child, ast.Lambda):
            todo += ast.iter_child_nodes(child)
    return found


def imported(body: Iterable[ast.stmt], package: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """(name -> dotted name, modules whose names were all imported) of a body's own imports."""
    names: dict[str, str] = {}
    stars: list[str] = []
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level + (node.module or "")
            source = importlib.util.resolve_name(above, package) if node.level else above
            for alias in node.names:
                if alias.name == "*":
                    stars.append(source)
                else:
                    names[alias.asname or alias.name] = f"{source}.{alias.name}"
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return names, tuple(stars)


@functools.cache
def installed() -> tuple[Path, ...]:
    """Folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib"))


def file_of(name: str) -> Path | None:
    """Return the source file of a module, found without importing it or its packages."""
    top, *rest = name.split(".")
    loaded = sys.modules.get(top)
    spec = getattr(loaded, "__spec__", None)
    if spec is None:
        told = getattr(loaded, "__file__", None)
        if told is not None:  # a script
            return Path(told) if not rest and told.endswith(".py") else None
        try:
            spec = importlib.machinery.PathFinder.find_spec(top)
        except (ImportError, ValueError):
            return None
    if spec is None:
        return None
    if not rest:
        origin = spec.origin
        return Path(origin) if origin and origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder).joinpath(*rest)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
    return None
