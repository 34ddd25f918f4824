"""What flows into the sub-calls of model-written code: a light data flow over its syntax tree.

A name is traced by where its value comes from: `context` (text of it), `selected` (parts of it
that were chosen by content), `place` (a position that a search found), `reply` (of a sub-call),
`number` (a result of counting). Loops run once, branches all; functions are read where they are
called. What is built by `exec`, in classes or through attributes is not seen through.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

Origin = frozenset[str]
NOTHING: Origin = frozenset()

SUB_CALLS = ("llm_query", "llm_query_batched", "llm_batch", "sub_llm", "llm")
CHILD_CALLS = ("rlm_query", "rlm_query_batched", "rlm", "rlm_batch")
_RE = ("findall", "finditer", "search", "match", "fullmatch", "split", "sub")
_FIND = ("find", "rfind", "index", "rindex")
_TEST = ("startswith", "endswith", "search", "match", "fullmatch", "findall", "count", "find")
_COUNT = ("sum", "Counter", "max", "min", "sorted", "most_common", "mean", "median", "mode")
_DEPTH = 4


@dataclass
class Flow:
    """The trace of one trajectory; blocks are fed in order."""

    names: dict[str, set[str]] = field(default_factory=lambda: {"context": {"context"}})
    functions: dict[str, ast.FunctionDef | ast.Lambda] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    """In the order of the code: divide, map, filter-then-read, search, count, answer_count."""
    searched_before: bool = False
    """An earlier block searched."""
    _selecting: int = 0
    _deep: int = 0

    def block(self, code: str) -> bool:
        """Read a block; False where it is no Python."""
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        try:
            self._body(tree.body)
        except RecursionError:
            return False
        self.searched_before |= "search" in self.events
        return True

    def _body(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            self._assign(node)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self._bind(node.target, self._value(node.iter))
            self._body([*node.body, *node.orelse])
        elif isinstance(node, ast.If | ast.While):
            selects = self._by_content(node.test)
            self._test(node.test)
            self._selecting += selects
            self._body(node.body)
            self._selecting -= selects
            self._body(node.orelse)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                self._value(item.context_expr)
            self._body(node.body)
        elif isinstance(node, ast.Try):
            self._body([*node.body, *(s for h in node.handlers for s in h.body)])
            self._body([*node.orelse, *node.finalbody])
        elif isinstance(node, ast.Expr | ast.Return):
            self._value(node.value)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        if node.value is None:
            return
        value = self._value(node.value)
        counts = isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add)
        if counts and (_number(node.value) is not None or _is_number(node.value)):
            value = frozenset({"number"})
            self.events.append("count")
        if self._selecting and "context" in value:
            value |= {"selected"}
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if _root(target) in ("answer", "Final", "final_answer") and "number" in value:
                self.events.append("answer_count")
            self._bind(target, value, keep=isinstance(node, ast.AugAssign))

    def _bind(self, target: ast.expr, value: Origin, *, keep: bool = False) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._bind(part, value)
        elif isinstance(target, ast.Name):
            before = self.names.get(target.id, set()) if keep else set()
            self.names[target.id] = before | value
        elif name := _root(target):
            self.names[name] = self.names.get(name, set()) | value

    def _value(self, node: ast.expr | None) -> Origin:
        """Where an expression's value comes from; notes the events in it."""
        if node is None or isinstance(node, ast.Constant):
            return NOTHING
        if isinstance(node, ast.Name):
            return frozenset(self.names.get(node.id, ()))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            return self._comprehension(node)
        if isinstance(node, ast.Lambda):
            return NOTHING
        if isinstance(node, ast.Compare):
            self._all(node)
            if self._by_content(node):
                self.events.append("search")
            return frozenset({"number"}) if self._of_numbers(node) else NOTHING
        if isinstance(node, ast.IfExp):
            chosen = self._value(node.body) | self._value(node.orelse)
            if "number" in self._value(node.test):  # the larger of two counts
                self.events.append("count")
                chosen |= {"number"}
            return chosen
        return self._all(node)

    def _all(self, node: ast.AST) -> Origin:
        found: set[str] = set()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                found |= self._value(child)
            elif isinstance(child, ast.keyword | ast.FormattedValue):
                found |= self._value(child.value)
        return frozenset(found)

    def _call(self, node: ast.Call) -> Origin:
        name = _called(node)
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        given = [self._value(a.value if isinstance(a, ast.Starred) else a) for a in node.args]
        given += [self._value(keyword.value) for keyword in node.keywords]
        of_owner = self._value(owner) if owner is not None else NOTHING
        everything = frozenset().union(of_owner, *given)
        if owner is None and name in CHILD_CALLS:
            self.events.append("divide")
            return frozenset({"reply"})
        if owner is None and name in SUB_CALLS:
            return self._sub_call(everything)
        if (inner := self._through(node, name, given)) is not None:
            return inner
        if name in _RE and getattr(owner, "id", "") == "re" and "context" in everything:
            if name not in ("split", "sub"):
                self.events.append("search")
                return everything | {"selected", "place"}
            return everything
        if name in _FIND and "context" in of_owner:
            self.events.append("search")
            return frozenset({"place"})
        if name in ("start", "end", "span") and "place" in of_owner:
            return frozenset({"place"})
        if name == "count" and "context" in of_owner:
            self.events.append("search")
            return frozenset({"number"})
        if name in ("filter", "sorted", "max", "min") and self._chooses(node):
            return everything | {"selected"}
        if name == "sort" and "context" in of_owner:
            self.events.append("count")
            return NOTHING
        if name in _COUNT and everything & {"context", "number", "reply"}:
            if "context" in everything or "number" in everything:
                self.events.append("count")
            return everything | {"number"}
        if name == "len":
            return frozenset({"number"}) if "selected" in everything else NOTHING
        if name in ("append", "add", "extend", "update", "insert", "setdefault") and owner:
            more = {"selected"} if self._selecting and "context" in everything else set()
            self._bind(owner, everything | more, keep=True)
            return NOTHING
        if name in ("FINAL", "FINAL_VAR") and "number" in everything:
            self.events.append("answer_count")
        return everything

    def _sub_call(self, given: Origin) -> Origin:
        if "selected" in given or (self._selecting and "context" in given):
            self.events.append("filter-then-read")
        elif "context" in given:
            self.events.append("map")
        return frozenset({"reply"})

    def _through(self, node: ast.Call, name: str, given: list[Origin]) -> Origin | None:
        """A call of the code's own function, also by `map(f, parts)`; `None` = no such call."""
        function, values = self.functions.get(name), given
        if function is None and name in ("map", "submit", "starmap", "apply") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Lambda):
                function = first
            elif isinstance(first, ast.Name) and first.id in (*SUB_CALLS, *CHILD_CALLS):
                rest = frozenset().union(*given[1:])
                if first.id in CHILD_CALLS:
                    self.events.append("divide")
                    return frozenset({"reply"})
                return self._sub_call(rest)
            else:
                function = self.functions.get(getattr(first, "id", ""))
            values = given[1:]
        if function is None or self._deep >= _DEPTH:
            return None
        before = {name: set(origins) for name, origins in self.names.items()}
        for parameter, value in zip(function.args.args, values, strict=False):
            self.names[parameter.arg] = set(value)
        self._deep += 1
        if isinstance(function, ast.Lambda):
            found = self._value(function.body)
        else:
            self._body(function.body)
            returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
            mark = len(self.events)
            found = frozenset().union(*(self._value(value) for value in returned))
            del self.events[mark:]  # they were noted when the body was read
        self._deep -= 1
        for parameter in function.args.args:
            self.names.pop(parameter.arg, None)
            if parameter.arg in before:
                self.names[parameter.arg] = before[parameter.arg]
        return found

    def _subscript(self, node: ast.Subscript) -> Origin:
        value = self._value(node.value)
        if not isinstance(node.slice, ast.Slice):
            return value | (self._value(node.slice) & {"place"})
        bounds = [node.slice.lower, node.slice.upper]
        origins = frozenset().union(*(self._value(bound) for bound in bounds))
        if "context" in value and "place" in origins:
            return value | {"selected"}
        literal = [b for b in bounds if b is not None and _number(b) not in (None, 0)]
        is_literal = bool(literal) and all(b is None or _number(b) is not None for b in bounds)
        # From the beginning is a look by place; a window somewhere behind a search is its result.
        inside = _number(node.slice.lower) not in (None, 0)
        if "context" in value and is_literal and inside and self.searched_before:
            return value | {"selected"}
        return value

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> Origin:
        selects = 0
        sources: set[str] = set()
        for generator in node.generators:
            source = self._value(generator.iter)
            sources |= source
            self._bind(generator.target, source)
            for test in generator.ifs:
                by_content = self._by_content(test)
                self._test(test)
                selects += by_content
        self._selecting += selects
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        found = set(frozenset().union(*(self._value(part) for part in parts)))
        self._selecting -= selects
        if selects and "context" not in sources and "reply" not in sources:
            found |= {"place"}  # positions at which the context holds something
        if selects and "context" in sources:
            found |= {"selected", "context"} if "reply" not in found else set()
        return frozenset(found)

    def _test(self, node: ast.expr) -> None:
        """Read a condition: what it counts is no result."""
        mark = len(self.events)
        self._value(node)
        self.events[mark:] = [event for event in self.events[mark:] if event != "count"]

    def _chooses(self, node: ast.Call) -> bool:
        """True where a call filters or ranks texts of the context by a lambda on their content."""
        lambdas = [n for n in ast.walk(node) if isinstance(n, ast.Lambda)]
        given = frozenset().union(*(self._quiet(argument) for argument in node.args))
        if not lambdas or "context" not in given:
            return False
        before = {name: set(origins) for name, origins in self.names.items()}
        for function in lambdas:
            for parameter in function.args.args:
                self.names[parameter.arg] = {"context"}
        found = any(self._by_content(function.body) for function in lambdas)
        self.names = before
        return found

    def _by_content(self, test: ast.expr) -> bool:
        """True where a condition asks what a text of the context holds."""
        for node in ast.walk(test):
            if isinstance(node, ast.Compare):
                inside = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
                equal = any(isinstance(op, ast.Eq) for op in node.ops)
                sides = [node.left, *node.comparators]
                reads = any("context" in self._quiet(side) for side in sides)
                if reads and (inside or (equal and any(map(_is_text, sides)))):
                    return True
            elif isinstance(node, ast.Call) and _called(node) in _TEST:
                parts = [*node.args, *_owner(node)]
                if any("context" in self._quiet(part) for part in parts):
                    return True
        return False

    def _of_numbers(self, node: ast.Compare) -> bool:
        return any("number" in self._quiet(side) for side in (node.left, *node.comparators))

    def _quiet(self, node: ast.expr) -> Origin:
        """The origins of an expression, without noting events."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return frozenset().union(*(frozenset(self.names.get(name, ())) for name in names))


def _called(node: ast.Call) -> str:
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def _owner(node: ast.Call) -> list[ast.expr]:
    return [node.func.value] if isinstance(node.func, ast.Attribute) else []


def _root(node: ast.expr) -> str:
    """The name at the bottom of a subscript or attribute."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _number(node: ast.expr | None) -> int | None:
    """The whole number that a literal is; `None` for everything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    return None


def _is_number(node: ast.expr) -> bool:
    """True for `int(...)`, `float(...)` and `len(...)`."""
    return isinstance(node, ast.Call) and _called(node) in ("int", "float", "len", "Decimal")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
