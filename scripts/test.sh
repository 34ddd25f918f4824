#!/usr/bin/env bash
# Installs the development environment and runs the tests: all but `slow`, or pytest's arguments.
# One worker a core, four at most; a file's tests stay with one worker, which makes what they share
# once. `-n 0` runs them one by one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
install_into_venv dev,local,cluster
exec "$VENV/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
