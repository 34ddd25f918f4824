"""Which settings of `configs/run.yaml` each entry point honours, and what to give for the others.

A setting without an effect is refused: a limit that is ignored costs money.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.errors import ConfigError


@dataclass(frozen=True)
class EntryPoint:
    """One way to call the harness."""

    name: str
    """Its name in messages."""
    honoured: tuple[str, ...]
    """Settings that it takes."""
    instead: Mapping[str, str]
    """Setting that it does not take -> what to give instead."""

    def check(self, names: Iterable[str]) -> None:
        """Raise `ConfigError` for the first setting that has no effect here."""
        for name in names:
            if name in self.honoured:
                continue
            if name in self.instead:
                raise ConfigError(f"{self.name}: {name}: {self.instead[name]}")
            near = difflib.get_close_matches(name, self.honoured, 3) or self.honoured
            raise ConfigError(f"{self.name}: {name}: no setting of a run; near: {', '.join(near)}")


_FOLDER = "name the run directory by folder="
_SHARD = "a part of a cell is run by the command line alone: `rlm-eval run shard=1/16`"

EVALUATE = EntryPoint(
    "evaluate",
    (
        "length", "n", "seed", "epochs", "tokenizer", "max_samples", "confirm_above", "limits",
        "cell_budget", "budget", "repl",
    ),
    {
        "name": _FOLDER,
        "results": _FOLDER,
        "shard": _SHARD,
        "sweep": "call it once per value; the calls may share a folder",
        "method": "give methods=[...]",
        "model": "give root=...",
    },
)  # fmt: skip
_GIVEN = "the sample is given; set it where the sample is made, in the task or in rl.sample()"
_ONE = "solve runs one sample, once; rl.evaluate runs several"
_NO_FOLDER = "solve writes no run directory; rl.evaluate does"
_LIMITS = "solve runs one sample; give limits=..., with the same fields"
SOLVE = EntryPoint(
    "solve",
    ("limits", "repl"),
    {
        "length": _GIVEN,
        "seed": _GIVEN,
        "tokenizer": _GIVEN,
        "n": _ONE,
        "epochs": _ONE,
        "max_samples": _ONE,
        "sweep": _ONE,
        "shard": _ONE,
        "name": _NO_FOLDER,
        "results": _NO_FOLDER,
        "folder": _NO_FOLDER,
        "redo": _NO_FOLDER,
        "cell_budget": _LIMITS,
        "budget": _LIMITS,
        "confirm_above": "solve does not estimate its cost; limits={'cost': 0.5} bounds it, in US "
        "dollars",
    },
)
_TASK = "the question over the files or texts is the task; rl.evaluate runs a task of your choice"
ASK = EntryPoint(
    "ask",
    (
        "epochs", "tokenizer", "max_samples", "confirm_above", "limits", "cell_budget", "budget",
        "repl", "results",
    ),
    {
        "n": "one question is one sample; epochs=N repeats it",
        "name": _FOLDER,
        "length": "the files and texts keep their own length",
        "seed": "the question has no seed; epochs=N repeats it, and a model's own seed is set by "
        "rl.model(..., sampling={'seed': 0})",
        "shard": "one question is one sample, which has no parts",
        "sweep": "one question is one cell; call ask once per value",
        "task": _TASK,
        "methods": "give one method=...",
        "redo": "the same question is replayed from its journal; another folder= asks anew",
    },
)  # fmt: skip
_COMMAND = {
    **{name: why for name, why in ASK.instead.items() if name not in ("name", "redo", "methods")},
    "task": "the question over the files is the task; `rlm-eval run` runs a task of your choice",
    "length": "the files keep their own length",
    "seed": "the question has no seed; epochs=N repeats it, and root.sampling.seed is the model's",
    "sweep": "one question is one cell",
    "experiment": "an experiment chooses a task; `rlm-eval run` runs it",
}
"""Key of an override -> why `rlm-eval ask` refuses it."""


def check_question_overrides(overrides: Iterable[str]) -> None:
    """Raise `ConfigError` for an override of `rlm-eval ask` that would have no effect."""
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~").partition("@")[0].partition(".")[0]
        key = key.strip().strip("/").partition("/")[0]
        if key in _COMMAND:
            raise ConfigError(f"ask: {override:.80}: {_COMMAND[key]}")


def models_of(
    root: Any | None, sub: Any | None, models: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return slot -> model or name. Raises `ConfigError` unless `models` is a mapping by slot."""
    if models is not None and not isinstance(models, Mapping):
        raise ConfigError(f"models={models!r:.80}: give models by slot, as {{'judge': MODEL}}")
    named = {slot: model for slot, model in (models or {}).items() if model is not None}
    own = {slot: model for slot, model in (("root", root), ("sub", sub)) if model is not None}
    if twice := own.keys() & named.keys():
        slot = sorted(twice)[0]
        raise ConfigError(f"models: {slot!r} is also given as {slot}=; give it once")
    return {**own, **named}
