#!/usr/bin/env bash
# Makes an image for `repl.image` from Debian's packages, where no registry can be reached: a minimal
# system with Python and its standard library. As root; needs `docker` and `debootstrap`.
#   scripts/docker_image.sh NAME [SUITE]
set -euo pipefail
name="${1:?give the name of the image}"
suite="${2:-bookworm}"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=python3-minimal,libpython3-stdlib "$suite" "$root" >&2
tar --numeric-owner --exclude=./var/cache/apt --exclude=./dev -C "$root" -c . | docker import - "$name"
