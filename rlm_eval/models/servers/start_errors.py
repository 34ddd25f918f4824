"""The cause of a server's failed start or death, quoted from the whole log, with the next step.

Engines end with a summary ("see root cause above") that names no cause; the exception is hundreds
of lines before it, often twice. Elsewhere: handling of the failure (`servers`).
"""

from __future__ import annotations

import re

_PREFIX = re.compile(
    r"^(?:\([\w .=:-]+\)\s*)?(?:(?:ERROR|CRITICAL|WARNING|INFO)\s+[\d:. -]+\s*)?"
    r"(?:\[[\w./:-]+\]\s*)?"
)
"""The prefix of vLLM's log lines: process, level, time, place."""
_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|OutOfMemory\w*)(?:: (?P<what>.+))?$")
_FATAL = re.compile(
    r"CUDA (?:error|out of memory)|out of memory|No such file or directory|Permission denied"
    r"|address already in use|libcuda|unrecognized arguments|invalid choice|No space left on device"
    r"|Killed|Segmentation fault|GLIBC",
    re.IGNORECASE,
)
_SUMMARY = re.compile(r"root cause above|Engine core initialization failed|EngineCore failed")
_MOST, _LONGEST = 3, 600

_NEXT = (
    (r"less than desired GPU memory utilization|less than the engine's budget",
     "another process uses the GPU: end it, or take a smaller share (engine.gpu_memory=0.45)"),
    (r"larger than the available KV cache|No available memory for the cache",
     "lower the window (root.window=N), raise engine.gpu_memory, or use more GPUs "
     "(engine.tensor_parallel=N); `rlm-eval estimate` prints what fits"),
    (r"out of memory|OutOfMemory",
     "use more GPUs (engine.tensor_parallel=N), a smaller window, or a lower engine.gpu_memory"),
    (r"Failed to infer device type|No CUDA GPUs|no NVIDIA driver|libcuda|CUDA driver",
     "no GPU can be used here: ask for one (cluster.gpus=1), or use the CPU build "
     "(engine.cpu=true)"),
    (r"gated repo|401 Client Error|403 Client Error|Access to model",
     "accept the licence on the hub and export HF_TOKEN"),
    (r"offline mode|LocalEntryNotFound|couldn't connect|Max retries exceeded|Name or service",
     "the hub cannot be reached from here: fetch first (rlm-eval prefetch CONFIG)"),
    (r"max_model_len|max_position_embeddings",
     "the window is larger than the model's own: lower it, or set engine.hf_overrides (YaRN)"),
    (r"unrecognized arguments|invalid choice",
     "this release of the engine does not know that option: change engine.extra"),
    (r"World size .* larger than the number of available GPUs|device_count|not enough GPUs",
     "fewer GPUs than engine.tensor_parallel x pipeline_parallel x data_parallel: ask for more"),
    (r"No space left on device", "free space, or point TMPDIR and the hub's cache elsewhere"),
)  # fmt: skip


def causes(log: str) -> list[str]:
    """Return the error lines that name a cause, first ones first, each once; at most three."""
    found: dict[str, None] = {}
    lines = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    for line in lines:
        match = _ERROR.match(line)
        told = (match is not None and match["what"]) or (_FATAL.search(line) and len(line) < 400)
        if told and not _SUMMARY.search(line) and line not in found:
            found[line[:_LONGEST]] = None
    # An exception that only wraps another one's message adds nothing new.
    kept = [line for line in found if not any(line != other and line in other for other in found)]
    return kept[:_MOST]


def next_step(log: str) -> str | None:
    """Return the setting to change, where the log names a known cause."""
    text = "\n".join(causes(log)) or log[-4000:]
    return next((step for pattern, step in _NEXT if re.search(pattern, text, re.I)), None)


def quoted(log: str, lines: int = 12) -> str:
    """Return the cause from the log, and the next step; the last lines where none is found."""
    text = log.strip()
    if found := causes(text):
        told = "\n  ".join(found)
        step = next_step(text)
        return f"its cause:\n  {told}" + (f"\n  next: {step}" if step else "")
    tail = "\n  ".join(text.splitlines()[-lines:]) or "(its log is empty)"
    return f"its last words:\n  {tail}"
