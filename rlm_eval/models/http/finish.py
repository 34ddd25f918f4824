"""Finish reasons: each vendor's word mapped to one of the harness.

`stop`, `length` (cut at an output cap or at the window), `content_filter` (refused or blocked),
`tool_calls`, `error` (the server aborted: retry), `""` (not given). Any other word is kept
unchanged, so that it can be counted and named (`core.types.Call.has_unknown_end`).

Words of OpenAI, Anthropic, Gemini, Mistral, Cohere, DeepSeek, GLM, Bedrock, watsonx, TGI, vLLM and
SGLang by their documentation; the families below cover words of the same kinds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STOP, LENGTH, REFUSED, CALLS, GIVEN_UP = "stop", "length", "content_filter", "tool_calls", "error"

_EXACT = {
    STOP: "stop stopped stop_sequence stop_token stop_str eos eos_token eos_found end end_turn "
    "end_of_turn end_of_text endoftext complete completed completion finish finished done success "
    "normal reason_stop",
    LENGTH: "length limit cutoff cut_off incomplete error_limit",
    REFUSED: "refusal spii language sensitive",
    CALLS: "tool_calls tool_call tool_use function_call function_calls",
    GIVEN_UP: "abort aborted error errored failed cancelled canceled user_cancel not_finished",
    "": "null none unknown unspecified undefined",
}
_WORDS = {word: kind for kind, words in _EXACT.items() for word in words.split()}
_KEPT = {"malformed_function_call", "unexpected_tool_call", "too_many_tool_calls"}
"""The model's own fault, neither a cut nor a refusal: kept and named."""

_FAMILIES = (
    (GIVEN_UP, r"network|time_?d?_?(out|limit)|overload|unavailable|insufficient|rate_limit"
     r"|_error|error_(?!limit|toxic)|internal|shutdown|preempt"),
    (REFUSED, r"filter|safety|recitation|prohibited|block|refus|moderat|guardrail|policy|violat"
     r"|harm|toxic|sensitive|copyright|intervened"),
    (LENGTH, r"length|max(imum)?_(\w+_)?(tokens?|len|context|output|input)|truncat|context_(window|"
     r"full|limit|size|over)|(tokens?|output|size)_limit|limit_(reached|exceeded)|exceeded"),
)  # fmt: skip


def finish_of(*said: Any) -> str:
    """Return our word for the first of `said` that has one; else the first one given, unchanged."""
    words = [_word(value) for value in said]
    known = [kind for word in words if (kind := _kind(word))]
    return known[0] if known else next((w for w in words if w and _kind(w) is None), "")


def _word(value: Any) -> str:
    """Return a field's word; some servers wrap it in an object (`{"type": "length"}`)."""
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    return str(value).strip()[:60] if isinstance(value, str | int | float) else ""


@lru_cache(maxsize=256)
def _kind(said: str) -> str | None:
    """Return our word; `""` for a word without meaning, `None` for an unknown one."""
    # `FinishReason.MAX_TOKENS`, `FINISH_REASON_SAFETY`, `content-filter`, `maxTokens`
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", said)
    snake = re.sub(r"[\s.-]+", "_", snake).lower()
    snake = re.sub(r"^(finish|stop)_?reason_+", "", snake)
    cause, told = snake.rpartition(":")[2].strip("_"), snake.partition(":")[0].strip("_")
    if cause in _KEPT:
        return None
    for word in dict.fromkeys((cause, told)):  # `content_filter: RECITATION`
        if word in _WORDS:
            return _WORDS[word]
        for kind, family in _FAMILIES:
            if re.search(family, word):
                return kind
    return None if snake else ""
