"""Expands a suite into cells and their places, and places into the family of comparisons.

Each combination of a part's entries goes through the grid of `rlm-eval run`. `plan_file` stores
the places in the run directory before the first call.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from omegaconf import DictConfig

from rlm_eval.config.builder import parse_length
from rlm_eval.config.cell import Cell, build_cell
from rlm_eval.config.grid import product
from rlm_eval.core.errors import ConfigError
from rlm_eval.suites.schema import SLOTS, Entry, Part, Planned, Suite, ids, side

_AXES = {"task": "tasks", "method": "methods", "models": "models"}
_OWN_SIZE = "4k"  # value of `length` in cells of tasks without that setting
_SCOPED = re.compile(r"^([^:=]+):(.+)$")


@dataclass(frozen=True)
class Place:
    """Position of a cell in the suite's grid, as ids of suite.yaml."""

    part: str
    task: str
    length: int
    """Tokens."""
    seed: int
    method: str
    models: str
    called: str
    """The configured models, `root > sub`, including replacements from the command line."""
    cell: str
    """Identity of the cell, `cell_id` of its records; empty = not selected by any command yet."""
    as_named: bool
    """False if the command line changed the suite's settings for this cell."""
    planned: bool = True
    """False if this place or its settings were not in the first plan: exploratory."""
    again: int = 0
    """0 = the first cell of its place; k = a cell with other settings, chosen when the first one
    had results; k is the number of the command in `SuitePlan.later`, from 1."""

    @property
    def key(self) -> tuple[str, str, str, str, int, int]:
        """What the suite calls the place, whichever cell is there."""
        return self.part, self.task, self.method, self.models, self.length, self.seed


@dataclass(frozen=True)
class Contrast:
    """One test of the family: the cells of A against the cells of B."""

    a: str
    b: str
    part: str
    task: str
    length: int
    within: str
    """The setting that both sides share besides task and length: the models, or the method."""
    cells_a: frozenset[str]
    cells_b: frozenset[str]
    margin: float | None


def cells_of(
    suite: Suite, given: Sequence[str]
) -> tuple[list[DictConfig], list[Cell], list[Place]]:
    """Return configurations and cells in order, each once, and their places.

    `given` are the command line's overrides. Raises `ConfigError`.
    """
    overrides = _parse(suite, given)
    cells: dict[str, tuple[DictConfig, Cell]] = {}
    places: dict[tuple[str, ...], Place] = {}
    for part in suite.parts:
        for (models, task, method), config in _combinations(suite, part, overrides):
            cell = build_cell(config)
            if not part.lengths and hasattr(cell.task, "length"):
                raise ConfigError(
                    f"suite {suite.name}: {task.id} has no size of its own; give part {part.name} "
                    "its `lengths`"
                )
            known = cells.get(cell.identity)
            if known is None or known[1].n < cell.n:
                cells[cell.identity] = config, cell
            chosen = (part.name, task.id, method.id, models.id)
            place = Place(
                part.name, task.id, cell.length, cell.seed, method.id, models.id,
                _called(config), cell.identity, overrides.harmless(chosen),
            )  # fmt: skip
            # A task of fixed size is the same cell at every length: one place.
            places.setdefault((*chosen, cell.identity), place)
    if not cells:
        raise ConfigError(f"suite {suite.name}: these overrides select nothing")
    for place in _left_out(suite, overrides):
        places.setdefault((*_ids(place), str(place.length), str(place.seed)), place)
    configs, built = zip(*cells.values(), strict=True)
    return list(configs), list(built), list(places.values())


def _ids(place: Place) -> tuple[str, str, str, str]:
    return place.part, place.task, place.method, place.models


def _left_out(suite: Suite, given: _Given) -> Iterator[Place]:
    """Yield places that the command line did not select: they stay in the family, as not run."""
    for part in suite.parts:
        kept = [[e.id for e in given.kept(part, axis)] for axis in _AXES.values()]
        run, seeds = _lengths_and_seeds(part, given.everywhere)
        # Given lengths or seeds of the part are a selection; any others replace the part's.
        own_seeds = [str(seed) for seed in part.seeds]
        lengths = part.lengths if set(run) <= set(part.lengths) else run
        all_seeds = own_seeds if set(seeds) <= set(own_seeds) else seeds
        axes = (part.tasks, part.methods, part.models, lengths, all_seeds)
        for task, method, models, length, seed in itertools.product(*axes):
            chosen = zip((task, method, models), kept, strict=True)
            selected = all(entry.id in own for entry, own in chosen)
            if length in run and seed in seeds and selected:
                continue
            yield Place(
                part.name, task.id, parse_length(length), int(seed), method.id, models.id,
                models.id, "", True,
            )  # fmt: skip


