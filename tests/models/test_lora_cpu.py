"""A LoRA adapter on vLLM's CPU build: loaded, served under the model's name, and of effect."""

import dataclasses
import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from rlm_eval.config.builder import build
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.servers.lora import Lora

ROOT = Path(__file__).parents[2]
HIDDEN, LAYERS, RANK = 64, 2, 8


def adapter(folder):
    """A random adapter of the tiny model's attention, in PEFT's format."""
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(LAYERS):
        for part in ("q_proj", "o_proj"):
            name = f"base_model.model.model.layers.{layer}.self_attn.{part}"
            tensors[f"{name}.lora_A.weight"] = rng.standard_normal((RANK, HIDDEN))
            tensors[f"{name}.lora_B.weight"] = rng.standard_normal((HIDDEN, RANK))
    folder.mkdir()
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 4 * RANK,
        "target_modules": ["q_proj", "o_proj"], "bias": "none", "lora_dropout": 0.0,
        "base_model_name_or_path": "tiny-random",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    header, data = {}, b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        ends = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": ends}
        data += raw
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(told)) + told + data)
    return str(folder)


@pytest.mark.slow
async def test_an_adapter_is_loaded_and_changes_the_replies(tmp_path):
    made = subprocess.run(
        [str(ROOT / "scripts" / "vllm_cpu_env.sh")], capture_output=True, text=True, timeout=1200
    )
    if made.returncode:
        pytest.skip(f"vLLM's CPU environment cannot be made here: {made.stderr[-300:]}")
    node = OmegaConf.load(ROOT / "configs" / "model" / "tiny-random.yaml")
    base = build(OmegaConf.merge(node, {"window": 2048, "retries": 1}), "root")
    engine = dataclasses.replace(base.engine, lora=Lora(adapter(tmp_path / "adapter")))
    model = dataclasses.replace(base, engine=engine)
    ask = [Message("user", "The quick brown fox. " * 4)]
    short = Sampling(temperature=0.0, max_output_tokens=24)
    async with model.open() as client:
        info = await client.check()
        assert info.model == "tiny-random"
        adapted = await client.complete(ask, short)
        again = await client.complete(ask, short)
        client.config = dataclasses.replace(client.config, model="tiny-random-base")
        plain = await client.complete(ask, short)
    assert adapted.text == again.text
    assert adapted.usage.output == plain.usage.output == 24
    assert adapted.text != plain.text
