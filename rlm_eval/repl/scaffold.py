"""A namespace with the rules of the local REPL of rlms, per release. Loaded by the worker.

Rules for a model's code: every block runs in a copy of the namespace. Where it raises, its new
names are dropped. A function sees the names as they were when its block ran; a deleted name comes
back; a name with a leading underscore does not last. After a block that did not raise, 0.1.1 and
0.1.3 restore their own names. The answer is text, and is read at the moment when it is declared
ready. Source of the rules: github.com/alexzhang13/rlm, `local_repl.py` of 0.1.0, 0.1.1 and 0.1.3.
"""

from __future__ import annotations

import _thread
import builtins
import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rlm_eval.repl.output import Capture

RELEASES = ("0.1.0", "0.1.1", "0.1.3")
NAMES = """
    ArithmeticError AssertionError AttributeError BaseException Exception FileNotFoundError IOError
    ImportError IndexError KeyError LookupError NameError NotImplementedError OSError RuntimeError
    StopIteration TypeError ValueError Warning __import__ abs all any ascii bin bool bytearray bytes
    callable chr classmethod complex delattr dict dir divmod enumerate filter float format getattr
    hasattr hash hex id int isinstance issubclass iter len list map max memoryview min next object
    oct open ord pow print property range repr reversed round set setattr slice sorted staticmethod
    str sum super tuple type vars zip
"""
"""Built-in names that code finds there."""
NONE = ("compile", "eval", "exec", "globals", "input", "locals")
"""Built-in names that are `None` there."""
SIMPLE = (str, int, float, list, dict, tuple)
"""Types whose variables are listed after a block; `bool` is an `int`."""
_NAME_CHARS = 120
_MOST_NAMES = 2000
_PREVIEW = 80  # characters of a child's prompt for a display: code may pass a value without any
_FILE_CHARS = 8_000_000  # for a context that is a file, too: many workers share one scratch folder

Call = Callable[[str, list[Any], dict[str, Any]], Any]


class Printed(Capture):
    """The output of a block, with the attributes of the in-memory text that the package uses."""

    encoding = None  # type: ignore[assignment]
    errors = None  # type: ignore[assignment]

    def __init__(self, keep: int, limit: int) -> None:
        super().__init__(keep, limit)
        self.shut = False
        del self.buffer

    def close(self) -> None:
        """Drop the output: the package then fails on it and ends."""
        self.shut = True

    def write(self, text: str) -> int:
        """As `Capture.write`. Raises `ValueError` once closed."""
        if self.shut:
            raise ValueError("I/O operation on closed file")
        return super().write(text)

    def getvalue(self) -> str:
        """Return the kept text so far."""
        return "".join((*self._head, *self._tail))


Printed.__name__ = Printed.__qualname__ = "_io.StringIO"


class _AnswerDict(dict[Any, Any]):
    """`answer`: setting `ready` by its key reports the content at once."""

    def __init__(self, on_ready: Callable[[Any], None]) -> None:
        super().__init__({"content": "", "ready": False})
        self._on_ready = on_ready

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if key == "ready" and value:
            with suppress(Exception):
                self._on_ready(self.get("content", ""))


