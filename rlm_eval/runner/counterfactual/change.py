"""Builds the configuration of a counterfactual from a stored cell and `--set KEY=VALUE`.

A counterfactual changes one thing: one slot's model, one setting of the method, one limit. Run-time
settings (budgets, samples in flight, the run's name) may be set in addition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from rlm_eval.config.cell import Cell, build_cell
from rlm_eval.config.grid import expand
from rlm_eval.config.identity import identity
from rlm_eval.config.trust import replayed_cell
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.runner.counterfactual.shared import KEY
from rlm_eval.storage.cell_store import read_manifest
from rlm_eval.storage.stale_code import SCORER, changed, today, words

SLOTS = ("root", "sub", "judge", "embed", "summary")
RUN_TIME = ("budget", "cell_budget", "max_samples", "confirm_above", "results", "name")
"""Settings that change no result: allowed in addition to the one change."""
_QUESTION = ("task", "n", "epochs", "seed", "length", "tokenizer", "shard", "sweep")
SHORT = {
    "recursion=off": "no sub-calls: method.depth=0",
    "temperature=T": "of the root model, and of a sub-model with settings of its own",
    "protocol=METHOD": "the answer protocol of another RLM method: protocol=rlm_paper_v1",
    "records=N": "records per sub-call of a fixed program: method.settings.lines_per_call=N",
    "keyed=on|off": "whether replies of program_label_count name their records",
}
"""Short forms -> meaning."""


@dataclass(frozen=True)
class Counterfactual:
    """A stored cell and its counterfactual, built and checked without a model call."""

    folder: Path
    """The original cell."""
    original: Cell
    config: DictConfig
    """Configuration of the counterfactual."""
    cell: Cell


def planned(
    run: Path,
    changes: Sequence[str],
    *,
    name: str | None = None,
    n: int | None = None,
    only: str = "",
    together: bool = False,
    trust: bool = False,
) -> tuple[list[Counterfactual], dict[str, str]]:
    """Return (the counterfactuals of the run's cells, skipped cells with the reason).

    Raises `ConfigError` for changes that apply to no cell, that change more than one thing, or that
    change the question; `RlmEvalError` for cells made by other code than the installed code.
    """
    from rlm_eval.records.build import cell_folders

    things = _things(changes) - set(RUN_TIME)
    if not things:
        raise ConfigError("--set: nothing is changed; name one thing, e.g. --set recursion=off")
    if asked := sorted({_thing(change) for change in changes} & set(_QUESTION)):
        raise ConfigError(
            f"--set {asked[0]}: changes the question, so no stored reply answers it; "
            "use `rlm-eval run`"
        )
    if len(things) > 1 and not together:
        raise ConfigError(
            f"--set: changes {len(things)} things ({', '.join(sorted(things))}), so the "
            "effect could not be attributed; replay each alone, or add --together"
        )
    found, left = [], {}
    for folder in cell_folders(run):
        if only not in folder.name:
            continue
        try:
            found.append(_one(run, folder, changes, name, n, trust=trust))
        except ConfigError as error:
            left[folder.name] = str(error)
    if not found:
        why = "; ".join(dict.fromkeys(left.values())) or f"no cell's name contains {only!r}"
        raise ConfigError(f"{run}: no cell can be replayed with this change: {why}")
    return found, left


def _thing(change: str) -> str:
    """Return what a change targets: a top-level key, or a short form (each is one thing)."""
    key, equals, _ = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change}: write KEY=VALUE")
    return key.removeprefix("model@").partition(".")[0]


def _things(changes: Sequence[str]) -> set[str]:
    """Return what differs: each setting is a thing of its own, and so is each short form.

    Another model with the settings that it needs is one thing, and so is another method.
    """
    keys = {change.partition("=")[0] for change in changes}
    found = set()
    for change in changes:
        key, top = change.partition("=")[0], _thing(change)
        whole = keys & {top, f"model@{top}", f"{top}.name"}
        found.add(top if whole or top in RUN_TIME else key)
    return found


def _one(
    run: Path, folder: Path, changes: Sequence[str], name: str | None, n: int | None, *, trust: bool
) -> Counterfactual:
    manifest = read_manifest(folder)
    if parts := [part for part in changed(manifest, today(manifest)) if part != SCORER]:
        raise RlmEvalError(f"{folder.name}: {words(parts, run)}. The cell is not replayed")
    if KEY in manifest["config"]:
        raise ConfigError(f"{folder.name} is a counterfactual itself; replay its original")
    original = replayed_cell(manifest, trust=trust)
    config = OmegaConf.create(dict(manifest["config"]))
    with open_dict(config):
        for change in changes:
            _apply(config, change)
        origin = {"run": str(run.absolute()), "cell": folder.name, "of": manifest["identity"]}
        told = sorted(c for c in changes if _thing(c) not in RUN_TIME)
        config[KEY] = origin | {"change": told}
        config.name = name or f"{run.name}-cf-{slug(told)}"
        config.results = str(run.parent)
        if n is not None:
            config.n = min(n, original.n)
    cell = build_cell(config)
    if replace(cell, origin=None).identity == original.identity:
        raise ConfigError(f"{', '.join(told)} changes nothing of {folder.name}")
    _check_names(original, cell)
    return Counterfactual(folder, original, config, cell)


def _check_names(original: Cell, cell: Cell) -> None:
    """Raise `ConfigError` if a slot has a different model under the old model's name.

    Stored replies are looked up by that name: the old model's would count as the new model's.
    """
    for slot, model in cell.models.items():
        old: Any = original.models.get(slot)
        if old is None or old.name != model.name:
            continue
        sent = {"name": model.name, "sampling": old.sampling, "window": old.window}
        alike: Any = replace(model, **sent) if type(model) is type(old) else model  # type: ignore[type-var]
        if identity({"model": alike}) != identity({"model": old}):
            raise ConfigError(
                f"{slot}: another model under the same name ({model.name}), so the replies of "
                f"the old model would be used as its own; add --set {slot}.name=NAME"
            )


def slug(changes: Sequence[str]) -> str:
    """Return the changes as part of a folder name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(changes)).strip("-.")[:60]


