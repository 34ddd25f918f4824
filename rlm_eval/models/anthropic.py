"""Anthropic's messages API as a second dialect (docs.claude.com/en/api/messages).

The system message travels apart, the reply is a list of blocks, the prompt's tokens are split by
cache. No `cache_control` is sent, so nothing is written to the cache at a premium. Finish reasons
are given in the words of the chat completions API. Not covered: tools, images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.errors import Refused
from rlm_eval.models import Sampling
from rlm_eval.models.endpoint import Dialect
from rlm_eval.models.faults import TransientError
from rlm_eval.models.histories import AS_THEY_ARE, Turns
from rlm_eval.models.http import OpenAIModel
from rlm_eval.models.openai_dialect import count, plausible
from rlm_eval.types import Message, Reply, Usage

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


@dataclass(frozen=True)
class AnthropicModel(OpenAIModel):
    """A model behind Anthropic's API, or a gateway that speaks it."""

    output_cap: int = 16384
    """Sent as `max_tokens`, which this API requires, where the sampling names none."""

    @property
    def dialect(self) -> Dialect:
        """See `OpenAIModel.dialect`."""
        return AnthropicDialect(self.output_cap, self.turns)


@dataclass(frozen=True)
class AnthropicDialect:
    """What is particular to the messages API."""

    output_cap: int
    """`max_tokens` where the sampling names none."""
    turns: Turns = AS_THEY_ARE
    """The order of turns that its server takes."""

    path = "/messages"
    most_bytes = 64 << 20

    def headers(self, key: str | None) -> dict[str, str]:
        """Headers that carry the key."""
        return {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """The request. The API knows no seed and no effort by these names; see `extra`."""
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

    def reply(self, body: Any, prompt_bytes: int) -> Reply:
        """The reply of a whole body. Raises `Refused` or `TransientError`, both with the usage."""
        if not isinstance(body, dict):
            raise TransientError("the reply is not a JSON object")
        usage = usage_of(body.get("usage"), prompt_bytes)
        reason = str(body.get("stop_reason") or "")
        if reason == "refusal":
            raise Refused("the model's safety classifier refused", usage=usage)
        blocks = [block for block in body.get("content") or [] if isinstance(block, dict)]
        if not blocks and reason != "end_turn":
            raise TransientError("the reply has no content", usage=usage)
        return Reply(
            text="".join(str(b["text"]) for b in blocks if b.get("type") == "text"),
            finish_reason=_FINISH.get(reason, reason),
            usage=usage,
            reasoning="\n".join(str(b["thinking"]) for b in blocks if b.get("type") == "thinking"),
            model=str(body.get("model") or ""),
        )

    def stream(self) -> AnthropicStream:
        """A fresh collector of stream events."""
        return AnthropicStream()


class AnthropicStream:
    """Collects the events of a stream into the body that an unstreamed reply has."""

    def __init__(self) -> None:
        self.done = False
        """The end was announced."""
        self._body: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, str]] = {}

    def feed(self, event: dict[str, Any]) -> bool:
        """Take one event; true where it holds a token."""
        kind = event.get("type")
        if kind == "error":
            told = str(event.get("error"))[:300]
            raise TransientError(f"error inside the stream: {told}", lost=True)
        if kind == "message_start":
            self._body = dict(event["message"])
            self._usage.update(self._body.get("usage") or {})
        elif kind == "message_delta":
            self._body["stop_reason"] = event["delta"].get("stop_reason")
            self._usage.update(event.get("usage") or {})
        elif kind == "message_stop":
            self.done = True
        elif kind == "content_block_delta":
            for name, block in (("text", "text"), ("thinking", "thinking")):
                if piece := event["delta"].get(name):
                    kept = self._blocks.setdefault(event["index"], {"type": block, block: ""})
                    kept[block] += piece
                    return True
        return False

    def body(self) -> dict[str, Any]:
        """The collected body."""
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        return self._body | {"content": blocks, "usage": self._usage or None}


def usage_of(usage: Any, prompt_bytes: int) -> Usage:
    """Usage in our shape: the prompt's parts (fresh, written to and read from the cache) add up."""
    if not isinstance(usage, dict):
        return Usage()
    fresh, cached = count(usage.get("input_tokens")), count(usage.get("cache_read_input_tokens"))
    given = None
    if fresh is not None:
        given = fresh + (cached or 0) + (count(usage.get("cache_creation_input_tokens")) or 0)
    return plausible(given, cached, count(usage.get("output_tokens")), None, prompt_bytes)
