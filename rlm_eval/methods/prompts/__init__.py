"""Prompt files of the methods, and their identity.

A prompt is a Markdown file in this folder or a user's file; its hash is in the manifest.
"""

from __future__ import annotations

import functools
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
    path = _path(name, file)
    try:
        status = path.stat()
        text = _text_of(path, status.st_mtime_ns, status.st_size)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        names = (p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.md"))
        known = sorted(RENAMED_PROMPTS.get(shipped, shipped) for shipped in names)
        told = f"prompt {path}: no such file; shipped prompts: {', '.join(known)}"
        raise ConfigError(told) from None
    return PromptText(path.stem if file else name, text)


@functools.lru_cache(maxsize=64)
def _path(name: str, file: str | None) -> Path:
    return Path(file) if file else FOLDER / f"{name}.md"


@functools.lru_cache(maxsize=64)
def _text_of(path: Path, changed_ns: int, size: int) -> str:  # noqa: ARG001 they identify the text
    """The stripped text of a file, read again once it has changed."""
    return path.read_text(encoding="utf-8").strip()


def fill(template: str, **values: str) -> str:
    """Replace each `{name}` in `template` in one pass: braces inside the values stay.

    A placeholder without a value stays unchanged (prompts may contain code).
    """
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m.group(1), m.group()), template)
