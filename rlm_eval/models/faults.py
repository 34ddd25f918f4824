"""From a failed response to a typed error: what is transient, what is final, what it means.

Not covered: errors inside a well-formed reply (a content filter, an empty choice); those are the
dialect's. The wordings are those of OpenAI, Azure, vLLM, llama.cpp and Anthropic as their servers
send them; the fake server of the tests repeats each. Those of Gemini, SGLang, xAI, Moonshot and
Bedrock are as users quote them.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from rlm_eval.errors import (
    BadRequest,
    ContextOverflow,
    EndpointUnusable,
    ModelError,
    ProviderError,
    Refused,
)
from rlm_eval.types import Usage

_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_THROTTLED = {429, 503, 529}
_WINDOW_CODES = {"context_length_exceeded", "exceed_context_size_error", "request_too_large"}
_WINDOW = re.compile(
    r"maximum context length|exceeds? the (available )?context|context (size|window|length) "
    r"(has been |was )?exceeded|prompt is too long|exceed context limit|input tokens exceed"
    r"|longer than the (maximum model|model's context) length"
    r"|exceeds? the (model's )?context window|input token count.{0,40}exceeds"
    r"|maximum prompt length|exceeded model token limit|input is too long",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content_filter|content_policy|content management policy|moderation|flagged", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"model_not_found|model[^.]{0,80}(not found|does not exist|not a valid|unknown)|"
    r"not a valid model|unknown model",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"insufficient_quota|credit balance is too low", re.IGNORECASE)
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)


class TransientError(Exception):
    """This attempt failed; the same request may succeed later. Never leaves `models`."""

    def __init__(
        self,
        message: str,
        *,
        throttled: bool = False,
        retry_after: float | None = None,
        usage: Usage | None = None,
        lost: bool = False,
    ) -> None:
        """`lost`: the request was sent, and nothing tells whether its reply will be billed."""
        super().__init__(message)
        self.throttled = throttled
        self.retry_after = retry_after
        self.usage = usage or Usage()
        self.lost = lost


def seconds_until(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` (seconds or an HTTP date) or `retry-after-ms` asks for."""
    millis, after = headers.get("retry-after-ms"), headers.get("Retry-After")
    try:
        if millis is not None:
            return max(0.0, float(millis) / 1000)
        if after is not None:
            return max(0.0, float(after))
    except ValueError:
        if after is not None:
            try:
                date = email.utils.parsedate_to_datetime(after)
            except ValueError:
                return None
            return max(0.0, date.timestamp() - time.time())
    return None


def message_of(body: bytes) -> tuple[str, str]:
    """(message, codes and types) of an error body in any dialect; the raw text where it is none."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip(), ""
    if isinstance(value, list) and value:  # Gemini's endpoint wraps its error in a list
        value = value[0]
    if isinstance(value, dict):
        error = value.get("error", value)
        if isinstance(error, dict):
            codes = f"{error.get('code')} {error.get('type')} {error.get('status')}"
            return str(error.get("message") or error), codes
        return str(error), ""
    return str(value), ""


def fault_of(
    status: int, body: bytes, headers: Mapping[str, str], *, where: str, key_env: str | None
) -> ModelError | TransientError:
    """The error that a response of this status means. `where` names model and address.

    The provider's words are quoted, except where they may hold (a part of) the key.
    """
    words, codes = message_of(body)
    said = f"{where}: HTTP {status}: {' '.join(words.split())[:400]}"
    both = f"{codes} {words}"
    if status == 401 or (status == 403 and not _FILTER.search(both)):
        fix = f"check the key in {key_env}" if key_env else "set api_key_env to the key's variable"
        return EndpointUnusable(f"{where}: authentication failed (HTTP {status}); {fix}")
    if status == 402 or _NO_CREDIT.search(both):
        return EndpointUnusable(f"{said}; the account has no credit")
    if status in (400, 413, 422, 500) and (
        any(code in _WINDOW_CODES for code in codes.split()) or _WINDOW.search(words)
    ):
        return ContextOverflow(said)
    if status in (400, 403, 422) and _FILTER.search(both):
        return Refused(said)
    if status == 404 or (status in (400, 422) and _NO_MODEL.search(both)):
        return EndpointUnusable(f"{said}; check `model` and `base_url`")
    if status == 429 and _TOO_LARGE.search(words):
        return ProviderError(f"{said}; above the account's rate limit whenever it is sent")
    if status in _TRANSIENT:
        return TransientError(
            said, throttled=status in _THROTTLED, retry_after=seconds_until(headers)
        )
    if status >= 500:
        return ProviderError(said)
    return BadRequest(said)
