"""benchmarks/<suite>/suite.yaml and expected.csv: schema, reading and validation.

Everything is named before the run: tasks, lengths, n, seeds, methods, models, and the comparisons
that form the family of tests. Unknown keys, types and ids raise an error with the file and the key.
`plan` composes the configurations, with the grid of `rlm-eval run`.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rlm_eval.config import files
from rlm_eval.config.builder import construct, parse_length
from rlm_eval.config.environment import settle
from rlm_eval.core.amounts import check_margin
from rlm_eval.core.errors import ConfigError

SLOTS = ("root", "sub", "judge", "embed", "summary")
METRICS = {
    "accuracy_pct": 1, "oolong_score_pct": 1, "f1_pct": 1, "mrcr_score": 100, "oolong_score": 100,
}  # fmt: skip
"""Metrics comparable with our score -> factor to percent; other metrics are only shown."""


@dataclass(frozen=True)
class Entry:
    """One value of an axis (a task, a method, a set of models) with its name in the suite."""

    id: str
    """Name within the suite."""
    overrides: Mapping[str, str]
    """Hydra overrides, key -> value as Hydra writes it."""


@dataclass(frozen=True)
class Part:
    """One grid: tasks x lengths x seeds x methods x models."""

    tasks: list[Any]
    """Entries: a config of the group `task`, or `{task: NAME, id: ID, task.field: value}`."""
    methods: list[Any]
    """Entries, likewise of the group `method`."""
    models: list[Any] = field(default_factory=list)
    """Sets that vary together: a root model, or `{root: A, sub: B, judge: C, id: ID}`; empty = the
    suite's models."""
    lengths: list[str] = field(default_factory=list)
    """Nominal context lengths, e.g. `4k`; empty for tasks of fixed size."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Seeds of the samples; samples of all seeds are pooled."""
    n: int = 20
    """Samples per cell."""
    name: str = "main"
    """Name within the suite."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Hydra overrides of the part, key -> value."""

    def __post_init__(self) -> None:
        if not self.tasks or not self.methods:
            raise ValueError("tasks and methods must not be empty")
        if self.n < 1:
            raise ValueError(f"n={self.n}: give 1 or more")
        for length in self.lengths:
            parse_length(length)


@dataclass(frozen=True)
class Planned:
    """Planned comparison of A with B; one test per task, length and shared setting."""

    a: str
    """A method's id, the id of a set of models, or `METHOD@MODELS`."""
    b: str
    """As `a`, of the same kind."""
    parts: list[str] = field(default_factory=list)
    """Only in these parts; empty = in all (this field and the next ones)."""
    tasks: list[str] = field(default_factory=list)
    """Only on these tasks (ids)."""
    lengths: list[str] = field(default_factory=list)
    """Only at these lengths."""
    methods: list[str] = field(default_factory=list)
    """If `a` and `b` are models: only with these methods."""
    models: list[str] = field(default_factory=list)
    """If `a` and `b` are methods: only with these sets of models."""
    margin: float | None = None
    """Non-inferiority margin: A is at most this much below B (0.05 = 5 points)."""


@dataclass(frozen=True)
class Suite:
    """Contents of suite.yaml."""

    title: str
    """One line, for the list of suites."""
    parts: list[Any]
    """Entries of type `Part`, at least one."""
    comparisons: list[Any] = field(default_factory=list)
    """Entries of type `Planned`: the family of the Holm correction."""
    models: list[Any] = field(default_factory=list)
    """Sets of models for the parts that name none."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Hydra overrides of every part."""
    closing_table: str = ""
    """Title of the report's last table: published scores next to ours, method by task."""
    name: str = ""
    """Name of the folder."""


@dataclass(frozen=True)
class Published:
    """A row of expected.csv: a published number, and our corresponding cells."""

    metric: str
    """The source's metric: see `METRICS`."""
    value: float
    """In the metric's own unit; scores in percent."""
    source: str
    """Paper, with its identifier, or page."""
    version: str
    """Version and date of the source."""
    approximate: bool
    """True if it was read off a figure: shown as a hollow mark, never compared."""
    task: str
    """Task id in suite.yaml."""
    length: str
    """Our length; empty = any."""
    method: str
    """Method id in suite.yaml; empty = no method of this package: shown only."""
    models: str
    """Id of a set of models in suite.yaml; empty = models that the suite does not run."""
    n: int | None
    """Number of samples in the source; `None` = not stated."""
    published_task: str = ""
    """Name of the task in the source."""
    published_method: str = ""
    """Name of the method in the source."""
    published_model: str = ""
    """Name of the model in the source."""
    note: str = ""
    """Further information for readers: how n was inferred, the place in the source."""
    cost: float | None = None
    """Mean cost of a sample in US dollars; `None` = not stated. The column may be missing."""

    @property
    def percent(self) -> float:
        """The score in percent; other metrics unchanged."""
        return METRICS.get(self.metric, 1) * self.value


