"""Expand Hydra overrides into the resolved configurations of a sweep's cells.

Composition uses Hydra's compose API. The grid is expanded here and not by `--multirun`, so that the
cells of one process share servers and budgets and a sweep can be resumed or submitted.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from rlm_eval.config.builder import locate
from rlm_eval.config.environment import copier, masked_arguments, settle
from rlm_eval.config.files import CONFIGS, extend_import_path, groups, join_hydra
from rlm_eval.config.files import names as names_of
from rlm_eval.config.shape import check_fields, check_shape
from rlm_eval.core.errors import ConfigError

CONFIG_DIR = CONFIGS
_COMPOSING = threading.RLock()  # Hydra keeps its composition state in a global

_APPENDED_GROUPS = ("experiment", "debug")  # common as `+experiment=x`, but they have a default


def expand(overrides: Sequence[str], config_dir: Path = CONFIG_DIR) -> list[DictConfig]:
    """One resolved configuration per cell, in grid order (the last sweep varies fastest).

    Sweeps are comma lists, `range()` and `choice()` of the overrides, and the `sweep:` mapping of
    an experiment; an override of a swept key replaces the experiment's sweep of it.
    Raises `ConfigError` where an override does not parse or compose.
    """
    fixed, swept = _split(overrides)
    base = _compose(fixed, config_dir)
    check_fields("sweep", base.get("sweep"))
    fixed_keys = {_key(override) for override in fixed}
    own = base.get("sweep") or {}
    for name, values in own.items():
        key = str(name)
        if key not in fixed_keys and key not in swept:
            _, parsed = _split([f"{key}={values}"])
            swept[key] = parsed.get(key) or [f"{key}={values}"]
    axes = [[[o] for o in values] for values in swept.values()]
    return product(fixed, axes, config_dir, base)


def product(
    fixed: Sequence[str],
    axes: Sequence[Sequence[Sequence[str]]],
    config_dir: Path = CONFIG_DIR,
    base: DictConfig | None = None,
) -> list[DictConfig]:
    """Compose every combination; an axis is a list of lists of overrides.

    `base` is the composition of `fixed`, where the caller already has it.

    Composing takes 0.2 s. An override changes only its own top-level key, so each alternative is
    composed once and merged with the others. Axes that change the same key (`model@root=a,b
    root.window=4096,8192`) are composed together; of two values of one field the later wins.
    Overlays may change any key and vary slowest. Raises `ConfigError`.
    """
    for index, axis in enumerate(axes):
        if any(_key(o) in _APPENDED_GROUPS for alternative in axis for o in alternative):
            rest = [*axes[:index], *axes[index + 1 :]]
            return [c for own in axis for c in product([*fixed, *own], rest, config_dir)]
    base = _compose(fixed, config_dir) if base is None else base
    nodes = functools.cache(lambda own: _nodes(fixed, own, config_dir))
    changed = [set[str]().union(*map(_top_level, axis)) for axis in axes]
    count = Counter(key for keys in changed for key in keys)
    copied = copier(base)
    found = []
    for alternatives in itertools.product(*axes):
        together: dict[str, str] = {}
        config = copied()
        with open_dict(config):
            for keys, own in zip(changed, alternatives, strict=True):
                if any(count[key] > 1 for key in keys):
                    together |= {_key(o): o for o in own}
                else:
                    config.update(nodes(tuple(own)))
            config.update(nodes(tuple(together.values())))
        settle(config)
        check_shape(config)
        found.append(config)
    return found


def with_fields(overrides: Sequence[str], config_dir: Path = CONFIG_DIR) -> list[str]:
    """Return the overrides as on Hydra's command line, including fields absent from the YAML."""
    names = _top_level_names(config_dir)
    return [_field(override, names) for override in overrides]


def _top_level(overrides: Iterable[str]) -> set[str]:
    return {_key(o).rpartition("@")[2].partition(".")[0] for o in overrides}


