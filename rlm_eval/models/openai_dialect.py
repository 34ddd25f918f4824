"""The chat completions dialect: requests, replies and streams, as hosted APIs, gateways, vLLM,
llama.cpp and transformers serve speak it.

Reads the reasoning fields and parts and the usage details of the common providers into one shape;
thoughts within the text are set apart later (`thoughts`). Not covered: tools, images, several
choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.errors import Refused
from rlm_eval.models import Sampling
from rlm_eval.models.faults import TransientError
from rlm_eval.types import Message, Reply, Usage

_FIELDS = ("temperature", "top_p", "top_k", "seed", "reasoning_effort")
_GIVEN_UP = {"abort", "error", "insufficient_system_resource", "network_error"}
"""Ends that are the server's fault (vLLM that shuts down, OpenRouter, DeepSeek, GLM): what text
there is was not finished by the model."""

_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details")
"""Fields of a message that hold reasoning; the last one is a list of parts (OpenRouter)."""
_THINKING = ("thinking", "reasoning")
"""Types of the parts of a message's content that are no answer."""


@dataclass(frozen=True)
class OpenAIDialect:
    """What is particular to the chat completions API."""

    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` where the provider wants the newer name."""

    path = "/chat/completions"

    def headers(self, key: str | None) -> dict[str, str]:
        """Headers that carry the key."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """The request. `None` fields are left out: the provider's default."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
        }
        for name in _FIELDS:
            value = getattr(sampling, name)
            if value is not None:
                body[name] = value
        if sampling.max_output_tokens is not None:
            body[self.max_tokens_field] = sampling.max_output_tokens
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body | sampling.extra

    def reply(self, body: Any, prompt_bytes: int) -> Reply:
        """The reply of a whole body. Raises `Refused` or `TransientError`, both with the usage."""
        if not isinstance(body, dict):
            raise TransientError("the reply is not a JSON object")
        usage = usage_of(body.get("usage"), prompt_bytes)
        choices = body.get("choices")
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            raise TransientError("the reply has no choice", usage=usage)
        message = choices[0].get("message")
        if not isinstance(message, dict):
            raise TransientError("the choice has no message", usage=usage)
        finish = str(choices[0].get("finish_reason") or "")
        fault = choices[0].get("error")
        if fault or finish in _GIVEN_UP:
            told = f"the server gave the reply up ({finish}): {str(fault or 'no reason')[:300]}"
            raise TransientError(told, usage=usage, lost=usage.output is None)
        if finish == "content_filter":
            raise Refused("the provider's content filter cut the reply", usage=usage)
        content = plain_text(message.get("content"))
        if message.get("refusal") and not content:
            raise Refused(f"the model refused: {str(message['refusal'])[:200]}", usage=usage)
        fields = (plain_text(message.get(name)) for name in _REASONING)
        return Reply(
            text=content,
            finish_reason=finish,
            usage=usage,
            reasoning=next(filter(None, fields), "") or thinking_parts(message.get("content")),
            model=str(body.get("model") or ""),
        )

    def stream(self) -> OpenAIStream:
        """A fresh collector of stream events."""
        return OpenAIStream()


class OpenAIStream:
    """Collects the chunks of a stream into the body that an unstreamed reply has."""

    def __init__(self) -> None:
        self.done = False
        """The end was announced; without it the connection was cut."""
        self._body: dict[str, Any] = {}
        self._message: dict[str, list[str]] = {}
        self._finish: str | None = None

    def feed(self, event: dict[str, Any]) -> bool:
        """Take one chunk; true where it holds a token."""
        choices = event.get("choices") or []
        for place in (event, *choices):
            if place.get("error") is not None:
                told = str(place["error"])[:300]
                raise TransientError(f"error inside the stream: {told}", lost=True)
        for name in ("model", "usage"):
            if event.get(name):
                self._body[name] = event[name]
        got = False
        for choice in choices:
            for name, value in (choice.get("delta") or {}).items():
                if name != "role" and isinstance(value, str) and value:
                    self._message.setdefault(name, []).append(value)
                    got = True
            if choice.get("finish_reason"):
                self._finish, self.done = choice["finish_reason"], True
        return got

    def body(self) -> dict[str, Any]:
        """The collected body. An event-less stream has no choice."""
        message = {name: "".join(pieces) for name, pieces in self._message.items()}
        empty = not message and self._finish is None
        choices = [] if empty else [{"message": message, "finish_reason": self._finish}]
        return self._body | {"choices": choices}


def plain_text(content: Any) -> str:
    """The text of a message field, be it a string, a list of parts or nothing."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (p for p in content if isinstance(p, dict) and p.get("type") not in _THINKING)
        return "".join(str(p.get("text", "")) for p in parts)
    return ""


def thinking_parts(content: Any) -> str:
    """The reasoning among the parts of a message's content, as Mistral gives it."""
    parts = content if isinstance(content, list) else []
    thinking = (p for p in parts if isinstance(p, dict) and p.get("type") in _THINKING)
    return "\n".join(
        filter(None, (plain_text(p.get("thinking") or p.get("text")) for p in thinking))
    )


def usage_of(usage: Any, prompt_bytes: int) -> Usage:
    """Usage in one shape; a figure that cannot be true is unknown.

    A token covers at least one byte of prompt, so far more input than bytes (with room for a chat
    template) is absurd. Some providers leave reasoning out of the completion tokens but not out of
    the total: the total decides.
    """
    if not isinstance(usage, dict):
        return Usage()
    prompt_details = usage.get("prompt_tokens_details")
    details = usage.get("completion_tokens_details")
    cached = (
        count(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else None
    )
    for name in ("prompt_cache_hit_tokens", "cached_tokens"):
        cached = count(usage.get(name)) if cached is None else cached
    reasoning = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    given, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    total = count(usage.get("total_tokens"))
    if given is not None and output is not None and total is not None:
        beyond = total - given - output
        if 0 < beyond < 1_000_000 and (reasoning is None or beyond == reasoning):
            output, reasoning = output + beyond, beyond
    return plausible(given, cached, output, reasoning, prompt_bytes)


def plausible(
    given: int | None,
    cached: int | None,
    output: int | None,
    reasoning: int | None,
    prompt_bytes: int,
) -> Usage:
    """`Usage` without the figures that cannot be true."""
    if given is not None and not 0 < given <= 2 * prompt_bytes + 20_000:
        given = None
    if output is not None and output > 10_000_000:
        output = None
    if cached is not None and given is not None and cached > given:
        given += cached  # this provider leaves cached tokens out of the input
        if given > 2 * prompt_bytes + 20_000:
            given = cached = None
    if given is None:
        cached = None
    if reasoning is not None and (output is None or reasoning > output):
        reasoning = None
    return Usage(input=given, cached=cached, output=output, reasoning=reasoning)


def count(value: Any) -> int | None:
    """A whole number of tokens, else `None`."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