def names() -> list[str]:
    """List the suites of the working directory and the package. Raises `ConfigError` for none."""
    folders = files.suite_folders()
    found = {path.parent.name for folder in folders for path in folder.glob("*/suite.yaml")}
    if not found:
        looked = ", ".join(f"{folder}/*/suite.yaml" for folder in folders)
        raise ConfigError(f"no suites: looked for {looked}; reinstall the package")
    return sorted(found)


def _folder_of(name: str) -> Path:
    """Locate a suite. Raises `ConfigError` if there is none, or two that differ."""
    folders = [f / name for f in files.suite_folders() if (f / name / "suite.yaml").is_file()]
    if Path(name).name != name or not folders:  # a stored run may contain any path as a name
        known = names()
        near = difflib.get_close_matches(name, known, 3) or known
        raise ConfigError(f"no suite {name!r}; near: {', '.join(near)}")
    for file in ("suite.yaml", "expected.csv"):
        texts = [(f / file).read_bytes() if (f / file).is_file() else b"" for f in folders]
        if len(set(texts)) > 1:
            both = " and ".join(str(f / file) for f in folders)
            raise ConfigError(
                f"suite {name}: {both} differ; rename yours, or, in a clone, run the clone's own "
                "code (`pip install -e .`)"
            )
    return folders[0]


def files_of(name: str) -> list[Path]:
    """Return the files of a suite that a report shows. Raises `ConfigError` as `load`."""
    folder = _folder_of(name)
    return [path for path in (folder / "suite.yaml", folder / "expected.csv") if path.is_file()]


def load(name: str, folder: Path | None = None) -> Suite:
    """Read and check a suite, from `folder` if given.

    Raises `ConfigError` with the file and the key.
    """
    path = (_folder_of(name) if folder is None else folder / name) / "suite.yaml"
    if not path.is_file():
        raise ConfigError(f"no suite {name!r} in {folder}")
    where = f"benchmarks/{name}/suite.yaml"
    try:
        written = OmegaConf.load(path)
        settle(written)
        values = OmegaConf.to_container(written)
    except (OmegaConfBaseException, ConfigError, YAMLError) as error:
        raise ConfigError(f"{where}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: not a mapping of keys to values")
    suite: Suite = construct(Suite, {str(k): v for k, v in values.items()}, where)
    _overrides(suite.overrides, f"{where}.overrides")
    suite_models = entries(suite.models, "root", f"{where}.models")
    parts: list[Part] = [
        construct(Part, _mapping(part, f"{where}.parts[{i}]"), f"{where}.parts[{i}]")
        for i, part in enumerate(suite.parts)
    ]
    if not parts:
        raise ConfigError(f"{where}.parts: empty; add at least one part")
    _unique([part.name for part in parts], f"{where}.parts")
    parts = [
        replace(
            part,
            tasks=entries(part.tasks, "task", f"{where}.parts[{i}].tasks"),
            methods=entries(part.methods, "method", f"{where}.parts[{i}].methods"),
            models=entries(part.models, "root", f"{where}.parts[{i}].models") or suite_models,
            overrides=_overrides(part.overrides, f"{where}.parts[{i}].overrides"),
        )
        for i, part in enumerate(parts)
    ]
    loaded = replace(suite, name=name, parts=parts, models=suite_models)
    comparisons = [
        construct(Planned, _mapping(one, f"{where}.comparisons[{i}]"), f"{where}.comparisons[{i}]")
        for i, one in enumerate(suite.comparisons)
    ]
    for i, one in enumerate(comparisons):
        _check_planned(loaded, one, f"{where}.comparisons[{i}]")
    return replace(loaded, comparisons=comparisons)


def entries(values: Sequence[Any], key: str, where: str) -> list[Entry]:
    """Return the entries of an axis; `key` names the config group (`root`: sets of models)."""
    found = []
    for i, value in enumerate(values):
        given = {key: value} if isinstance(value, str) else _mapping(value, f"{where}[{i}]")
        chosen = {**given}
        own = chosen.pop("id", None)
        if key not in chosen:
            raise ConfigError(f"{where}[{i}].{key}: missing; name a config of this group")
        slots = [slot for slot in SLOTS if slot in chosen] if key == "root" else []
        named = str(chosen[key]) + (f"+{chosen['sub']}" if "sub" in slots else "")
        overrides = {f"model@{slot}": chosen.pop(slot) for slot in slots}
        if slots:
            overrides.setdefault("model@sub", "same")
        allowed = SLOTS if key == "root" else (key,)
        for name in chosen:
            if name.split(".")[0] not in allowed:
                raise ConfigError(f"{where}[{i}].{name}: not a field of {' or '.join(allowed)}")
        found.append(Entry(str(own or named), _overrides({**overrides, **chosen}, where)))
    _unique([entry.id for entry in found], where)
    return found


