#!/usr/bin/env bash
# Installs the development environment and runs the tests: all but `slow`, or pytest's arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/env.sh
install_into_venv dev,local,cluster
exec "$VENV/bin/python" -m pytest "$@"
