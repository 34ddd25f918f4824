"""Tasks of the shipped configurations, without the grid that takes a second for each."""

import dataclasses
import importlib
from pathlib import Path

import yaml

CONFIGS = Path(__file__).parents[2] / "configs" / "task"


def shipped(name, **given):
    """The task of `configs/task/NAME.yaml`, with those of the given fields that it has."""
    fields = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, _, cls = fields.pop("_target_").rpartition(".")
    made = getattr(importlib.import_module(module), cls)
    own = {field.name for field in dataclasses.fields(made)}
    return made(**fields | {key: value for key, value in given.items() if key in own})
