"""Prompt files of the methods, and their identity.

A prompt is a Markdown file in this folder or a user's file; its hash is in the manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import RENAMED_PROMPTS, text_hash

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt and its source."""

    name: str
    """File name without its suffix."""
    text: str
    """The text without surrounding white space."""

    @property
    def id(self) -> str:
        """`name@hash`, for manifests and figures."""
        return f"{self.name}@{text_hash(self.text)[:8]}"


def load_prompt(name: str, file: str | None = None) -> PromptText:
    """Load the shipped prompt `name` (`rag/plain`), or the user's `file` in its place.

    Raises `ConfigError` listing the shipped prompts where there is none of that name.
    """
    path = Path(file) if file else FOLDER / f"{name}.md"
    if not path.is_file():
        names = (p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.md"))
        known = sorted(RENAMED_PROMPTS.get(shipped, shipped) for shipped in names)
        raise ConfigError(f"prompt {path}: no such file; shipped prompts: {', '.join(known)}")
    return PromptText(path.stem if file else name, path.read_text(encoding="utf-8").strip())


def fill(template: str, **values: str) -> str:
    """Replace each `{name}` in `template` in one pass: braces inside the values stay.

    A placeholder without a value stays unchanged (prompts may contain code).
    """
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m.group(1), m.group()), template)
