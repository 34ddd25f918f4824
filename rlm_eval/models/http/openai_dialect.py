"""The chat completions dialect of hosted APIs, gateways, vLLM, llama.cpp and transformers serve:
requests, replies and streams.

Converts the reasoning fields and parts and the usage details of the common providers to one shape;
thoughts within the text are separated later (`thoughts`). `http_errors` handles errors inside a
reply; a reply in no form of the API is `Malformed`. Not covered: tools, images, several choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.errors import Refused
from rlm_eval.core.types import Message, Reply, Usage
from rlm_eval.models import Sampling
from rlm_eval.models.http import finish
from rlm_eval.models.http.histories import AS_THEY_ARE, Turns
from rlm_eval.models.http.http_errors import Malformed, TransientError

_FIELDS = ("temperature", "top_p", "top_k", "seed", "reasoning_effort")
_TEXTS = ("text", "output_text")
"""Types of a part that holds text."""
_DEEPEST = 8
"""Most levels of nested parts in a text field."""
_ENDS = ("finish_reason", "native_finish_reason", "stop_reason")
"""Fields of a choice that may hold its finish reason; the first known word counts."""

_REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details")
"""Fields of a message that hold reasoning; the last one is a list of parts (OpenRouter)."""
_READ = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
_WRITTEN = ("cache_creation_input_tokens", "cache_creation_tokens", "cache_write_tokens")
"""Names of counts of cached tokens: of DeepSeek, Moonshot, and gateways to Anthropic."""


@dataclass(frozen=True)
class OpenAIDialect:
    """The chat completions API's part of the protocol."""

    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` where the provider requires the newer name."""
    turns: Turns = AS_THEY_ARE
    """The order of turns that its server accepts."""

    path = "/chat/completions"
    most_bytes = 64 << 20

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the headers that carry the key."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]:
        """Return the request. `None` fields are left out: the provider's default."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in self.turns.sent(messages)],
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

    def usage(self, body: Any, prompt_bytes: int) -> Usage:
        """Return the tokens that a body reports."""
        return usage_of(body.get("usage") if isinstance(body, dict) else None, prompt_bytes)

    def reply(self, body: Any, prompt_bytes: int) -> Reply:
        """Parse the reply of a whole body. Raises `Refused`, `TransientError`, both with usage."""
        usage = self.usage(body, prompt_bytes)
        choice = _first_choice(body, usage)
        message = choice.get("message")
        if message is None and finish.finish_of(*(choice.get(name) for name in _ENDS)):
            # Gemini leaves it out where a filter or the cap left no text; some gateways answer in
            # the form of the older completions.
            message = {"content": choice.get("text")}
        if not isinstance(message, dict):
            raise Malformed("the choice has no message", usage=usage)
        try:
            content, thought = answer_parts(message.get("content"))
            refusal, _ = text_parts(message.get("refusal"))
            fields = ["".join(text_parts(message.get(name))) for name in _REASONING]
        except Malformed as fault:
            raise Malformed(str(fault), usage=usage) from fault
        reasoning = "\n".join(filter(None, (next(filter(None, fields), ""), thought))).strip()
        end = ending(choice, _ENDS, usage)
        if refusal and not content:
            raise Refused(f"the model refused: {refusal[:200]}", usage=usage)
        check_answered(content or reasoning, end, body.get("usage"), usage)
        return Reply(
            text=content,
            finish_reason=end,
            usage=usage,
            reasoning=reasoning,
            model=str(body.get("model") or ""),
        )

    def stream(self) -> OpenAIStream:
        """Return a new collector of stream events."""
        return OpenAIStream()


class OpenAIStream:
    """Collects the chunks of a stream into the body that an unstreamed reply has.

    The end is announced by a finish reason or by `[DONE]`. With `[DONE]` alone the reply is whole
    and its finish reason unknown.
    """

    def __init__(self) -> None:
        self.done = False
        """True once the end was announced; without it the connection was cut."""
        self.over = False
        """True after `[DONE]`."""
        self._body: dict[str, Any] = {}
        self._message: dict[str, list[str]] = {}
        self._finish: dict[str, Any] = {}

    def feed(self, event: Any) -> bool:
        """Process one chunk; return true if it holds a token. Raises `Malformed`."""
        if not isinstance(event, dict):
            raise Malformed("a stream event is not a JSON object", lost=True)
        choices = event.get("choices")
        if not isinstance(choices, list | None) or not all(
            isinstance(choice, dict) and isinstance(choice.get("delta"), dict | None)
            for choice in choices or []
        ):
            raise Malformed("a stream event's choices are of a wrong type", lost=True)
        for name in ("model", "usage"):
            if event.get(name):
                self._body[name] = event[name]
        got = False
        for choice in choices or []:
            got = self._take(choice.get("delta") or {}) or got
            if choice.get("finish_reason"):  # the first one: closing chunks may repeat another
                self._finish = {n: choice[n] for n in _ENDS if choice.get(n)} | self._finish
                self.done = True
        return got

    def _take(self, delta: dict[str, Any]) -> bool:
        """Keep the parts of a delta: strings, or lists of parts."""
        got = False
        for name, value in delta.items():
            if name not in ("content", "refusal", *_REASONING):
                continue
            text, thought = (answer_parts if name == "content" else text_parts)(value)
            for field, piece in ((name, text), ("reasoning_content", thought)):
                if piece:
                    self._message.setdefault(field, []).append(piece)
                    got = True
        return got

    def end(self) -> None:
        """Process `[DONE]`."""
        self.done = self.over = True

    def body(self) -> dict[str, Any]:
        """Return the collected body. An event-less stream has no choice."""
        message = {name: "".join(pieces) for name, pieces in self._message.items()}
        empty = not message and not self._finish
        return self._body | {"choices": [] if empty else [{"message": message, **self._finish}]}


def _first_choice(body: Any, usage: Usage) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Malformed("the reply is not a JSON object")
    choices = body.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise Malformed("the reply has no choice", usage=usage)
    return choices[0]


def ending(place: dict[str, Any], fields: Sequence[str], usage: Usage) -> str:
    """Return the finish reason, in our words (`models.http.finish`).

    Raises `Refused` where the reply was blocked, `TransientError` where the server aborted it.
    """
    said = [place.get(name) for name in fields]
    end = finish.finish_of(*said)
    shown = ", ".join(str(value)[:60] for value in said if value)
    if end == finish.GIVEN_UP:
        told = f"the server aborted the reply (finish reason: {shown})"
        raise TransientError(told, usage=usage, lost=usage.output is None)
    if end == finish.REFUSED:
        told = f"a content filter or the model refused (finish reason: {shown})"
        raise Refused(told, usage=usage)
    return end


def check_answered(said: str, end: str, told: Any, usage: Usage) -> None:
    """Raise `TransientError` for an empty reply that no model ended: the server's fault.

    A model may return an empty reply; but then there is a finish reason, and its prompt was
    counted.
    """
    figures = [told[n] for n in told if "tokens" in n] if isinstance(told, dict) else []
    counts = [value for value in figures if isinstance(value, int | float)]
    if said or (end and (any(counts) or not counts)):
        return
    why = "and no finish reason" if not end else "and a usage of 0 tokens"
    raise Malformed(f"the reply has no text {why}", usage=usage)


def answer_parts(content: Any) -> tuple[str, str]:
    """Return `text_parts` of the answer's own field.

    Raises `Malformed` also for an object in it that should hold the text and does not: the answer
    is somewhere else in it. Parts of a list that say that they are of another type hold none.
    """
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, dict) or part.get("thinking") or part.get("reasoning"):
            continue
        kind, text = part.get("type"), part.get("text")
        other = isinstance(content, list) and bool(kind) and kind not in _TEXTS
        if not (isinstance(text, str) or other or ("text" in part and text is None)):
            raise Malformed("a text field is an object without a text")
    return text_parts(content)


def text_parts(content: Any, depth: int = 0) -> tuple[str, str]:
    """Return (text, thoughts) of a message field: a string, a list of parts, one part, or nothing.

    Raises `Malformed` for any other type, and for lists nested too deeply.
    """
    if depth > _DEEPEST:
        raise Malformed("a text field is nested too deep")
    if content is None or content is False:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        kind = content.get("type")
        inner = content.get("thinking") or content.get("reasoning")
        if inner is not None and kind != "text":
            return "", "".join(text_parts(inner, depth + 1))
        text = content.get("text")
        text = text if isinstance(text, str) else ""
        return ("", text) if kind in ("thinking", "reasoning") else (text, "")
    if isinstance(content, list):
        pairs = [text_parts(part, depth + 1) for part in content]
        return "".join(text for text, _ in pairs), "".join(thought for _, thought in pairs)
    raise Malformed(f"a text field is of type {type(content).__name__}")


def usage_of(usage: Any, prompt_bytes: int) -> Usage:
    """Convert usage to one shape; an impossible figure becomes unknown.

    A token covers at least one byte of prompt, so far more input than bytes (with room for a chat
    template) is impossible. Some providers leave reasoning out of the completion tokens, or cached
    tokens out of the prompt tokens, but not out of the total: the total decides.
    """
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("completion_tokens_details")
    cached, written = _cache_of(usage)
    reasoning = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    given, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    total = count(usage.get("total_tokens"))
    if given is not None and total is not None and output is None and total >= given:
        output = total - given  # Gemini, where the cap was used up by thoughts
    if given is not None and output is not None and total is not None:
        beyond = total - given - output
        read = cached or 0
        if beyond > 0 and beyond in (read, written, read + written) and beyond != reasoning:
            given += beyond  # left out of the prompt tokens, as Anthropic counts
            reasoning = reasoning if reasoning is None or reasoning <= output else None
        elif 0 < beyond < 1_000_000 and (reasoning is None or beyond == reasoning):
            output, reasoning = output + beyond, beyond
    elif given is not None and written > given:
        given += written  # no part of it
    return plausible(given, cached, output, reasoning, prompt_bytes)


def _cache_of(usage: dict[str, Any]) -> tuple[int | None, int]:
    """Return the prompt's tokens (read from a cache, written to it) by the names of all vendors."""
    details = usage.get("prompt_tokens_details")
    inner = details if isinstance(details, dict) else {}
    read = [inner.get("cached_tokens"), *(usage.get(name) for name in _READ)]
    written = [*(inner.get(name) for name in _WRITTEN), *(usage.get(name) for name in _WRITTEN)]
    # The largest: some gateways send a 0 under one name and the figure under another.
    known = [[n for value in told if (n := count(value)) is not None] for told in (read, written)]
    return max(known[0], default=None), max(known[1], default=0)


def plausible(
    given: int | None,
    cached: int | None,
    output: int | None,
    reasoning: int | None,
    prompt_bytes: int,
) -> Usage:
    """Return `Usage` without impossible figures."""
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
    """Return a whole number of tokens, written as `12` or `12.0`, else `None`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
