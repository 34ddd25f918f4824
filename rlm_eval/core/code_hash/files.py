"""Prompt and data files that code or a configuration names: their contents count as code."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DATA = (".json", ".md", ".txt", ".yaml", ".csv", ".jinja")
_NO_CODE = ("expectations.json", "first_fields.json", "model_shapes.json", "prices.json")
"""Prices, sizes and earlier results: no reply depends on them."""


@functools.cache
def package_files() -> dict[str, str]:
    """Name in code -> digest of this package's prompt and data files."""
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*")):
        if path.suffix not in _DATA or path.name in _NO_CODE:
            continue
        folders = path.relative_to(ROOT).parts
        at = next((i for i, part in enumerate(folders) if part in ("data", "prompts")), None)
        if at is not None:
            inside = "/".join(folders[at + 1 :])
            for name in (inside, inside.removesuffix(".md")):
                found[name] = f"{found.get(name, '')}{digest(path)}"
    return found


def digest(path: Path) -> str | None:
    """Return 16 hex digits of a file's content; `None` where there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None
    except (OSError, ValueError):
        return None
