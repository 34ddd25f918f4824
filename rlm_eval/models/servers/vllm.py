"""vLLM as a managed server: only the command line; vLLM itself is never imported.

Started as `python -m vllm.entrypoints.cli.main serve`, which `vllm serve` runs. `python` may name
the interpreter of a separate environment: vLLM's pins rarely fit other packages. The options are
those of vLLM's OpenAI-compatible server (docs.vllm.ai).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError, EndpointUnusable, MissingDependency
from rlm_eval.core.messages import say
from rlm_eval.core.paths import cache_dir
from rlm_eval.models.servers import gpu_memory
from rlm_eval.models.servers.gpu_memory import Layout, Shape
from rlm_eval.models.servers.lora import Lora
from rlm_eval.models.servers.managed import Launch, usable_cores

_MODULE = "vllm.entrypoints.cli.main"
_OLD_MODULE = "vllm.entrypoints.openai.api_server"
"""For rebuilds whose distribution is not named `vllm`: the command-line program reads that
distribution's version and fails."""

OWN_OPTIONS = {
    "--tensor-parallel-size": "tensor_parallel", "-tp": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel", "-pp": "pipeline_parallel",
    "--data-parallel-size": "data_parallel", "-dp": "data_parallel",
    "--gpu-memory-utilization": "gpu_memory", "--generation-config": "generation_config",
    "--reasoning-parser": "reasoning_parser", "--hf-overrides": "hf_overrides",
    "--dtype": "dtype", "--quantization": "quantization", "-q": "quantization",
    "--revision": "revision",
}  # fmt: skip
"""Options that have a field here; in `extra` they would be ignored by our calculations."""
_REFUSED = {
    "--max-model-len": "set the model's window (root.window=N)",
    "--served-model-name": "set the model's name (root.model=NAME)",
    "--host": "a managed server listens on 127.0.0.1 alone",
    "--port": "a managed server takes a free port",
    "--api-key": "a managed server gets a random key",
    "--nnodes": "a managed server runs on one node; start it by hand, and attach with base_url",
}
REPLY_VARIABLES = frozenset((
    "VLLM_BATCH_INVARIANT", "VLLM_FLOAT32_MATMUL_PRECISION", "VLLM_USE_FLASHINFER_SAMPLER",
    "VLLM_XPU_USE_SAMPLER_KERNEL", "VLLM_ATTENTION_BACKEND", "VLLM_MARLIN_INPUT_DTYPE",
    "VLLM_CPU_INT4_W4A8", "VLLM_USE_FLASHINFER_MOE_INT4",
))  # fmt: skip
"""Environment variables with which vLLM computes different numbers."""
_CACHE_SIZE = re.compile(r"KV cache size: ([\d,]+) tokens")


