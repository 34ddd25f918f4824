"""Run `rlm-eval doctor --model`: check the model that a run's configuration composes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rlm_eval.config.builder import build
from rlm_eval.models.servers import trial


def model_of(name: str, overrides: Sequence[str]) -> Any:
    """Compose `model@root=NAME` with these overrides. Raises `ConfigError`."""
    from rlm_eval.config.environment import settle
    from rlm_eval.config.grid import expand

    (config,) = expand([f"model@root={name}", *overrides])
    settle(config)
    return build(config.root, "root")


def run(name: str, overrides: Sequence[str]) -> str:
    """Run all checks and return their text. Raises `RlmEvalError` where the model is unusable."""
    return "\n".join(asyncio.run(trial.check(model_of(name, overrides))))
