# Sourced by the other scripts: makes the virtual environment of this clone and installs into it.
# Touches nothing but the clone (.venv) and the cache folder, $RLM_EVAL_CACHE or ~/.cache/rlm_eval.
#   install_into_venv EXTRAS   e.g. local, or dev,local

export RLM_EVAL_CACHE="${RLM_EVAL_CACHE:-$HOME/.cache/rlm_eval}"
export PIP_CACHE_DIR="${PIP_CACHE_DIR:-$RLM_EVAL_CACHE/pip}"
export MPLCONFIGDIR="${MPLCONFIGDIR:-$RLM_EVAL_CACHE/matplotlib}"
export HF_HOME="${HF_HOME:-$RLM_EVAL_CACHE/huggingface}"
export PIP_DISABLE_PIP_VERSION_CHECK=1
VENV="${RLM_EVAL_VENV:-.venv}"

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.12 python3.11 python3.13 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "No Python 3.11, 3.12 or 3.13 with venv found; set PYTHON=/path/to/python" >&2
  return 1
}

install_into_venv() {
  local extras="$1" stamp wanted
  stamp="$VENV/.installed-${extras//,/-}"
  wanted="$(cat pyproject.toml constraints.txt | cksum)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  if [ ! -x "$VENV/bin/python" ]; then
    "$(find_python)" -m venv "$VENV"
  fi
  echo "Installing rlm-eval[$extras] into $VENV (pip's cache: $PIP_CACHE_DIR)" >&2
  "$VENV/bin/python" -m pip install -q --use-pep517 -c constraints.txt -e ".[$extras]"
  echo "$wanted" >"$stamp"
}
