"""Turn a failed response into a typed error: transient or final, with its cause.

One rule for errors with an HTTP status (`error_from_response`) and for errors inside a reply or
stream event of status 200 (`fault_in`). Error objects are parsed by `error_details`; `window`
detects a prompt that is too long. The wordings are those of servers and gateways as their
documentation and users quote them; `tests/models/wordings.json` repeats each.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from rlm_eval.core.errors import (
    BadRequest,
    ContextOverflow,
    CutShort,
    EndpointUnusable,
    ModelError,
    ProviderError,
    Refused,
)
from rlm_eval.core.types import Usage
from rlm_eval.models.http.error_details import Trouble, status_in_words, trouble_in, trouble_of
from rlm_eval.models.http.window import about_surroundings, is_rate, plain, says_too_long

_TRANSIENT = {408, 409, 424, 425, 429, 499, 500, 502, 503, 504}
_THROTTLED = {429, 503, 529}
_MAY_BE_BILLED = {408, 499, 504, 520, 524}
"""Statuses of a gateway timeout: the model may have continued. Other 5xx come from the server that
would bill."""
_VAGUE = {200, 400, 500, 502, 503}
"""Statuses with which gateways forward errors of all kinds: the body is more specific."""
_FILTER = re.compile(
    r"content[ _-]?(filter|policy|moderation)|content management policy|moderation|flagged"
    r"|responsible ai|prohibited content|data_?inspection|inappropriate content|usage polic"
    r"|high risk|safety (system|filter|polic|setting|reason)|guardrail|sensitive (content|words?)"
    r"|\b(prompt|response|output|content|input) (was |has been |is )?blocked|敏感|违规",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\btemporarily (unavailable|down|offline)|\btimed out\b"
    r"|\b(service|server|model|system|provider|filter|guardrails?|moderation|check)s? (api )?"
    r"((is|are|was|has|have) )?(currently |temporarily )?(not available|unavailable|unreachable"
    r"|down\b|over ?loaded|busy|unloaded|crashed|failed to|could not be"
    r"|(did|does) not (respond|answer))"
    r"|\b(has|was) (unloaded|crashed)|\bmodel (un|is (currently )?|still )load(ed|ing)\b"
    r"|\bupstream (\w+ )?(over ?loaded|(error|failed|failure|timeout|unavailable)(?! (code )?4))"
    r"|\binternal server error|\bfailed to get (a )?response|\bno deployments available"
    r"|\b(unable|failed|failure) to (connect|reach|contact|call) |\bfailed to respond"
    r"|\b(filter|guardrails?|moderation)\b.{0,40}\b(timeout|unavailable|exception|internal error)"
)
"""Plain words of a service that failed, not of a request that is wrong or refused."""
_NO_MODEL = re.compile(
    r"model_not_found|model[^.]{0,80}(not found|does not exist|not a valid|unknown)|"
    r"not a valid model|no endpoints found|模型不存在"
    r"|(unknown|unsupported|invalid|no such) model(?! (param|output|arg|opt|set|conf))",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"insufficient[ _](quota|balance|credit|fund)|credit balance is too low|arrear|payment required"
    r"|billing[ _](hard[ _]limit|not[ _]active)|budget[ _](has been )?exceeded|out of credits"
    r"|(requires|purchase|need) more credits|exceeded ?(token ?)?budget|specified api usage limit"
    r"|余额不足|欠费",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api key (not valid|expired|is invalid)|(invalid|incorrect)[ _]api[ _]key|api_key_invalid",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_CUT_SHORT = re.compile(
    r"could not finish the message|(output|completion|max) (model )?((tokens?|output) )*(limit )?"
    r"(was |were |been |is )?(reached|exhausted|hit)\b"
)


class TransientError(Exception):
    """Raised for a failed attempt; the same request may succeed later. Never leaves `models`."""

    def __init__(
        self,
        message: str,
        *,
        throttled: bool = False,
        retry_after: float | None = None,
        usage: Usage | None = None,
        lost: bool = False,
    ) -> None:
        """`lost`: the request was sent, and whether its reply will be billed is unknown."""
        super().__init__(message)
        self.throttled = throttled
        self.retry_after = retry_after
        self.usage = usage or Usage()
        self.lost = lost


class Malformed(TransientError):
    """Raised for a reply of status 200 in no form of its API; `quoting` adds its first bytes."""

    def quoting(self, raw: bytes) -> TransientError:
        """Return the same error with the beginning of the received bytes."""
        told = f"{self}; it begins with {head_of(raw)}" if raw else str(self)
        lost = self.lost or self.usage.output is None
        return TransientError(told, usage=self.usage, lost=lost)


def seconds_until(headers: Mapping[str, str]) -> float | None:
    """Return the wait of `Retry-After` (seconds or HTTP date) or `retry-after-ms`, in seconds.

    A date is compared with the response's own `Date`, else with our clock, which may differ.
    """
    millis, after = headers.get("retry-after-ms"), headers.get("Retry-After")
    try:
        if millis is not None:
            return max(0.0, float(millis) / 1000)
        if after is not None:
            return max(0.0, float(after))
    except ValueError:
        until = _http_date(after)
        if until is None:
            return None
        now = _http_date(headers.get("Date"))
        return max(0.0, until - (time.time() if now is None else now))
    return None


def _http_date(text: str | None) -> float | None:
    """Return seconds since 1970, `None` for no date. A date without a time zone is in UTC."""
    try:
        date = email.utils.parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def head_of(raw: bytes, most: int = 200) -> str:
    """Return the beginning of a body, for a message."""
    text = " ".join(raw[: 4 * most].decode("utf-8", "replace").split())
    return repr(text[:most] + ("..." if len(text) > most or len(raw) > 4 * most else ""))


def error_from_response(
    status: int, body: bytes, headers: Mapping[str, str], *, where: str, key_env: str | None
) -> ModelError | TransientError:
    """Return the error for a response of this status. `where` names model and address.

    The provider's words are quoted, except where they may hold (a part of) the key.
    """
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = body.decode("utf-8", "replace").strip()
    trouble = trouble_of(value)
    inside = [s for s in trouble.statuses if s not in _VAGUE]
    cause = inside[0] if inside and status in _VAGUE else status
    return _typed(cause, trouble, f"HTTP {status}", headers, where, key_env)


def fault_in(
    body: Any, headers: Mapping[str, str], *, where: str, key_env: str | None
) -> ModelError | TransientError | None:
    """Return the error in a decoded reply or stream event of status 200; `None` if there is none.

    Where its codes imply no status, its words do; an error of unknown meaning is transient.
    """
    trouble = trouble_in(body)
    if trouble is None:
        return None
    inside = [s for s in trouble.statuses if s not in _VAGUE] or trouble.statuses[-1:]
    cause = inside[0] if inside else None
    return _typed(cause, trouble, "an error in a reply of HTTP 200", headers, where, key_env)


def _typed(
    status: int | None,
    trouble: Trouble,
    told: str,
    headers: Mapping[str, str],
    where: str,
    key_env: str | None,
) -> ModelError | TransientError:
    """Classify an error. `status` is the cause's, `None` where unknown; `told` is its source."""
    words, codes = trouble.words, " ".join(trouble.codes)
    said = f"{where}: {told}: {words[:400]}" + (f" ({codes[:100]})" if codes else "")
    both = f"{codes} {words}"
    if status == 401 or (status == 403 and not _FILTER.search(both)) or _BAD_KEY.search(both):
        fix = f"check the key in {key_env}" if key_env else "set api_key_env to the key's variable"
        return EndpointUnusable(f"{where}: authentication failed ({told}); {fix}")
    if status == 402 or _NO_CREDIT.search(both):
        return EndpointUnusable(f"{said}; the account has no credit")
    if says_too_long(status, words, [*trouble.codes], trouble.param):
        return ContextOverflow(said)
    if status in (None, 400, 422, 500) and _CUT_SHORT.search(plain(words)):
        return CutShort(f"{said}; the output cap is too small, set sampling.max_output_tokens")
    is_fault = _is_fault(trouble)
    if status in (None, 400, 403, 422) and _FILTER.search(both) and not is_fault:
        return Refused(said)
    if status == 404 or (status in (None, 400, 422) and _NO_MODEL.search(both)):
        return EndpointUnusable(f"{said}; check `model` and `base_url`")
    if (
        status in (413, 429)
        and _TOO_LARGE.search(words)
        and (status == 429 or is_rate(plain(words)))
    ):
        return ProviderError(f"{said}; above the account's rate limit whenever it is sent")
    implied = status_in_words(words) or 500
    status = status or implied
    if is_fault and status in (400, 403, 422):  # a gateway's status for any fault behind it
        status = max(implied, 500)
    if status in (401, 403):
        return EndpointUnusable(f"{where}: authentication failed ({told})")
    if status in _TRANSIENT or status >= 520:
        after = seconds_until(headers)
        return TransientError(
            said,
            throttled=status in _THROTTLED or is_rate(plain(words)),
            retry_after=trouble.retry_after if after is None else after,
            lost=status in _MAY_BE_BILLED,
        )
    if status >= 500:
        return ProviderError(said)
    return BadRequest(said)


def _is_fault(trouble: Trouble) -> bool:
    """Return true where a service failed, whatever the status around it: by the innermost numeric
    code, else by the words."""
    numbers = [int(code) for code in trouble.codes if re.fullmatch("[45]\\d\\d", code)]
    if numbers and numbers[-1] >= 500:
        return True
    words = plain(trouble.words)
    return bool(_DOWN.search(words)) or about_surroundings(words)
