"""rlm_eval: benchmark and evaluation harness for Recursive Language Models (arXiv:2512.24601).

    import rlm_eval as rl

    run = await rl.evaluate(task, [rl.methods.RLM()], root=rl.model("gpt-5-mini"), n=20,
                            folder="runs/demo")
    print(run.report())

Public names are imported on first use (docs/python_api.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm_eval import methods as methods
    from rlm_eval import tasks as tasks
    from rlm_eval.api import Run as Run
    from rlm_eval.api import ask as ask
    from rlm_eval.api import ask_sync as ask_sync
    from rlm_eval.api import evaluate as evaluate
    from rlm_eval.api import evaluate_sync as evaluate_sync
    from rlm_eval.api import load_records as load_records
    from rlm_eval.api import solve as solve
    from rlm_eval.api import solve_sync as solve_sync
    from rlm_eval.core.errors import RlmEvalError as RlmEvalError
    from rlm_eval.core.types import Answer as Answer
    from rlm_eval.core.types import Message as Message
    from rlm_eval.core.types import Outcome as Outcome
    from rlm_eval.core.types import Reply as Reply
    from rlm_eval.core.types import Role as Role
    from rlm_eval.core.types import Sample as Sample
    from rlm_eval.core.types import Score as Score
    from rlm_eval.core.types import Usage as Usage
    from rlm_eval.methods import Method as Method
    from rlm_eval.models import Client as Client
    from rlm_eval.models import EndpointInfo as EndpointInfo
    from rlm_eval.models import Model as Model
    from rlm_eval.models import Sampling as Sampling
    from rlm_eval.protocols import Session as Session
    from rlm_eval.runner.objects import method as method
    from rlm_eval.runner.objects import model as model
    from rlm_eval.runner.objects import task as task
    from rlm_eval.runner.questions import Asked as Asked
    from rlm_eval.runner.rollouts import Rollout as Rollout
    from rlm_eval.runner.rollouts import sample as sample
    from rlm_eval.tasks import Task as Task

__version__ = "0.1.0"

_MODULES = {
    "api": ("Run", "ask", "ask_sync", "evaluate", "evaluate_sync", "load_records", "solve",
            "solve_sync"),
    "core.errors": ("RlmEvalError",),
    "methods": ("Method",),
    "models": ("Client", "EndpointInfo", "Model", "Sampling"),
    "runner.objects": ("method", "model", "task"),
    "runner.questions": ("Asked",),
    "runner.rollouts": ("Rollout", "sample"),
    "protocols": ("Session",),
    "tasks": ("Task",),
    "core.types": ("Answer", "Message", "Outcome", "Reply", "Role", "Sample", "Score", "Usage"),
}  # fmt: skip
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_PACKAGES = ("methods", "tasks")

__all__ = ["__version__", *_PACKAGES, *_HOME]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name on first use."""
        if name in _PACKAGES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

    def __dir__() -> list[str]:
        """List the public names, for completion."""
        return sorted(__all__)