@dataclass(frozen=True)
class VLLM:
    """A vLLM server; satisfies `servers.Engine`."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "python", "wrapper", "tensor_parallel", "data_parallel", "pipeline_parallel", "gpu_memory",
        "environment", "host", "startup_s", "window_of_job",
    ))
    # fmt: on
    """Fields that do not change a reply: they are not part of a cell's identity."""

    VERSION: ClassVar[int] = 2  # 1 let the weights' generation_config.json set unset values

    source: str
    """Repository on the hub, or a local folder; `{cache}` stands for our cache folder."""
    revision: str | None = None
    """Commit of the repository."""
    python: str | None = None
    """Interpreter of the environment that has vLLM; `None` = this one; `{cache}` as in `source`."""
    wrapper: list[str] = field(default_factory=list)
    """Words before the interpreter, as `[apptainer, exec, --nv, vllm.sif]`."""
    tensor_parallel: int = 1
    """GPUs that one copy of the model is split over."""
    data_parallel: int = 1
    """Copies of the model."""
    pipeline_parallel: int = 1
    """Groups of layers, each on separate GPUs."""
    dtype: str = "auto"
    """`auto`, `bfloat16`, `float16` or `float32`."""
    prefix_caching: bool = True
    """Reuse of common prefixes; off for latency runs."""
    quantization: str | None = None
    """vLLM's name of the method (`fp8`, `awq`, ...); `None` = as in the weights."""
    gpu_memory: float | None = None
    """Share of each GPU's memory to use; `None` = vLLM's default (0.92), or computed where two
    models share GPUs. At most 0.5 leaves the rest to another server."""
    window_of_job: bool = True
    """Start with the window that the job's longest cell is expected to need, where that is less
    than the model's; a larger request restarts the server with the whole one. Needs
    `sampling.max_output_tokens`."""
    cpu: bool = False
    """True for vLLM's CPU build."""
    generation_config: str = "vllm"
    """Source of sampling values that the configuration does not set: `vllm` = neutral values
    (temperature 1, no penalty), `auto` = the weights' own `generation_config.json`."""
    reasoning_parser: str | None = None
    """vLLM's parser of thoughts, for models whose template opens one; `None` = the reply's tags are
    parsed here."""
    hf_overrides: dict[str, Any] = field(default_factory=dict)
    """Changes to the weights' `config.json`, such as YaRN for a window beyond the model's own."""
    extra: list[str] = field(default_factory=list)
    """Further arguments, as on the command line."""
    environment: dict[str, str] = field(default_factory=dict)
    """Further environment variables that do not change a reply; never a key."""
    reply_environment: dict[str, str] = field(default_factory=dict)
    """Environment variables that change replies (`VLLM_BATCH_INVARIANT`); part of the identity."""
    host: str = "127.0.0.1"
    """Address on which it listens; `rlm-eval serve --bind` sets it."""
    startup_s: float = 1800.0
    """Timeout of a start, seconds; downloads do not count."""
    lora: Lora | None = None
    """An adapter over the weights; `None` = the weights alone."""

    def __post_init__(self) -> None:
        if min(self.tensor_parallel, self.data_parallel, self.pipeline_parallel) < 1:
            raise ValueError("tensor_parallel, data_parallel, pipeline_parallel: at least 1")
        if self.dtype not in ("auto", "bfloat16", "float16", "float32"):
            raise ValueError(f"dtype={self.dtype}: auto, bfloat16, float16 or float32")
        if self.gpu_memory is not None and not 0 < self.gpu_memory <= 1:
            raise ValueError(f"gpu_memory={self.gpu_memory}: a share above 0, at most 1")
        for word in self.extra:
            name = word.partition("=")[0].replace("_", "-") if word.startswith("-") else word
            if name in OWN_OPTIONS:
                raise ValueError(f"extra: {word}: state it as {OWN_OPTIONS[name]}")
            if name in _REFUSED:
                raise ValueError(f"extra: {word}: {_REFUSED[name]}")
        if hidden := sorted(REPLY_VARIABLES & self.environment.keys()):
            raise ValueError(
                f"environment.{hidden[0]} changes replies; state it in reply_environment, which is "
                "part of a cell's identity"
            )

    @property
    def label(self) -> str:
        """See `servers.Engine`."""
        return "vllm"

    @property
    def gpus(self) -> int:
        """See `servers.Engine`."""
        return 0 if self.cpu else self.tensor_parallel * self.data_parallel * self.pipeline_parallel

    @property
    def cores(self) -> int:
        """See `servers.Engine`."""
        return int(self.environment.get("OMP_NUM_THREADS") or usable_cores())

    def needed_gib(self, window: int | None) -> float | None:
        """Return the memory of each GPU for the weights and one request of `window` tokens (`None`:
        of the model's own window), GiB; `None` where the model's `config.json` is not available."""
        if (found := self.shape()) is None:
            return None
        shape, layout = found
        most = window or shape.window
        return None if most is None else gpu_memory.needed_gib(shape, layout, most)

    def shape(self) -> tuple[Shape, Layout] | None:
        """Return the model's shape and its layout, where its `config.json` is available."""
        config = gpu_memory.read_config(in_cache(self.source), self.revision)
        try:
            shape = None if config is None else gpu_memory.shape_of({**config, **self.hf_overrides})
        except ValueError:
            return None
        if shape is None:
            return None
        words = [word for arg in self.extra for word in arg.split("=")]
        name = "--kv-cache-dtype"
        cache = words[words.index(name) + 1] if name in words[:-1] else "auto"
        return shape, gpu_memory.layout_of(
            shape, self.dtype, self.quantization, self.tensor_parallel, self.pipeline_parallel,
            cache,
        )  # fmt: skip

    def fetch(self) -> None:
        """Download the weights into the hub's local cache, so that a start does not wait for them.

        Raises `EndpointUnusable` where they are absent and cannot be downloaded.
        """
        weights_on_disk(in_cache(self.source), self.revision)

    def launch(self, model: str, window: int | None, port: int, key: str) -> Launch:
        """See `servers.Engine`."""
        if self.version() is None:
            raise MissingDependency(
                f"{self._python} has no vllm: pip install -e '.[vllm]', or name another "
                "environment's interpreter with root.engine.python=/path/to/bin/python"
            )
        for name in sorted(REPLY_VARIABLES & os.environ.keys() - self.reply_environment.keys()):
            raise ConfigError(
                f"{name}={os.environ[name]} is exported here and changes replies: unset it, or "
                f"state root.engine.reply_environment={{{name}: '{os.environ[name]}'}}"
            )
        arguments = {
            "--served-model-name": model if self.lora is None else f"{model}-base",
            "--host": self.host,
            "--port": str(port),
            "--dtype": self.dtype,
            "--tensor-parallel-size": str(self.tensor_parallel),
            "--data-parallel-size": str(self.data_parallel),
            "--pipeline-parallel-size": (
                str(self.pipeline_parallel) if self.pipeline_parallel > 1 else None
            ),
            "--max-model-len": None if window is None else str(window),
            "--revision": self.revision,
            "--quantization": self.quantization,
            "--gpu-memory-utilization": None if self.gpu_memory is None else str(self.gpu_memory),
            "--generation-config": self.generation_config,
            "--reasoning-parser": self.reasoning_parser,
            "--hf-overrides": json.dumps(self.hf_overrides) if self.hf_overrides else None,
        }
        words = [w for name, value in arguments.items() if value for w in (name, value)]
        words.append(f"--{'' if self.prefix_caching else 'no-'}enable-prefix-caching")
        words += [] if self.lora is None else self.lora.options(model)
        words += ["--enable-prompt-tokens-details", *self.extra]
        # vLLM gives its own engine process 600 s by default, whatever the caller's timeout.
        ready = {"VLLM_ENGINE_READY_TIMEOUT_S": str(int(self.startup_s))}
        own = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", **ready}
        return Launch(
            (*self._program(), *words),
            {**own, **self.environment, **self.reply_environment},
            revision=self.revision,
        )

    def found(self, model: str) -> tuple[str | None, str | None]:  # noqa: ARG002
        """See `servers.Engine`."""
        return found_beside(in_cache(self.source), self.revision)

    def cache_tokens(self, log: str) -> int | None:
        """Return the tokens of the key-value cache, of all copies, from the server's log."""
        sizes = [int(size.replace(",", "")) for size in _CACHE_SIZE.findall(log)]
        return sum(sizes[-self.data_parallel :]) or None

    @property
    def _python(self) -> str:
        return interpreter(self.python)

    def _program(self) -> list[str]:
        source = in_cache(self.source)
        if (self.version() or "").startswith("vllm "):
            return [*self.wrapper, self._python, "-m", _MODULE, "serve", source]
        return [*self.wrapper, self._python, "-m", _OLD_MODULE, "--model", source]

    def version(self) -> str | None:
        """Return version and distribution, as `vllm 0.32.0`; `None` where vLLM is not installed."""
        return distribution(self._python, "vllm", tuple(self.wrapper))


