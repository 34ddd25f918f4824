"""The shape of a run's configuration: which keys hold fields, and which a single value.

Hydra and `OmegaConf.update` replace a node by any value, as `budget=5`. The check names the right
notation before the value is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from rlm_eval.core.errors import ConfigError

_FIELDS = {
    "limits": ("calls", "50"),
    "cell_budget": ("cost", "5"),
    "budget": ("cost", "5"),
    "repl": ("isolation", "best"),
    "sweep": ("length", "1k,2k"),
}
"""Key of fields -> an example: a field and its value."""
_MAY_BE_NULL = ("limits", "cell_budget", "budget", "sweep")
_CHOICES = {
    "task": "task=s_niah",
    "method": "method=rlm",
    "cluster": "cluster=local",
    **{slot: f"model@{slot}=NAME" for slot in ("root", "sub", "judge", "embed", "summary")},
}
"""Key of a config group -> how a configuration of it is chosen."""


def check_shape(config: DictConfig) -> None:
    """Raise `ConfigError` for a value in place of fields, and for a run without a name or place.

    `config` is settled: an interpolation may otherwise not resolve yet.
    """
    for key in _FIELDS:
        check_fields(key, config.get(key))
    for key, way in _CHOICES.items():
        node = config.get(key)
        if node is not None and not isinstance(node, DictConfig):
            raise ConfigError(f"{key}={_shown(node)}: choose a configuration, as {way}")
    for key in ("results", "name"):
        value = config.get(key)
        if value is None or not isinstance(value, str | int | float) or not str(value).strip():
            raise ConfigError(f"{key}={_shown(value)}: the run directory is RESULTS/NAME; name it")
    if type(config.get("seed")) is not int:
        raise ConfigError(f"seed={_shown(config.get('seed'))}: give a whole number")


def check_fields(key: str, node: Any) -> None:
    """Raise `ConfigError` where a key that has fields has a single value."""
    if key not in _FIELDS or isinstance(node, Mapping) or (node is None and key in _MAY_BE_NULL):
        return
    field, value = _FIELDS[key]
    way = f"{key}='{{{field}: \"{value}\"}}'" if key == "sweep" else f"{key}.{field}={value}"
    python = f"{key}={{'{field}': {value if value.isdigit() else repr(value)}}}"
    raise ConfigError(f"{key}={_shown(node)}: it has fields; write {way} (in Python {python})")


def _shown(value: object) -> str:
    return "null" if value is None else f"{value!s:.60}"
