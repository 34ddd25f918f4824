"""`transformers serve` as a managed server: for a GPU, or a CPU, where vLLM does not install.

It serves the model that requests name (`model: ORG/NAME@COMMIT`, or a folder), loaded before the
port answers. The server knows no API key: `keyed` puts it behind one. Not
covered: prefix caching, tensor parallelism, a window smaller than the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rlm_eval.errors import MissingDependency
from rlm_eval.models import keyed
from rlm_eval.models.servers import Launch, usable_cores
from rlm_eval.models.vllm import distribution, found_beside, interpreter


@dataclass(frozen=True)
class TransformersServe:
    """A `transformers serve` process; satisfies `servers.Engine`."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "python", "device", "startup_s",
    ))
    # fmt: on
    """Fields that change no reply: they are no part of a cell's identity."""

    python: str | None = None
    """Interpreter of the environment that has transformers; `None` = this one."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`, ..."""
    dtype: str = "auto"
    """`auto`, `bfloat16`, `float16` or `float32`."""
    extra: list[str] = field(default_factory=list)
    """Further arguments, as on the command line."""
    startup_s: float = 300.0
    """Seconds after which a start counts as failed."""

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
        """Version of transformers; `None` where it is not installed."""
        return distribution(interpreter(self.python), "transformers")

    def found(self, model: str) -> tuple[str | None, str | None]:
        """See `servers.Engine`."""
        source, _, revision = model.partition("@")
        return found_beside(source, revision or None)
