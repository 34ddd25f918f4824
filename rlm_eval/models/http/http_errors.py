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

_TRANSIENT = {500, 502, 503, 504}
_THROTTLED = {429, 503, 529}
_MAY_BE_BILLED = {408, 444, 460, 499, 504, 520, 524}
"""Statuses of a gateway timeout: the model may have continued. Other 5xx come from the server that
would bill."""
_WRONG = {400, 403, 405, 411, 413, 414, 415, 422, 431}
"""Statuses of a request that is wrong; the others below 500 may pass."""
_NOT_THERE = {404, 410, 421, 451}
_REPLACED = {400, 403, 422}
"""Statuses that gateways give to any fault behind them."""
_VAGUE = {200, 400, 500, 502, 503}
"""Statuses with which gateways forward errors of all kinds: the body is more specific."""
_FILTER = re.compile(
    r"content[ _-]?(filter|policy|moderation)|content management policy|moderation|flagged"
    r"|responsible ai|prohibited content|data_?inspection|inappropriate content|usage polic"
    r"|(high|exists) risk|content (exists|violates)|violates? .{0,20}(guideline|polic)"
    r"|usage guidelines|safety_check|safety (system|filter|polic|setting|reason)|guardrail"
    r"|sensitive (content|words?)"
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
_MAY_PASS = re.compile(
    r"\btry (your request |the request )?again\b(?! with)|\bretry (your|the|this) request"
    r"|\bplease retry\b(?! with)|\btemporar(y|ily)\b|\bnot (yet )?ready\b"
    r"|\bout of memory\b|\boom\b|\bcuda\b|\bengine( core)? (\w+ )?(dead|died|encountered|error)"
    r"|\bbackground loop\b|\bdisconnected\b|\bconnection error|\babort(ed)?\b"
    r"|\binternal error\b(?!\.\w)|\bunexpected error|\bchannel error"
    r"|\bprediction stream|\bgrammar stack"
    # what was sent is valid JSON
    r"|\berror parsing the body|\bcould not parse the json body"
    # the server's parser failed on a sampled reply (tools, harmony channels)
    r"|\btool use failed|\bmodel called a tool|\b(failed|unable) to (generate|parse) tool"
    r"|\bunexpected tokens? (\d|remaining)|\bstart token\b|^provider returned error( error)?\W*$"
)
"""Plain words of other faults that may pass. A filter's refusal may hold them too."""
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
    r"|key limit exceeded|have any credits|spending limit"
    r"|余额不足|欠费",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api key (not valid|expired|is invalid)|(invalid|incorrect)[ _]api[ _]key|api_key_invalid"
    r"|(security|access) token .{0,40}(expired|invalid)",
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
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    where: str,
    key_env: str | None,
    accepted: bool = False,
) -> ModelError | TransientError:
    """Return the error for a response of this status. `where` names model and address.

    `accepted`: an earlier reply shows that the key is right. The provider's words are quoted,
    except where they may hold (a part of) the key.
    """
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = body.decode("utf-8", "replace").strip()
    trouble = trouble_of(value, by_number=status in (200, 400))
    inside = [s for s in trouble.statuses if s not in _VAGUE]
    cause = inside[0] if inside and status in _VAGUE else status
    return _typed(cause, trouble, f"HTTP {status}", headers, where, key_env, accepted)


def fault_in(
    body: Any,
    headers: Mapping[str, str],
    *,
    where: str,
    key_env: str | None,
    accepted: bool = False,
) -> ModelError | TransientError | None:
    """Return the error in a decoded reply or stream event of status 200; `None` if there is none.

    Where its codes imply no status, its words do; an error of unknown meaning is transient.
    """
    trouble = trouble_in(body)
    if trouble is None:
        return None
    inside = [s for s in trouble.statuses if s not in _VAGUE] or trouble.statuses[-1:]
    cause = inside[0] if inside else None
    told = "an error in a reply of HTTP 200"
    return _typed(cause, trouble, told, headers, where, key_env, accepted)


def _typed(
    status: int | None,
    trouble: Trouble,
    told: str,
    headers: Mapping[str, str],
    where: str,
    key_env: str | None,
    accepted: bool,
) -> ModelError | TransientError:
    """Classify an error. `status` is the cause's, `None` where unknown; `told` is its source.

    Behind a good reply (`accepted`) a 403 is about this request (a firewall, a right), and a 404
    without a model's name in it is a gateway's that has lost its server.
    """
    words, codes = trouble.words, " ".join(trouble.codes)
    said = f"{where}: {told}: {words[:400]}" + (f" ({codes[:100]})" if codes else "")
    both = f"{codes} {words}"
    is_filtered = bool(_FILTER.search(both))
    is_locked = status == 401 or (status == 403 and not (is_filtered or accepted))
    if is_locked or _BAD_KEY.search(both):
        fix = f"check the key in {key_env}" if key_env else "set api_key_env to the key's variable"
        return EndpointUnusable(f"{where}: authentication failed ({told}); {fix}")
    if status == 402 or _NO_CREDIT.search(both):
        return EndpointUnusable(f"{said}; the account has no credit")
    if says_too_long(status, words, [*trouble.codes], trouble.param):
        return ContextOverflow(said)
    if status in (None, 400, 422, 500) and _CUT_SHORT.search(plain(words)):
        return CutShort(f"{said}; the output cap is too small, set sampling.max_output_tokens")
    is_fault = _is_fault(trouble)
    if status in (None, *_REPLACED, 446) and is_filtered and not is_fault:  # 446 is Portkey's
        return Refused(said)
    is_unknown = status in (None, 400, 404, 422) and _NO_MODEL.search(both)
    if is_unknown or (status in _NOT_THERE and not accepted):
        return EndpointUnusable(f"{said}; check `model` and `base_url`")
    if (
        status in (413, 429)
        and _TOO_LARGE.search(words)
        and (status == 429 or is_rate(plain(words)))
    ):
        return ProviderError(f"{said}; above the account's rate limit whenever it is sent")
    if status == 407:
        return EndpointUnusable(
            f"{said}; the proxy requires a login: set HTTPS_PROXY or HTTP_PROXY to "
            "http://USER:PASSWORD@HOST:PORT, or name the server in NO_PROXY"
        )
    implied = status_in_words(words) or 500
    status = status or implied
    is_rated = is_rate(plain(words))
    may_pass = is_fault or is_rated or any(map(_MAY_PASS.search, map(plain, (words, codes))))
    if status in _REPLACED and may_pass:
        status = max(implied, 500)
    if status == 401 or (status == 403 and not accepted):
        return EndpointUnusable(f"{where}: authentication failed ({told})")
    if status < 300:
        later = "the server answers later, at another address; not supported"
        said = f"{said}; {later if status == 202 else 'it holds no reply'}"
        return TransientError(said, lost=True)
    if status in _TRANSIENT or status >= 520 or (status < 500 and status not in _WRONG):
        after = seconds_until(headers)
        return TransientError(
            said,
            throttled=status in _THROTTLED or is_rated,
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
