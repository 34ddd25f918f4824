"""Replies that ended by themselves without text: the answer may be in a field that is not read.

A server's parser puts a text into `reasoning_content` (a model that does not think, behind a
reasoning parser) or into tool calls. One such reply is a model's own doing; many are a setting.
"""

from __future__ import annotations

from collections.abc import Iterable

from rlm_eval.core.types import Call, Role

MOST = 0.05
"""Above this share of a cell's replies, nothing may be concluded from its score."""
NEXT_STEP = (
    "start the server without its reasoning and tool parsers, or turn the model's thinking on"
)


def lacks_text(text: str, reasoning: str, finish_reason: str) -> bool:
    """Return true for a reply of reasoning or tool calls alone that no cap ended."""
    end = finish_reason.lower()
    return not text.strip() and (end == "tool_calls" or (end == "stop" and bool(reasoning)))


def counts(calls: Iterable[Call]) -> tuple[int, int]:
    """Return (replies without text, all replies), judges and embedders left out."""
    replies = [c for c in calls if c.error is None and c.role not in (Role.JUDGE, Role.EMBED)]
    return sum(lacks_text(c.reply, c.reasoning, c.finish_reason) for c in replies), len(replies)


def told(lacking: int, replies: int) -> str:
    """Return the sentence for one cell, without its full stop."""
    return (
        f"{lacking} of {replies} replies hold no text, only reasoning or tool calls: the answers "
        f"may be in there, and the score may not be the model's; {NEXT_STEP}"
    )
