"""The turns that are sent: the protocol's own, or those that a strict chat template accepts.

By default a history is sent exactly as the method made it. Two switches of a model's configuration
change that, and an empty turn is always replaced by a placeholder: no server guarantees to accept
one, Anthropic's refuses it. Requests are hashed before (`session.request_key.request_hash`), so
that a journal stays valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlm_eval.core.types import Message

EMPTY_TURN = "(no text)"
"""Sent for a user or assistant turn without text, such as a reply of reasoning alone."""

_NO_SYSTEM = re.compile(
    r"system (role|message|prompt|instruction)s?\W.{0,20}(\bnot|n['’]t)\b.{0,10}"
    r"(support|allow|enabl|accept)"
    r"|(\bnot|n['’]t|\bno) (support|allow|accept|recogni[sz]e)\w*\b.{0,40}\bsystem\b"
    r"|developer instruction is not enabled"
    r"|only .{0,40}\broles? (are|is) (supported|allowed|accepted)"
    r"|system messages? (must|should|can only) (be|appear|come)"
    r"|(unexpected|invalid|unknown|unsupported|valid) role\b.{0,40}(system|user, model)"
    r"|role only allows|input should be 'user' or 'assistant'",
    re.IGNORECASE,
)
_ORDER = re.compile(
    r"(roles?|messages?|turns?|conversations?|requests?)\b.{0,120}\balternat"
    r"|\balternat\w*\b.{0,120}(roles?|turns?|user)"
    r"|(start|begin|end)s? with (a |an |the )?[\"'`]?user\b"
    r"|first (\w+ ){0,2}(message|turn)\b.{0,80}\buser\b"
    r"|last (message|role|turn)\b.{0,60}\buser\b|expected last role"
    r"|(successive|consecutive)\b.{0,40}(messages?|turns?|roles?|user|assistant)"
    r"|(expected|unexpected) role\b.{0,60}\b(user|assistant)\b"
    r"|assistant message prefill",
    re.IGNORECASE,
)
"""Wordings of chat templates (Mistral, Llama 2, Gemma, Qwen), as vLLM, llama.cpp, TGI and SGLang
forward them, and of the APIs of Mistral, Perplexity, DeepSeek, Google, Bedrock, Anthropic, OpenAI.
"""


@dataclass(frozen=True)
class Turns:
    """The turns that a model's server accepts; the fields are switches of the model's config."""

    fold_system: bool = False
    """A system message becomes a user turn, joined with a user turn that follows it directly."""
    merge_turns: bool = False
    """Consecutive turns of one role are joined by an empty line; where the history would begin or
    end with the assistant's turn, a placeholder user turn is added there."""

    def sent(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages as they are sent."""
        if self.fold_system:
            messages = _folded(messages)
        if self.merge_turns:
            messages = _alternating(messages)
        return [
            Message(m.role, EMPTY_TURN) if m.role != "system" and _is_blank(m.content) else m
            for m in messages
        ]

    @property
    def label(self) -> str:
        """The active switches, for a model's name in tables: ` [fold_system]`, or empty."""
        on = [name for name in ("fold_system", "merge_turns") if getattr(self, name)]
        return f" [{', '.join(on)}]" if on else ""


AS_THEY_ARE = Turns()


def remedy(said: str, roles: Sequence[str]) -> str | None:
    """Return the setting to change if a server's error is about the turns; else `None`.

    `roles` are those of the messages that it refused.
    """
    in_order = _is_alternating(roles)
    if _NO_SYSTEM.search(said) and "system" in roles:
        switch = "fold_system"
    elif _ORDER.search(said):
        # Turns in perfect order: the template counts the system message as one.
        switch = "fold_system" if in_order and "system" in roles else "merge_turns"
    else:
        return None
    return (
        f"the server refuses these turns ({', '.join(roles[:6])}{', ...' if roles[6:] else ''}); "
        f"set {switch}: true in this model's configuration (root.{switch}=true for the root model)"
    )


def _is_alternating(roles: Sequence[str]) -> bool:
    """Return true if user and assistant alternate, user first and last, after system messages."""
    turns = list(roles)
    while turns and turns[0] == "system":
        del turns[0]
    expected = ["user", "assistant"] * len(turns)
    return bool(turns) and turns == expected[: len(turns)] and turns[-1] == "user"


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if not _is_blank(text))


def _folded(messages: Sequence[Message]) -> list[Message]:
    folded: list[Message] = []
    is_system = False  # the last turn is a system message that was folded
    for message in messages:
        if message.role == "system" and _is_blank(message.content):
            continue
        role = "user" if message.role == "system" else message.role
        if is_system and role == "user":
            folded[-1] = Message("user", _joined((folded[-1].content, message.content)))
        else:
            folded.append(Message(role, message.content))
        is_system = message.role == "system"
    return folded


def _alternating(messages: Sequence[Message]) -> list[Message]:
    runs: list[tuple[str, list[str]]] = []
    for message in messages:
        if runs and runs[-1][0] == message.role:
            runs[-1][1].append(message.content)
        else:
            runs.append((message.role, [message.content]))
    merged = [Message(role, _joined(texts)) for role, texts in runs]
    first = next((i for i, m in enumerate(merged) if m.role != "system"), len(merged))
    if first == len(merged) or merged[first].role == "assistant":
        merged.insert(first, Message("user", EMPTY_TURN))
    if merged[-1].role == "assistant":
        merged.append(Message("user", EMPTY_TURN))
    return merged