def interpreter(python: str | None) -> str:
    """Return the configured interpreter, else this one."""
    return in_cache(python) if python else sys.executable


def in_cache(path: str) -> str:
    """Return `path` with our cache folder in place of `{cache}`."""
    return path.replace("{cache}", str(cache_dir()))


def found_beside(source: str, revision: str | None) -> tuple[str | None, str | None]:
    """Return (chat template, commit) of weights in a folder or the hub's cache, where known."""
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


_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py"]


def weights_on_disk(source: str, revision: str | None) -> None:
    """Download a repository's files into the hub's local cache; a folder is not changed.

    Raises `EndpointUnusable` where they are absent and cannot be downloaded.
    """
    if Path(source).is_dir():
        return
    if source.startswith(("/", ".", "~")):
        raise EndpointUnusable(
            f"{source}: no such folder of weights; name another with root.engine.source=/path "
            "(scripts/vllm_cpu_env.sh makes those of the CPU models)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def load(*, local: bool, patterns: list[str]) -> Path:
        found = snapshot_download(
            source, revision=revision, allow_patterns=patterns, local_files_only=local
        )
        return Path(str(found))

    try:
        if _is_whole(load(local=True, patterns=_PATTERNS)):
            return
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    say(f"vllm: fetching the weights of {source} (not part of startup_s)")
    try:
        if not any(load(local=False, patterns=_PATTERNS).glob("*.safetensors")):
            load(local=False, patterns=[*_PATTERNS, "*.bin"])
    except Exception as error:  # the hub's errors have no common base
        why = " ".join(str(error).split())[:300]
        raise EndpointUnusable(
            f"the weights of {source} cannot be fetched: {why}; on a machine with the hub: "
            "rlm-eval prefetch CONFIG, or set HF_TOKEN for a gated repository, or name a local "
            "folder with root.engine.source=/path"
        ) from error


def _is_whole(folder: Path) -> bool:
    """Return whether every file of weights in the folder's own list exists."""
    for index in folder.glob("*.index.json"):
        names = set(json.loads(index.read_text()).get("weight_map", {}).values())
        return all((folder / name).exists() for name in names)
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


@cache
def distribution(python: str, package: str, wrapper: tuple[str, ...] = ()) -> str | None:
    """Return `NAME VERSION` of the distribution that provides a package, by its metadata.

    `wrapper` are words before the interpreter.
    """
    code = (
        "import sys, importlib.metadata as m\n"
        "names = m.packages_distributions().get(sys.argv[1], [])\n"
        "print(*[n + ' ' + m.version(n) for n in names[:1]])"
    )
    try:
        done = subprocess.run(  # noqa: S603 - the user's own interpreter
            [*wrapper, python, "-c", code, package], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
