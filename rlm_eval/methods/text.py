"""Prompt files in named sections, shared by several methods."""

from __future__ import annotations

import re

_SECTION = re.compile(r"^=== (\w+) *\n", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """Parse the sections of a prompt file, by the name on the line `=== name` above each."""
    pieces = _SECTION.split(text)
    return {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
