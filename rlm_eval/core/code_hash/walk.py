"""The text of a closure: a class and all our code that it names, by order of reference."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.code_hash.files import ROOT, digest, package_files
from rlm_eval.core.code_hash.modules import (
    Module,
    file_of,
    imported,
    installed,
    parsed,
    stamp,
    stored,
)
from rlm_eval.core.moved import former, former_part

_PACKAGE = __name__.partition(".")[0]

SURROUNDINGS = frozenset((
    "config.builder", "config.environment", "core.errors", "core.fetch", "core.hub_client",
    "core.messages", "core.paths", "core.secrets", "core.types", "session.session",
    # of the models: transport of a request, not its content nor the parsing of a reply
    "models.endpoint", "models.outage", "models.refcounted", "models.supervise", "models.waiting",
    "models.http.address", "models.http.client", "models.http.connections",
    "models.http.counting", "models.http.endpoint_pool", "models.http.error_details",
    "models.http.http_errors", "models.http.keys", "models.http.preflight",
    "models.http.rate_limiter", "models.http.sse", "models.http.transport", "models.http.window",
    "models.servers.keyed", "models.servers.llama_cpp", "models.servers.managed",
    "models.servers.registry", "models.servers.transformers_serve", "models.servers.vllm",
    "models.servers.weights",
    # the hash code itself; the base class of all cached samples names it
    "core.code_hash",
))  # fmt: skip
"""Modules of this package that are not followed: they do not determine a reply."""

_OWN_FIELDS = ("VERSION", "RUNTIME")
_FORMER_NAME = "former_name"
"""A class with this member leaves `name` out: a printed name affects no answer, and the hash stays
that of the class under its first name."""
_SKIPPED = frozenset(
    ("ctx", "type_comment", "annotation", "returns", "kind", "type_params", "type_ignores")
)
_FILE = re.compile(r"[\w-]+(/[\w-]+)*(\.\w{1,5})?")


class UnknownSourceError(Exception):
    """Raised where the source of a class cannot be found."""


@dataclass(frozen=True)
class _Scope:
    """The scope of a piece of syntax."""

    module: Module
    local: frozenset[str] = frozenset()
    """Names that enclosing functions bind."""
    imports: Mapping[str, str] = field(default_factory=dict)
    """Imports of enclosing functions."""
    attributes: frozenset[str] | None = None
    """Names that the class's body stores, where the syntax lies directly in one; else `None`."""


