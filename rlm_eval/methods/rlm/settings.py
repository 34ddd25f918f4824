"""Settings of a recursive method that its loops and sub-calls use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rlm_eval.methods.rlm.protocol import RlmProtocol


@dataclass(frozen=True, slots=True)
class Compaction:
    """Prompts of a compaction; ours for every protocol."""

    request: str
    """Request for the summary."""
    resume: str
    """Message after the summary."""


class LoopSettings(Protocol):
    """Fields of `method.RLM`, which documents their units and choices."""

    @property
    def protocol(self) -> RlmProtocol: ...
    @property
    def depth(self) -> int: ...
    @property
    def max_turns(self) -> int: ...
    @property
    def child_max_turns(self) -> int | None: ...
    @property
    def turns_out(self) -> str: ...
    @property
    def on_limit(self) -> str: ...
    @property
    def output_chars(self) -> int: ...
    @property
    def output_side(self) -> str: ...
    @property
    def sub_models(self) -> list[str]: ...
    @property
    def child_models(self) -> list[str]: ...
    @property
    def max_sub_calls_per_block(self) -> int | None: ...
    @property
    def failed_sub_calls(self) -> str: ...
    @property
    def compact_chars(self) -> int | None: ...
    @property
    def compaction(self) -> Compaction:
        """The prompts of a compaction."""
