#!/usr/bin/env bash
# Releases of the official package `rlms`, each in an environment of its own (its dependencies are
# not ours): what the parity tests and the speed comparison need. Prints the folder that
# RLM_EVAL_RLMS_ENVS wants. About a minute; safe to run twice.
set -euo pipefail
place="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}/rlms"
python="${PYTHON:-python3}"
for version in 0.1.0 0.1.1 0.1.3; do
  env="$place/$version"
  if [[ ! -f "$env/READY" ]]; then
    "$python" -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check "rlms==$version" >&2
    touch "$env/READY"
  fi
done
echo "$place"
