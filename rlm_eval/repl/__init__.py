"""The REPL room: isolated Python workers for model-written code, fast and never hanging.

    async with open_pool(ReplConfig()) as pool:
        async with pool.open(context, {"llm_query": ask}, answer_dict=True, seed=0) as repl:
            result = await repl.run("print(len(context))")

Elsewhere: the model's instructions for it (the method's prompt), and how much of the output the
model is shown (`clip` with the protocol's numbers).
"""

from __future__ import annotations

import importlib
from typing import cast

from rlm_eval.core.errors import ConfigError
from rlm_eval.repl.interface import (
    JSON,
    BlockResult,
    ContextValue,
    HostFunction,
    IsolationReport,
    Repl,
    ReplCallError,
    ReplConfig,
    ReplPool,
    ReplValueError,
    SandboxError,
    Value,
    clip,
)

__all__ = [
    "JSON",
    "BlockResult",
    "ContextValue",
    "HostFunction",
    "IsolationReport",
    "Repl",
    "ReplCallError",
    "ReplConfig",
    "ReplPool",
    "ReplValueError",
    "SandboxError",
    "Value",
    "clip",
    "open_pool",
]


def open_pool(config: ReplConfig) -> ReplPool:
    """Return the backend that `config.backend` names, to be entered with `async with`.

    Raises `ConfigError` where the name cannot be imported. Entering it raises `SandboxError` where
    the machine lacks the required isolation.
    """
    module, _, name = config.backend.rpartition(".")
    try:
        backend = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"repl.backend: cannot import {config.backend!r}: {error}") from error
    return cast(ReplPool, backend(config))
