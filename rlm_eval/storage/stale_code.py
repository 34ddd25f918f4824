"""Detect results of other code: a cell's stored code hashes against today's.

The manifest holds, under `code_hashes`, one hash (`code_hash`) per part of the cell: `task`,
`scorer`, `method`, and each model slot. `None` = unknown: a class without a source file that uses
values without a hash, or results older than the hashes. A changed scorer scores stored answers
again; any other changed part means that today's code may answer differently: such a cell is named,
never continued, and refused by suites and `--publish`. Next steps: run it again, raise `VERSION`,
or prove with `rlm-eval replay --accept` that the stored trajectories come out the same, which is
then recorded (`code_replays`). A cell whose code is unknown is not continued either, unless all of
its results are older than the hashes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rlm_eval.core.code_hash import class_hash, live, running_hash, same_code, values_hash
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.moved import former

if TYPE_CHECKING:
    from rlm_eval.core.types import Sample
    from rlm_eval.storage.cell_store import CellStore

HASHES = "code_hashes"
REPLAYS = "code_replays"
SCORER = "scorer"
_SHOWN = 5

Classes = Mapping[str, type]
"""Dotted name -> class, of the objects that run."""


def code_of(
    config: Mapping[str, Any], slots: Iterable[str], running: Classes | None = None
) -> dict[str, str | None]:
    """Return each part's hash of a resolved configuration, `None` = unknown; imports nothing.

    The hashes are those of the source files; with `running`, those of the code of this process.
    Then raises `ConfigError` where a source file was edited after it was loaded.
    """
    return {part: _hash(config, part, running) for part in ("task", SCORER, "method", *slots)}


class BuiltCell(Protocol):
    """The fields of a `config.cell.Cell` that are read here."""

    @property
    def resolved(self) -> dict[str, Any]:
        """Its composed configuration."""

    @property
    def task(self) -> Any:
        """Its task."""

    @property
    def method(self) -> Any:
        """Its method."""

    @property
    def models(self) -> Mapping[str, Any]:
        """Its models by slot."""


def code_of_cell(cell: BuiltCell) -> dict[str, str | None]:
    """Return the hashes of the code that runs a built cell.

    Raises `ConfigError` where a source file was edited after it was loaded.
    """
    running = dict(_classes([cell.task, cell.method, *cell.models.values()]))
    return code_of(cell.resolved, cell.models, running)


def _classes(value: Any) -> Iterator[tuple[str, type]]:
    """Yield the classes of dataclass instances, also of those inside, by dotted name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield f"{type(value).__module__}.{type(value).__qualname__}", type(value)
        for field in dataclasses.fields(value):
            yield from _classes(getattr(value, field.name, None))
    elif isinstance(value, Mapping):
        yield from _classes(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _classes(inner)


def _class_hash(target: str, only: str, without: str, running: Classes | None) -> str | None:
    """Return the hash of a class of this name; see `code_of`."""
    if running is not None:
        return running_hash(target, running.get(target), only=only, without=without)
    found = class_hash(target, only=only, without=without)
    if found is None and (cls := live.named(target)) is not None:
        with suppress(ConfigError):
            return running_hash(target, cls, only=only, without=without)
    return found


def _hash(config: Mapping[str, Any], part: str, running: Classes | None) -> str | None:
    found = _hashes(config, part, running)
    return found[0] if found else None


def _hashes(config: Mapping[str, Any], part: str, running: Classes | None = None) -> list[str]:
    """Return the part's hash, then its earlier hashes of the same code; empty = unknown."""
    only, without = ("score" if part == SCORER else ""), ("score" if part == "task" else "")
    node = config.get("task" if part == SCORER else part) or {}
    if part not in ("task", SCORER, "method") and node.get("same"):
        node = config["root"]
    classes = sorted(_targets(node), key=former)
    hashes = [_class_hash(str(node.get("_target_")), only, without, running)]
    if not only:
        others = (name for name in classes if name != node.get("_target_"))
        hashes += [_class_hash(name, "", "", running) for name in others]
    known = [found for found in hashes if found is not None]
    if len(known) < len(hashes):
        return []
    values = "" if only else values_hash(node)
    alternatives = itertools.product(*((found, *same_code(found)) for found in known))
    return [
        hashlib.sha256("\n".join([*parts, values]).encode()).hexdigest()[:16]
        for parts in alternatives
    ]


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)