class Walk:
    """One closure, as text."""

    def __init__(self, top: str, without: str) -> None:
        self.files: set[Path] = set()
        self.sources: dict[str, Path] = {}
        """Source file of each module that is followed."""
        self._modules: dict[str, Module | None] = {}
        self._tops = {top, _PACKAGE}
        self._without = without
        self._numbers: dict[tuple[Path, str], int] = {}
        self._queue: list[tuple[Module, str]] = []
        self._private: dict[str, int] = {}
        file = file_of(top)
        home = file.parent.resolve() if file and file.name != "__init__.py" else None
        alone = home is None or any(home.is_relative_to(p) for p in installed())
        self._home = None if alone else home

    def text(self, module: str, name: str, only: str) -> str:
        """Return the closure of a class or of one of its methods. Raises `UnknownSourceError`."""
        found = self._definition(f"{module}.{name}")
        if not isinstance(found, tuple):
            found = self._moved(module, name)
        if only:
            place, members = self._method(*found, only)
            start = [self._emit(member, _Scope(place)) for member in members]
        else:
            self._number(*found)
            start = []
        parts = list(start)
        for place, defined in self._queue:  # grows while it is read
            scope = _Scope(place)
            parts.append("".join(self._emit(node, scope) for node in place.bound[defined]))
        return "\n".join(parts)

    def _moved(self, module: str, name: str) -> tuple[Module, str]:
        """Find a class of this package that has moved since: its one definition elsewhere in it."""
        if module.partition(".")[0] == _PACKAGE:
            words = re.compile(rf"^class {re.escape(name)}\b".encode(), re.MULTILINE)
            files = [path for path in ROOT.rglob("*.py") if words.search(path.read_bytes())]
            if len(files) == 1:
                dotted = ".".join(files[0].relative_to(ROOT.parent).with_suffix("").parts)
                found = self._module(dotted.removesuffix(".__init__"))
                if found is not None:
                    return found, name
        raise UnknownSourceError

    def _method(self, module: Module, name: str, wanted: str) -> tuple[Module, list[ast.stmt]]:
        """Return a method, with the other methods of its class that it calls on `self`."""
        for node in module.bound[name]:
            if not isinstance(node, ast.ClassDef):
                continue
            own = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
            if wanted in own:
                used = [wanted]
                for at in used:
                    used += [
                        child.attr
                        for child in ast.walk(own[at])
                        if isinstance(child, ast.Attribute)
                        and child.attr in own
                        and child.attr not in used
                    ]
                return module, [own[at] for at in dict.fromkeys(used)]
            for base in node.bases:
                found = self._resolved(base, _Scope(module))
                if isinstance(found, tuple):
                    return self._method(*found, wanted)
        raise UnknownSourceError

    def _module(self, name: str) -> Module | None:
        """Return a module that is followed; `None` for all others."""
        if name not in self._modules:
            self._modules[name] = self._found(name)
        return self._modules[name]

    def _found(self, name: str) -> Module | None:
        own = name.partition(".")[0] in self._tops
        path = file_of(name) if own or self._home is not None else None
        if path is None or not (own or path.resolve().is_relative_to(self._home or "")):
            return None
        self.files.add(path)
        self.sources[name] = path
        try:
            return parsed(name, path, stamp(path))
        except SyntaxError:
            return None

    def _definition(self, dotted: str) -> tuple[Module, str] | str | None:
        """Return (module, name) of our definition, or its dotted name; `None` = a module."""
        for _ in range(20):  # re-exports
            source, _, name = dotted.rpartition(".")
            if not source:
                return None if self._module(dotted) else dotted
            first, _, last = source.partition(".")
            if first == _PACKAGE and last in SURROUNDINGS:
                return f"surroundings.{former_part(dotted)}"
            module = self._module(source)
            if module is None:
                return None if self._module(dotted) else dotted
            if name in module.bound:
                return module, name
            if name in module.imports:
                dotted = module.imports[name]
                continue
            for star in module.stars:
                found = self._definition(f"{star}.{name}")
                if isinstance(found, tuple):
                    return found
            return None if self._module(dotted) else dotted
        return dotted

    def _resolved(self, node: ast.AST, scope: _Scope) -> tuple[Module, str] | str | None:
        """Resolve a name, or a chain of attributes on a module; `None` where it is unknown."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in scope.local | (
            scope.attributes or frozenset()
        ):
            return None
        name, module = node.id, scope.module
        if name in scope.imports:
            dotted = scope.imports[name]
        elif name in module.bound and name not in module.imports:
            return None if attributes else (module, name)
        elif name in module.imports:
            dotted = module.imports[name]
        elif module.stars and not hasattr(builtins, name):
            dotted = f"{module.name}.{name}"
        else:
            return None
        while True:
            found = self._definition(dotted)
            if found is not None or not attributes:
                break
            dotted = f"{dotted}.{attributes.pop(0)}"
        if isinstance(found, str):
            return ".".join([found, *attributes])
        return None if attributes else found

    def _number(self, module: Module, name: str) -> int:
        key = (module.path, name)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._queue.append((module, name))
        return self._numbers[key]

    def _attribute(self, name: str) -> str:
        if name.startswith("_") and not name.endswith("__"):
            return f"_{self._private.setdefault(name, len(self._private))}"
        return name

    def _emit(self, node: Any, scope: _Scope) -> str:
        if isinstance(node, list):
            return f"[{','.join(filter(None, (self._emit(item, scope) for item in node)))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._reference(node, scope)
        if isinstance(node, ast.Constant):
            return self._constant(node.value, scope)
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
            return ""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return ""  # a docstring
        if isinstance(node, ast.ClassDef):
            return self._class(node, scope)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return self._function(node, scope)
        if isinstance(node, ast.AnnAssign) and scope.attributes is not None:
            marked = "ClassVar" if "ClassVar" in ast.unparse(node.annotation) else ""
            return f"field{marked}({self._fields(node, scope)})"
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            targets = (stored(generator.target) for generator in node.generators)
            scope = _inner(scope, stored(node).union(*targets), {})
        return f"{type(node).__name__}({self._fields(node, scope)})"

    def _fields(self, node: ast.AST, scope: _Scope) -> str:
        values = [
            self._emit(value, scope)
            for name, value in ast.iter_fields(node)
            if name not in _SKIPPED
        ]
        return ",".join(values)

    def _reference(self, node: ast.Name | ast.Attribute, scope: _Scope) -> str:
        found = self._resolved(node, scope)
        if isinstance(found, tuple):
            return f"@{self._number(*found)}"
        if found is not None:
            return f"<{found}>"
        if isinstance(node, ast.Attribute):
            return f"{self._emit(node.value, scope)}.{self._attribute(node.attr)}"
        return node.id if scope.attributes is None else self._attribute(node.id)

    def _constant(self, value: Any, scope: _Scope) -> str:
        text = repr(former(value) if isinstance(value, str) else value)
        if not isinstance(value, str) or len(value) > 200 or not _FILE.fullmatch(value):
            return text
        if scope.module.name.partition(".")[0] == _PACKAGE:
            content = package_files().get(value)
        else:
            path = scope.module.path.parent / value
            content = digest(path) if path.suffix and path.suffix != ".py" else None
            if content:
                self.files.add(path)
        return f"{text}#{content}" if content else text

    def _class(self, node: ast.ClassDef, scope: _Scope) -> str:
        runtime = {
            child.value
            for statement in node.body
            if isinstance(statement, ast.Assign | ast.AnnAssign) and "RUNTIME" in stored(statement)
            for child in ast.walk(statement.value or statement)
            if isinstance(child, ast.Constant) and isinstance(child.value, str)
        }
        names = frozenset(name for member in node.body for name in stored(member))
        inner = _Scope(scope.module, scope.local, scope.imports, names)
        members = []
        is_renamed = _FORMER_NAME in names
        for member in node.body:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if member.name != self._without and not (is_renamed and member.name == "name"):
                    emitted = self._emit(member, inner)
                    name = "name" if member.name == _FORMER_NAME else member.name
                    members.append(f"{self._attribute(name)}:{emitted}")
            elif not isinstance(member, ast.Assign | ast.AnnAssign) or not (
                {*runtime, *_OWN_FIELDS} & set(stored(member))
            ):
                members.append(self._emit(member, inner))
        around = (
            self._emit(part, scope) for part in (node.decorator_list, node.bases, node.keywords)
        )
        inside = ",".join(filter(None, members))
        return f"{self._named(node, scope)}({','.join(around)},[{inside}])"

    def _named(
        self,
        node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        scope: _Scope,
    ) -> str:
        """Return the definition's kind, with its name if local: a top-level one is a number."""
        kind, name = type(node).__name__, getattr(node, "name", "")
        return f"{kind} {name}" if name in scope.local else kind

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope
    ) -> str:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        outside = {
            name
            for child in ast.walk(node)
            if isinstance(child, ast.Global)
            for name in child.names
        }
        body = [] if isinstance(node, ast.Lambda) else node.body
        bound = {name for part in body for name in stored(part)} - outside
        package = scope.module.name
        if scope.module.path.name != "__init__.py":
            package = package.rpartition(".")[0]
        imports, _ = imported(body, package)
        inner = _inner(scope, {argument.arg for argument in every} | bound, imports)
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        defaults = [*arguments.defaults, *arguments.kw_defaults]
        names = [argument.arg for argument in every]
        shape = [len(arguments.posonlyargs), len(arguments.args), len(arguments.kwonlyargs)]
        shape += [arguments.vararg is not None, arguments.kwarg is not None]
        return (
            f"{self._named(node, scope)}({self._emit(decorators, scope)},{names},{shape},"
            f"{self._emit(defaults, scope)},{self._emit(node.body, inner)})"
        )


def _inner(scope: _Scope, local: Iterable[str], imports: Mapping[str, str]) -> _Scope:
    """Return the scope of a function within `scope`; it does not see names of a class's body."""
    names = frozenset(local)
    known = {k: v for k, v in scope.imports.items() if k not in names}
    return _Scope(scope.module, (scope.local | names) - imports.keys(), {**known, **imports})
