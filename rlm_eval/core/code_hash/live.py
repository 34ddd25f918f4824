"""The hash of a class that no source file holds: of its code objects and the values that they name.

For a class defined in a notebook or at a prompt. Followed are its methods, its bases, the globals
that its code loads, and their closures. What a file holds enters with its `class_hash`, or with the
file's content; an installed module, with its name. The hash depends on the version of Python. A
value that has no stable text (an open file, a client) leaves the code unknown.
"""

from __future__ import annotations

import builtins
import dataclasses
import dis
import functools
import gc
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from rlm_eval.core.code_hash.files import ROOT, digest
from rlm_eval.core.code_hash.modules import file_of, installed
from rlm_eval.core.code_hash.walk import UnknownSourceError

_PACKAGE = __name__.partition(".")[0]
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), PurePath)
_OF_THE_CLASS = frozenset((
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__firstlineno__",
    "__static_attributes__", "__dataclass_params__", "__dataclass_fields__", "__match_args__",
    "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__type_params__",
    "__slots__", "VERSION", "RUNTIME", "_is_protocol", "__protocol_attrs__",
    "__non_callable_proto_members__",
))  # fmt: skip
"""Members that Python adds, or that determine no result."""
_MADE_BY_DATACLASS = frozenset((
    "__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__setattr__",
    "__delattr__", "__hash__", "__replace__", "__getstate__", "__setstate__",
))  # fmt: skip


_DESCRIPTORS = ("member_descriptor", "getset_descriptor", "_tuplegetter")


def named(target: str) -> type | None:
    """Return the class that has this dotted name in this process; `None` where none is loaded."""
    module, _, name = target.rpartition(".")
    inner: list[str] = []
    while module and module not in sys.modules:
        module, _, outer = module.rpartition(".")
        inner.insert(0, outer)
    found: Any = sys.modules.get(module)
    for part in (*inner, name):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def is_in_its_file(cls: type) -> bool:
    """Return false for a class of `__main__` that was not compiled from the file of `__main__`."""
    if cls.__module__ != "__main__":
        return True
    file = getattr(sys.modules["__main__"], "__file__", None)
    own = [
        member.__code__.co_filename
        for member in vars(cls).values()
        if isinstance(member, FunctionType) and member.__module__ == "__main__"
    ]
    own = [name for name in own if name != "<string>"]  # a dataclass's generated methods
    return file is not None and all(Path(name).name == Path(file).name for name in own)


def has_namesakes(cls: type) -> bool:
    """Return true where another living class has the name of this one."""

    def others() -> list[type]:
        found: list[type] = []
        for base in cls.__bases__:
            if base is not object:
                found += type.__subclasses__(base)
        own = (cls.__module__, cls.__qualname__)
        return [o for o in found if o is not cls and (o.__module__, o.__qualname__) == own]

    if not others():
        return False
    gc.collect()  # a class that nothing uses goes only then
    return bool(others())


