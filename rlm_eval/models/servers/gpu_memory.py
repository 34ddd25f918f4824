"""Memory of a model on GPUs: weights and key-value cache, by formula, from its `config.json`.

Bytes per token of the cache = 2 (key and value) x layers x key-value heads x head size x bytes of a
value; with latent attention (`kv_lora_rank`) one latent and one rotary part per layer replace both.
Tensor parallelism divides the heads (a head that cannot be divided is kept on every GPU), pipeline
parallelism the layers. Weights are counted from the layer shapes. The rest (activations, CUDA
graphs, buffers of the communication) is `OVERHEAD_GIB`.

An upper bound for models with sliding windows or recurrent layers, whose cache grows less. Not
covered: vision towers, adapters, speculative decoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
SHARE = 0.92
"""Share of a GPU's memory that vLLM takes by default (`--gpu-memory-utilization`)."""
OVERHEAD_GIB = 2.0
"""Memory of a GPU that the formula does not cover. An assumption, not measured here."""
CARDS = (24, 40, 48, 80, 141)
"""Sizes of common GPUs in GB as sold; about as many GiB are usable."""
_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "fp8": 1.0, "int8": 1.0}
_OF_QUANTIZATION = {
    "fp8": 1.0, "compressed-tensors": 1.0, "awq": 0.56, "gptq": 0.56, "bitsandbytes": 0.56,
    "mxfp4": 0.53, "awq_marlin": 0.56, "gptq_marlin": 0.56,
}  # fmt: skip
"""Bytes of a quantised weight, scales included; compressed tensors of 8 bits are assumed."""


@dataclass(frozen=True)
class Shape:
    """The facts about a model that the formula uses."""

    layers: int
    kv_heads: int
    head_size: int
    weights: float
    """Number of weights."""
    latent: int = 0
    """Values per token and layer of latent attention; 0 = keys and values by head."""
    dtype: str = "bfloat16"
    """Type in which the weights are stored."""
    quantization: str | None = None
    """Quantisation method; `None` = not quantised."""
    window: int | None = None
    """Positions that the model supports."""


@dataclass(frozen=True)
class Layout:
    """The distribution of one copy of the model over GPUs."""

    tensor: int = 1
    pipeline: int = 1
    weight_bytes: float = 2.0
    cache_bytes: float = 2.0


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Read the shape from a `config.json`. Raises `ValueError` where a number is missing."""
    config = {**config, **config.get("text_config", {})}
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, vocabulary = int(config["num_attention_heads"]), int(config["vocab_size"])
    except KeyError as error:
        raise ValueError(f"config.json has no {error}") from error
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_size = int(config.get("head_dim") or hidden // heads)
    latent = 0
    if rank := config.get("kv_lora_rank"):
        latent = int(rank) + int(config.get("qk_rope_head_dim") or 0)
    attention = _attention(config, hidden, heads, kv_heads, head_size)
    tables = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    quantization = (config.get("quantization_config") or {}).get("quant_method")
    return Shape(
        layers=layers,
        kv_heads=kv_heads,
        head_size=head_size,
        weights=float(tables + layers * attention + _feed_forward(config, hidden, layers)),
        latent=latent,
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"),
        quantization=quantization,
        window=config.get("max_position_embeddings"),
    )


def _attention(
    config: Mapping[str, Any], hidden: int, heads: int, kv_heads: int, head_size: int
) -> int:
    """Return the weights of a layer's attention."""
    if not (rank := int(config.get("kv_lora_rank") or 0)):
        return hidden * head_size * (2 * heads + 2 * kv_heads)
    rope, nope = int(config["qk_rope_head_dim"]), int(config["qk_nope_head_dim"])
    value = int(config["v_head_dim"])
    query_rank = int(config.get("q_lora_rank") or 0)
    width = heads * (nope + rope)
    query = hidden * query_rank + query_rank * width if query_rank else hidden * width
    return query + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden


def _feed_forward(config: Mapping[str, Any], hidden: int, layers: int) -> int:
    """Return the weights of the feed-forward parts of all layers."""
    dense = 3 * hidden * int(config["intermediate_size"]) if "intermediate_size" in config else 0
    names = ("num_experts", "n_routed_experts", "num_local_experts")
    experts = next((int(config[name]) for name in names if config.get(name)), 0)
    if not experts:
        return layers * dense
    inner = int(config.get("moe_intermediate_size") or config["intermediate_size"])
    routed = experts + int(config.get("n_shared_experts") or 0)
    shared = 3 * hidden * int(config.get("shared_expert_intermediate_size") or 0)
    sparse = 3 * hidden * inner * routed + hidden * experts + shared
    first = int(config.get("first_k_dense_replace") or 0)
    return first * dense + (layers - first) * sparse


def layout_of(
    shape: Shape,
    dtype: str = "auto",
    quantization: str | None = None,
    tensor: int = 1,
    pipeline: int = 1,
    cache_dtype: str = "auto",
) -> Layout:
    """Return the layout of a server that is started with these settings."""
    stored = shape.dtype if dtype == "auto" else dtype
    plain = _BYTES.get(stored, 2.0)
    method = quantization or shape.quantization
    weight = _OF_QUANTIZATION.get(method, 1.0) if method else plain
    cache = 1.0 if cache_dtype.startswith("fp8") else min(plain, 4.0)
    return Layout(tensor, pipeline, weight, cache)


def weights_gib(shape: Shape, layout: Layout) -> float:
    """Return the weights on one GPU, GiB."""
    return shape.weights * layout.weight_bytes / (layout.tensor * layout.pipeline) / GIB


def cache_bytes(shape: Shape, layout: Layout) -> float:
    """Return the bytes of the key-value cache that one token uses on one GPU."""
    layers = -(-shape.layers // layout.pipeline)
    if shape.latent:  # every GPU keeps the whole latent
        return layers * shape.latent * layout.cache_bytes
    heads = max(1.0, shape.kv_heads / layout.tensor)
    return 2 * layers * heads * shape.head_size * layout.cache_bytes


def needed_gib(shape: Shape, layout: Layout, window: int) -> float:
    """Return the memory of one GPU for the weights and one request of `window` tokens, GiB."""
    return weights_gib(shape, layout) + window * cache_bytes(shape, layout) / GIB + OVERHEAD_GIB


def cache_tokens(shape: Shape, layout: Layout, gpu_gib: float, share: float = SHARE) -> int:
    """Return the tokens of a cache on GPUs of `gpu_gib`; 0 where the weights do not fit."""
    room = gpu_gib * share - weights_gib(shape, layout) - OVERHEAD_GIB
    return max(0, int(room * GIB / cache_bytes(shape, layout)))


def read_config(source: str, revision: str | None = None) -> dict[str, Any] | None:
    """Return the `config.json` of a folder or of a repository in the hub's local cache.

    Else the facts that this package stores about the models of `configs/model`; `None` = unknown.
    Uses no network.
    """
    from huggingface_hub import try_to_load_from_cache

    path: Path | None = None
    if Path(source).is_dir():
        path = Path(source) / "config.json"
    elif isinstance(found := try_to_load_from_cache(source, "config.json", revision=revision), str):
        path = Path(found)
    if path is not None and path.is_file():
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded
    kept = json.loads((Path(__file__).parents[1] / "data" / "model_shapes.json").read_text())
    known: dict[str, Any] | None = kept.get(source)
    return known
