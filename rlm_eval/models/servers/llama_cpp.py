"""llama.cpp as a managed server, through the prebuilt `xllamacpp` wheels (extra: `local`).

`LlamaCpp` is the engine's configuration; run as a module this file is the server process itself,
which imports xllamacpp and serves until it is stopped. Measured hazards: `n_ctx` is divided by the
slots, which share no prefix; with as many threads as cores, decoding collapses next to any
CPU-bound process unless waiting threads soon sleep (two cores, tokens/s alone and next to one: 30
and 1.5 by default, 36 and 13 with the spin count set here).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.errors import MissingDependency
from rlm_eval.models.servers.managed import Launch, usable_cores
from rlm_eval.models.servers.weights import Weights

_KEY = "RLM_EVAL_SERVER_KEY"


@dataclass(frozen=True)
class LlamaCpp:
    """A llama.cpp server; satisfies `servers.Engine`."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "threads", "slots", "batch", "prompt_cache_mib", "startup_s",
    ))
    # fmt: on
    """Fields that do not change a reply: they are not part of a cell's identity."""

    EMBEDDINGS: ClassVar[bool] = False

    weights: Weights
    """The GGUF file."""
    threads: int | None = None
    """Processor threads; `None` = all usable cores, minus one if they are more than two."""
    slots: int = 1
    """Requests served at once; each has its own window."""
    gpu_layers: int = 0
    """Layers offloaded to a GPU, where the wheel is a GPU build; -1 = all."""
    batch: int = 2048
    """Tokens per logical batch of prefill."""
    prompt_cache_mib: int = 1024
    """Memory for the prefixes of conversations that lost their slot, MiB."""
    startup_s: float = 300.0
    """Timeout of a start, seconds."""

    def __post_init__(self) -> None:
        if self.slots < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError("slots and threads must be at least 1")

    @property
    def label(self) -> str:
        """See `servers.Engine`."""
        return "llama.cpp"

    @property
    def gpus(self) -> int:
        """See `servers.Engine`."""
        return 1 if self.gpu_layers else 0

    @property
    def cores(self) -> int:
        """See `servers.Engine`."""
        cores = usable_cores()
        return self.threads or (cores - 1 if cores > 2 else cores)

    def launch(self, model: str, window: int | None, port: int, key: str) -> Launch:
        """See `servers.Engine`."""
        if self.version() is None:
            raise MissingDependency(
                "llama.cpp needs the package xllamacpp: pip install -e '.[local]'"
            )
        file = self.weights.locate()
        settings = {
            "model": str(file),
            "alias": model,
            "port": port,
            "n_ctx": (window or 4096) * self.slots,
            "slots": self.slots,
            "threads": self.cores,
            "gpu_layers": self.gpu_layers,
            "batch": self.batch,
            "prompt_cache_mib": self.prompt_cache_mib,
            "embeddings": self.EMBEDDINGS,
        }
        return Launch(
            (sys.executable, "-m", "rlm_eval.models.servers.llama_cpp", json.dumps(settings)),
            {_KEY: key, "GOMP_SPINCOUNT": "1000"},
            revision=self.weights.identity,
        )

    def found(self, model: str) -> tuple[str | None, str | None]:  # noqa: ARG002
        """See `servers.Engine`: the template is in the weights, and the server reports it."""
        return None, None

    def version(self) -> str | None:
        """Version of the xllamacpp wheel; `None` where it is not installed."""
        try:
            return f"xllamacpp {importlib.metadata.version('xllamacpp')}"
        except importlib.metadata.PackageNotFoundError:
            return None


@dataclass(frozen=True)
class LlamaCppEmbeddings(LlamaCpp):
    """The same server for `/v1/embeddings` alone: the mean over a text's tokens. A text may have as
    many tokens as `batch`."""

    EMBEDDINGS: ClassVar[bool] = True


def serve(settings: dict[str, str | int], key: str) -> None:
    """Load the model and serve it until a signal comes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames, params.port = ["127.0.0.1"], settings["port"]
    params.api_keys = [key]
    params.n_ctx, params.n_parallel = settings["n_ctx"], settings["slots"]
    params.kv_unified, params.fit_params = False, False
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.n_gpu_layers, params.n_batch = settings["gpu_layers"], settings["batch"]
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.cache_ram_mib = settings["prompt_cache_mib"]
    params.endpoint_metrics, params.ui = True, False
    if settings["embeddings"]:
        params.embedding, params.n_ubatch = True, settings["batch"]
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    _server = xllamacpp.Server(params)  # serves in separate threads while it is referenced
    stopped = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopped.set())
    stopped.wait()
    os._exit(0)  # not by ending `_server`: a request in flight would keep its threads for long


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), os.environ.pop(_KEY))
