"""Parse error objects of any server, wherever they are in a body.

A body of any JSON shape becomes one `Trouble`: its words, codes, parameter, status and wait. Errors
are in `error`, `errors`, `detail` (FastAPI), `base_resp` (MiniMax), at the top level, in a choice,
in a list (Gemini), or as JSON inside a string (`error.metadata.raw` of OpenRouter). Only named
fields are read, so that an echoed prompt is not. `http_errors` classifies the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from rlm_eval.models.http.window import plain

_WORDS = (
    "message", "msg", "error", "detail", "details", "errors", "error_message", "error_msg",
    "errorMessage", "status_msg", "description", "error_description", "faultstring", "title",
    "raw", "reason", "cause",
)  # fmt: skip
_INSIDE = ("error", "errors", "detail", "details", "message", "metadata", "raw", "cause", "fault",
           "innererror", "inner_error", "base_resp", "upstream", "provider_error",
           *(_BLOCKED := ("promptFeedback", "prompt_feedback")))  # fmt: skip
_CODES = ("blockReason", "block_reason", "code", "type", "status", "error_code", "error_type",
          "errorCode", "errorType", "errcode", "status_code", "statusCode", "http_status", "__type",
          "reason", "provider_error_code")  # fmt: skip
_PARAMS = ("param", "loc", "parameter")
_TAG = re.compile(r"<(style|script)\b.*?</\1>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_DEEPEST = 8
_LONGEST = 4000
"""Characters of the message that are read: some errors are web pages."""
_ECHO = re.compile(r"""['"]input['"]\s*:\s*(?!-?\d).*""", re.DOTALL)
"""The part of the request that pydantic repeats: the prompt's words are not the server's."""
_HARMLESS = {"", "0", "none", "null", "false", "ok", "success", "succeeded", "200", "no error"}

_GLM = {
    1113: 402, 1211: 404, 1221: 404, 1222: 404, 1234: 500, 1301: 400, 1302: 429, 1303: 429,
    1304: 429, 1305: 429, 1308: 429,
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004, 1110, 1111), 401),
}  # fmt: skip
"""GLM's own codes, docs.bigmodel.cn: business error codes."""
_KEY_WORDS = re.compile(r"authenticat|token|api ?key|account|身份|令牌|账户|密钥", re.IGNORECASE)
"""Words of GLM's messages about a wrong key."""
_MINIMAX = {
    1000: 500, 1001: 504, 1002: 429, 1004: 401, 1008: 402, 1013: 500, 1024: 500, 1026: 400,
    1027: 400, 1033: 500, 1039: 429, 1041: 429, 2013: 400, 2049: 401, 2056: 429,
}  # fmt: skip
"""Codes of MiniMax's `base_resp`, platform.minimax.io: error codes."""
_FILTERED = {"1301", "1026", "1027"}

_STATUS_WORDS = (
    (402, r"insufficient (quota|balance|credit|fund)|billing|arrear|payment required"
     r"|budget exceeded"),
    (429, r"rate limit|throttl|too many requests|resource exhausted|quota|requests? limit"),
    (401, r"authenticat|unauthori[sz]ed|invalid (api )?key|incorrect api key|expired token"
     r"|api key (not valid|invalid|expired)|unrecognized client|invalid (access )?token"),
    (403, r"permission|forbidden|access denied"),
    (413, r"(request|payload)( body| entity)? too large"),
    (404, r"not found|no such model"),
    (400, r"content (filter|policy)|inspection|invalid (request|argument|param|prompt|input)"
     r"|bad request|validation|failed precondition|unprocessable|context (length|window)"),
    (504, r"time ?d? ?out|deadline"),
    (503, r"overload|unavailable|capacity|busy"),
    (500, r"internal|server error|api error|bad gateway|upstream|engine|aborted|connection"),
)  # fmt: skip
"""Codes of OpenAI, Anthropic, Google, AWS, DashScope and LiteLLM as `plain` words."""


@dataclass(frozen=True)
class Trouble:
    """An error, in one form for every server."""

    words: str
    """Its messages, the outermost first; never empty."""
    codes: tuple[str, ...] = ()
    """Codes, types and status words, unchanged."""
    param: str = ""
    """Name of the request's field at fault, else empty."""
    statuses: tuple[int, ...] = ()
    """HTTP statuses in it, by number or by word: one per object, the outermost first."""
    retry_after: float | None = None
    """Seconds to wait before a retry."""


