"""Strategies of model-written code, from its syntax tree: traits per block, a label per turn.

Code is parsed, never run. A trait is a pattern in the tree (`TRAITS`); a label is the most specific
trait (`LABELS`, in that order), so that two models' habits can be compared. A heuristic: loops in
helper functions and names built by `exec` are not detected. The strategies are those described in
arXiv:2512.24601 (section 4).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlm_eval.core.types import Role, Step, Trajectory

TRAITS = {
    "broken": "does not parse as Python",
    "recursion": "calls rlm_query or rlm_query_batched",
    "per_line_calls": "one sub-call for each line",
    "chunk_map": "one sub-call for each of several uniform chunks",
    "loop_calls": "sub-calls in a loop over something else (documents, candidates)",
    "verification": "a sub-call whose prompt asks to verify, check or confirm",
    "ask": "a sub-call outside any loop",
    "aggregation": "counts, sums or ranks in code (Counter, sum, max, min, sorted, `+=` in a loop)",
    "regex_filter": "searches with a regular expression",
    "keyword_scan": "searches with `in`, find, index or count for a fixed text",
    "probe": "prints parts or the size of something without searching",
    "finish": "sets the answer",
}
"""Trait -> meaning; a turn's label is the first trait present, else `other`."""

LABELS = (*TRAITS, "other", "no_code")
"""Labels of a turn; `no_code` = a turn without a block."""

TRAJECTORY_LABELS = {
    "recursion": "some turn makes child loops",
    "per_line_calls": "some turn sends one sub-call per line",
    "chunk_map": "some turn maps sub-calls over uniform chunks",
    "search_then_ask": "code searches first, and sub-calls read what it found",
    "ask": "sub-calls without a search in code before them",
    "aggregation": "no sub-call; the answer is counted in code",
    "search": "no sub-call; a keyword or regular expression search",
    "read": "no sub-call, no search: prints and reads",
    "no_code": "no block ran",
}
"""Label of a whole trajectory -> meaning; the first that applies is used."""

_PLAIN = ("llm_query", "llm_query_batched")
_RECURSIVE = ("rlm_query", "rlm_query_batched")
_SEARCH = ("findall", "finditer", "search", "match", "fullmatch", "compile")
_KEYWORD = ("find", "rfind", "index", "rindex", "count", "startswith", "endswith")
_AGGREGATE = ("Counter", "sum", "max", "min", "sorted", "most_common", "mean", "median", "mode")
_VERIFY = re.compile(r"\b(verif\w*|double[- ]check|check (?:whether|if|that)|confirm\w*)", re.I)
_SUB_CALLING = ("recursion", "per_line_calls", "chunk_map", "loop_calls", "verification", "ask")


@dataclass
class Names:
    """Names bound by earlier blocks of a trajectory: name -> `lines`, `chunks` or `many`."""

    kinds: dict[str, str] = field(default_factory=dict)


def traits(code: str, names: Names | None = None) -> frozenset[str]:
    """Return the `TRAITS` of one block; `names` carries bindings from block to block."""
    names = names or Names()
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return frozenset({"broken"})
    _bind(tree, names)
    found = set(_sub_call_traits(tree, names))
    for node in ast.walk(tree):
        found.update(_trait_of(node))
    printed = any(isinstance(n, ast.Call) and _called(n) == "print" for n in ast.walk(tree))
    if printed and found <= {"finish"}:
        found.add("probe")
    return frozenset(found)


def label(found: frozenset[str]) -> str:
    """Return the most specific of a turn's traits."""
    return next((name for name in TRAITS if name in found), "other")


def turn_traits(trajectory: Trajectory) -> dict[int, frozenset[str]]:
    """Return root turn -> traits of its blocks, in the order of the turns."""
    turn_of = {c.id: c.turn for c in trajectory.calls if c.role is Role.ROOT}
    by_turn: dict[int, frozenset[str]] = {turn: frozenset() for turn in sorted(turn_of.values())}
    names = Names()
    for step in _root_steps(trajectory, turn_of):
        by_turn[turn_of[step.call]] |= traits(step.code, names) or {"other"}
    return by_turn


def turn_labels(trajectory: Trajectory) -> dict[int, str]:
    """Return root turn -> its label."""
    return {t: label(f) if f else "no_code" for t, f in turn_traits(trajectory).items()}


def trajectory_label(trajectory: Trajectory) -> str:
    """Return the strategy of the whole trajectory (`TRAJECTORY_LABELS`)."""
    turns = [found for found in turn_traits(trajectory).values() if found]
    shown = frozenset().union(*turns)
    if not turns:
        return "no_code"
    for name in ("recursion", "per_line_calls", "chunk_map"):
        if name in shown:
            return name
    searching = [i for i, t in enumerate(turns) if t & {"regex_filter", "keyword_scan"}]
    asking = [i for i, t in enumerate(turns) if t & set(_SUB_CALLING)]
    if asking:
        return "search_then_ask" if searching and searching[0] <= asking[-1] else "ask"
    if "aggregation" in shown:
        return "aggregation"
    return "search" if searching else "read"


