"""Anthropic's messages API as a second dialect (docs.claude.com/en/api/messages).

The system message is a separate field, the reply is a list of blocks, the prompt's tokens are split
by cache. No `cache_control` is sent, so nothing is written to the cache at a premium. Not covered:
tools, images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.types import Message, Reply, Usage
from rlm_eval.models import Sampling
from rlm_eval.models.endpoint import Dialect
from rlm_eval.models.http.histories import AS_THEY_ARE, Turns
from rlm_eval.models.http.http_errors import Malformed
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import (
    answer_parts,
    check_answered,
    count,
    ending,
    plausible,
)


@dataclass(frozen=True)
class AnthropicModel(OpenAIModel):
    """A model behind Anthropic's API, or behind a gateway with the same API."""

    output_cap: int = 16384
    """Sent as `max_tokens`, which this API requires, where the sampling sets none."""

    @property
    def dialect(self) -> Dialect:
        """See `OpenAIModel.dialect`."""
        return AnthropicDialect(self.output_cap, self.turns)


@dataclass(frozen=True)
class AnthropicDialect:
    """The messages API's part of the protocol."""

    output_cap: int
    """`max_tokens` where the sampling sets none."""
    turns: Turns = AS_THEY_ARE
    """The order of turns that its server accepts."""

    path = "/messages"
    most_bytes = 64 << 20

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the headers that carry the key."""
        return {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """Return the request. The API has no seed and no effort by these names; see `extra`."""
        messages = self.turns.sent(messages)
        system = "\n\n".join(m.content for m in messages if m.role == "system")
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": sampling.max_output_tokens or self.output_cap,
            "messages": [
                {"role": m.role, "content": m.content} for m in messages if m.role != "system"
            ],
        }
        if system.strip():
            body["system"] = system
        for name in ("temperature", "top_p", "top_k"):
            if getattr(sampling, name) is not None:
                body[name] = getattr(sampling, name)
        if sampling.reasoning_effort is not None:
            body["output_config"] = {"effort": sampling.reasoning_effort}
        if stream:
            body["stream"] = True
        return body | sampling.extra

    def usage(self, body: Any, prompt_bytes: int) -> Usage:
        """Return the tokens that a body reports."""
        return usage_of(body.get("usage") if isinstance(body, dict) else None, prompt_bytes)

    def reply(self, body: Any, prompt_bytes: int) -> Reply:
        """Parse the reply of a whole body. Raises `Refused`, `TransientError`, both with usage."""
        usage = self.usage(body, prompt_bytes)
        if not isinstance(body, dict):
            raise Malformed("the reply is not a JSON object")
        blocks = body.get("content")
        if not isinstance(blocks, list | str) and not body.get("stop_reason"):
            raise Malformed("the reply has no content", usage=usage)
        end = ending(body, ("stop_reason",), usage)
        try:
            parts = [answer_parts([block]) for block in _blocks(blocks)]
        except Malformed as fault:
            raise Malformed(str(fault), usage=usage) from fault
        text = "".join(text for text, _ in parts)
        reasoning = "\n".join(thought for _, thought in parts if thought)
        check_answered(text or reasoning, end, body.get("usage"), usage)
        return Reply(
            text=text,
            finish_reason=end,
            usage=usage,
            reasoning=reasoning,
            model=str(body.get("model") or ""),
        )

    def stream(self) -> AnthropicStream:
        """Return a new collector of stream events."""
        return AnthropicStream()


class AnthropicStream:
    """Collects the events of a stream into the body that an unstreamed reply has."""

    def __init__(self) -> None:
        self.done = False
        """True once the end was announced: by a stop reason, `message_stop` or `[DONE]`."""
        self.over = False
        """True after one of the latter two."""
        self._body: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[tuple[int, str], list[str]] = {}

    def feed(self, event: Any) -> bool:
        """Process one event; return true if it holds a token. Raises `Malformed`."""
        kind = _object(event, "a stream event").get("type")
        if kind == "message_start":
            self._body = dict(_object(event.get("message"), "the message"))
            self._count(self._body.get("usage"))
        elif kind == "message_delta":
            if reason := _object(event.get("delta"), "the delta").get("stop_reason"):
                self._body["stop_reason"], self.done = reason, True
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self.end()
        elif kind in ("content_block_start", "content_block_delta"):
            piece = _object(event.get("delta") or event.get("content_block"), "the block")
            return self._take(event.get("index"), piece)
        return False

    def _count(self, usage: Any) -> None:
        """Merge usage. Later figures are cumulative; gateways resend some of them as 0 or null."""
        self._usage.update({name: value for name, value in _object(usage or {}, "usage").items()
                            if value or name not in self._usage})  # fmt: skip

    def _take(self, index: Any, piece: dict[str, Any]) -> bool:
        got = False
        for name in ("text", "thinking"):
            value = piece.get(name)
            if value is not None and not isinstance(value, str):
                raise Malformed(f"{name} is not a string", lost=True)
            if value:
                place = index if isinstance(index, int) else 0
                self._blocks.setdefault((place, name), []).append(value)
                got = True
        return got

    def end(self) -> None:
        """Process `message_stop`, or `[DONE]`, which gateways send."""
        self.done = self.over = True

    def body(self) -> dict[str, Any]:
        """Return the collected body."""
        kept = sorted(self._blocks.items(), key=lambda item: item[0][0])
        blocks = [{"type": name, name: "".join(pieces)} for (_, name), pieces in kept]
        return self._body | {"content": blocks, "usage": self._usage or None}


def _blocks(content: Any) -> list[Any]:
    """Return the blocks of a content. Raises `Malformed` for one of another type."""
    if not isinstance(content, list | str | None):
        raise Malformed(f"the content is of type {type(content).__name__}")
    return content if isinstance(content, list) else [content]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not a JSON object", lost=True)
    return value


def usage_of(usage: Any, prompt_bytes: int) -> Usage:
    """Convert usage to ours: the prompt's parts (fresh, written to and read from cache) add up."""
    if not isinstance(usage, dict):
        return Usage()
    fresh, cached = count(usage.get("input_tokens")), count(usage.get("cache_read_input_tokens"))
    given = None
    if fresh is not None:
        given = fresh + (cached or 0) + (count(usage.get("cache_creation_input_tokens")) or 0)
    return plausible(given, cached, count(usage.get("output_tokens")), None, prompt_bytes)
