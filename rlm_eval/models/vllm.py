"""vLLM as a managed server: the command line, nothing else; vLLM itself is imported nowhere.

The console script `vllm serve` is used where it works, else the module form (rebuilds under other
distribution names have no working script). `python` may name the interpreter of an environment of
its own: vLLM's pins rarely fit beside other packages. The lists of options are those of vLLM's
OpenAI-compatible server (docs.vllm.ai).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

from rlm_eval.errors import MissingDependency
from rlm_eval.models.lora import Lora
from rlm_eval.models.servers import Launch, usable_cores
from rlm_eval.paths import cache_dir

_MODULE = "vllm.entrypoints.openai.api_server"


@dataclass(frozen=True)
class VLLM:
    """A vLLM server; satisfies `servers.Engine`."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "python", "tensor_parallel", "data_parallel", "gpu_memory", "environment", "startup_s",
    ))
    # fmt: on
    """Fields that change no reply: they are no part of a cell's identity."""

    source: str
    """Repository on the hub, or a local folder; `{cache}` stands for our cache folder."""
    revision: str | None = None
    """Commit of the repository."""
    python: str | None = None
    """Interpreter of the environment that has vLLM; `None` = this one; `{cache}` as in `source`."""
    tensor_parallel: int = 1
    """GPUs that one copy of the model is split over."""
    data_parallel: int = 1
    """Copies of the model."""
    dtype: str = "auto"
    """`auto`, `bfloat16`, `float16` or `float32`."""
    prefix_caching: bool = True
    """Reuse of common prefixes; switched off for latency runs."""
    quantization: str | None = None
    """As vLLM names it (`fp8`, `awq`, ...); `None` = what the weights say."""
    gpu_memory: float | None = None
    """Share of each GPU's memory to use; `None` = vLLM's default."""
    cpu: bool = False
    """True for vLLM's CPU build."""
    extra: list[str] = field(default_factory=list)
    """Further arguments, as on the command line."""
    environment: dict[str, str] = field(default_factory=dict)
    """Further environment variables; never a key."""
    startup_s: float = 1800.0
    """Seconds after which a start counts as failed."""
    lora: Lora | None = None
    """An adapter over the weights; `None` = the weights alone."""

    def __post_init__(self) -> None:
        if self.tensor_parallel < 1 or self.data_parallel < 1:
            raise ValueError("tensor_parallel and data_parallel must be at least 1")
        if self.dtype not in ("auto", "bfloat16", "float16", "float32"):
            raise ValueError(f"dtype={self.dtype}: auto, bfloat16, float16 or float32")

    @property
    def label(self) -> str:
        """See `servers.Engine`."""
        return "vllm"

    @property
    def gpus(self) -> int:
        """See `servers.Engine`."""
        return 0 if self.cpu else self.tensor_parallel * self.data_parallel

    @property
    def cores(self) -> int:
        """See `servers.Engine`."""
        return int(self.environment.get("OMP_NUM_THREADS") or usable_cores())

    def launch(self, model: str, window: int | None, port: int, key: str) -> Launch:
        """See `servers.Engine`."""
        if self.version() is None:
            raise MissingDependency(
                f"{self._python} has no vllm: pip install -e '.[vllm]', or name another "
                "environment's interpreter with root.engine.python=/path/to/bin/python"
            )
        arguments = {
            "--served-model-name": model if self.lora is None else f"{model}-base",
            "--host": "127.0.0.1",
            "--port": str(port),
            "--dtype": self.dtype,
            "--tensor-parallel-size": str(self.tensor_parallel),
            "--data-parallel-size": str(self.data_parallel),
            "--max-model-len": None if window is None else str(window),
            "--revision": self.revision,
            "--quantization": self.quantization,
            "--gpu-memory-utilization": None if self.gpu_memory is None else str(self.gpu_memory),
        }
        words = [w for name, value in arguments.items() if value for w in (name, value)]
        words.append(f"--{'' if self.prefix_caching else 'no-'}enable-prefix-caching")
        words += [] if self.lora is None else self.lora.options(model)
        words += ["--enable-prompt-tokens-details", *self.extra]
        return Launch(
            (*self._program(), *words),
            {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", **self.environment},
            revision=self.revision,
        )

    def found(self, model: str) -> tuple[str | None, str | None]:  # noqa: ARG002
        """See `servers.Engine`."""
        return found_beside(in_cache(self.source), self.revision)

    @property
    def _python(self) -> str:
        return interpreter(self.python)

    def _program(self) -> list[str]:
        script = shutil.which("vllm", path=str(Path(self._python).parent))
        if script and _works(script):
            return [script, "serve", in_cache(self.source)]
        return [self._python, "-m", _MODULE, "--model", in_cache(self.source)]

    def version(self) -> str | None:
        """Version and distribution, as `vllm 0.32.0`; `None` where vLLM is not installed."""
        return distribution(self._python, "vllm")


def interpreter(python: str | None) -> str:
    """The configured interpreter, else this one."""
    return in_cache(python) if python else sys.executable


def in_cache(path: str) -> str:
    """`path` with our cache folder in place of `{cache}`."""
    return path.replace("{cache}", str(cache_dir()))


def found_beside(source: str, revision: str | None) -> tuple[str | None, str | None]:
    """(chat template, commit) of weights in a folder or the hub's local cache, where known."""
    from huggingface_hub import try_to_load_from_cache

    def find(name: str) -> Path | None:
        if Path(source).is_dir():
            return path if (path := Path(source, name)).is_file() else None
        found = try_to_load_from_cache(source, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    def commit(path: Path) -> str | None:
        return path.parent.name if path.parent.parent.name == "snapshots" else None

    path = find("tokenizer_config.json")
    if own := find("chat_template.jinja"):
        return own.read_text(), commit(own)
    if path is None:
        return None, None
    template = json.loads(path.read_text()).get("chat_template")
    return (template if isinstance(template, str) else None), commit(path)


@cache
def _works(script: str) -> bool:
    """Whether the console script starts at all; slow to find out, so once."""
    try:
        done = subprocess.run([script, "--version"], capture_output=True, timeout=120)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@cache
def distribution(python: str, package: str) -> str | None:
    """`NAME VERSION` of the distribution that provides an importable package, by its metadata."""
    code = (
        "import sys, importlib.metadata as m\n"
        "names = m.packages_distributions().get(sys.argv[1], [])\n"
        "print(*[n + ' ' + m.version(n) for n in names[:1]])"
    )
    try:
        done = subprocess.run(  # noqa: S603 - the user's own interpreter
            [python, "-c", code, package], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
