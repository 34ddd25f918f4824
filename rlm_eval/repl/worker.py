"""The worker: one process, one persistent namespace, blocks run in it one after the other.

Standard library only; starts in a child of the fork server, already confined. It trusts nothing
that the model's code may have changed: the scaffold has its own copies of the modules it uses (see
`zygote`), the code gets a copy of `builtins`, and the host's names are restored before each block.
The code can still break its own process, which the host replaces.
"""

from __future__ import annotations

import _thread
import ast
import asyncio
import builtins
import mmap
import operator
import os
import random
import sys
import types

# The functions behind `signal`: without its Enums (10 us per block), out of the code's reach.
from _signal import (  # type: ignore[import-not-found]  # typeshed leaves it out
    SIG_UNBLOCK,
    SIGINT,
    pthread_sigmask,
)
from _signal import signal as set_handler
from contextlib import suppress
from inspect import CO_COROUTINE
from typing import Any

from rlm_eval.repl import wire
from rlm_eval.repl.channel import Channel, Interrupted
from rlm_eval.repl.output import (
    BLOCK_FILE,
    Capture,
    OutputLimit,
    describe,
    missing_package,
    remember_source,
)
from rlm_eval.repl.scaffold import Printed, Scaffold
from rlm_eval.repl.wire import HEAD, Op