def trouble_of(value: Any, *, by_number: bool = True) -> Trouble:
    """Return the error in a body of any JSON shape.

    `by_number`: a vendor's own number may imply a status, where nothing else in its object does.
    """
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
        parts: list[Any] = [value, *value["choices"]]
    else:
        parts = [value]
    found = list(_walk(parts, 0))
    told = [[text for name in _CODES if (text := _scalar(place.get(name)))] for place in found]
    codes = [code for place in told for code in place]
    words = " | ".join(dict.fromkeys(_said(found)))[:_LONGEST] or _shown(value)
    own = _own_numbers(found, words) if by_number else {}
    statuses = [
        [s for known in ({}, own) for code in place if (s := _status(code, known)) is not None]
        for place in told
    ]
    if _FILTERED & set(codes) or any("blockReason" in p or "block_reason" in p for p in found):
        codes.append("content_filter")
    return Trouble(
        words=words,
        codes=tuple(dict.fromkeys(codes)),
        param=", ".join(dict.fromkeys(_params(found))),
        statuses=tuple(place[0] for place in statuses if place),
        retry_after=next((w for place in found if (w := _wait(place)) is not None), _asked(words)),
    )


def _own_numbers(places: list[Mapping[str, Any]], words: str) -> Mapping[int, int]:
    """Return the statuses of the vendor's own numbers. Others use GLM's numbers of a wrong key."""
    if any("base_resp" in place for place in places):
        return _MINIMAX
    is_key = _KEY_WORDS.search(words)
    return {code: status for code, status in _GLM.items() if status != 401 or is_key}


def trouble_in(body: Any) -> Trouble | None:
    """Return the error inside a reply or stream event of status 200; `None` where there is none.

    A non-empty `error` field counts even next to a text; other fields only where the reply is
    empty, since many servers send a `message`, `code` or `base_resp` of success.
    """
    if isinstance(body, list):
        errors = [part for part in body if isinstance(part, dict) and _is_error(part.get("error"))]
        return trouble_of(errors) if errors else None
    if not isinstance(body, dict):
        return None
    choices = [c for c in _listed(body.get("choices")) if isinstance(c, dict)]
    messages = [m for c in choices if isinstance(m := c.get("message"), dict)]
    told = [error for place in (body, *choices, *messages) if (error := place.get("error"))]
    if isinstance(base := body.get("base_resp"), dict):
        told.append(base.get("status_code"))
    if any(map(_is_error, told)):
        return trouble_of(body)
    if any(body.get(name) for name in ("choices", "content", "delta", "data")):
        return None
    told = [body.get(name) for name in (*_BLOCKED, "errors", "detail", "fault", "error_code")]
    told += [body.get(name) for name in ("error_message", "error_msg", "errorMessage", "errorCode")]
    told += [v for name in ("message", "msg") if isinstance(v := body.get(name), str)]
    told += [v for name in ("code", "status") if (v := _status(_scalar(body.get(name)), {}))]
    if any(map(_is_error, told)) or "error" in (body.get("object"), body.get("type")):
        return trouble_of(body)
    return None


def _is_error(value: Any, depth: int = 0) -> bool:
    """Return true if a field reports an error."""
    if depth > _DEEPEST:
        return True
    if isinstance(value, Mapping):
        known = [value[name] for name in (*_WORDS, *_CODES) if name in value]
        return any(_is_error(part, depth + 1) for part in known or value.values())
    if isinstance(value, list):
        return any(_is_error(part, depth + 1) for part in value)
    return str(value).strip().lower() not in _HARMLESS