def live_hash(
    cls: type, of_file: Callable[[str], str | None], only: str = "", without: str = ""
) -> str | None:
    """Return 16 hex digits for a class's code objects; `None` where they name an unknown value.

    `of_file` returns the hash of what a file holds, by dotted name; its exceptions pass. `only`
    starts at this one method; `without` leaves methods of this name out.
    """
    try:
        text = _Live(of_file, without).text(cls, only)
    except (UnknownSourceError, RecursionError):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Live:
    """One closure of live objects, as text."""

    def __init__(self, of_file: Callable[[str], str | None], without: str) -> None:
        self._of_file = of_file
        self._without = without
        self._seen: dict[int, int] = {}
        self._held: list[Any] = []
        """Keeps the objects, so that no two share an `id`."""

    def text(self, cls: type, only: str) -> str:
        version = f"{sys.implementation.name} {sys.version_info[:2]}"
        if not only:
            return f"{version} {self._class(cls)}"
        used, parts = [only], []
        for name in used:
            member = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
            parts.append(f"{name}:{self._value(member)}")
            names = (n for code in _codes(member) for n in code.co_names)
            used += [n for n in names if n not in used and _is_code(getattr(cls, n, None))]
        return f"{version} {parts}"

    def _value(self, value: Any) -> str:
        if isinstance(value, Enum):
            return f"{self._value(type(value))}.{value.name}"
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, logging.Logger):
            return f"logger {value.name}"
        if type(value) is tuple:  # equal ones are one object or two, by chance
            return f"tuple[{self._values(*value)}]"
        if id(value) in self._seen:
            return f"@{self._seen[id(value)]}"
        self._seen[id(value)] = len(self._seen)
        self._held.append(value)
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._of_a_file(value) or self._class(value)
        if isinstance(value, FunctionType):
            return self._of_a_file(value) or self._function(value)
        if isinstance(value, BuiltinFunctionType):
            return f"{value.__module__}.{value.__qualname__}{self._value(_receiver(value))}"
        return self._container(value)

    def _container(self, value: Any) -> str:
        if type(value) is list:
            return f"list[{self._values(*value)}]"
        if type(value) in (set, frozenset):  # their order differs between processes
            return f"{type(value).__name__}{sorted(map(self._value, value))}"
        if type(value) is dict:
            return f"dict[{self._values(*value.items())}]"
        if isinstance(value, property):
            return f"property[{self._values(value.fget, value.fset, value.fdel)}]"
        if isinstance(value, functools.cached_property):
            return f"cached[{self._value(value.func)}]"
        if isinstance(value, staticmethod | classmethod):
            return f"{type(value).__name__}[{self._value(value.__func__)}]"
        if isinstance(value, functools.partial):
            return f"partial[{self._values(value.func, value.args, value.keywords)}]"
        if isinstance(value, re.Pattern):
            return f"pattern {value.pattern!r} {value.flags}"
        if isinstance(value, range | slice):
            return repr(value)
        if hasattr(value, "__wrapped__"):  # `functools.cache`
            return f"{type(value).__name__}[{self._value(value.__wrapped__)}]"
        if dataclasses.is_dataclass(value):
            fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
            return f"{self._value(type(value))}({self._value(fields)})"
        if hasattr(value, "__func__") and hasattr(value, "__self__"):  # a bound method
            return f"method[{self._values(value.__func__, value.__self__)}]"
        if type(value).__module__ in ("typing", "types", "abc", "builtins") and callable(value):
            return repr(value) if " at 0x" not in repr(value) else self._unknown()
        return self._unknown()

    def _values(self, *values: Any) -> str:
        return ",".join(map(self._value, values))

    @staticmethod
    def _unknown() -> str:
        raise UnknownSourceError

    def _module(self, module: ModuleType) -> str:
        return f"module {_module_text(module.__name__)}"

    def _of_a_file(self, value: type | FunctionType) -> str | None:
        """Return the text of a class or function that a file holds; `None` where none does."""
        module, name = str(value.__module__), value.__qualname__
        if module == "__main__" or module not in sys.modules:
            return None
        file = file_of(module)
        if file is None:
            return f"{module}.{name}" if module in sys.builtin_module_names else None
        if _is_installed(file) and module.partition(".")[0] != _PACKAGE:
            return f"{module}.{name}"
        if vars(sys.modules[module]).get(name) is not value:
            return None
        found = self._of_file(f"{module}.{name}")
        return f"#{found}" if found else f"{name} {_module_text(module)}"

    def _class(self, cls: type) -> str:
        self._seen.setdefault(id(cls), len(self._seen))
        is_dataclass, is_enum = "__dataclass_params__" in vars(cls), issubclass(cls, Enum)
        runtime = set(vars(cls).get("RUNTIME") or ())
        members = []
        if is_enum:
            pairs = [(name, one.value) for name, one in vars(cls)["_member_map_"].items()]
            members.append(self._value(pairs))
        for name, member in sorted(vars(cls).items()):
            if name in _OF_THE_CLASS or name == self._without or name in runtime:
                continue
            if is_dataclass and name in _MADE_BY_DATACLASS and _is_generated(member):
                continue
            if type(member).__name__ in _DESCRIPTORS or (
                is_enum and (name.startswith("_") or name in vars(cls)["_member_map_"])
            ):
                continue
            members.append(f"{name}:{self._value(member)}")
        if is_dataclass:
            own = vars(cls)["__dataclass_fields__"].values()
            members += [f"{f.name}={self._field(f)}" for f in own if f.name not in runtime]
        bases = [self._value(base) for base in cls.__bases__ if base is not object]
        return f"class({','.join(bases)},[{','.join(members)}])"

    def _field(self, field: dataclasses.Field[Any]) -> str:
        given = [field.default, field.default_factory]
        told = ["-" if v is dataclasses.MISSING else self._value(v) for v in given]
        return f"{told} {field.init} {field.kw_only is True}"

    def _function(self, function: FunctionType) -> str:
        cells = [_content(cell) for cell in function.__closure__ or ()]
        parts = [function.__defaults__, function.__kwdefaults__, cells]
        parts += [value for _, value in sorted(_loaded_by(function), key=lambda pair: pair[0])]
        modules = [
            f"{source} {_module_text(source)}"
            for code in _nested(function.__code__)
            for source in _imported_by(code)
        ]
        return f"def({self._code(function.__code__)},{self._values(*parts)},{modules})"

    def _code(self, code: CodeType) -> str:
        shape = (
            code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags,
            code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars,
        )  # fmt: skip
        constants = ",".join(map(self._value_of_code, code.co_consts))
        table = getattr(code, "co_exceptiontable", b"")
        return f"{code.co_code.hex()} {table.hex()} {shape} [{constants}]"

    def _value_of_code(self, value: Any) -> str:
        """Return the text of a constant; equal ones are one object or two, by chance."""
        if isinstance(value, tuple):
            return f"({','.join(map(self._value_of_code, value))})"
        if isinstance(value, frozenset):
            return f"{sorted(map(self._value_of_code, value))}"
        return self._value(value)