def _called(config: DictConfig) -> str:
    """Return `root > sub` as configured, even if a method uses only one of them."""
    sub = config.sub.get("name")
    return str(config.root.name) + (f" > {sub}" if sub else "")


@dataclass(frozen=True)
class _Given:
    """Overrides of the command line, by target."""

    everywhere: Mapping[str, str]
    scoped: Sequence[tuple[str, str, str]]
    """Overrides limited to an id: (id, key, value)."""
    selected: Mapping[str, list[str]]
    """`tasks`, `methods` or `models` -> ids to keep."""

    @property
    def debug(self) -> bool:
        """True if a script replaces every model."""
        return "debug" in self.everywhere

    def kept(self, part: Part, axis: str) -> list[Entry]:
        """Return the part's selected tasks, methods or models."""
        entries: list[Entry] = getattr(part, axis) or [Entry("default", {})]
        return [e for e in entries if e.id in self.selected.get(axis, [e.id])]

    def about(self, *names: str) -> dict[str, str]:
        """Return the overrides limited to one of these ids."""
        return {key: value for scope, key, value in self.scoped if scope in names}

    def harmless(self, names: Sequence[str]) -> bool:
        """Return whether no override changes the measurement of a cell with these ids."""
        return all(_HARMLESS.fullmatch(key) for key in (*self.everywhere, *self.about(*names)))


def _parse(suite: Suite, given: Sequence[str]) -> _Given:
    everywhere: dict[str, str] = {}
    scoped, selected = [], {}
    known = [name for axis in ("parts", "tasks", "methods", "models") for name in ids(suite, axis)]
    for text in given:
        key, equals, value = text.lstrip("+").partition("=")
        if not equals:
            raise ConfigError(f"override {text!r}: write key=value")
        if found := _SCOPED.match(key):
            if found[1] not in known:
                raise ConfigError(
                    f"{text}: {found[1]} is not an id of this suite; the ids are {', '.join(known)}"
                )
            scoped.append((found[1], found[2], value))
        elif key in _AXES:
            axis = _AXES[key]
            selected[axis] = value.split(",")
            if unknown := set(selected[axis]) - set(ids(suite, axis)):
                raise ConfigError(
                    f"{text}: {min(unknown)} is none of the suite's {axis}: "
                    f"{', '.join(ids(suite, axis))}"
                )
        elif "," in value and key not in ("length", "seed") and not value.startswith(("[", "'")):
            raise ConfigError(f"{text}: a suite sweeps its own axes; use `rlm-eval run` for others")
        else:
            everywhere[key] = value
    return _Given(everywhere, scoped, selected)


def _combinations(
    suite: Suite, part: Part, given: _Given
) -> Iterator[tuple[tuple[Entry, Entry, Entry], DictConfig]]:
    """Yield (models, task, method) and the configuration, the shortest lengths first."""
    tasks, methods = given.kept(part, "tasks"), given.kept(part, "methods")
    models = _all_models(part, given)
    if not (tasks and methods and models):
        return
    own: dict[str, str] = {
        "name": suite.name + ("-scripted" if given.debug else ""),
        "n": str(part.n),
        **suite.overrides,
        **part.overrides,
    }
    if given.debug:
        own = {k: v for k, v in own.items() if k not in ("n", "tokenizer") and _stays(k)}
    fixed = own | dict(given.everywhere) | given.about(part.name)
    lengths, seeds = _lengths_and_seeds(part, fixed)
    fixed = {key: value for key, value in fixed.items() if key not in ("length", "seed")}
    listed = [_alternatives(entries, given) for entries in (models, tasks, methods)]
    axes = [[[f"length={x}"] for x in lengths], [[f"seed={x}"] for x in seeds], *listed]
    ids_of = itertools.product(lengths, seeds, models, tasks, methods)
    for (_, _, *chosen), config in zip(ids_of, product(_written(fixed), axes), strict=True):
        yield (chosen[0], chosen[1], chosen[2]), config


