#!/usr/bin/env bash
# The main job on a fresh machine: installs, fetches two small models, shows a recursion, sweeps, plots.
# Further arguments are Hydra overrides: scripts/quickstart.sh experiment=quickstart_full
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
install_into_venv local
echo "Weights, tokenizer and generated samples are kept in $RLM_EVAL_CACHE" >&2
if [ $# -eq 0 ]; then
  # Two samples in which a 1.5B model sends every line to a sub-call, then the sweep of a 0.5B model.
  "$VENV/bin/rlm-eval" run experiment=quickstart_recursion
  echo "Every call of the recursion: $VENV/bin/rlm-eval view results/runs/quickstart_recursion" >&2
  set -- experiment=quickstart
fi
exec "$VENV/bin/rlm-eval" run "$@"
