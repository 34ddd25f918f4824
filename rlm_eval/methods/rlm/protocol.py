"""The contract of a protocol: the messages between loop and root model, as data and pure functions.

A protocol builds the opening messages, parses a reply (blocks, answer) and formats the output of
blocks. It never calls a model, runs code or keeps state; the loop does (`loop.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlm_eval.core.types import Message
from rlm_eval.methods.rlm.parsing import Parsed
from rlm_eval.repl import BlockResult, clip

HEAD_CHARS = 700
"""Length of `View.head`, characters; prompts may display it."""


@dataclass(frozen=True, slots=True)
class PromptVars:
    """Task facts that a protocol may put into the root's (or a child root's) prompt."""

    question: str | None
    """`None` where a child's whole prompt is its context (the official one-argument form)."""
    context_type: str
    """`str`, `list` or `dict`."""
    lengths: tuple[int, ...]
    """Characters of each part of the context."""
    depth: int
    """Depth of this loop; 0 for the root."""
    max_depth: int
    """0: no sub-calls; 1: plain sub-calls; N: child loops down to depth N - 1."""
    max_turns: int
    """Maximum turns of this loop."""
    head: str = ""
    """The first `HEAD_CHARS` characters of the context, or of its first text."""

    @property
    def sub_calls(self) -> bool:
        """True where the code can call a model."""
        return self.max_depth > 0

    @property
    def recursion(self) -> bool:
        """True where `rlm_query` starts a child loop instead of falling back to `llm_query`."""
        return self.depth + 1 < self.max_depth


@dataclass(frozen=True, slots=True)
class OutputClip:
    """Truncation of a block's output in the root's prompt."""

    chars: int
    """Maximum characters of one block's output."""
    side: str
    """Part that is kept: `head`, `tail`, `middle`."""
    question: str | None = None
    """The loop's question, for prompts that repeat it after each output."""

    def official(self, text: str, total: int) -> str:
        """Truncate with the official code's wording (which supports only `head`).

        `total`: characters of the whole output, of which `text` may be the kept part.
        """
        if total <= self.chars:
            return text
        if self.side == "head":
            return f"{text[: self.chars]}... + [{total - self.chars} chars...]"
        return clip(text, self.chars, self.side, total)


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """One executed block."""

    code: str
    """The code as executed."""
    result: BlockResult
    """Its result."""


View, Shown, Ran = PromptVars, OutputClip, ExecutedBlock
"""Names of earlier releases, for dialects of plug-ins."""


class RlmProtocol(Protocol):
    """The wording of a dialect. Every member is pure.

    A dialect whose turns are not system, user, assistant, user lists their roles in `history`, for
    the preflight (`methods.history_of`). The official dialects add `raw_replies` (reasoning that
    the server leaves in a reply is parsed and sent back), `final_var_ends` (FINAL_VAR ends the loop
    for any name), `call_texts` and `has_children` (see `official_calls`). `reads_last_tag` is true
    where a FINAL tag is also read in the reply after the last turn, as no release of rlms does.
    """

    @property
    def name(self) -> str:
        """Name in tables: `own`, `paper_v1`, ..."""
        ...

    @property
    def prompt_id(self) -> str:
        """Name and hash of its prompt."""
        ...

    @property
    def keeps_turn_prompt(self) -> bool:
        """False where the turn prompt is sent but not kept in the history (`paper_v1`)."""
        ...

    @property
    def answer_dict(self) -> bool:
        """True where `answer["ready"] = True` ends the loop."""
        ...

    @property
    def repl_options(self) -> Mapping[str, Any]:
        """`ReplPool.open` options with non-default values: `echo`, `hints`, `scaffold`, ..."""
        ...

    @property
    def final_names(self) -> tuple[str, ...]:
        """Variables whose assignment ends the loop; their value is the answer."""
        ...

    @property
    def runs_all_blocks(self) -> bool:
        """True where the blocks after the answering one still run."""
        ...

    @property
    def one_argument_children(self) -> bool:
        """True for the official `rlm_query(prompt, model)`, else `rlm_query(context, query)`."""
        ...

    def check(self, max_depth: int) -> None:
        """Raise `ConfigError` where the dialect has no prompt for this depth."""
        ...

    @property
    def setup(self) -> str:
        """Code run before the first turn; empty for none."""
        ...

    def opening(self, view: PromptVars) -> list[Message]:
        """The messages before the first turn."""
        ...

    def turn_prompt(self, view: PromptVars, turn: int) -> Message | None:
        """The message before reply number `turn` (from 0)."""
        ...

    def parse(self, reply: str, *, cut: bool) -> Parsed:
        """Parse blocks and tag; `cut` = the reply stopped at its output limit."""
        ...

    def observe(self, reply: str, ran: Sequence[ExecutedBlock], shown: OutputClip) -> list[Message]:
        """The messages that a turn adds to the history."""
        ...

    @property
    def last_request(self) -> Message:
        """The request for an answer when no turn is left."""
        ...


def lengths_of(value: Any) -> tuple[str, tuple[int, ...]]:
    """(type, characters of each part) of a context, as in the paper's metadata line."""
    if isinstance(value, str):
        return "str", (len(value),)
    if isinstance(value, dict):
        return "dict", tuple(_length(part) for part in value.values())
    parts = tuple(_length(p["content"] if _is_chat(p) else p) for p in value)
    return "list", parts or (0,)


def head_of(value: Any) -> str:
    """The first characters of a context, for `View.head`."""
    if not isinstance(value, str):
        parts = list(value.values() if isinstance(value, dict) else value)
        if not parts:
            return ""
        value = parts[0]["content"] if _is_chat(parts[0]) else parts[0]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:HEAD_CHARS]


def _is_chat(part: Any) -> bool:
    return isinstance(part, dict) and "content" in part


def _length(part: Any) -> int:
    return len(part if isinstance(part, str) else json.dumps(part, default=str))
