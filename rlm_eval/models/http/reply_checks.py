"""Check replies of status 200 that are well formed and yet wrong: usage, streams, vectors.

An impossible figure becomes unknown, never zero; a reply that cannot be what was asked for is
`Malformed`, hence retried. The dialects parse one reply; this module compares its parts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlm_eval.core.types import Reply
from rlm_eval.models.http.http_errors import Malformed

_DEEPEST = 3
"""Most levels of figures in a usage; a server may send thousands."""


_HIT = re.compile(r"(?<![a-z0-9])hit(?![a-z0-9])")
_OTHERS = ("prompt", "prefix", "kv", "token")
"""Parts of the names of headers about a cache of prompts: the model computes every reply."""


def cache_header(headers: Mapping[str, str]) -> str | None:
    """Return the header that says that a gateway's cache gave the reply; `None` without one.

    `cf-aig-cache-status: HIT`, `x-portkey-cache-status: SEMANTIC HIT`, `helicone-cache: HIT`,
    `x-litellm-cache-hit: True`, `cache-status: name; hit` and their like.
    """
    for name, value in headers.items():
        low, said = name.lower(), value.strip().lower()
        if "cache" not in low or any(part in low for part in _OTHERS) or low.endswith("key"):
            continue
        if _HIT.search(said) or (low.endswith("hit") and said in ("true", "1", "yes")):
            return f"{name}: {value.strip()[:40]}"
    return None


def with_numbers(body: Any) -> Any:
    """Return a body whose usage figures are numbers where the server wrote them as text."""
    if not isinstance(body, dict) or not isinstance(body.get("usage"), dict):
        return body
    return body | {"usage": _numbers(body["usage"])}


def _numbers(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict) and depth < _DEEPEST:
        return {name: _numbers(part, depth + 1) for name, part in value.items()}
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        return int(value)
    return value


def with_known_usage(reply: Reply) -> Reply:
    """Return the reply with a usage that its text allows."""
    usage = reply.usage
    if usage.output == 0 and (reply.text or reply.reasoning):
        usage = replace(usage, output=None, reasoning=None)  # a text has at least one token
    return reply if usage == reply.usage else replace(reply, usage=usage)


class StreamCheck:
    """Checks that the events of one stream belong to one reply."""

    def __init__(self) -> None:
        self.has_text = False
        """True once an event held a token."""
        self._ids: list[str] = []
        self._index: Any = None

    def one_reply(self, event: Any) -> Any:
        """Return the event, of several choices only the first one's part.

        Raises `Malformed` where the stream began again: a gateway repeated the request and sent the
        second reply behind the first half of another.
        """
        if not isinstance(event, dict):
            return event
        if event.get("type") == "message_start" and self.has_text:
            raise Malformed("the stream began again: a second message_start", lost=True)
        choices = event.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            return event
        self._check_id(event.get("id"), choices)
        named = [c["index"] for c in choices if isinstance(c.get("index"), int)]
        if self._index is None and named:
            self._index = min(named)
        own = [c for c in choices if c.get("index") in (None, self._index)]
        return event if len(own) == len(choices) else event | {"choices": own}

    def _check_id(self, name: Any, choices: list[dict[str, Any]]) -> None:
        """Raise `Malformed` if a new id opens a message after a text under one constant id.

        Some servers give every chunk an id of its own, or repeat the role.
        """
        if not isinstance(name, str) or not name:
            return
        opens = any(isinstance(c.get("delta"), dict) and c["delta"].get("role") for c in choices)
        constant = len(self._ids) > 1 and len(set(self._ids)) == 1
        if opens and constant and self.has_text and name != self._ids[0]:
            raise Malformed(
                f"the stream began again: id {name[:40]!r} after {self._ids[0][:40]!r}", lost=True
            )
        if len(self._ids) < 2 or name != self._ids[0]:
            self._ids.append(name)


def check_vectors(reply: Reply, body: Any, asked: int) -> None:
    """Raise `Malformed` where embeddings are not one usable vector per text."""
    import numpy as np

    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or len(rows) != asked:
        found = len(rows) if isinstance(rows, list) else 0
        raise Malformed(f"{found} embeddings for {asked} texts", usage=reply.usage)
    values = np.frombuffer(base64.b64decode(reply.text), dtype="<f2")
    if not np.isfinite(values).all() or not values.any():
        raise Malformed("embeddings of zeros, or beyond 16-bit floats", usage=reply.usage)