def _walk(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that may describe the error, the outermost first."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        value = _loaded(value)
    if isinstance(value, list):
        for part in value[:16]:
            yield from _walk(part, depth + 1)
    elif isinstance(value, Mapping):
        yield value
        for name in _INSIDE:
            if name in value:
                yield from _walk(value[name], depth + 1)


def _said(places: list[Mapping[str, Any]]) -> Iterator[str]:
    for place in places:
        for name in _WORDS:
            for text in _listed(place.get(name)):
                if isinstance(text, str) and text.strip() and _loaded(text) is None:
                    yield " ".join(_ECHO.sub("", text[:_LONGEST]).split())
        if place.get("loc") and isinstance(given := place.get("input"), int | float):
            yield f"got {given}"  # pydantic; a text would be the prompt


def _params(places: list[Mapping[str, Any]]) -> Iterator[str]:
    for place in places:
        for name in _PARAMS:
            value = place.get(name)
            parts = value if isinstance(value, list) else [value]
            if text := ".".join(str(p) for p in parts if p not in (None, "", "body")):
                yield text[:80]


def _status(code: str, own: Mapping[int, int]) -> int | None:
    if code.isdigit():
        number = int(code[:9])
        return number if 400 <= number < 600 else own.get(number)
    if len(code) > 60:
        return None
    words = plain(code)
    return next((status for status, said in _STATUS_WORDS if re.search(said, words)), None)


def status_in_words(words: str) -> int | None:
    """Return the HTTP status that a message implies; `None` where it implies none."""
    text = plain(words)
    return next((status for status, said in _STATUS_WORDS if re.search(said, text)), None)


def _wait(place: Mapping[str, Any]) -> float | None:
    """Return the seconds to wait: Google's `retryDelay` (`"38s"`, `"868ms"`), or `retry_after`."""
    for name in ("retryDelay", "retry_after", "retryAfter", "retry_after_seconds"):
        told = _scalar(place.get(name))
        if found := re.fullmatch(r"\d{1,6}(?:\.\d{1,9})?", told):
            return float(found[0])
        if _DURATION.fullmatch(told):
            return _seconds(told)
    told = _scalar(place.get("retry_after_ms"))
    return float(told) / 1000 if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", told) else None


_PART = (
    r"(\d{1,9}(?:\.\d{1,9})?)\s?"
    r"(d(?:ays?)?|h(?:(?:ou)?rs?)?|ms(?:ecs?)?|milli(?:s(?:ec(?:ond)?s?)?)?|m(?:in(?:ute)?s?)?"
    r"|s(?:ec(?:ond)?s?)?|[uµμ]s|micros(?:ec(?:ond)?s?)?|ns|nanos(?:ec(?:ond)?s?)?)(?![^\W\d_])"
)
"""A number and its whole unit: by its first letter a millisecond would be a minute."""
_DURATION = re.compile(rf"(?:{_PART}(?:,\s|\s)?(?:and\s)?)+", re.IGNORECASE)
_ASKED = re.compile(rf"(?:again|retry) (?:in|after) ({_DURATION.pattern})", re.IGNORECASE)
_UNITS = {
    86400.0: ("d",), 3600.0: ("h",), 0.001: ("ms", "milli"), 0.0: ("micro", "n", "u", "µ", "μ"),
    60.0: ("m",), 1.0: ("s",),
}  # fmt: skip
"""Seconds of a unit by the beginning of its name; the longer beginnings of a letter first."""


def _asked(words: str) -> float | None:
    """Return the seconds to wait from a sentence (`try again in 7m12.5s`)."""
    return None if (found := _ASKED.search(words)) is None else _seconds(found[1])


def _seconds(duration: str) -> float:
    """Return the seconds of a duration (`1 hour and 20 minutes`, `1m0.5s`, `868 milliseconds`)."""
    total = 0.0
    for number, unit in re.findall(_PART, duration, re.IGNORECASE):
        total += float(number) * _unit(unit.lower())
    return round(total, 3)


def _unit(word: str) -> float:
    """Return the seconds of one unit."""
    return next(size for size, beginnings in _UNITS.items() if word.startswith(beginnings))


def _scalar(value: Any) -> str:
    """Return a word or number as text; empty for all else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text.strip()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _loaded(text: str) -> Any:
    """Return the JSON object or list in a text, else `None`."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _shown(value: Any) -> str:
    """Return an error without a message as text; the reply next to it is left out."""
    if isinstance(value, Mapping):
        value = {name: part for name, part in value.items() if name not in ("choices", "content")}
        value = value.get("error") or value
    try:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # more levels than it writes
        text = ""
    if text.lstrip().startswith("<"):  # the web page of a gateway
        text = " ".join(_TAG.sub(" ", text).split())
    return text.strip()[:_LONGEST] or "no reason given"
