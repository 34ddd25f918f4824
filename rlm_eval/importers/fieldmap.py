"""Field maps: fields of a foreign row mapped to ours, in about 12 lines of YAML.

A value of a map is the place to read:

    score: correct                    a field of the row; `usage.input_tokens` goes into objects
    model: $.model                    a field of the object around the rows
    task: =oolong                     literal text; also numbers
    group: file.stem                  file name without extension; `file.folder`, `file.name`
    answer: [response, output.text]   the first of these that exists
    length: {from: id, match: 'tier(\\d+)', as: int}

and in the braces: `match` (its first group, or the whole match), `as` (int, float, text, literal,
json), `split` (a text into a list), `values` (a table, `other` for the rest, `null` for a value
that is unknown), `add` (the sum of several fields), `text` (several fields as one text),
`subtract`, `divide`, `zero: unknown` (a 0 means "not recorded"), `when` (only for rows in which
these fields have these values; `~` marks a regular expression). A missing value is unknown, never
0. So is a value that `values` does not list; the import counts those, and refuses one of `outcome`.

Names and the keys of `values` are read as they are written: `yes`, `no` and `010` stay these texts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rlm_eval.core.outcomes import Outcome
from rlm_eval.importers.rows import BadLog
from rlm_eval.importers.values import FILE_PARTS, Place, value_of

MAPS = Path(__file__).parent / "maps"


class _AsWritten(yaml.SafeLoader):
    """Reads every name as the text that it is, and only `true` and `false` as booleans.

    YAML 1.1 reads `yes`, `no`, `on`, `off` as booleans and `010` as 8: `values: {yes: 1}` would
    match no row that says `yes`.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node, its plain names as text."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)  # before the names are texts: `<<` is none
            for name, _ in node.value:
                if isinstance(name, yaml.ScalarNode):
                    name.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_BOOLEAN = "tag:yaml.org,2002:bool"
_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != _BOOLEAN]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_AsWritten.add_implicit_resolver(
    _BOOLEAN, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)

FIELDS = {
    "task": "name of the task",
    "task_variant": "what sets the task's data apart, e.g. labelled",
    "method": "name of the method",
    "variant": "settings of the method",
    "model": "root model",
    "sub_model": "model of sub-calls",
    "depth_limit": "configured recursion depth",
    "length": "nominal context length, tokens",
    "item": "identity of the question",
    "question": "its text",
    "context": "text of the context",
    "context_id": "name of the context that rows share",
    "context_chars": "its characters",
    "context_tokens": "its tokens by the log's own count",
    "cluster": "rows with one value are one independent unit",
    "gold": "gold answer",
    "answer": "answer",
    "score": "score in [0, 1]",
    "answer_type": "what a built-in scorer needs besides",
    "outcome": "how it ended, in our words",
    "error": "error text; empty or null = none",
    "repeat": "tells repeats of one sample apart",
    "seconds": "start to end",
    "input_tokens": "prompt tokens, cached ones included",
    "cached_tokens": "of them read from a cache",
    "output_tokens": "completion tokens",
    "reasoning_tokens": "of them reasoning",
    "calls": "model calls",
    "turns": "turns of the root",
    "sub_calls": "sub-calls",
    "steps": "executed code blocks",
    "cost": "US dollars as the log states them",
    "price": "key of the one list price that holds for all tokens",
    "timestamp": "when it ran",
}
"""Field that a map may name -> meaning."""
OTHER = {
    "rows", "about", "errors", "scorer", "borrow", "meta", "notes", "remarks", "direct",
    "infer_gold", "whole",
}  # fmt: skip
_STEPS = {
    "from", "match", "as", "split", "values", "add", "subtract", "divide", "zero", "when", "text",
}  # fmt: skip
_KINDS = {
    "errors": dict, "meta": dict, "notes": dict, "borrow": dict, "remarks": list, "rows": str,
    "direct": str, "infer_gold": str,
}  # fmt: skip
_STEP_KINDS = {"values": dict, "when": dict, "add": list, "text": list}
"""Entry -> what YAML must give for it."""
_TYPES = ("int", "float", "text", "literal", "json")


@dataclass(frozen=True)
class FieldMap:
    """A validated field map."""

    name: str
    """Kind of log."""
    fields: Mapping[str, Any]
    """Our field -> place to read it."""
    rows: str | None = None
    """Path of the list of rows in an object."""
    about: str = ""
    """One line for `import list`."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Regular expression of an error text -> outcome; others are `provider_error`."""
    scorer: Any = None
    """Name of our scorer for rescoring, or the place to read it; `None` = none fits."""
    borrow: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Field to add to each row, copied (`take`) from the row `where` with the same `by` fields."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Name -> place of a fact of the question."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Name -> place of a fact of the answer."""
    remarks: tuple[str, ...] = ()
    """Remarks that every figure must print for rows of this kind."""
    direct: str | None = None
    """Method whose prompt is the whole context: its prompt tokens show the context's size."""
    infer_gold: str | None = None
    """Regular expression: its match in an answer that scored 1 is the question's gold."""
    whole: Any = None
    """Place of the number of rows that a file should hold."""

    def read(self, name: str, place: Place, unlisted: list[Any] | None = None) -> Any:
        """Return the value of a field; `None` = unknown. Raises `ValueError`.

        Values that a table of the field does not list are added to `unlisted`.
        """
        return value_of(self.fields.get(name), place, unlisted)

    @property
    def reads_files(self) -> bool:
        """True where a row depends on the name or folder of its file."""
        specs = [self.fields, self.meta, self.notes, self.scorer, self.borrow, self.whole]
        return any(map(_reads_files, specs))