def _overrides(given: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return key -> value in Hydra's grammar; a list is one value, never a sweep."""
    for key, value in given.items():
        if isinstance(value, Mapping):
            raise ConfigError(f"{where}.{key}: write nested keys with dots, {key}.field: value")
    return {str(key): hydra_value(value) for key, value in given.items()}


def hydra_value(value: Any) -> str:
    """Format a YAML value in Hydra's override grammar."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ",".join(hydra_value(one) for one in value) + "]"
    text = str(value)
    if re.fullmatch(r"[\w./@%+-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r} is not a mapping")
    return {str(key): inner for key, inner in value.items()}


def _unique(ids: Sequence[str], where: str) -> None:
    for name in ids:
        if ids.count(name) > 1:
            raise ConfigError(f"{where}: two entries are called {name}; give one an id of its own")


def ids(suite: Suite, axis: str) -> list[str]:
    """Return the ids of an axis (`tasks`, `methods`, `models`, `parts`) of all parts, in order."""
    if axis == "parts":
        return [part.name for part in suite.parts]
    return list(dict.fromkeys(entry.id for part in suite.parts for entry in getattr(part, axis)))


def _known(suite: Suite, axis: str, name: str, where: str) -> None:
    known = ids(suite, axis)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or known
        raise ConfigError(f"{where}: {name} is none of the {axis}; near: {', '.join(near)}")


def side(suite: Suite, name: str, where: str) -> tuple[str | None, str | None]:
    """Return (method id, models id) of one side of a comparison; `None` = shared by both sides."""
    method, _, models = name.partition("@")
    if models:
        _known(suite, "methods", method, where)
        _known(suite, "models", models, where)
        return method, models
    if name in ids(suite, "models") and name not in ids(suite, "methods"):
        return None, name
    _known(suite, "methods", name, where)
    return name, None


def _check_planned(suite: Suite, one: Planned, where: str) -> None:
    a, b = side(suite, one.a, f"{where}.a"), side(suite, one.b, f"{where}.b")
    if [part is None for part in a] != [part is None for part in b]:
        raise ConfigError(f"{where}: {one.a} and {one.b} are not of one kind")
    for axis in ("parts", "tasks", "methods", "models"):
        for name in getattr(one, axis):
            _known(suite, axis, name, f"{where}.{axis}")
    for length in one.lengths:
        parse_length(length)
    if one.margin is not None:
        check_margin(one.margin, f"{where}.margin:")


_OPTIONAL = "cost"
_COLUMNS = tuple(name for name in Published.__dataclass_fields__ if name != _OPTIONAL)


def published(suite: Suite, folder: Path | None = None) -> list[Published]:
    """Read the suite's expected.csv; empty without the file. Raises `ConfigError`."""
    path = (_folder_of(suite.name) if folder is None else folder / suite.name) / "expected.csv"
    return read_published(path, suite) if path.is_file() else []


def read_published(path: Path, suite: Suite | None = None) -> list[Published]:
    """Read a file of published numbers; ids are checked if a suite is given.

    Raises `ConfigError` where it cannot be read, or a column or value does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: no file of published numbers ({error}); name another"
        ) from error
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        unknown = sorted((set(reader.fieldnames or ()) ^ set(_COLUMNS)) - {_OPTIONAL})
        if unknown:
            raise ConfigError(
                f"{path}: column {unknown[0]} is unknown or missing; the columns are "
                f"{', '.join(_COLUMNS)}, and {_OPTIONAL} where the source states it"
            )
        return [_published(row, suite, f"{path.name}, line {reader.line_num}") for row in reader]


def _published(row: Mapping[str, str], suite: Suite | None, where: str) -> Published:
    try:
        made = Published(
            **{
                **row,
                "value": float(row["value"]),
                "approximate": {"true": True, "false": False}[row["approximate"].lower()],
                "n": int(row["n"]) if row["n"] else None,
                _OPTIONAL: float(row[_OPTIONAL]) if row.get(_OPTIONAL) else None,
            }  # type: ignore[arg-type]  # the other columns are texts
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: not a value: {error}") from error
    if not made.source or not made.version:
        raise ConfigError(f"{where}: source and version must be named")
    if made.metric in METRICS and not 0 <= made.percent <= 100:
        raise ConfigError(f"{where}: value={row['value']}: a score is given in percent")
    if made.length:
        parse_length(made.length)
    if suite is not None:
        for axis in ("task", "method", "models"):
            if name := getattr(made, axis):
                _known(suite, axis if axis == "models" else f"{axis}s", name, f"{where}, {axis}")
    return made
