"""Capacity of a server that we did not start, where it reports it.

vLLM reports the blocks of its key-value cache on `/metrics` (`vllm:cache_config_info`), SGLang its
tokens there (`sglang:max_total_num_tokens`, with `--enable-metrics`) or on `/get_server_info`,
llama.cpp its slots on `/props`. Hosted APIs report nothing: only their `/metrics` is requested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.models.http import address
from rlm_eval.models.http.reading import loads
from rlm_eval.models.http.transport import Transport

_SECONDS = 5.0
_VLLM = re.compile(r"^vllm:cache_config_info\{(.*)\} ", re.MULTILINE)
_SGLANG = re.compile(r"^sglang:max_total_num_tokens(?:\{(.*)\})? ([\d.e+]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Capacity:
    """Capacity of a server; `None` = not reported."""

    tokens: int | None = None
    """Tokens that its key-value cache holds, over all engines behind the address."""
    requests: int | None = None
    """Requests that it processes at once."""


async def told(transport: Transport, *, hosted: bool) -> Capacity:
    """Request the capacity of the server at this address. `hosted`: it is a billed API."""
    if address.has_query(transport.base_url):  # a gateway's address: the server is behind it
        return Capacity()
    root = address.root(transport.base_url)
    words = await transport.get(f"{root}/metrics", _SECONDS)
    tokens = of_metrics((words or b"").decode(errors="replace"))
    if tokens is not None or hosted:
        return Capacity(tokens)
    for path in ("/props", "/get_server_info"):
        found = of_page(await transport.get(root + path, _SECONDS))
        if found != Capacity():
            return found
    return Capacity()


def of_metrics(text: str) -> int | None:
    """Return the cache's tokens from metrics of vLLM or SGLang; `None` = not reported."""
    if engines := [dict(_LABEL.findall(labels)) for labels in _VLLM.findall(text)]:
        return _vllm_tokens(engines)
    ranks: dict[str, int] = {}  # ranks of one copy report the same cache
    for labels, value in _SGLANG.findall(text):
        copy = dict(_LABEL.findall(labels)).get("dp_rank", "")
        ranks[copy] = max(ranks.get(copy, 0), int(float(value)))
    return sum(ranks.values()) or None


def _vllm_tokens(engines: Sequence[Mapping[str, str]]) -> int | None:
    """Return the cache tokens of the engines of one server (data parallel), by their labels.

    Newer releases report the tokens of each engine; older ones the blocks, where each engine's
    number may be that of all engines.
    """
    stated = [_number(labels.get("kv_cache_size_tokens")) for labels in engines]
    if None not in stated:
        return sum(filter(None, stated))
    blocks = max(_number(labels.get("num_gpu_blocks")) or 0 for labels in engines)
    size = min(_number(labels.get("block_size")) or 0 for labels in engines)
    return blocks * size or None


def of_page(body: bytes | None) -> Capacity:
    """Parse `/props` of llama.cpp or `/get_server_info` of SGLang."""
    try:
        page: Any = loads(body or b"{}")
    except ValueError:
        return Capacity()
    if not isinstance(page, dict):
        return Capacity()
    inner = page.get("internal_states")
    parts = [page, *(inner if isinstance(inner, list) else [])]
    for part in parts:
        if not isinstance(part, dict):
            continue
        tokens = _number(part.get("max_total_num_tokens"))
        requests = _number(part.get("total_slots")) or _number(part.get("max_running_requests"))
        if tokens or requests:
            return Capacity(tokens, requests)
    return Capacity()


def _number(value: Any) -> int | None:
    """Return a whole number above 0, or `None`."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