def changed(manifest: Mapping[str, Any], now: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the parts of a stored cell that come from other code than today's, if known."""
    stored = manifest.get(HASHES) or {}
    parts = [part for part in now if stored.get(part) and now[part] and stored[part] != now[part]]
    return tuple(
        part
        for part in parts
        if not {stored[part], now[part]} <= set(_hashes(manifest.get("config", {}), part))
    )


def continued(
    manifest: Mapping[str, Any], now: Mapping[str, str | None], *, keeps: bool
) -> dict[str, Any]:
    """Return the code facts for the manifest of a cell that continues.

    `keeps`: it keeps results, so that the code is theirs, known or not.
    """
    if not keeps:
        return {HASHES: dict(now)}
    stored = manifest.get(HASHES) or {}
    return {
        HASHES: {part: stored.get(part) for part in now},
        REPLAYS: manifest.get(REPLAYS, []),
    }


def today(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the hashes that a stored cell's parts have in today's code."""
    stored = manifest.get(HASHES) or dict.fromkeys(manifest.get("endpoints", {}))
    slots = [part for part in stored if part not in ("task", SCORER, "method")]
    return code_of(manifest["config"], slots)


def is_unknown(manifest: Mapping[str, Any]) -> bool:
    """Return true if the code of some part of a stored cell is unknown."""
    stored = manifest.get(HASHES) or {}
    return not stored or None in stored.values() or None in today(manifest).values()


def words(parts: Collection[str], run: Path | str) -> str:
    """Return the message for a cell with these changed parts, with the next steps."""
    if set(parts) == {SCORER}:
        return f"its scorer has changed: `rlm-eval score {run}` scores its answers again"
    return (
        f"made by other code: {', '.join(parts)} changed without a new VERSION. Run it again (the "
        f"same command with --redo all), raise VERSION for a new cell, or prove with `rlm-eval "
        f"replay {run} --accept` that its trajectories come out the same"
    )


def _of_a_report(parts: Collection[str]) -> str:
    """Return `words` for a cell that may have an earlier `VERSION`: then it is a separate cell."""
    if set(parts) == {SCORER}:
        return words(parts, "RUN")
    return (
        f"{', '.join(parts)} changed since. Where VERSION is higher today, the same command makes "
        "another cell; where it is not, redo it (--redo all), raise VERSION, or let "
        "`rlm-eval replay RUN --accept` prove that its trajectories come out the same"
    )


def check_kept(
    run: Path,
    manifest: Mapping[str, Any],
    now: Mapping[str, str | None],
    todo: Collection[Any],
) -> str | None:
    """Return the message for a cell that keeps results of other code; `None` = nothing.

    Code that is unknown today, or was when the rest of the cell's code was known, may be other
    code. Raises `ConfigError` where `todo` would continue such a cell: a cell never mixes code.
    """
    if parts := [part for part in changed(manifest, now) if part != SCORER]:
        told = words(parts, run)
    elif parts := _unknown(manifest, now):
        told = (
            f"it is unknown whether today's code made its results ({', '.join(parts)}): the class "
            "has no source file and uses values that no hash covers. Define it in a module, or "
            "give another run folder"
        )
    else:
        return None
    if todo:
        raise ConfigError(f"{told}. It is not continued: a cell never mixes code")
    return told


def _unknown(manifest: Mapping[str, Any], now: Mapping[str, str | None]) -> list[str]:
    """Return the parts whose code is unknown; results older than all hashes do not count."""
    stored = manifest.get(HASHES) or {}
    is_older = not any(stored.values())
    return [
        part
        for part, found in now.items()
        if part != SCORER
        and (found is None or (part in stored and stored[part] is None and not is_older))
    ]


def rescored(
    manifest: Mapping[str, Any],
    now: Mapping[str, str | None],
    store: CellStore,
    samples: Iterable[Sample],
) -> Mapping[str, Any]:
    """Return `manifest` after today's scorer scored its answers to `samples`."""
    known = {sample.id for sample in samples}
    if not manifest.get(HASHES) or any(sample not in known for sample, _ in store.attempts):
        return manifest
    return {**manifest, HASHES: {**manifest[HASHES], SCORER: now[SCORER]}}


def hashes_in(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the code hashes of a manifest; empty where it is older than the hashes."""
    return {HASHES: manifest[HASHES]} if HASHES in manifest else {}


def replayed(
    manifest: Mapping[str, Any], now: Mapping[str, str | None], attempts: int
) -> dict[str, Any]:
    """Return the manifest's entry after all its attempts came out the same under today's code."""
    stored = manifest.get(HASHES) or {}
    parts = {part: [stored.get(part), found] for part, found in now.items()}
    proof = {
        "from_to": {part: pair for part, pair in parts.items() if pair[0] != pair[1]},
        "attempts": attempts,
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    return {HASHES: dict(now), REPLAYS: [*manifest.get(REPLAYS, []), proof]}


def refuse(run: Path, folders: Iterable[tuple[Path, Mapping[str, str | None]]], what: str) -> None:
    """Raise `RlmEvalError` where cells with results hold other code than today's.

    `folders` are cell directories with today's hashes; `what` names the refused operation.
    """
    from rlm_eval.storage.cell_store import CellStore, read_manifest

    found: dict[str, tuple[str, ...]] = {}
    for folder, now in folders:
        if (folder / "manifest.json").exists():
            parts = changed(read_manifest(folder), now)
            if parts and CellStore(folder).attempts:
                found[folder.name] = parts
    if not found:
        return
    named = [f"{name} ({', '.join(parts)})" for name, parts in list(found.items())[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    every = list(dict.fromkeys(part for parts in found.values() for part in parts))
    raise RlmEvalError(f"{what}: {', '.join(named)}{more}: {words(every, run)}")


def sentences(known: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a report's sentences about the code of its cells."""
    other: dict[str, list[str]] = {}
    unknown = replayed = total = 0
    for manifest in known:
        if "config" not in manifest:
            continue
        total += 1
        replayed += bool(manifest.get(REPLAYS))
        if parts := changed(manifest, today(manifest)):
            other.setdefault(", ".join(parts), []).append(str(manifest.get("cell_id")))
        elif is_unknown(manifest):
            unknown += 1
    said = []
    for told, cells in other.items():
        names = ", ".join(cells[:_SHOWN]) + (" ..." if len(cells) > _SHOWN else "")
        said.append(
            f"{len(cells)} of {total} cells were made by other code than today's ({names}): "
            f"{_of_a_report(told.split(', '))}."
        )
    if unknown:
        said.append(
            f"For {unknown} of {total} cells it is unknown whether today's code made them: no hash "
            "of their code is known."
        )
    if replayed:
        said.append(
            f"{replayed} of {total} cells were made before their code was rewritten; replay of "
            "their trajectories came to the same answers and scores."
        )
    return said
