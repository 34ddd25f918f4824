"""Prompt files in named sections, shared by several methods."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

_SECTION = re.compile(r"^=== (\w+) *\n", re.MULTILINE)


@functools.lru_cache(maxsize=64)
def sections(text: str) -> Mapping[str, str]:
    """Parse the sections of a prompt file, by the name on the line `=== name` above each."""
    pieces = _SECTION.split(text)
    named = zip(pieces[1::2], pieces[2::2], strict=True)
    return MappingProxyType({name: body.strip() for name, body in named})
