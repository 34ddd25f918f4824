"""`transformers serve` as a managed server: for a GPU, or a CPU, where vLLM does not install.

It serves the model that requests name (`model: ORG/NAME@COMMIT`, or a folder), loaded before the
port answers. The server has no API key: `keyed` adds the check. It refuses the fields `top_k`,
`min_p` and `repetition_penalty`, stops a reply at 1,024 tokens where the request has no cap, and
reads what a request leaves open from the weights' generation configuration: `TransformersDialect`
sets all of it in the one field that the server reads for this (`generation_config`). It processes
one request at a time. Not covered: prefix caching, tensor parallelism, a window smaller than the
model's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.histories import Turns
from rlm_eval.models.http.openai_dialect import OpenAIDialect
from rlm_eval.models.servers import keyed
from rlm_eval.models.servers.managed import Launch, usable_cores
from rlm_eval.models.servers.vllm import distribution, found_beside, interpreter

_NEUTRAL = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sampling that changes no probability."""
_BATCHING = "--continuous-batching"


@dataclass(frozen=True)
class TransformersDialect(OpenAIDialect):
    """Chat completions in the form that `transformers serve` accepts."""

    cap: int = 8192
    """Completion tokens of a request that sets none."""

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """Return the request, with every sampling value set."""
        body = super().body(model, messages, sampling, stream)
        temperature = body.get("temperature", 1.0)
        chosen = {name: body.pop(name, value) for name, value in _NEUTRAL.items()}
        chosen |= {"do_sample": temperature > 0, "max_new_tokens": self.cap}
        if temperature > 0:
            chosen["temperature"] = temperature
        else:  # values that only sampling reads would cause a warning
            chosen = {k: v for k, v in chosen.items() if k not in ("top_p", "top_k", "min_p")}
        return body | {"generation_config": json.dumps(chosen)}


@dataclass(frozen=True)
class TransformersServe:
    """A `transformers serve` process; satisfies `servers.Engine`."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "python", "device", "startup_s",
    ))
    # fmt: on
    """Fields that do not change a reply: they are not part of a cell's identity."""

    VERSION: ClassVar[int] = 2  # 1 let the server cap replies and fill in unset values

    python: str | None = None
    """Interpreter of the environment that has transformers; `None` = this one."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, ..."""
    dtype: str = "auto"
    """`auto`, `bfloat16`, `float16` or `float32`."""
    extra: list[str] = field(default_factory=list)
    """Further arguments, as on the command line."""
    cap: int = 8192
    """Completion tokens of a call for which `sampling.max_output_tokens` is not set."""
    startup_s: float = 300.0
    """Timeout of a start, seconds."""

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise ValueError(f"cap={self.cap}: 1 or more")
        if any(word.startswith(_BATCHING) for word in self.extra):
            # There the end-of-text tokens come from the request's configuration alone.
            raise ValueError(f"extra: {_BATCHING} reads no sampling of a request; use vLLM instead")

    @property
    def at_once(self) -> int:
        """Requests that it processes at the same time: it has one thread for that."""
        return 1

    def dialect(self, max_tokens_field: str, turns: Turns) -> TransformersDialect:
        """Return the dialect of the server."""
        return TransformersDialect(max_tokens_field, turns, cap=self.cap)

    @property
    def label(self) -> str:
        """See `servers.Engine`."""
        return "transformers"

    @property
    def gpus(self) -> int:
        """See `servers.Engine`."""
        return 0 if self.device == "cpu" else 1

    @property
    def cores(self) -> int:
        """See `servers.Engine`."""
        return usable_cores()

    def launch(self, model: str, window: int | None, port: int, key: str) -> Launch:  # noqa: ARG002
        """See `servers.Engine`. The window is the model's own."""
        python = interpreter(self.python)
        if self.version() is None:
            raise MissingDependency(
                f"{python} has no transformers: pip install -e '.[transformers]' torch, or "
                "name another interpreter with root.engine.python=/path/to/bin/python"
            )
        script = Path(python).parent / "transformers"
        command = (python, keyed.__file__, str(script), "serve", "--host", "127.0.0.1")
        options = ("--port", str(port), "--device", self.device, "--dtype", self.dtype)
        return Launch(
            (*command, *options, *self.extra, model),
            {keyed.VARIABLE: key},
            revision=model.partition("@")[2] or None,
        )

    def version(self) -> str | None:
        """Return the version of transformers; `None` where it is not installed."""
        return distribution(interpreter(self.python), "transformers")

    def found(self, model: str) -> tuple[str | None, str | None]:
        """See `servers.Engine`."""
        source, _, revision = model.partition("@")
        return found_beside(source, revision or None)
