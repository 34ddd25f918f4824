"""From Hydra overrides to the resolved configurations of a sweep's cells.

Composition is Hydra's (compose API). The grid is expanded here and not by `--multirun`, so that the
cells of one process share servers and budgets, and so that a sweep can be resumed or submitted.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlm_eval.errors import ConfigError

CONFIG_DIR = Path(__file__).parent.parent / "configs"

_APPENDED_GROUPS = ("experiment", "debug")  # `+experiment=x` is a habit; the group has a default


def expand(overrides: Sequence[str], config_dir: Path = CONFIG_DIR) -> list[DictConfig]:
    """One resolved configuration per cell, in grid order (the last sweep varies fastest).

    Sweeps are comma lists, `range()` and `choice()` of the overrides, and the `sweep:` mapping of
    an experiment; an override of a swept key replaces the experiment's sweep of it.
    Raises `ConfigError` for whatever does not parse or compose.
    """
    fixed, swept = _split(overrides)
    base = _compose(fixed, config_dir)
    names = _top_level_names(config_dir)
    fixed_keys = {_key(override) for override in fixed}
    own = base.get("sweep") or {}
    for name, values in own.items():
        key = str(name)
        if key not in fixed_keys and key not in swept:
            _, parsed = _split([f"{key}={values}"])
            swept[key] = parsed.get(key) or [f"{key}={values}"]
    composed: dict[tuple[str, ...], DictConfig] = {(): base}
    cells = []
    for cell in itertools.product(*swept.values()):
        # Composing takes a fifth of a second; lengths and seeds are set on what is composed.
        plain = [o for o in cell if (k := _key(o)) in names and not (config_dir / k).is_dir()]
        chosen = tuple(o for o in cell if o not in plain)
        if chosen not in composed:
            composed[chosen] = _compose([*fixed, *chosen], config_dir)
        config = composed[chosen].copy()
        for text in plain:
            config[_key(text)] = OverridesParser.create().parse_override(text).value()
        try:
            OmegaConf.resolve(config)
        except OmegaConfBaseException as error:
            raise ConfigError(" ".join(str(error).split())) from error
        cells.append(config)
    return cells


def _split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Overrides of one value, and those that sweep: key -> one override per value."""
    fixed: list[str] = []
    swept: dict[str, list[str]] = {}
    for text in overrides:
        for group in _APPENDED_GROUPS:
            if text.startswith(f"+{group}="):
                text = text[1:]
        try:
            parsed = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise ConfigError(f"override {text!r}: {str(error).splitlines()[0]}") from error
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
        raise ConfigError(f"{config_dir}: no run.yaml; run from a clone of the repository")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
            names = _top_level_names(config_dir)
            config = compose("run", overrides=[_field(o, names) for o in overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, overrides, config_dir)) from error
    return config


def _field(override: str, names: Sequence[str]) -> str:
    """`root.concurrency=3` although the YAML says only what differs; `build` knows the fields."""
    key = override.partition("=")[0]
    known = "." in key and "@" not in key and key.partition(".")[0] in names
    return f"++{override}" if known else override


def _explain(error: Exception, overrides: Sequence[str], config_dir: Path) -> str:
    """Hydra's message, and the near names where a config or key is unknown."""
    message = " ".join(str(error).split())
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group = key.split("@")[0]
        if (config_dir / group).is_dir():
            known = sorted(p.stem for p in (config_dir / group).glob("*.yaml"))
            if value and value != "null" and value not in known:
                near = difflib.get_close_matches(value, known, 3) or known
                return f"{override}: no such {group}; near: {', '.join(near)}"
    if "Could not override" in message:
        names = _top_level_names(config_dir)
        unknown = [k for o in overrides if (k := _key(o).split("@")[0].split(".")[0]) not in names]
        if unknown:
            near = difflib.get_close_matches(unknown[0], names, 3) or names
            return f"{unknown[0]}: unknown key; near: {', '.join(near)}"
    return message


def _top_level_names(config_dir: Path) -> list[str]:
    loaded: Any = OmegaConf.load(config_dir / "run.yaml")
    groups = [p.name for p in config_dir.iterdir() if p.is_dir()]
    return sorted({*(str(k) for k in loaded if k != "defaults"), *groups, "root", "sub", "judge"})
