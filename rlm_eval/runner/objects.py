"""Tasks, methods and models as Python objects: from the shipped YAML by name, or of any class.

    model("gpt-5-mini", sampling={"max_output_tokens": 4096})
    cells_of(SNiah(length=2048, n=20), [RLM(), "long_context"], {"root": model("coder-0.5b")})

A cell made of objects and one from the command line with the same settings are the same cell: both
come from a composed configuration (`grid`), in which objects replace nodes.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Set
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlm_eval.config.builder import build, parse_length
from rlm_eval.config.cell import Cell, build_cell, build_task
from rlm_eval.config.environment import escaped, settle
from rlm_eval.config.given import checked, plain_number
from rlm_eval.config.grid import expand
from rlm_eval.config.shape import check_fields, check_shape
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.secrets import SECRETS
from rlm_eval.methods import Method
from rlm_eval.models import Model
from rlm_eval.runner.settings import EVALUATE
from rlm_eval.suites.schema import SLOTS, hydra_value
from rlm_eval.tasks import Task, default_n

_OF_TASKS = ("n", "seed", "length", "tokenizer")
"""Run settings that are fields of the task."""
_NAMED = re.compile(r"\[(\w+)\]")
"""The notation of a secret in `secrets`."""


def model(name: str, /, **settings: Any) -> Model:
    """Load the model of `configs/model/NAME.yaml` and set fields, as `sampling={"seed": 0}`.

    Raises `ConfigError` for an unknown name or field, and for a key given in plain text.
    """
    if name == "same":
        raise ConfigError("model('same'): leave out `sub`; it defaults to the root model")
    config = _composed("model@root", name, "root", settings)
    found: Model = build(config.root, f"model {name}")
    return found


def method(name: str, /, **settings: Any) -> Method:
    """Load the method of `configs/method/NAME.yaml` and set fields. Raises `ConfigError`."""
    config = _composed("method", name, "method", settings)
    found: Method = build(config.method, f"method {name}")
    return found


def task(name: str, /, **settings: Any) -> Task:
    """Load the task of `configs/task/NAME.yaml` and set fields, as `length="8k"`, `n=20`.

    The default `n` is large enough to show a large difference, as on the command line. Raises
    `ConfigError`.
    """
    shared = {key: settings.pop(key) for key in _OF_TASKS if key in settings}
    config = _composed("task", name, "task", settings)
    config.update(shared)
    if missing := sorted(key for key in OmegaConf.missing_keys(config) if key.startswith("task.")):
        field = missing[0].removeprefix("task.")
        raise ConfigError(f"task {name}: {field} has no value; add {field}=...")
    return build_task(config)


def _composed(group: str, name: str, key: str, settings: Mapping[str, Any]) -> DictConfig:
    """Compose a configuration with this choice and these fields in the node under `key`."""
    if not isinstance(name, str):
        raise ConfigError(
            f"{key}: {name!r:.80} is not a name; give the name of a YAML file as a text"
        )
    plain = {k: v for k, v in settings.items() if not isinstance(node_of(v), dict)}
    overrides = [f"{key}.{field}={hydra_value(node_of(value))}" for field, value in plain.items()]
    (config,) = expand([f"{group}={hydra_value(name)}", *overrides])
    try:
        with open_dict(config):
            for field in settings.keys() - plain.keys():
                value = node_of(settings[field])
                OmegaConf.update(config, f"{key}.{field}", value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    settle(config)
    return config


def cells_of(
    task: Task | str,
    methods: Iterable[Method | str],
    models: Mapping[str, Model | str],
    **settings: Any,
) -> tuple[list[DictConfig], list[Cell]]:
    """Build one cell per method, with its configuration, in order; `models` are by slot.

    `settings` are the values of `configs/run.yaml`: `n`, `length`, `epochs`, `limits={"calls": 9}`,
    ... Those that are fields of the task are set there; the others keep the command line's
    defaults. Objects are checked field by field (`config.given`). Makes no model call. Raises
    `ConfigError`.
    """
    listed = _listed(methods)
    EVALUATE.check(name for name in settings if name not in ("name", "results"))
    settings = {name: plain_number(value) for name, value in settings.items()}
    for slot in models:
        if slot not in SLOTS:
            raise ConfigError(f"models: {slot!r} is not a slot; the slots are {', '.join(SLOTS)}")
    # The same model in two slots stays one object: it has one client.
    whole: dict[int, Any] = {}
    for key, value in [("task", task), *(("method", m) for m in listed), *models.items()]:
        if _is_object(value) and id(value) not in whole:
            whole[id(value)] = checked(value, key)
    task, listed = whole.get(id(task), task), [whole.get(id(m), m) for m in listed]
    models = {slot: whole.get(id(m), m) for slot, m in models.items()}
    composed = functools.cache(lambda overrides: expand(overrides)[0])
    found = [_cell(task, one, models, settings, composed) for one in listed]
    ids = [cell.id for _, cell in found]
    if twice := [cell_id for cell_id in ids if ids.count(cell_id) > 1]:
        raise ConfigError(f"methods: two of them are the same cell, {twice[0]}")
    return [config for config, _ in found], [cell for _, cell in found]


def _listed(methods: Any) -> list[Any]:
    """Return the methods in order; one method alone counts as a list of it."""
    if isinstance(methods, Mapping | Set):
        why = "has no order" if isinstance(methods, Set) else "yields its keys"
        raise ConfigError(f"methods: a {type(methods).__name__} {why}; give a list of methods")
    one = isinstance(methods, str) or _is_object(methods) or not isinstance(methods, Iterable)
    found = [methods] if one else list(methods)
    if not found:
        raise ConfigError("methods: name at least one")
    return found


def _is_object(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _cell(
    task: Task | str,
    method: Method | str,
    models: Mapping[str, Model | str],
    settings: Mapping[str, Any],
    composed: Callable[[tuple[str, ...]], DictConfig],
) -> tuple[DictConfig, Cell]:
    named = {"task": task, "method": method, **{f"model@{s}": m for s, m in models.items()}}
    chosen = [f"{k}={hydra_value(v)}" for k, v in named.items() if isinstance(v, str)]
    config = composed(tuple(chosen)).copy()
    given: dict[str, Any] = {
        key.removeprefix("model@"): value
        for key, value in named.items()
        if not isinstance(value, str)
    }
    for key, value in given.items():
        if key == "task" and isinstance(value, list | tuple):
            raise ConfigError("task: one task per call; call again with the same folder")
        if not _is_object(value):
            raise ConfigError(
                f"{key}: {value!r} is neither a dataclass instance nor the name of a YAML file"
            )
    if not isinstance(task, str):
        given["task"], values = _task_and_values(task, settings)
        settings = {**settings, **values}
    try:
        for name, value in settings.items():
            check_fields(name, node_of(value))
            OmegaConf.update(config, name, node_of(value), merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    check_shape(config)
    root = given.get("root")
    for key, value in given.items():
        same = key in SLOTS and key != "root" and value is root
        with open_dict(config):
            config[key] = {"same": True} if same else described(value)
    cell = build_cell(config, given)
    if "root" in cell.method.slots and "root" not in models:
        raise ConfigError(f"root: {cell.method.name} needs a model; give root=model('NAME')")
    try:
        orjson.dumps([cell.id, cell.settings], option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise ConfigError(
            f"a field of {_described(given)} is not a plain value ({error}): texts, numbers, "
            "lists, mappings and dataclasses of them make up a cell's identity"
        ) from error
    return config, cell


def _described(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={type(value).__name__}" for key, value in given.items())


def _task_and_values(task: Task, settings: Mapping[str, Any]) -> tuple[Task, dict[str, Any]]:
    """Return the task with the run's settings as fields, and its fields as run settings."""
    assert dataclasses.is_dataclass(task)
    assert not isinstance(task, type)
    own = {f.name for f in dataclasses.fields(task)}
    wanted = {key: settings[key] for key in _OF_TASKS if settings.get(key) is not None}
    if "length" in wanted:
        wanted["length"] = parse_length(wanted["length"])
    for key in ("n", "seed"):
        if key in wanted and type(wanted[key]) is not int:
            raise ConfigError(f"{key}={wanted[key]!r}: give a whole number")
    try:
        changed: Task = dataclasses.replace(
            task, **{key: value for key, value in wanted.items() if key in own}
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"task: {error}") from error
    changed = checked(changed, "task")
    values = {key: getattr(changed, key) for key in _OF_TASKS if key in own}
    values.setdefault("n", wanted.get("n") or default_n(changed))
    if not values.get("length"):  # a task of fixed size: any length
        values.pop("length", None)
    return changed, values


def node_of(value: Any) -> Any:
    """Convert a value to a configuration node; a dataclass names its class under `_target_`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {f.name: node_of(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **fields}
    if isinstance(value, Mapping):
        return {str(key): node_of(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [node_of(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    value = plain_number(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value) if isinstance(value, Path) else repr(value)


def described(value: Any) -> Any:
    """Convert an object to the node that describes it in a configuration."""
    return _written(node_of(value))


def _written(value: Any) -> Any:
    """Convert an object's node to configuration text: secrets by their variables' names.

    Other text is literal: `${` is escaped and starts no interpolation.
    """
    if isinstance(value, dict):
        return {key: _written(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    if not isinstance(value, str):
        return value
    written = escaped(value)
    if (redacted := SECRETS.text(written)) == written:
        return written
    return _NAMED.sub(
        lambda found: f"${{oc.env:{found[1]}}}" if found[1] in os.environ else found[0], redacted
    )


def user_path(path: str | Path, where: str = "folder") -> Path:
    """Return a user's path with `~` expanded.

    Raises `ConfigError` for what is no path, and for an empty one: it would be the working
    directory.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"{where}={path!r:.80}: give one path, as 'runs/demo'")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise ConfigError(f"{where}={path!r:.80}: {error}") from error
