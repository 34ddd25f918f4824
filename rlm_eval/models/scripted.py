"""A deterministic model with simulated latency and token counts: tests, demonstrations, debugging.

Not a language model, and labelled as scripted wherever its numbers appear. `program: player` plays
a competent root, sub-model and reader on needle tasks: it sees only what a model would see, finds
the requested key with a regular expression, and as the root of an RLM it writes a code block that
maps `llm_query` over chunks of the context. It never sees the gold answer, unless it is the judge.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from rlm_eval.core.errors import ContextOverflow
from rlm_eval.core.types import Message, Reply, Usage
from rlm_eval.models import Client, EndpointInfo, Sampling, merged

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class ScriptedModel:
    """A scripted model; satisfies `models.Model`."""

    name: str = "scripted"
    """Name in tables."""
    program: str = "player"
    """`player`, `echo` (the last message), `replies`, or `vectors`: an embedder with meaningless
    vectors."""
    replies: list[str] = field(default_factory=list)
    """For `replies`: one per turn of a conversation; the last one repeats."""
    latency_s: float = 0.0
    """Simulated seconds per call."""
    token_s: float = 0.0
    """Simulated seconds per completion token."""
    window: int | None = None
    """Context window in tokens of four characters."""
    price: str | None = None
    """Key into the price table; the price of a script is unknown."""
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
        """Open a client; starts nothing."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        yield ScriptedClient(self)


@dataclass(frozen=True)
class ScriptedClient:
    """Client of a `ScriptedModel`."""

    config: ScriptedModel

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """Return the program's reply. Raises `ContextOverflow` above the window."""
        config = self.config
        cap = merged(config.sampling, sampling).max_output_tokens
        given = await self.count_tokens(messages)
        if config.window is not None and given + (cap or 0) > config.window:
            raise ContextOverflow(
                f"{config.name}: {given} prompt tokens and {cap or 0} of reply exceed the window "
                f"of {config.window}"
            )
        text = _PROGRAMS[config.program](config, messages)
        finish = "stop"
        if cap is not None and tokens_of(text) > cap:
            text, finish = text[: cap * CHARS_PER_TOKEN], "length"
        written = 0 if config.program == "vectors" else tokens_of(text)
        usage = Usage(input=given, output=written)
        seconds = config.latency_s + config.token_s * tokens_of(text)
        await asyncio.sleep(seconds)
        return Reply(text, finish, usage, model=config.name, service_seconds=seconds)

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count tokens as `complete` does."""
        return tokens_of("".join(m.content for m in messages))

    async def check(self) -> EndpointInfo:
        """Return the facts; cannot fail."""
        return EndpointInfo(self.config.name, engine="scripted", window=self.config.window)

    async def account(self) -> None:
        """Return `None`: there is no server."""


def tokens_of(text: str) -> int:
    """Return simulated tokens: four characters each, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _replies(config: ScriptedModel, messages: Sequence[Message]) -> str:
    turn = sum(m.role == "assistant" for m in messages)
    return config.replies[min(turn, len(config.replies) - 1)]


def _echo(_config: ScriptedModel, messages: Sequence[Message]) -> str:
    return messages[-1].content


def _vectors(_config: ScriptedModel, messages: Sequence[Message]) -> str:
    """Return a hash per text like an embedder's reply: base64 of little-endian 16-bit floats."""
    rows = []
    for message in messages:
        digest = hashlib.sha256(message.content.encode("utf-8", "surrogatepass")).digest()[:8]
        rows.append(struct.pack("<8e", *(byte - 127.5 for byte in digest)))
    return base64.b64encode(b"".join(rows)).decode()


def _player(_config: ScriptedModel, messages: Sequence[Message]) -> str:
    whole = "\n".join(m.content for m in messages if m.role != "assistant")
    if judged := _JUDGE.search(whole):
        return f'{{"correct": {str(judged[1].lower() in judged[2].lower()).lower()}}}'
    keys = asked_keys(whole)
    if "llm_query" in whole:
        return _root_reply(whole, keys, again=any(_OPENING in m.content for m in messages))
    found = [number for key in keys for number in numbers_for(key, whole)]
    return ", ".join(found) or "none"


_PROGRAMS: dict[str, Callable[[ScriptedModel, Sequence[Message]], str]] = {
    "player": _player,
    "replies": _replies,
    "echo": _echo,
    "vectors": _vectors,
}

_RULER = re.compile(r"(?:magic \w+|number) for (.+?) mentioned")
_JUDGE = re.compile(r"^Reference answer: (.+?)\n+Answer to grade: (.+)", re.MULTILINE | re.DOTALL)
_WORD_KEY = re.compile(r"(?<![\w-])[a-z]+-[a-z]+(?![\w-])")
_OPENING = "I ask the sub-model about each chunk."


def asked_keys(text: str) -> list[str]:
    """Return the keys in the last question that names one: RULER's form, else hyphenated words."""
    end = len(text)
    while (end := text.rfind("?", 0, end)) >= 0:
        start = max(text.rfind(mark, 0, end) for mark in ".?!\n") + 1
        question = text[start : end + 1]
        if ruler := _RULER.search(question):
            return re.split(r",? and |, ", ruler.group(1))
        if keys := _WORD_KEY.findall(question):
            return keys
    return []


def numbers_for(key: str, text: str) -> list[str]:
    """Return numbers of four digits or more in statements that name the key."""
    numbers: dict[str, None] = {}
    named = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
    for sentence in re.split(r"(?<=[.!?])\s+|\n", text):
        if "?" not in sentence and named.search(sentence):
            numbers |= dict.fromkeys(re.findall(r"\d{4,}", named.sub("", sentence)))
    return list(numbers)


def _root_reply(prompt: str, keys: list[str], again: bool) -> str:
    """Return one block that calls the sub-model on each chunk, and the end the prompt demands."""
    fence = "repl" if "```repl" in prompt else "python"
    if 'answer["content"]' in prompt:
        finish = 'answer["content"] = result\nanswer["ready"] = True'
    elif "`Final`" in prompt:
        finish = "Final = result"
    elif again:
        return "FINAL_VAR(result)"
    else:
        finish = "print(result)"
    question = f"What is the number for {', '.join(keys)} mentioned in the text?"
    return f"""{_OPENING}
```{fence}
text = context if isinstance(context, str) else "\\n\\n".join(context)
size = max(2000, min(len(text) // 4, 400_000))
chunks = [text[i : i + size + 300] for i in range(0, len(text), size)]
asked = {question!r}
replies = llm_query_batched([chunk + "\\n\\n" + asked for chunk in chunks])
found = [number for reply in replies for number in reply.split(", ") if number != "none"]
result = ", ".join(dict.fromkeys(found)) or "none"
{finish}
```"""