class Scaffold:
    """The namespace of one REPL. `call(name, args, kwargs)` calls the host."""

    def __init__(
        self, rules: dict[str, Any], functions: list[str], context: list[Any], call: Call
    ) -> None:
        """`rules`: `release`, one of `RELEASES`; `texts`: the strings of its helpers; `children`:
        what `rlm_query` starts where it is not `llm_query`, child `loops` or plain `calls`."""
        self._lock = _thread.allocate_lock()  # first: a deep copy of `answer` fails on it, as there
        self.release: str = rules["release"]
        self._texts: dict[str, str] = rules["texts"]
        self.final: str | None = None
        """The answer that the running block reported."""
        given: dict[str, Any] = {name: getattr(builtins, name) for name in NAMES.split()}
        self._helpers = {**_callers(functions, call, rules), "SHOW_VARS": self._show_vars}
        if self.release != "0.1.3":
            self._helpers["FINAL_VAR"] = self._final_var
        self.globals = {
            "__builtins__": given | dict.fromkeys(NONE),
            "__name__": "__main__",
            **self._helpers,
        }
        self.locals: dict[str, Any] = {}
        if self.release == "0.1.3":
            self.locals["answer"] = _AnswerDict(self._take)
        self._folder = "."
        with suppress(OSError):
            self._folder = os.getcwd()
        if context:
            self._load(context[0])

    def _load(self, value: Any) -> None:
        """Set the context, and the names that loading it from a file leaves."""
        self._write(value)
        if isinstance(value, str):
            if "\r" in value:  # a text file is read with its line ends made equal
                value = value.replace("\r\n", "\n").replace("\r", "\n")
        else:
            self.locals["json"] = json
        self.locals["f"] = file = io.TextIOWrapper(io.BytesIO(), "utf-8")
        file.close()
        self.locals |= {"context_0": value, "context": value}

    def _write(self, value: Any) -> None:
        """Write the file that the package loads the context from: code may list and open it."""
        is_text = isinstance(value, str)
        if (len(value) if is_text else sum(map(len, map(str, value)))) > _FILE_CHARS:
            return
        path = os.path.join(self._folder, f"context_0.{'txt' if is_text else 'json'}")
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(value if is_text else json.dumps(value))
        except (OSError, ValueError):  # a full disk, a lone surrogate: no file, not a part of one
            with suppress(OSError):
                os.unlink(path)

    def bind(self, name: str, value: Any) -> None:
        """Set a variable for the host; the context of a remote worker arrives in this way."""
        if name == "context" and "context_0" not in self.locals:
            self._load(value)
        else:
            self.locals[name] = value

    def _take(self, content: Any) -> None:
        self.final = str(content)

    def run(self, code: str, interrupted: type[BaseException]) -> None:
        """Run a block. Raises its exception; only `interrupted` keeps the names it made."""
        with suppress(OSError):
            os.chdir(self._folder)
        compiled = compile(code, "<string>", "exec", dont_inherit=True)
        names = {**self.globals, **self.locals}
        try:
            exec(compiled, names, names)  # noqa: S102 - that is what a REPL is for
        except interrupted:
            self._keep(names)
            raise
        self._keep(names)
        self._restore()

    def _keep(self, names: dict[str, Any]) -> None:
        for key, value in names.items():
            if key not in self.globals and not key.startswith("_"):
                self.locals[key] = value

    def _restore(self) -> None:
        if self.release == "0.1.0":
            return
        self.globals.update(self._helpers)
        if self.release == "0.1.3":
            self._restore_answer()
        for name in ("context", "history"):
            if f"{name}_0" in self.locals:
                self.locals[name] = self.locals[f"{name}_0"]

    def _restore_answer(self) -> None:
        """Read a plain dict in place of `answer` if it is ready; replace any other value."""
        current = self.locals.get("answer")
        if isinstance(current, _AnswerDict):
            return
        replacement = _AnswerDict(self._take)
        if isinstance(current, dict):
            for key, value in current.items():
                dict.__setitem__(replacement, key, value)
            if current.get("ready") and self.final is None:
                self.final = str(current.get("content", ""))
        self.locals["answer"] = replacement

    def take(self) -> str | None:
        """Return the answer of the block that ended. 0.1.1 treats an empty one as none."""
        final, self.final = self.final, None
        return final or None if self.release == "0.1.1" else final

    def variables(self) -> dict[str, str]:
        """Return name -> type name of variables listed after a block, in the package's order."""
        return {
            name[:_NAME_CHARS]: type.__getattribute__(type(value), "__name__")[:_NAME_CHARS]
            for name, value in list(self.locals.items())[:_MOST_NAMES]
            if type(name) is str and name[:1] != "_" and issubclass(type(value), SIMPLE)
        }

    def _names(self) -> list[str]:
        return [name for name in self.locals if not name.startswith("_")]

    def _show_vars(self) -> str:
        hidden = ("answer",) if self.release == "0.1.3" else ()
        found = {n: type(self.locals[n]).__name__ for n in self._names() if n not in hidden}
        return f"Available variables: {found}"

    def _final_var(self, variable_name: Any) -> str:
        if self.release == "0.1.1" and not isinstance(variable_name, str):
            self.final = str(variable_name)
            return self.final
        name = variable_name.strip().strip("\"'")
        if name in self.locals:
            found = str(self.locals[name])
            if self.release == "0.1.1":
                self.final = found
            return found
        text = self._texts.get("unknown_variable", "Error: no variable {variable_name}.")
        names = {"{variable_name}": name, "{available}": str(self._names())}
        for place, value in names.items():
            text = text.replace(place, value)
        return text