def _lengths_and_seeds(part: Part, given: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return lengths and seeds. A part without lengths has tasks of fixed size: no `length=`."""
    lengths = given.get("length", ",".join(part.lengths)) if part.lengths else _OWN_SIZE
    return lengths.split(","), given.get("seed", ",".join(map(str, part.seeds))).split(",")


def _all_models(part: Part, given: _Given) -> list[Entry]:
    """Return the sets of models with the command line's replacements, each once."""
    found: list[Entry] = []
    for entry in given.kept(part, "models"):
        changed = _models(entry, given)
        if changed.overrides not in [known.overrides for known in found]:
            found.append(changed)
    return found


def _alternatives(axis: Sequence[Entry], given: _Given) -> list[list[str]]:
    """Return each entry's overrides, followed by the command line's for the same keys."""
    found = []
    for entry in axis:
        nodes = {_node(key) for key in entry.overrides}
        over = {k: v for k, v in given.everywhere.items() if _node(k) in nodes}
        found.append(_written({**entry.overrides, **over, **given.about(entry.id)}))
    return found


def _node(key: str) -> str:
    """Return the top-level key that an override changes."""
    return key.rpartition("@")[2].partition(".")[0]


def _written(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _models(entry: Entry, given: _Given) -> Entry:
    """Apply the command line to a set of models: scripts under `debug`, else replaced slots."""
    own = dict(entry.overrides)
    if given.debug:
        own = {key: value for key, value in own.items() if _stays(key)}
        for slot in SLOTS:
            name = entry.overrides.get(f"model@{slot}")
            if name not in (None, "same", "null"):
                script = "scripted-embed" if slot == "embed" else "scripted"
                own |= {f"model@{slot}": script, f"{slot}.name": f"scripted-{name}"}
    slots = {k: v for k, v in given.everywhere.items() if k.startswith("model@")}
    return replace(entry, overrides=own | slots)


def _stays(key: str) -> bool:
    """Return false for model settings that a script does not have."""
    slot, dot, rest = key.partition(".")
    return not dot or slot not in SLOTS or rest.startswith("sampling.")


_HARMLESS = re.compile(
    r"(name|results|n|epochs|length|seed|max_samples|confirm_above|shard|cluster|(cluster|budget)\..+"
    r"|.+\.(path|base_url|server|api_key_env|headers_env(\..+)?|concurrency|tier))"
)
"""Settings that keep a result comparable; length and n are compared separately."""


def settings_of(suite: Suite, given: Sequence[str]) -> str:
    """Return a digest, in hex, of the settings that a command gives the cells of a suite.

    Equal for two commands that differ in their selection (`task=`, `length=` ...) or in harmless
    settings alone.
    """
    told = []
    for text in given:
        key = text.lstrip("+").partition("=")[0]
        found = _SCOPED.match(key)
        if not _HARMLESS.fullmatch(found[2] if found else key) and key not in _AXES:
            told.append(text)
    grid = ("name", "overrides", "tasks", "methods", "models")
    parts = [{name: asdict(part)[name] for name in grid} for part in suite.parts]
    models = [asdict(entry) for entry in suite.models]
    whole = [sorted(told), dict(suite.overrides), parts, models]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def contrasts(places: Sequence[Place], planned: Sequence[Planned], suite: Suite) -> list[Contrast]:
    """Return the family: every planned comparison per part, task, length and shared setting."""
    found = []
    for one in planned:
        methods, models = zip(side(suite, one.a, "a"), side(suite, one.b, "b"), strict=True)
        sides = [_side(places, one, m, s) for m, s in zip(methods, models, strict=True)]
        free = methods[0] is None, models[0] is None
        keyed = [_keyed(chosen, *free) for chosen in sides]
        for key, a in keyed[0].items():
            if b := keyed[1].get(key):
                part, task, length, within = key
                found.append(Contrast(one.a, one.b, part, task, length, within, a, b, one.margin))
    return found


def _side(
    places: Sequence[Place], one: Planned, method: str | None, models: str | None
) -> list[Place]:
    lengths = [parse_length(length) for length in one.lengths]
    return [
        p for p in places
        if p.part in (one.parts or [p.part]) and p.task in (one.tasks or [p.task])
        and p.length in (lengths or [p.length])
        and p.method in ([method] if method else one.methods or [p.method])
        and p.models in ([models] if models else one.models or [p.models])
    ]  # fmt: skip


def _keyed(
    places: Sequence[Place], any_method: bool, any_models: bool
) -> dict[tuple[str, str, int, str], frozenset[str]]:
    """Return (part, task, length, shared setting) -> cells, all seeds together."""
    found: dict[tuple[str, str, int, str], set[str]] = {}
    for p in places:
        within = p.method if any_method else p.models if any_models else ""
        found.setdefault((p.part, p.task, p.length, within), set()).add(p.cell)
    return {key: frozenset(cells) for key, cells in found.items()}
