"""Parts of the reference pages: Markdown, dataclasses and YAML as rows. See `make_reference`."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


class NoMeaning(ValueError):
    """A setting, column or option has no description."""


# -- Markdown


def cell(text: str) -> str:
    """Text for a cell of a table: on one line, without separators or HTML outside of code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(parts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows), ""]


def code(text: str) -> str:
    """Inline code; text with backticks as it is."""
    return text if "`" in text else f"`{text}`"


def first_line(docstring: str | None) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())


def class_text(cls: type[Any]) -> str:
    """First paragraph of a class's docstring, or of its module's where that one has the words."""
    own = first_line(cls.__doc__).removesuffix("See the module's docstring.").strip()
    return own or first_line(sys.modules[cls.__module__].__doc__)


# -- dataclasses


@functools.cache
def class_tree(module: str) -> dict[str, ast.ClassDef]:
    path = inspect.getsourcefile(importlib.import_module(module))
    assert path is not None
    nodes = ast.parse(Path(path).read_text()).body
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def below(node: ast.ClassDef) -> dict[str, str]:
    """Name -> the string that stands below its assignment in a class."""
    found = {}
    for statement, after in zip(node.body, node.body[1:], strict=False):
        target = None
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        is_text = (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        )
        if isinstance(target, ast.Name) and is_text:
            found[target.id] = " ".join(after.value.value.split())  # type: ignore[attr-defined]
    return found


def annotations(node: ast.ClassDef) -> dict[str, str]:
    """Name -> annotation as written."""
    return {
        s.target.id: ast.unparse(s.annotation)
        for s in node.body
        if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
    }


def shown_type(text: str) -> str:
    """A Python annotation in the words of YAML: `list of str`, `float or null`."""
    inner = text
    for pattern, word in (
        (r"tuple\[(.+), \.\.\.\]", r"list of \1"),
        (r"(?:list|Sequence|frozenset|tuple|Collection)\[([^\[\]]+)\]", r"list of \1"),
        (r"(?:dict|Mapping)\[str, (.+?)\]", r"map of \1"),
        (r"Literal\[(.+?)\]", r"\1"),
        (r"\bNone\b", "null"),
        (r"\bAny\b", "any value"),
        (r"\s*\|\s*", " or "),
        (r"['\"]", ""),
    ):
        inner = re.sub(pattern, word, inner)
    return inner


def shown_default(field: dataclasses.Field[Any]) -> str:
    """The default as YAML writes it."""
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    return shown_value(value)


def shown_value(value: Any) -> str:
    """A value as YAML writes it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"defaults of {type(value).__name__}"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, set | frozenset):
        value = sorted(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and re.fullmatch(r"[\w./:@+-]+", value):
        text = value
    return code(text)


def settings_of(cls: type[Any]) -> list[list[str]]:
    """Rows for a dataclass: setting, type, default, meaning. Raises `NoMeaning`."""
    meanings: dict[str, str] = {}
    types: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        node = (
            class_tree(base.__module__).get(base.__name__)
            if dataclasses.is_dataclass(base)
            else None
        )
        if node is not None:
            meanings |= below(node)
            types |= annotations(node)
    runtime = getattr(cls, "RUNTIME", frozenset())
    rows = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        if not (meaning := meanings.get(field.name)):
            raise NoMeaning(
                f"{cls.__module__}.{cls.__name__}.{field.name}: no meaning; write a string below it"
            )
        if field.name in runtime:
            meaning += " *Run-time.*"
        # A class may repeat a field without its annotation's words: the most derived one counts.
        rows.append(
            [code(field.name), shown_type(types[field.name]), shown_default(field), meaning]
        )
    return rows


def nested(cls: type[Any]) -> list[type[Any]]:
    """Dataclasses that fields of `cls` hold by their types."""
    hints = typing.get_type_hints(cls)
    held = (hints[field.name] for field in dataclasses.fields(cls))
    every = (hint for whole in held for hint in (whole, *typing.get_args(whole)))
    return [h for h in every if isinstance(h, type) and dataclasses.is_dataclass(h)]


def section(cls: type[Any], *, level: int = 2, names: Sequence[str] = ()) -> list[str]:
    """Heading, first line, target and table of one class."""
    lines = [f"{'#' * level} {cls.__name__}", "", class_text(cls), ""]
    lines += [
        f"`_target_: {public_name(cls)}`" + (f", used by {', '.join(names)}." if names else "."),
        "",
    ]
    return lines + table(["setting", "type", "default", "meaning"], settings_of(cls))


def public_name(cls: type[Any]) -> str:
    """The shortest module that exports the class, and its name."""
    parts = cls.__module__.split(".")
    for length in range(2, len(parts) + 1):
        module = importlib.import_module(".".join(parts[:length]))
        if module.__dict__.get(cls.__name__) is cls:
            return f"{module.__name__}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"


# -- YAML


@dataclasses.dataclass(frozen=True)
class Config:
    """One YAML file of a config group."""

    name: str
    about: str
    """Its leading comment."""
    values: dict[str, Any]

    @property
    def targets(self) -> list[str]:
        """Every class that it names, the outermost first."""
        return [*_targets(self.values)]


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)


def configs(group: str) -> list[Config]:
    """The configurations of a group, by name."""
    return [read_config(path) for path in sorted((CONFIGS / group).glob("*.yaml"))]


def read_config(path: Path) -> Config:
    """A YAML file and its leading comment."""
    text = path.read_text()
    comment = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# ").strip())
    return Config(path.stem, " ".join(comment), yaml.safe_load(text) or {})


def locate(target: str) -> type[Any]:
    """The class behind a dotted name."""
    module, _, name = target.rpartition(".")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """`key=value` for everything that a configuration sets, classes left out."""
    for key, value in values.items():
        if key in ("_target_", "defaults"):
            continue
        if isinstance(value, dict) and value and "extra" not in prefix:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={shown_value(value).strip('`')}"