def _receiver(function: BuiltinFunctionType) -> Any:
    bound = getattr(function, "__self__", None)
    return None if isinstance(bound, ModuleType) else bound


def _is_installed(file: Path) -> bool:
    resolved = file.resolve()
    return any(resolved.is_relative_to(folder) for folder in installed())


@functools.cache
def _module_name_only(name: str) -> bool:
    file = file_of(name)
    return file is None or _is_installed(file) or file.is_relative_to(ROOT)


def _module_text(name: str) -> str:
    """Return a module's name, with the content of its file where it is a user's own."""
    if _module_name_only(name):
        return name
    file = file_of(name)
    return f"{name} {digest(file) if file else None}"


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | property)


def _is_generated(member: Any) -> bool:
    while hasattr(member, "__wrapped__"):
        member = member.__wrapped__
    return not isinstance(member, FunctionType) or member.__code__.co_filename == "<string>"


def _codes(member: Any) -> Iterator[CodeType]:
    member = getattr(member, "__func__", getattr(member, "fget", member))
    while hasattr(member, "__wrapped__"):
        member = member.__wrapped__
    if isinstance(member, FunctionType):
        yield from _nested(member.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of its inner functions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name, None)
    except (ImportError, AttributeError):  # a module that imports its names on first use
        return None


def _imported_by(code: CodeType) -> list[str]:
    return sorted(
        str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"
    )


def _loaded_by(function: FunctionType) -> list[tuple[str, Any]]:
    """Return (dotted name, value) of the globals that a function loads, builtins excluded.

    An attribute of a module counts as the value, so that `helpers.WORD` is that text.
    """
    found: dict[str, Any] = {}
    space = function.__globals__
    for code in _nested(function.__code__):
        steps = list(dis.get_instructions(code))
        for place, step in enumerate(steps):
            if step.opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
                continue
            name = str(step.argval)
            if name not in space:
                if not hasattr(builtins, name):
                    found[name] = None
                continue
            value, dotted = space[name], name
            for after in steps[place + 1 :]:
                if not isinstance(value, ModuleType) or after.opname not in (
                    "LOAD_ATTR",
                    "LOAD_METHOD",
                ):
                    break
                value, dotted = _attribute(value, str(after.argval)), f"{dotted}.{after.argval}"
            found[dotted] = value
    return list(found.items())