for _name in ("_show_vars", "_final_var"):  # the name that a wrong call's error shows
    getattr(Scaffold, _name).__qualname__ = f"LocalREPL.{_name}"


def _callers(functions: list[str], call: Call, rules: dict[str, Any]) -> dict[str, Any]:
    """Return the helpers that call the host, with the parameters that they have in the package."""
    children = rules.get("children")

    def sent(name: str, prompt: Any, model: Any) -> Any:
        """Ask; what cannot be sent comes back as text."""
        try:
            if name.startswith("llm_query") and not _is_text(prompt):
                prompt = json.loads(json.dumps(prompt))  # over a socket, in the package
            return call(name, [prompt, model], {})
        except (TypeError, ValueError, RecursionError) as error:
            return f"Error: Request failed: {error}"

    class LocalREPL:
        def _llm_query(self, prompt: Any, model: Any = None) -> Any:
            return sent("llm_query", prompt, model)

        def _rlm_query(self, prompt: Any, model: Any = None) -> Any:
            prompt, refused = _for_child(prompt, children)
            return refused or sent("rlm_query", prompt, model)

        def _llm_query_batched(self, prompts: Any, model: Any = None) -> Any:
            found = sent("llm_query_batched", prompts, model)
            return found if isinstance(found, list) else [found] * len(prompts)

        def _rlm_query_batched(self, prompts: Any, model: Any = None) -> Any:
            if children is None:
                found = sent("rlm_query_batched", prompts, model)
                return found if isinstance(found, list) else [found] * len(prompts)
            if rules["release"] == "0.1.3":
                len(prompts)  # this release raises for a generator; 0.1.1 reads it
            each = [_for_child(prompt, children) for prompt in prompts]
            asked = [prompt for prompt, refused in each if not refused]
            found = sent("rlm_query_batched", asked, model) if asked else []
            rest = iter(found if isinstance(found, list) else [found] * len(asked))
            return [refused or next(rest) for _, refused in each]

    for name, method in vars(LocalREPL).items():  # the name that a wrong call's error shows
        if name.startswith(("_llm", "_rlm")):
            method.__qualname__ = f"LocalREPL.{name}"
    one = LocalREPL()
    return {name: getattr(one, f"_{name}") for name in functions}


def _for_child(prompt: Any, children: str | None) -> tuple[Any, str]:
    """Return (the prompt as a child gets it, the package's text where it refuses the prompt).

    The package starts a child in this process: a host that receives the prompt as plain data cannot
    tell what it refuses. With child loops the host checks the parts of a prompt (`official_calls`).
    """
    if children is None:
        return prompt, ""
    loops, is_text = children == "loops", isinstance(prompt, str)
    at = "RLM query failed" if loops else "LM query failed at max depth"
    is_right = is_text or (isinstance(prompt, list | dict) if loops else _is_chat(prompt))
    value = prompt
    try:
        if loops:
            if len(prompt) > _PREVIEW:
                prompt[:_PREVIEW]
            at = "Child RLM completion failed"
        if not is_text and (loops or is_right):
            value = json.loads(json.dumps(prompt))
    except Exception as error:  # noqa: BLE001 - as there: any error becomes text
        return None, f"Error: {at} - {error}"
    return value, "" if is_right else f"Error: {at} - Invalid prompt type: {type(prompt)}"


def _is_chat(prompt: Any) -> bool:
    return isinstance(prompt, list) and all(isinstance(part, dict) for part in prompt)


def _is_text(prompt: Any) -> bool:
    """Return true for a text or a list of texts: these are sent unchanged."""
    if type(prompt) is list:
        return all(type(one) is str for one in prompt)
    return type(prompt) is str
