"""Hooks of a report for its callers: contexts of samples, and tables of a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

ContextOf = Callable[[Mapping[str, Any], str], str | None]
"""(cell manifest, sample id) -> rebuilt canonical text of its context; `None` = not available."""

Additions = Callable[[Any], tuple[list[Any], Any]]
"""Prepared records -> (`tables.Table`s, published scores: a frame of task, label, length, score in
[0, 1], or `None`)."""