def _apply(config: DictConfig, change: str) -> None:
    key, _, value = change.partition("=")
    if key.startswith("model@"):
        slot = key.removeprefix("model@")
        if slot not in SLOTS:
            raise ConfigError(f"--set {change}: slots are {', '.join(SLOTS)}")
        if slot == "root":  # slots that repeat the root model keep their previous model
            for other in SLOTS[1:]:
                if (config.get(other) or {}).get("same"):
                    config[other] = config.root.copy()
        config[slot] = expand([f"model@{slot}={value}"])[0][slot]
        return
    if key == "method":
        config.method = expand([change])[0].method
        return
    for path, text in _long(config, key, value):
        top = path.partition(".")[0]
        if top in SLOTS and (config.get(top) or {}).get("same"):
            config[top] = config.root.copy()
        if top != "method" and top not in (*SLOTS, "limits", "repl", *RUN_TIME):
            raise ConfigError(
                f"--set {change}: unknown; change model@SLOT, a setting of a slot "
                f"(root.sampling.temperature), method.SETTING, limits.NAME, or {', '.join(SHORT)}"
            )
        OmegaConf.update(config, path, text, force_add=True)


def _long(config: DictConfig, key: str, value: str) -> list[tuple[str, Any]]:
    """Expand a short form to its settings; any other key is returned unchanged."""
    parsed = yaml.safe_load(value)
    if key == "recursion":
        if value not in ("off",):
            raise ConfigError(f"recursion={value}: only `off`; or set method.depth=N")
        return [("method.depth", 0)]
    if key == "temperature":
        slots = [s for s in ("root", "sub") if s == "root" or not config[s].get("same")]
        return [(f"{slot}.sampling.temperature", parsed) for slot in slots]
    if key == "protocol":
        method = expand([f"method={value}"])[0].method
        if "protocol" not in method:
            raise ConfigError(f"protocol={value}: that method has no answer protocol of its own")
        return [("method.protocol", method.protocol)]
    if key == "records":
        if type(parsed) is not int or parsed < 1:
            raise ConfigError(f"records={value}: a number of records per sub-call, 1 or more")
        _program(config, change=f"records={value}")
        return [("method.settings.lines_per_call", parsed)]
    if key == "keyed":
        _program(config, change=f"keyed={value}")
        if not isinstance(parsed, bool):
            raise ConfigError(f"keyed={value}: on or off")
        return [("method.wording", None if parsed else "program/label_count_unkeyed")]
    return [(key, parsed)]


def _program(config: Mapping[str, Any] | DictConfig, change: str) -> None:
    if not str(config["method"].get("program") or "").startswith("label_count"):
        raise ConfigError(f"{change}: is for program_label_count, not for this method")