def _reads_files(spec: Any) -> bool:
    if isinstance(spec, Mapping):
        # `when` of an entry and `where` of `borrow` name fields as keys.
        return any(_reads_files(one) for pair in spec.items() for one in pair)
    if isinstance(spec, list | tuple):
        return any(map(_reads_files, spec))
    return spec in FILE_PARTS if isinstance(spec, str) else False


def maps() -> dict[str, Path]:
    """Return name -> file of the shipped maps."""
    return {path.stem: path for path in sorted(MAPS.glob("*.yaml"))}


def load(path: Path, given: Collection[str] = ()) -> FieldMap:
    """Load the map of a YAML file; fields in `given` have a value of their own (`--task`).

    Raises `BadLog` with the wrong entry.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _AsWritten)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = str(error).replace("\n", " ")
        raise BadLog(f"{path}: no field map ({told})") from error
    if not isinstance(found, dict):
        raise BadLog(f"{path}: a field map is `field: where to read it`, one a line")
    known = {*FIELDS, *OTHER}
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 3) or sorted(FIELDS)
            raise BadLog(f"{path}: no field {name!r}; near: {', '.join(near)}")
    for needed, why in (("method", "whose row it is"), ("task", "what was asked")):
        if needed not in found and needed not in given:
            raise BadLog(
                f"{path}: `{needed}` is missing ({why}); `{needed}: =NAME` or --{needed} NAME for "
                "a constant"
            )
    if "score" not in found and "scorer" not in found:
        raise BadLog(f"{path}: neither `score` nor `scorer`: the rows would have no score")
    _check_kinds(path, "", found, _KINDS)
    borrowed = found.get("borrow") or {}
    _check_kinds(path, "borrow: ", borrowed, dict.fromkeys(borrowed, dict))
    for name, rule in borrowed.items():
        _check_kinds(path, f"borrow: {name}: ", rule or {}, {"by": list, "where": dict})
    if "infer_gold" in found:
        _pattern(path, "infer_gold", found["infer_gold"])
    for name, spec in _specs(found):
        _check(path, name, spec)
    for pattern, outcome in (found.get("errors") or {}).items():
        _pattern(path, "errors", pattern)
        if outcome not in set(Outcome):
            raise BadLog(
                f"{path}: errors: {outcome!r} is not an outcome; use one of {', '.join(Outcome)}"
            )
    return FieldMap(
        name=path.stem,
        fields={name: found[name] for name in FIELDS if name in found},
        rows=found.get("rows"),
        about=str(found.get("about", "")),
        errors=found.get("errors") or {},
        scorer=found.get("scorer"),
        borrow={name: rule or {} for name, rule in borrowed.items()},
        meta=found.get("meta") or {},
        notes=found.get("notes") or {},
        remarks=tuple(found.get("remarks") or ()),
        direct=found.get("direct"),
        infer_gold=found.get("infer_gold"),
        whole=found.get("whole"),
    )


def _specs(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    own = [(name, found[name]) for name in FIELDS if name in found]
    for group in ("meta", "notes"):
        own += [(f"{group}.{name}", spec) for name, spec in (found.get(group) or {}).items()]
    return own


def _check_kinds(
    path: Path, place: str, given: Mapping[str, Any], kinds: Mapping[str, type]
) -> None:
    """Raise `BadLog` for a list where `key: value` lines are due, and the like."""
    for name, kind in kinds.items():
        value = given.get(name)
        if value is not None and not isinstance(value, kind):
            due = "a list" if kind is list else "a text"
            due = "lines of `key: value`" if kind is dict else due
            raise BadLog(f"{path}: {place}{name}: give {due}, not {value!s:.40}")


def _check(path: Path, name: str, spec: Any) -> None:
    if isinstance(spec, list):
        for one in spec:
            _check(path, name, one)
    elif isinstance(spec, dict):
        if unknown := set(spec) - _STEPS:
            raise BadLog(
                f"{path}: {name}: unknown {', '.join(sorted(map(str, unknown)))}; known: "
                f"{', '.join(sorted(_STEPS))}"
            )
        _check_kinds(path, f"{name}: ", spec, _STEP_KINDS)
        if not {"from", "add", "text"} & set(spec):
            raise BadLog(f"{path}: {name}: `from` is missing (where to read it)")
        if spec.get("as") not in (None, *_TYPES):
            raise BadLog(f"{path}: {name}: as: one of {', '.join(_TYPES)}")
        if "match" in spec:
            _pattern(path, name, spec["match"])
        for wanted in (spec.get("when") or {}).values():
            for one in wanted if isinstance(wanted, list) else [wanted]:
                if isinstance(one, str) and one.startswith("~"):
                    _pattern(path, name, one[1:])
        for key in ("subtract", "divide"):
            if key in spec and (not isinstance(spec[key], int | float) or not spec[key]):
                raise BadLog(f"{path}: {name}: {key}: a number that is not 0")
    elif not isinstance(spec, str | int | float):
        raise BadLog(f"{path}: {name}: {spec!r} names no field")


def _pattern(path: Path, name: str, pattern: Any) -> None:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise BadLog(
            f"{path}: {name}: {pattern!r} is not a regular expression ({error})"
        ) from error
