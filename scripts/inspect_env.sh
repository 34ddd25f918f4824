#!/usr/bin/env bash
# inspect_ai with this package in an environment of their own (inspect_ai pins other versions than
# constraints.txt): what `rlm-eval export inspect` and its tests need. Prints the interpreter that
# RLM_EVAL_INSPECT_PYTHON wants. Two minutes; safe to run twice. Made again when this package's
# dependencies change, since it imports the package from the clone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
env="$RLM_EVAL_CACHE/inspect"
wanted="$(cksum <pyproject.toml) $PWD"
if [[ "$(cat "$env/READY" 2>/dev/null)" != "$wanted" ]]; then
  rm -rf "$env"
  "$(find_python)" -m venv "$env"
  "$env/bin/python" -m pip install -q --use-pep517 -e ".[inspect]" >&2
  echo "$wanted" >"$env/READY"
fi
echo "$env/bin/python"
