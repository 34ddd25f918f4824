#!/usr/bin/env bash
# inspect_ai with this package in an environment of their own (inspect_ai pins other versions than
# constraints.txt): what `rlm-eval export inspect` and its tests need. Prints the interpreter that
# RLM_EVAL_INSPECT_PYTHON wants. Two minutes; safe to run twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
env="$RLM_EVAL_CACHE/inspect"
if [[ ! -f "$env/READY" ]]; then
  "$(find_python)" -m venv "$env"
  "$env/bin/python" -m pip install -q --use-pep517 -e ".[inspect]" >&2
  touch "$env/READY"
fi
echo "$env/bin/python"