def _nodes(fixed: Sequence[str], own: Sequence[str], config_dir: Path) -> dict[str, Any]:
    """Nodes that these overrides change: top-level key -> node. Plain values are not composed."""
    names = _top_level_names(config_dir)
    known = groups(config_dir)
    if all(k in names and k not in known for k in map(_key, own)):
        parser = OverridesParser.create()
        return {_key(o): parser.parse_override(o).value() for o in own}
    composed = _compose([*fixed, *own], config_dir)
    return {key: composed[key] for key in _top_level(own) if key in composed}


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Split into overrides with one value, and sweeps: key -> one override per value."""
    fixed: list[str] = []
    swept: dict[str, list[str]] = {}
    for text in overrides:
        for group in _APPENDED_GROUPS:
            if text.startswith(f"+{group}="):
                text = text[1:]
        try:
            parsed = OverridesParser.create().parse_override(text)
        except HydraException as error:
            (shown,) = masked_arguments([text])
            bare = "=" not in text and not text.startswith("~")
            why = "write key=value, as task=s_niah" if bare else str(error).splitlines()[0]
            raise ConfigError(f"override {shown!r}: {why}") from error
        if parsed.is_sweep_override():
            key = parsed.get_key_element()
            swept[key] = [f"{key}={value}" for value in parsed.sweep_string_iterator()]
        else:
            fixed.append(text)
    return fixed, swept


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _compose(overrides: Sequence[str], config_dir: Path) -> DictConfig:
    if not (config_dir / "run.yaml").is_file():
        raise ConfigError(f"{config_dir}: no run.yaml; reinstall the package")
    join_hydra()
    extend_import_path()
    with _COMPOSING:
        before = GlobalHydra.instance().hydra  # state of the calling application
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
                config = compose("run", overrides=with_fields(overrides, config_dir))
        except (HydraException, OmegaConfBaseException, ValueError, YAMLError) as error:
            raise ConfigError(_explain(error, overrides, config_dir)) from error
        finally:
            GlobalHydra.instance().hydra = before
    names = _top_level_names(config_dir)
    slots = [o.partition("=")[0].partition("@")[2] for o in overrides]  # +model@extra=...
    for key in map(str, config):
        if key not in names and key not in slots:
            raise ConfigError(_unknown(key, names))
    for group in ("task", "method"):
        if config.get(group) is None:
            raise ConfigError(f"{group}: nothing is selected; add {group}=NAME")
    return config


def _field(override: str, names: Sequence[str]) -> str:
    """Accept `root.concurrency=3` although the YAML lacks the field; `build` checks the fields."""
    key = override.partition("=")[0]
    known = "." in key and "@" not in key and key.partition(".")[0] in names
    return f"++{override}" if known else override


def _explain(error: Exception, overrides: Sequence[str], config_dir: Path) -> str:
    """Hydra's message, with near names where a config or key is unknown."""
    message = " ".join(str(error).split())
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}, line {mark.line + 1}: no valid YAML: {error.problem}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group = key.split("@")[0]
        if known := names_of(group, config_dir):
            if value == "null":  # Hydra accepts it only for a group without a default
                return f"{override}: to choose none write ~{override.partition('=')[0].lstrip('+')}"
            if value and value not in known:
                near = difflib.get_close_matches(value, known, 3) or known
                return f"{override}: no such {group}; near: {', '.join(near)}"
    if "Could not override" in message:
        names = _top_level_names(config_dir)
        unknown = [k for o in overrides if (k := _key(o).split("@")[0].split(".")[0]) not in names]
        if unknown:
            places = _with_field(unknown[0], overrides, config_dir)
            if places:
                return f"{unknown[0]}: unknown key; you may mean {' or '.join(places)}"
            return _unknown(unknown[0], names)
    return message


def _with_field(field: str, overrides: Sequence[str], config_dir: Path) -> list[str]:
    """Suggest where the chosen configurations have such a field: `task.shelves`."""
    rest = [override for override in overrides if _key(override) != field]
    try:
        config = _compose(rest, config_dir)
        return [
            f"{place}.{field}"
            for place in ("task", "method", "root", "limits")
            if field in _fields(config.get(place), place)
        ]
    except ConfigError:
        return []


def _fields(node: Any, place: str) -> list[str]:
    if not isinstance(node, DictConfig):
        return []
    target = node.get("_target_")
    more = [f.name for f in dataclasses.fields(locate(str(target), place))] if target else []
    return [*map(str, node), *more]


def _unknown(key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, 3) or names
    return f"{key}: unknown key; near: {', '.join(near)}"


def _top_level_names(config_dir: Path) -> list[str]:
    path = config_dir / "run.yaml"
    return sorted({*_names_in(path, path.stat().st_mtime_ns), *groups(config_dir)})


@functools.lru_cache(maxsize=8)
def _names_in(path: Path, changed_ns: int) -> frozenset[str]:  # noqa: ARG001 - cache key
    """The keys and the model slots of `run.yaml`."""
    loaded: Any = OmegaConf.load(path)
    slots = [str(k).partition("@")[2] for d in loaded.defaults if hasattr(d, "keys") for k in d]
    keys = (str(k) for k in loaded if k != "defaults")
    return frozenset({*keys, *filter(None, slots)})
