"""The plan of a suite's run on disk: `<run>/suite.json`, written before the first call.

It holds the place of each cell and the comparisons named beforehand, so that a finding refers to
the original plan and not to a file edited since. What is chosen when results can be seen is
exploratory and no part of the Holm family: places beyond the first plan, and cells with other
settings than those of a cell that has results. Such a cell stands beside the first one
(`Place.again`) and never takes its place. Every command of the run is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.config.cell import Cell
from rlm_eval.config.environment import masked_arguments
from rlm_eval.core.messages import warn
from rlm_eval.core.paths import write_atomic
from rlm_eval.storage.cell_store import read_manifest
from rlm_eval.storage.damage import damaged
from rlm_eval.suites.plan import Place, settings_of
from rlm_eval.suites.schema import Planned, Suite

FILE = "suite.json"


@dataclass(frozen=True)
class Later:
    """A command after the first one, with other overrides or another suite.yaml."""

    overrides: list[str]
    """Overrides of the command line."""
    at: str
    """Time of the command."""
    settings: str
    """Digest of the settings that it gives the cells: `settings_of`."""


@dataclass(frozen=True)
class SuitePlan:
    """`suite.json`: the plan before the first call, and later additions."""

    suite: str
    overrides: list[str]
    """Overrides of the first command."""
    started: str
    """Time at which the plan was written."""
    places: list[Place]
    comparisons: list[Planned]
    changed: bool = False
    """True if the comparisons in suite.yaml were changed after the run had started."""
    settings: str = ""
    """Digest of the first command's settings; empty = unknown, of an older plan."""
    later: list[Later] = field(default_factory=list)
    """The later commands, each once, in order."""


Known = Callable[[str], bool]
"""Identity of a cell -> whether it has results."""
Versions = Callable[[str], Collection[str]]
"""Identity of a cell -> its identities under lower `VERSION`s: the same settings, older code."""


def write_record(
    folder: Path,
    suite: Suite,
    given: Sequence[str],
    places: list[Place],
    cells: Sequence[Cell] = (),
) -> None:
    """Write the plan, or add what further overrides choose to the existing plan.

    `cells` are those of `places`: a cell of a new `VERSION` takes the place of the older one.
    Raises `RlmEvalError` for a damaged plan.
    """
    masked = masked_arguments(given)
    record = SuitePlan(
        suite.name,
        masked,
        time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        places,
        suite.comparisons,
        settings=settings_of(suite, masked),
    )
    if (known := read_record(folder)) is not None:
        built = {cell.identity: cell for cell in cells}

        def versions(identity: str) -> Collection[str]:
            return built[identity].earlier_identities() if identity in built else ()

        record = merged(known, record, has_results(folder), versions)
        if record == known:
            return
        if further := len([p for p in record.places if p.again and p not in known.places]):
            warn(
                f"{further} of {len(cells) or len(places)} cells have other settings than cells of "
                "the plan that have results: their comparisons are exploratory, beside the "
                "planned ones. `name=NEW` begins a run with a plan of its own"
            )
    write_plan(folder, record)


def has_results(run: Path) -> Known:
    """Return whether a cell of this run directory, by identity, has the result of a sample."""

    @cache
    def identities() -> frozenset[str]:
        folders = [
            path.parent
            for pattern in ("cells/*/manifest.json", "shards/*/*/manifest.json")
            for path in run.glob(pattern)
        ]
        return frozenset(
            read_manifest(folder)["identity"]
            for folder in folders
            if (log := folder / "trajectories.jsonl").is_file() and log.stat().st_size
        )

    return lambda identity: identity in identities()


def merged(known: SuitePlan, later: SuitePlan, seen: Known, versions: Versions) -> SuitePlan:
    """Merge a later plan's selection into the plan.

    A cell takes the place of one without results (`seen`), or of an older version of itself
    (`versions`). Beside a cell with results it is a further cell of that place, unplanned, whatever
    changed its settings: the command line, suite.yaml, or a plan made elsewhere.
    """
    first = Later(later.overrides, later.started, later.settings)
    commands = list(known.later)
    for one in (first, *later.later):
        told = [(c.overrides, c.settings) for c in commands]
        is_first = one.overrides == known.overrides and known.settings in (one.settings, "")
        if not is_first and (one.overrides, one.settings) not in told:
            commands.append(one)
    places = {(*place.key, place.again): place for place in known.places}
    for place in later.places:
        if not place.cell:
            continue
        before = places.get((*place.key, 0))
        if before is None:
            places[(*place.key, 0)] = replace(place, planned=False, again=0)
        elif _follows(place, before, seen, versions):
            places[(*place.key, 0)] = replace(place, planned=before.planned, again=0)
        else:
            own = later.later[place.again - 1] if place.again else first
            number = _number(place, own, commands, places, versions)
            further = replace(place, planned=False, again=number)
            places[(*place.key, number)] = further
    return replace(
        known,
        places=list(places.values()),
        comparisons=later.comparisons,
        changed=known.changed or later.changed or known.comparisons != later.comparisons,
        later=commands,
    )


def _follows(place: Place, before: Place, seen: Known, versions: Versions) -> bool:
    """Return whether `place` may stand for `before`: no result led to its settings."""
    return (
        before.cell in ("", place.cell)
        or before.cell in versions(place.cell)
        or not seen(before.cell)
    )


def _number(
    place: Place,
    own: Later,
    commands: list[Later],
    places: Mapping[tuple[Any, ...], Place],
    versions: Versions,
) -> int:
    """Return the number of the command whose settings a further cell has; adds it if unknown.

    Cells of one number are compared with each other, so a number has one cell a place.
    """
    same = [number for number, one in enumerate(commands, 1) if one.settings == own.settings]
    for number in same:
        there = places.get((*place.key, number))
        if there is None or there.cell in (place.cell, *versions(place.cell)):
            return number
    commands.append(own)
    return len(commands)


def write_plan(folder: Path, record: SuitePlan) -> None:
    """Replace a folder's plan atomically."""
    write_atomic(folder / FILE, orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2))


def read_record(folder: Path) -> SuitePlan | None:
    """Read the plan of a run directory; `None` if it does not belong to a suite."""
    path = folder / FILE
    if not path.is_file():
        return None
    with damaged(path, "restore it: it holds what was planned before the first call"):
        values: dict[str, Any] = orjson.loads(path.read_bytes())
        values["places"] = [_made(Place, one) for one in values["places"]]
        values["comparisons"] = [_made(Planned, one) for one in values["comparisons"]]
        values["later"] = [_made(Later, one) for one in values.get("later", [])]
        return SuitePlan(**values)


def _made(cls: type[Any], values: Mapping[str, Any]) -> Any:
    # Plans written before a field existed lack it; its default applies.
    return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})
