"""Hints that our own dialect appends to an output where the code shows a known misunderstanding.

One precise sentence from `prompts/rlm/hints.md`, only where it certainly applies. Pure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from rlm_eval.methods.prompts import fill, load_prompt
from rlm_eval.methods.rlm.protocol import ExecutedBlock
from rlm_eval.methods.text import sections

_SEARCHES = {"find", "index", "count", "search", "findall", "finditer", "match", "startswith",
             "endswith"}  # fmt: skip
_FINAL = re.compile(r"\bFINAL(?:_VAR)?\(|^[ \t]*FINAL(?:_VAR)?[ \t]*[=:]", re.MULTILINE)
_FINAL_NAMES = {"FINAL", "FINAL_VAR"}
_RETURN = "'return' outside function"
_ANSWER_ATTRIBUTE = re.compile(r"\banswer\.(?:content|ready)\b|\banswer\(")


class Words:
    """The hints for one prompt."""

    def __init__(self, prompt: Mapping[str, str], speaks_of_search: bool) -> None:
        """`prompt`: its sections. `speaks_of_search`: its text for no output suggests a search."""
        self._prompt, self._speaks_of_search = prompt, speaks_of_search
        self._hints = sections(load_prompt("rlm/hints").text)

    def of_nothing(self, code: str) -> str:
        """Replacement for the output of a block that printed nothing."""
        tree = _parsed(code)
        if _returns_a_value(tree):
            return self._hints["value_not_printed"]
        if self._speaks_of_search and not _is_search(tree):
            return self._hints["nothing_without_search"]
        return self._prompt["nothing"]

    def of_block(self, ran: ExecutedBlock, *, answer_mode: str) -> list[str]:
        """Hints appended to the output of a block."""
        found = []
        answer_dict = answer_mode == "answer_dict"
        for name in ran.result.replaced:
            kind = {"answer": "answer_lost", "answer=content": "answer_replaced"}.get(name)
            found.append(fill(self._hints[kind or "names_replaced"], name=name))
        if answer_dict and ran.result.error == "SyntaxError" and _RETURN in ran.result.stderr:
            found.append(self._hints["return_outside"])
        if answer_dict and ran.result.error == "NameError" and "'FINAL" in ran.result.stderr:
            found.append(self._hints["final_tag"])
        if (
            answer_dict
            and ran.result.error in ("AttributeError", "TypeError")
            and "'dict' object" in ran.result.stderr
            and _ANSWER_ATTRIBUTE.search(ran.code)
        ):
            found.append(self._hints["answer_lost"])
        # The search for the name spares most blocks the parser.
        if not ran.result.error and "FINAL" in ran.code and _sets_final(_parsed(ran.code)):
            kind = "final_tag" if answer_dict else f"final_as_name_{answer_mode}"
            found.append(self._hints[kind])
        return found

    def of_reply(self, reply: str) -> str:
        """Hint appended to the request for a block, where the reply had none."""
        return self._hints["final_tag"] if _FINAL.search(reply) else ""


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _sets_final(tree: ast.Module | None) -> bool:
    """True where the code assigns to `FINAL` or `FINAL_VAR` and does not use `answer`."""
    names = [] if tree is None else [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
    return bool(stored & _FINAL_NAMES) and all(n.id not in ("answer", "Final") for n in names)


def _is_search(tree: ast.Module | None) -> bool:
    """True where the code compares text and prints the matches."""
    if tree is None:
        return False
    nodes = list(ast.walk(tree))
    prints = any(isinstance(n, ast.Call) and _name(n) == "print" for n in nodes)
    compares = any(
        (isinstance(n, ast.Compare) and _compares_text(n))
        or (isinstance(n, ast.Call) and _name(n) in _SEARCHES)
        for n in nodes
    )
    return prints and compares


def _compares_text(node: ast.Compare) -> bool:
    """True for `in`, and for `==` except with a number: a count or a position is not a search."""
    numbers = any(
        isinstance(side, ast.Constant) and isinstance(side.value, int | float)
        for side in (node.left, *node.comparators)
    )
    return any(
        isinstance(op, ast.In) or (isinstance(op, ast.Eq) and not numbers) for op in node.ops
    )


def _returns_a_value(tree: ast.Module | None) -> bool:
    """True where the last line calls a function that the block defines with a `return VALUE`."""
    if tree is None or not tree.body:
        return False
    last = tree.body[-1]
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)):
        return False
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == _name(last.value)
        and any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))
        for node in tree.body
    )


def _name(call: ast.Call) -> str:
    """Name of the called function or method."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
