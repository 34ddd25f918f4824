#!/usr/bin/env bash
# The main job on a fresh machine: installs, fetches the default model, sweeps, plots.
# Further arguments are Hydra overrides: scripts/quickstart.sh experiment=quickstart_full
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
install_into_venv local
echo "Weights, tokenizer and generated samples are kept in $RLM_EVAL_CACHE" >&2
exec "$VENV/bin/rlm-eval" run "${@:-experiment=quickstart}"