_NAME_CHARS = 120
_MAX_NAMES = 2000
_ECHO = "__echo__"
_PORTIONS, _PORTION_BYTES = 3, 8 << 20
RESERVE_BYTES = _PORTIONS * _PORTION_BYTES
"""Added to a worker's address space beyond the limit of its code (`Reserve`)."""
_UNTOUCHED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class SubCallError(RuntimeError):
    """A call to the host failed. `kind` says how; `results` is what a batch did get."""

    __module__ = "builtins"

    def __init__(self, message: str, kind: str = "error", results: Any = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.results = results


def _echoing(code: str, name: str) -> ast.Module:
    """Return the block with its last statement, where that is an expression, passed to `_ECHO`."""
    tree = ast.parse(code, name)
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        call = ast.Call(ast.Name(_ECHO, ast.Load()), [last.value], [])
        last.value = ast.copy_location(call, last.value)
        ast.fix_missing_locations(last)
    return tree


def _listed(value: Any) -> Any:
    """A batch in another iterable as a list; a set in a fixed order. Other values as they are."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    is_given = isinstance(value, str | bytes | bytearray | list | tuple | dict)
    return value if is_given or not hasattr(value, "__iter__") else list(value)


def _parts_of(context: Any) -> tuple[Any, ...]:
    return tuple(context) if type(context) is list else ()


def _same(now: list[Any], parts: tuple[Any, ...]) -> bool:
    return len(now) == len(parts) and all(map(operator.is_, now, parts))


def _no_audit_hook(hook: Any) -> None:  # noqa: ARG001 - the original's form
    raise RuntimeError("audit hooks cannot be installed here")


def read_context(fd: int) -> Any:
    """Read the context from its file: one frame, its texts decoded straight from the mapping."""
    length = os.fstat(fd).st_size
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE  # all pages at once, not a fault for each
    with mmap.mmap(fd, length, flags, mmap.PROT_READ) as mapped, memoryview(mapped) as view:
        _, _, json_bytes, n_texts, _ = HEAD.unpack_from(view)
        with view[HEAD.size :] as body:
            return wire.unpack(json_bytes, n_texts, body)


class Reserve:
    """Address space that a block cannot use, released while the scaffold works.

    A block that filled its memory in small portions would leave none for the report on it, nor for
    the block that frees some: the worker would be lost again and again.
    """

    def __init__(self) -> None:
        self._held: list[mmap.mmap] = []

    def take(self) -> None:
        """Reserve, before a block. Where memory is short, one portion is left to the code."""
        with suppress(OSError, MemoryError):
            while len(self._held) <= _PORTIONS:
                self._held.append(mmap.mmap(-1, _PORTION_BYTES, _UNTOUCHED))
        if len(self._held) > 1:
            self._held.pop().close()

    def release(self) -> None:
        """Release, after a block."""
        while self._held:
            self._held.pop().close()


class Worker:
    """The namespace and its blocks."""

    def __init__(self, fd: int, settings: dict[str, Any], context: list[Any]) -> None:
        self.channel = Channel(fd, settings["message_bytes"])
        self.sizes = (settings["output_keep_chars"], settings["output_chars"])
        self.stdout: Capture = Capture(*self.sizes)
        self.stderr: Capture = Capture(*self.sizes)
        self.module = types.ModuleType("__main__")
        self.names = self.module.__dict__
        self.blocks = 0
        self.reserve = Reserve()
        # `import builtins` in the model's code gives this copy: patching it reaches only that code.
        self.builtins = types.ModuleType("builtins")
        self.given: dict[str, Any] = {
            "__name__": "__main__",
            "__builtins__": self.builtins,
            "SubCallError": SubCallError,
            "SHOW_VARS": self._show_variables,
        }
        for name in settings["functions"]:
            self.given[name] = self._host_function(name)
        self.echo = bool(settings.get("echo"))
        self.hints = bool(settings.get("hints", True)) and not settings.get("scaffold")
        if self.echo:
            self.given[_ECHO] = self._show
        self.names.update(self.given)
        if context:
            self.names["context"] = context[0]
        if settings["answer_dict"]:
            self.names["answer"] = {"content": "", "ready": False}
        self.hidden = {*self.names, "context", "answer"}
        self.kept: dict[str, Any] | None = None  # what is put back after each block
        if settings.get("keep_names"):
            wanted = ("context", "answer", *settings["functions"])
            self.kept = {name: self.names[name] for name in wanted if name in self.names}
        self.parts = _parts_of(self.names.get("context"))
        self.scaffold: Scaffold | None = None
        if rules := settings.get("scaffold"):
            self.scaffold = Scaffold(rules, settings["functions"], context, self._call_host)
        random.seed(settings["seed"])
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(settings["seed"] % 2**32)

    def _call_host(self, name: str, args: Any, kwargs: Any) -> Any:
        op, _, value = self.channel.call(name, args, kwargs)
        if op == Op.REPLY:
            return value
        kind, message, results = value
        raise TypeError(message) if kind == "TypeError" else SubCallError(message, kind, results)

    def _host_function(self, name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            if name.endswith("_batched"):  # `d.values()`, a generator, `map(...)`: not plain data
                args = tuple(map(_listed, args))
                kwargs = {key: _listed(value) for key, value in kwargs.items()}
            return self._call_host(name, args, kwargs)

        function.__name__ = function.__qualname__ = name
        return function

    def _variables(self) -> dict[str, str]:
        """Return name -> type name of the code's variables, without functions, classes, modules."""
        if self.scaffold is not None:
            return self.scaffold.variables()
        skip = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
        return {
            name[:_NAME_CHARS]: type.__getattribute__(type(value), "__name__")[:_NAME_CHARS]
            for name, value in list(self.names.items())[:_MAX_NAMES]
            if type(name) is str
            and name[:1] != "_"
            and name not in self.hidden
            and not issubclass(type(value), skip)
        }

    def _show_variables(self) -> str:
        """The user's variables and their types, as one line of text."""
        return f"Available variables: {self._variables()}"

    def _show(self, value: Any) -> None:
        """Print the value of a block's last expression."""
        if value is not None:
            self.stdout.write(f"{value!r}\n")

    def _value(self, value: Any) -> dict[str, Any]:
        """Return a variable in the form for the host. Runs the value's own `str()`."""
        described = {"type": type(value).__name__[:_NAME_CHARS], "plain": True, "value": value}
        if type(value) is str:
            return described
        described["text"] = str(value)
        try:
            frame = wire.pack(Op.DONE, 0, value)
            # It is part of a report: a few levels, and next to its text.
            wire.check(frame, value, self.channel.max_bytes // 2, wire.DEPTH - 8)
        except (ValueError, RecursionError):
            described |= {"plain": False, "value": None}
        return described

    def _prepare(self) -> None:
        """Undo the code's changes to the process."""
        self.names.update(self.given)
        if self.scaffold is not None:  # a logger or thread of an earlier block keeps the old ones
            self.stdout, self.stderr = Printed(*self.sizes), Printed(*self.sizes)
        self.builtins.__dict__.update(builtins.__dict__)
        sys.modules["builtins"], sys.modules["__main__"] = self.builtins, self.module
        sys.stdout, sys.stderr = self.stdout, self.stderr
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(1000)
        # In this order: a signal that came while it was blocked would meet Python's own handler. A
        # hook cannot be removed again, and would be called for each line of the scaffold's own.
        sys.addaudithook = _no_audit_hook
        set_handler(SIGINT, self.channel.on_signal)
        pthread_sigmask(SIG_UNBLOCK, (SIGINT,))

    def _execute(self, code: str) -> Any:
        """Run a block to its end; return the answer as `_value` does, or None."""
        if self.scaffold is not None:
            self.scaffold.run(code, Interrupted)
            return None
        name = BLOCK_FILE.format(self.blocks)
        remember_source(name, code)
        source = _echoing(code, name) if self.echo else code
        compiled = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if compiled.co_flags & CO_COROUTINE:
            asyncio.run(eval(compiled, self.names))  # noqa: S307 - that is what a REPL is for
        else:
            exec(compiled, self.names)  # noqa: S102
        answer = self.names.get("answer")
        if isinstance(answer, dict) and dict.get(answer, "ready"):
            return self._value(dict.get(answer, "content", ""))
        return None

    def _put_back(self) -> list[str]:
        """Undo the code's changes to the session's names; return the names that it had replaced.

        A plain dict may replace `answer`; a text or number in its place becomes its content.
        """
        replaced = []
        for name, value in (self.kept or {}).items():
            found = self.names.get(name)
            if found is value or (name == "answer" and isinstance(found, dict)):
                continue
            replaced.append(name)
            if name == "answer":
                value["ready"] = False
                if type(found) in (str, int, float, bool):
                    value["content"] = found
                    replaced[-1] = "answer=content"
            self.names[name] = value
        context = (self.kept or {}).get("context")
        if type(context) is list and not _same(context, self.parts):
            context[:] = self.parts
            replaced += ["context"] if "context" not in replaced else []
        return replaced

    def _guarded(self, action: Any) -> tuple[Any, str | None]:
        """Run the model's code: return its result, and the name of its exception.

        The second `try` is for an interrupt that arrives while the first one is being handled.
        """
        result, error = None, None
        self.reserve.take()
        try:
            try:
                self.channel.running = True
                result = action()
                self.channel.running = False
                self.reserve.release()
            except BaseException as raised:  # noqa: BLE001 - whatever the code raises is its result
                self.reserve.release()
                error = type(raised).__name__[:_NAME_CHARS]
                if isinstance(raised, OutputLimit):
                    error = "limit:output"
                elif isinstance(raised, Interrupted):
                    error = "limit:interrupted"
                elif self.scaffold is not None and not isinstance(raised, Exception):
                    error = f"exit:{error}"
                trace = raised.__traceback__
                self.channel.running = not isinstance(raised, Interrupted)
                if self.scaffold is not None:
                    self.stderr.write(f"\n{type(raised).__name__}: {raised}")
                else:
                    self.stderr.write(describe(raised, trace))
                if self.hints and isinstance(raised, ModuleNotFoundError):
                    self.stderr.write(missing_package(raised))
                self.channel.running = False
        except BaseException as raised:  # noqa: BLE001 - a second one, or the traceback's own
            self.channel.running = False
            self.reserve.release()
            error = error or "limit:interrupted"
            if not isinstance(raised, OutputLimit):
                self.stderr.take()
                self.stderr.write(f"{error} (no traceback could be made)\n")
        return result, error

    def _run(self, number: int, code: str) -> None:
        self.blocks += 1
        self._prepare()
        answer, error = self._guarded(lambda: self._execute(code))
        if self.scaffold is not None and (final := self.scaffold.take()) is not None:
            answer = self._value(final)
        if any(isinstance(end, Printed) and end.shut for end in (self.stdout, self.stderr)):
            error = "exit:ValueError"
        replaced = self._put_back()
        done = {"error": error, "variables": self._variables(), "answer": answer}
        done["replaced"] = replaced
        done |= {"stdout": self.stdout.take(), "stderr": self.stderr.take()}
        self._finish(number, done)

    def _get(self, number: int, name: str) -> None:
        self._prepare()
        names, given = self.names, self.given
        if self.scaffold is not None:
            names, given = self.scaffold.locals, {}
        if name not in names or name in given:
            self._finish(number, {"found": False})
            return
        value, error = self._guarded(lambda: self._value(names[name]))
        text = self.stderr.take()[0]
        self._finish(number, {"found": True, "value": value, "error": error, "message": text})

    def _finish(self, number: int, done: dict[str, Any]) -> None:
        """Send the report; remaining threads of the code are counted, for the host to stop them."""
        done["threads"] = _thread._count()
        try:
            self.channel.send(Op.DONE, number, done)
        except (ValueError, RecursionError, MemoryError) as error:
            small = {"error": type(error).__name__, "message": str(error)[:500], "found": True}
            small["stderr"] = (f"the result cannot be sent: {str(error)[:500]}\n", 0)
            self.channel.send(Op.DONE, number, done | small | {"answer": None, "value": None})

    def serve(self) -> None:
        """Handle orders until the host closes the channel."""
        self._prepare()
        self.channel.send(Op.READY, 0, {"python": sys.version.split()[0]})
        while True:
            op, number, value = self.channel.request()
            if op == Op.RUN:
                self._run(number, value)
            elif op == Op.GET:
                self._get(number, value)
            elif op == Op.SET:
                name, bound = value
                if self.scaffold is None:
                    self.names[name] = bound
                    if self.kept is not None and name == "context":
                        self.kept[name] = bound
                        self.parts = _parts_of(bound)
                else:
                    self.scaffold.bind(name, bound)
                self._finish(number, {})
