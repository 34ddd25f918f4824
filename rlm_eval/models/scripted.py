"""A deterministic model with simulated latency and token counts: tests, demonstrations, debugging.

Not a language model, and labelled as scripted wherever its numbers appear. `program: player` plays
a competent root, sub-model and reader on needle tasks: it sees only what a model would see, finds
the asked key with a regular expression, and as the root of an RLM it writes a code block that maps
`llm_query` over chunks of the context. It never sees the gold answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from rlm_eval.errors import ContextOverflow
from rlm_eval.models import Client, EndpointInfo, Sampling, merged
from rlm_eval.types import Message, Reply, Usage

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class ScriptedModel:
    """A scripted model; satisfies `models.Model`."""

    name: str = "scripted"
    """Name in tables."""
    program: str = "player"
    """`player`, `echo` (the last message) or `replies`."""
    replies: list[str] = field(default_factory=list)
    """For `replies`: one per turn of a conversation; the last one repeats."""
    latency_s: float = 0.0
    """Simulated seconds per call."""
    token_s: float = 0.0
    """Simulated seconds per completion token."""
    window: int | None = None
    """Context window in tokens of four characters."""
    price: str | None = None
    """Key into the price table; a script costs nothing that is known."""
    sampling: Sampling = field(default_factory=Sampling)
    """Only `max_output_tokens` has an effect."""

    def __post_init__(self) -> None:
        if self.program not in _PROGRAMS:
            raise ValueError(f"program={self.program}: one of {', '.join(_PROGRAMS)}")
        if (self.program == "replies") != bool(self.replies):
            raise ValueError("replies and program=replies belong together")

    @property
    def scripted(self) -> Literal[True]:
        """Marks every table and figure."""
        return True

    def open(self) -> AbstractAsyncContextManager[Client]:
        """Nothing to start."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        yield ScriptedClient(self)


@dataclass(frozen=True)
class ScriptedClient:
    """Client of a `ScriptedModel`."""

    config: ScriptedModel

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """The program's reply. Raises `ContextOverflow` above the window."""
        config = self.config
        cap = merged(config.sampling, sampling).max_output_tokens
        given = tokens_of("".join(m.content for m in messages))
        if config.window is not None and given + (cap or 0) > config.window:
            raise ContextOverflow(
                f"{config.name}: {given} prompt tokens and {cap or 0} of reply exceed the window "
                f"of {config.window}"
            )
        text = _PROGRAMS[config.program](config, messages)
        finish = "stop"
        if cap is not None and tokens_of(text) > cap:
            text, finish = text[: cap * CHARS_PER_TOKEN], "length"
        usage = Usage(input=given, output=tokens_of(text))
        seconds = config.latency_s + config.token_s * tokens_of(text)
        await asyncio.sleep(seconds)
        return Reply(text, finish, usage, model=config.name, service_seconds=seconds)

    async def check(self) -> EndpointInfo:
        """Nothing can be wrong."""
        return EndpointInfo(self.config.name, engine="scripted", window=self.config.window)


def tokens_of(text: str) -> int:
    """Simulated tokens: four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _replies(config: ScriptedModel, messages: Sequence[Message]) -> str:
    turn = sum(m.role == "assistant" for m in messages)
    return config.replies[min(turn, len(config.replies) - 1)]


def _echo(_config: ScriptedModel, messages: Sequence[Message]) -> str:
    return messages[-1].content


def _player(_config: ScriptedModel, messages: Sequence[Message]) -> str:
    whole = "\n".join(m.content for m in messages if m.role != "assistant")
    key = asked_key(whole)
    if "llm_query" in whole:
        return _root_reply(whole, key)
    if key is None:
        return "none"
    return ", ".join(numbers_for(key, whole)) or "none"


_PROGRAMS: dict[str, Callable[[ScriptedModel, Sequence[Message]], str]] = {
    "player": _player,
    "replies": _replies,
    "echo": _echo,
}

_ASKED = re.compile(
    r"(?:number|value|code)s? (?:is |are |was )?(?:(?:given |noted )?for|of|assigned to|belongs to)"
    r" (?:the )?[\"'“]?(?P<key>[\w][\w -]*?)[\"'”]?(?: mentioned| in the| given|\?)"
)


def asked_key(text: str) -> str | None:
    """What the last question of a prompt asks about: `... number for KEY ...?`."""
    found = [m.group("key") for m in _ASKED.finditer(text)]
    return found[-1] if found else None


def numbers_for(key: str, text: str) -> list[str]:
    """Numbers of four digits or more in the sentences that name the key and ask nothing."""
    numbers: dict[str, None] = {}
    for sentence in re.split(r"(?<=[.!?])\s+|\n", text):
        if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", sentence) and "?" not in sentence:
            numbers |= dict.fromkeys(re.findall(r"\d{4,}", sentence))
    return list(numbers)


def _root_reply(prompt: str, key: str | None) -> str:
    """One block that asks the sub-model about each chunk and finishes with what it found."""
    fence = "repl" if "```repl" in prompt else "python"
    question = f"What is the number for {key} in the text?"
    return f"""I ask the sub-model about each chunk.
```{fence}
text = context if isinstance(context, str) else "\\n\\n".join(context)
size = max(2000, len(text) // 4)
chunks = [text[i : i + size + 300] for i in range(0, len(text), size)]
replies = llm_query_batched([f"{{chunk}}\\n\\n{question}" for chunk in chunks])
found = [reply for reply in replies if reply.strip() != "none"]
answer["content"] = found[0] if found else "none"
answer["ready"] = True
```"""
