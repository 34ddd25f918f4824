"""`rlm-eval doctor --model`: the model that a run would use, composed from its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rlm_eval.config.builder import build
from rlm_eval.models.servers import trial


def model_of(name: str, overrides: Sequence[str]) -> Any:
    """The model that `model@root=NAME` and these overrides compose. Raises `ConfigError`."""
    from rlm_eval.config.environment import settle
    from rlm_eval.config.grid import expand

    (config,) = expand([f"model@root={name}", *overrides])
    settle(config)
    return build(config.root, "root")


def run(name: str, overrides: Sequence[str]) -> str:
    """The whole check as text. Raises `RlmEvalError` where the model cannot be used."""
    return "\n".join(asyncio.run(trial.check(model_of(name, overrides))))
