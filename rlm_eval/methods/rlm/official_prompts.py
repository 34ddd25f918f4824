"""Prompts of the official package `rlms`, read as data from its wheels.

A wheel is downloaded once into the cache by exact version, checked against its pinned SHA-256 and
opened as a zip file; its modules are parsed with `ast` and never imported or run, so several
versions coexist without being installed. Source: github.com/alexzhang13/rlm.
"""

from __future__ import annotations

import ast
import functools
import textwrap
from contextlib import suppress
from pathlib import Path

from rlm_eval.core import fetch
from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.paths import cache_dir

SHA256 = {
    "0.1.0": "8347d90565a0f0d9d042b0cb0f2b8322148ba81628fd9663c72d2dacba075f5b",
    "0.1.1": "3dff7d40013065ef62d57deb50e2578ba658045829ed340f94de9b59a49d5369",
    "0.1.3": "fac541ff745242540fee47b6e41a74c847fd7022091330dad7844d413eb5944f",
}
PROMPTS = "rlm/utils/prompts.py"
CORE = "rlm/core/rlm.py"
LOCAL_REPL = "rlm/environments/local_repl.py"
HANDLER = "rlm/core/lm_handler.py"
OPENAI = "rlm/clients/openai.py"
_SECONDS = 120  # for a file of 100 KB: a slower index counts as unreachable


def wheel(version: str) -> Path:
    """Path of the `rlms` wheel in the cache; download it where it is missing.

    Raises `MissingDependency` with the alternatives where it cannot be downloaded or has the wrong
    hash.
    """
    path = cache_dir() / "wheels" / f"rlms-{version}-py3-none-any.whl"
    pinned = SHA256[version]
    if not path.is_file():

        def make(draft: Path) -> None:
            fetch.wheel(f"rlms=={version}", draft.parent, seconds=_SECONDS).rename(draft)

        try:
            return fetch.keep(path, pinned, make)
        except fetch.FetchError as error:
            raise MissingDependency(
                f"the prompts of this protocol are those of rlms {version}, which could not be "
                f"fetched ({error}). Either make a package index reachable, or put "
                f"{path.name} into {path.parent}, or give your own copy of the prompt: "
                "method.protocol.prompt_file=PATH"
            ) from error
    found = fetch.sha256_of(path)
    if found != pinned:
        raise MissingDependency(
            f"{path}: SHA-256 is {found}, pinned is {pinned}; delete the file and run "
            "again, or give your own copy of the prompt: method.protocol.prompt_file=PATH"
        )
    return path


@functools.cache
def _module(version: str, file: str) -> ast.Module:
    return ast.parse(fetch.read(wheel(version), file))


def constant(version: str, name: str) -> str:
    """A module-level text of the prompt module, with the value that the package computes."""
    return _text(_assigned(_module(version, PROMPTS).body, name))


def local(version: str, function: str, name: str) -> str:
    """A text assigned inside a function; f-string fields appear as `{expression}`."""
    body = list(ast.walk(_function(version, PROMPTS, function)))
    return _text(_assigned(body, name))


def message(version: str, function: str) -> str:
    """The text of the first message that a function of the core module writes itself."""
    for node in ast.walk(_function(version, CORE, function)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "content":
                    return _text(value)
    raise LookupError(f"rlms {version}: {function} writes no message")


@functools.cache
def spoken(version: str, file: str, function: str, part: str) -> str:
    """The text containing `part` that a function returns, raises or passes on.

    Fields of f-strings appear as `{expression}`.
    """
    for node in ast.walk(_function(version, file, function)):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            with suppress(LookupError):
                if part in (text := _text(node)):
                    return text
    raise LookupError(f"rlms {version}: {function} has no text with {part!r}")


def _function(version: str, file: str, name: str) -> ast.FunctionDef:
    for node in ast.walk(_module(version, file)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise LookupError(f"rlms {version}: no function {name} in {file}")


def _assigned(body: list[ast.stmt] | list[ast.AST], name: str) -> ast.expr:
    for node in body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            return node.value
    raise LookupError(f"rlms: nothing assigned to {name}")


def _text(node: ast.expr) -> str:
    """Evaluate the few kinds of expression that the prompt modules use."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value).rpartition(".")[2] + "}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "dedent":
            return textwrap.dedent(_text(node.args[0]))
        if node.func.attr == "join" and isinstance(node.args[0], ast.List):
            return _text(node.func.value).join(_text(item) for item in node.args[0].elts)
    raise LookupError(f"rlms: cannot read {ast.unparse(node)[:60]}")
