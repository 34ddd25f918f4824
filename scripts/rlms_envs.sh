#!/usr/bin/env bash
# Releases of the official package `rlms`, each in an environment of its own (its dependencies are
# not ours): what the parity tests and the speed comparison need. Prints the folder that
# RLM_EVAL_RLMS_ENVS wants. About a minute; safe to run twice.
set -euo pipefail
place="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}/rlms"
mkdir -p "$place"
for version in 0.1.0 0.1.1 0.1.3; do
  if [[ ! -f "$place/$version/READY" ]]; then
    rm -rf "${place:?}/$version" # what an interrupted run left
    python="$("$(dirname "${BASH_SOURCE[0]}")/engine_env.sh" rlms "$version")"
    ln -s "${python%/bin/python}" "$place/$version"
  fi
done
echo "$place"
