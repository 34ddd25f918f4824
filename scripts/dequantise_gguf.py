"""A GGUF file as a Hugging Face folder in bfloat16: vLLM's CPU build runs no quantised weights.

    python scripts/dequantise_gguf.py FILE.gguf FOLDER

What is served afterwards are the quantised weights, written out: not the original ones, so its
answers may differ from both the original's and llama.cpp's. Needs torch, transformers, accelerate
and gguf: run by scripts/vllm_cpu_env.sh in the environment that it made. About a minute and 1.2 GB
for half a billion parameters.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """See the module docstring."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    place = str(source.parent)
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        place,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    tokenizer.save_pretrained(unfinished)
    model.save_pretrained(unfinished)
    unfinished.rename(folder)


if __name__ == "__main__":
    main()
