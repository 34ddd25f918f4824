"""A stand-in for `vllm serve` on GPUs: refuses as the real one, then serves as the fake server.

`environment(folder)` makes an interpreter for `engine.python`. GPUs are the ids of
`CUDA_VISIBLE_DEVICES`, each with 80 GiB; what a running stand-in holds lies in `$FAKE_GPUS`. Where
devices or memory are too few it ends with vLLM's words, its summary hundreds of lines after the
cause; `$FAKE_LATE` seconds pass before it answers, `$FAKE_LATENCY` before each reply.
Real: the command line, devices, memory shares, the cache's size in the log, the life cycle. Not
real: everything about a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import sys
import time
from pathlib import Path

GIB = 80.0
HERE = Path(__file__).resolve()


def environment(folder: Path, distribution: str = "vllm 0.33.0") -> Path:
    """An interpreter that has this vLLM, and nothing else; its calls are listed in `calls`."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'echo "$CUDA_VISIBLE_DEVICES $*" >> {folder}/calls\n'
        f'if [ "$1" = -c ]; then echo "{distribution}"; exit; fi\n'
        f'shift 2\nexec {sys.executable} {HERE} "$@"\n'
    )
    python.chmod(0o755)
    return python


def fail(cause: str, process: str = "EngineCore pid=7") -> None:
    """End as vLLM does: the cause in the middle of the log, a summary at its end."""
    place = f"({process}) ERROR 11-29 12:00:00 [core.py:1510]"
    print(f"{place} EngineCore failed to start.", file=sys.stderr)
    print(f"{place} Traceback (most recent call last):", file=sys.stderr)
    print(f'{place}   File "worker.py", line 1, in init_device', file=sys.stderr)
    print(f"{place} {cause}", file=sys.stderr)
    for number in range(300):
        print(f'(APIServer pid=6)   File "frame_{number}.py", line 1', file=sys.stderr)
    print(
        "(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore': 1}",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(1)


def take(devices: list[str], share: float) -> None:
    """Hold the share of each device while this process lives, or fail in vLLM's words."""
    state = Path(os.environ["FAKE_GPUS"])
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for index, device in enumerate(devices):
            used = 0.0
            for note in state.glob(f"{device}-*"):
                pid = int(note.name.partition("-")[2])
                if Path(f"/proc/{pid}").exists():
                    used += float(note.read_text())
            free = GIB * (1 - used)
            if free < GIB * share:
                fail(
                    f"ValueError: Free memory on device cuda:{index} ({free:.2f}/{GIB:.2f} GiB) on "
                    f"startup is less than desired GPU memory utilization ({share}, "
                    f"{GIB * share:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory "
                    "used by other processes."
                )
            (state / f"{device}-{os.getpid()}").write_text(str(share))


def main() -> None:
    """Check what vLLM checks, then serve."""
    parser = argparse.ArgumentParser(prog="vllm")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    for name, default in (
        ("--served-model-name", ""), ("--host", ""), ("--port", "0"), ("--dtype", "auto"),
        ("--tensor-parallel-size", "1"), ("--data-parallel-size", "1"),
        ("--pipeline-parallel-size", "1"), ("--max-model-len", "8192"), ("--revision", ""),
        ("--quantization", ""), ("--gpu-memory-utilization", "0.92"),
        ("--generation-config", "auto"), ("--reasoning-parser", ""), ("--hf-overrides", ""),
    ):  # fmt: skip
        parser.add_argument(name, default=default)
    for flag in ("--enable-prefix-caching", "--enable-prompt-tokens-details", "--enforce-eager"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args()
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    size = int(given.tensor_parallel_size) * int(given.pipeline_parallel_size)
    size *= int(given.data_parallel_size)
    if len(devices) < size:
        fail(
            f"ValueError: World size ({size}) is larger than the number of available GPUs "
            f"({len(devices)}) in this node."
        )
    take(devices[:size], float(given.gpu_memory_utilization))
    window = int(given.max_model_len)
    tokens = int(os.environ.get("FAKE_CACHE", 4 * window))
    if tokens < window:
        fail(
            f"ValueError: To serve at least one request with the model's max seq len ({window}), "
            "(5.62 GiB KV cache is needed, which is larger than the available KV cache memory "
            f"(1.00 GiB). Based on the available memory, the estimated maximum model length is "
            f"{tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
        )
    print(
        f"(EngineCore pid=7) INFO 11-29 12:00:01 [kv_cache_utils.py:1] GPU KV cache size: "
        f"{tokens:,} tokens, Maximum concurrency for {window:,} tokens per request: "
        f"{tokens / window:.2f}x",
        flush=True,
    )
    time.sleep(float(os.environ.get("FAKE_LATE", "0")))
    sys.path.insert(0, str(HERE.parent))
    import fake_server

    server = fake_server.FakeServer(
        reply=fake_server.echo
        if "FAKE_RULES" not in os.environ
        else fake_server.rules(json.loads(Path(os.environ["FAKE_RULES"]).read_text())),
        port=int(given.port), window=window, api_key=os.environ["VLLM_API_KEY"],
        latency=float(os.environ.get("FAKE_LATENCY", "0")),
    )  # fmt: skip
    asyncio.run(fake_server._main(server))


if __name__ == "__main__":
    main()
