"""What a protocol is: the words between the loop and the root model, as data and pure functions.

A protocol makes the opening messages, reads a reply (blocks, answer) and words what the blocks
printed. It never calls a model, runs code or keeps state; the loop does (`loop.py`).
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
"""Characters of the context that `View.head` holds; a prompt may show them, none has to."""


@dataclass(frozen=True, slots=True)
class PromptVars:
    """What the root (or a child's root) is told about its task."""

    question: str | None
    """`None` where a child got its whole prompt as context (the official one-argument form)."""
    context_type: str
    """`str`, `list` or `dict`."""
    lengths: tuple[int, ...]
    """Characters of each part of the context."""
    depth: int
    """0 for the root."""
    max_depth: int
    """0: no sub-calls; 1: plain sub-calls; N: child loops down to depth N - 1."""
    max_turns: int
    """Turns of this loop."""
    head: str = ""
    """The first `HEAD_CHARS` characters of the context, of its first text where it has several."""

    @property
    def sub_calls(self) -> bool:
        """True where the code may call a model at all."""
        return self.max_depth > 0

    @property
    def recursion(self) -> bool:
        """True where `rlm_query` makes a child loop instead of falling back to `llm_query`."""
        return self.depth + 1 < self.max_depth


@dataclass(frozen=True, slots=True)
class OutputClip:
    """How much of a block's output the root is shown."""

    chars: int
    """Characters of one block's output."""
    side: str
    """Which part is kept: `head`, `tail`, `middle`."""
    question: str | None = None
    """The loop's question, for prompts that repeat it behind each output."""

    def official(self, text: str, total: int) -> str:
        """Cut as the official code words it (which knows only `head`).

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
    """As it ran."""
    result: BlockResult
    """What it did."""


View, Shown, Ran = PromptVars, OutputClip, ExecutedBlock
"""The names of earlier releases, for dialects of plug-ins."""


class RlmProtocol(Protocol):
    """The words of a dialect. Everything here is pure.

    One that sends other turns than system, user, assistant, user names their roles in `history`,
    for the preflight (`methods.history_of`). Those of the official package add `raw_replies` (what
    the model thought is read and sent back where the server leaves it in the reply),
    `final_var_ends` (FINAL_VAR ends the loop whatever it names), `call_texts` and `has_children`
    (see `official_calls`).
    """

    @property
    def name(self) -> str:
        """As in tables: `own`, `paper_v1`, ..."""
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
        """Options of `ReplPool.open` (`echo`, `hints`, `scaffold`, `keep_names`) that differ from
        the default."""
        ...

    @property
    def final_names(self) -> tuple[str, ...]:
        """Variables that end the loop as soon as they are set, their value being the answer."""
        ...

    @property
    def runs_all_blocks(self) -> bool:
        """True where the blocks behind the one that answered still run."""
        ...

    @property
    def one_argument_children(self) -> bool:
        """True for the official `rlm_query(prompt, model)`, else `rlm_query(context, query)`."""
        ...

    def check(self, max_depth: int) -> None:
        """Raises `ConfigError` where the dialect has no words for this depth."""
        ...

    @property
    def setup(self) -> str:
        """Code run before the first turn; empty for none."""
        ...

    def opening(self, view: PromptVars) -> list[Message]:
        """The messages before the first turn."""
        ...

    def turn_prompt(self, view: PromptVars, turn: int) -> Message | None:
        """What is said before reply number `turn` (from 0)."""
        ...

    def parse(self, reply: str, *, cut: bool) -> Parsed:
        """Blocks and tag; `cut` where the reply stopped at its output limit."""
        ...

    def observe(self, reply: str, ran: Sequence[ExecutedBlock], shown: OutputClip) -> list[Message]:
        """The messages that a turn leaves in the history."""
        ...

    @property
    def last_request(self) -> Message:
        """Asks for an answer when no turn is left."""
        ...


def lengths_of(value: Any) -> tuple[str, tuple[int, ...]]:
    """(type, characters of each part) of a context, as the paper's metadata line has them."""
    if isinstance(value, str):
        return "str", (len(value),)
    if isinstance(value, dict):
        return "dict", tuple(_length(part) for part in value.values())
    parts = tuple(_length(p["content"] if _is_chat(p) else p) for p in value)
    return "list", parts or (0,)


def head_of(value: Any) -> str:
    """The first characters of a context: what `View.head` is."""
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
