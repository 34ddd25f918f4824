#!/usr/bin/env bash
# One external engine in a Python environment of its own (its dependencies are not ours):
#   scripts/engine_env.sh NAME [VERSION]       rlms, dspy, minrlm, recursive_llm, pyrlm
# Makes <cache>/engines/NAME-VERSION, where method=external_NAME looks for it, and prints its
# interpreter. 62 to 377 MB, one to five minutes; safe to run twice. <cache> is $RLM_EVAL_CACHE, or
# ~/.cache/rlm_eval. $PYTHON names the interpreter to build on.
set -euo pipefail

case "${1:-}" in
  rlms)          package=rlms          default=0.1.3 oldest=3.11 ;;
  dspy)          package=dspy          default=3.4.1 oldest=3.11 ;;
  minrlm)        package=minrlm        default=0.1.5 oldest=3.11 ;;
  recursive_llm) package=recursive-llm default=0.5.0 oldest=3.11 ;;
  pyrlm)         package=pyrlm-runtime default=1.0.3 oldest=3.12 ;;
  *)
    echo "usage: scripts/engine_env.sh rlms|dspy|minrlm|recursive_llm|pyrlm [VERSION]" >&2
    exit 2
    ;;
esac
version="${2:-$default}"
env="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}/engines/$1-$version"

new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < (${oldest/./, }))" 2>/dev/null; }

if [[ ! -f "$env/READY" ]]; then
  python=""
  for candidate in ${PYTHON:-python3 python3.12 python3.13 "$HOME"/.pyenv/versions/3.1[23].*/bin/python}; do
    if new_enough "$candidate"; then python="$candidate"; break; fi
  done
  if [[ -z "$python" ]]; then
    echo "$1 needs Python $oldest or newer; name one: PYTHON=/path/to/python scripts/engine_env.sh $1" >&2
    exit 1
  fi
  rm -rf "$env" # what an interrupted run left
  "$python" -m venv "$env"
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$package==$version" >&2
  "$env/bin/python" -m pip check >&2
  touch "$env/READY"
fi
echo "$env/bin/python"