def _root_steps(trajectory: Trajectory, turn_of: dict[int, int]) -> list[Step]:
    return [step for step in trajectory.steps if step.call in turn_of]


def _called(node: ast.Call) -> str:
    """Return the last part of the called name."""
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def _trait_of(node: ast.AST) -> Iterator[str]:
    """Yield the traits of a single node."""
    if isinstance(node, ast.Call):
        name = _called(node)
        on_re = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
        constant = bool(node.args) and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
        if on_re and name in _SEARCH:
            yield "regex_filter"
        elif isinstance(node.func, ast.Attribute) and name in _KEYWORD and constant:
            yield "keyword_scan"
        if name in _AGGREGATE:
            yield "aggregation"
    elif isinstance(node, ast.Compare):
        texts = [n for n in ast.walk(node.left) if isinstance(n, ast.Constant)]
        inside = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
        if inside and any(isinstance(n.value, str) for n in texts):
            yield "keyword_scan"
    elif isinstance(node, ast.For | ast.While):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Compare) and isinstance(inner.ops[0], ast.In):
                yield "keyword_scan"
            if isinstance(inner, ast.AugAssign) and isinstance(inner.value, ast.Constant):
                yield "aggregation"
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            root = target.value if isinstance(target, ast.Subscript) else target
            if getattr(root, "id", "") in ("answer", "Final"):
                yield "finish"


def _sub_call_traits(tree: ast.AST, names: Names) -> Iterator[str]:
    """Yield the traits of each sub-call: its loop, the iterated value, the prompt."""
    for node, loops in _with_loops(tree, ()):
        if not (isinstance(node, ast.Call) and _called(node) in _PLAIN + _RECURSIVE):
            continue
        if _called(node) in _RECURSIVE:
            yield "recursion"
        texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
        if any(isinstance(text, str) and _VERIFY.search(text) for text in texts):
            yield "verification"
        kinds = {_loop_kind(loop, names) for loop in loops}
        if _called(node).endswith("_batched") and node.args:
            kinds.add(_kind(node.args[0], names) or "many")
        if "lines" in kinds:
            yield "per_line_calls"
        elif "chunks" in kinds:
            yield "chunk_map"
        elif kinds:
            yield "loop_calls"
        else:
            yield "ask"


_Loop = ast.For | ast.While | ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp


def _with_loops(
    node: ast.AST, loops: tuple[_Loop, ...]
) -> Iterator[tuple[ast.AST, tuple[_Loop, ...]]]:
    yield node, loops
    inner = (*loops, node) if isinstance(node, _Loop) else loops
    for child in ast.iter_child_nodes(node):
        yield from _with_loops(child, inner)


def _bind(tree: ast.AST, names: Names) -> None:
    """Record which names are bound to lines or chunks, in the order of the code."""
    for node, loops in _with_loops(tree, ()):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, kind = node.targets[0], _kind(node.value, names)
            if isinstance(target, ast.Name) and kind:
                names.kinds[target.id] = kind
        elif isinstance(node, ast.Call) and _called(node) == "append" and loops:
            grown = getattr(node.func, "value", None)
            if isinstance(grown, ast.Name):
                names.kinds[grown.id] = _loop_kind(loops[-1], names)


def _loop_kind(loop: _Loop, names: Names) -> str:
    """Return the kind of value that a loop iterates over."""
    if isinstance(loop, ast.While):
        return "chunks" if _cuts(loop) else "many"
    source = loop.iter if isinstance(loop, ast.For) else loop.generators[0].iter
    kind = _kind(source, names)
    if kind is None and isinstance(source, ast.Call) and _called(source) == "range" and _cuts(loop):
        return "chunks"
    return kind or "many"


def _cuts(node: ast.AST) -> bool:
    """Return true if a value is sliced at computed positions."""
    return any(
        isinstance(n, ast.Slice) and any(isinstance(b, ast.BinOp) for b in (n.lower, n.upper))
        for n in ast.walk(node)
    )


def _kind(node: ast.expr, names: Names) -> str | None:
    """Return `lines`, `chunks`, or `None` if it cannot be derived from the tree."""
    if isinstance(node, ast.Name):
        return names.kinds.get(node.id)
    if isinstance(node, ast.Subscript):
        return _kind(node.value, names) if isinstance(node.slice, ast.Slice) else None
    if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        return _loop_kind(node, names)
    if not isinstance(node, ast.Call):
        return None
    name = _called(node)
    if name == "splitlines":
        return "lines"
    if name == "split" and node.args and getattr(node.args[0], "value", None) == "\n":
        return "lines"
    if name == "range" and len(node.args) == 3:
        return "chunks"
    if name in ("enumerate", "list", "zip", "sorted", "reversed", "tuple", "filter", "map"):
        return next((k for a in node.args if (k := _kind(a, names))), None)
    return None
