"""Keys and secret headers: from the environment into requests, and nowhere else.

A configuration holds the NAMES of environment variables; their values are registered for redaction
(`secrets`) before anything is sent. Elsewhere: `${oc.env:...}` in a configuration (`environment`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.secrets import SECRETS, looks_secret, redact
from rlm_eval.core.types import Reply

_PLAIN = {"accept", "content-type", "user-agent"}
_KEY = re.compile(r"(?:[a-z]{2,5}_)?(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{20,}")
"""A key given as the name of its variable (`hf_...`): no name is so long without an underscore."""
_OPAQUE = 16
"""From this many characters on, a header's value without a space may be a key."""


def from_environment(variable: str, needs: str, field: str) -> str:
    """Return the value of `variable`, stripped; it is registered as a secret.

    Raises `ConfigError`, naming `needs` (a model) and its `field`, where the variable is not set or
    its value is no valid header.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"{needs}: the environment variable {variable} is not set; "
            f"export {variable}=... or name another with {field}"
        )
    SECRETS.add(variable, value, declared=True)
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"{needs}: the value of {variable} ({field}) has a line break or another character "
            "inside that no HTTP header carries; export the key alone"
        )
    return value


def check_names(
    api_key_env: str | None, headers: Mapping[str, str], headers_env: Mapping[str, str]
) -> None:
    """Raise `ValueError` for a header that is given twice, and for a key in place of a name."""
    given = [name.lower() for name in (*headers, *headers_env)]
    if twice := {name for name in given if given.count(name) > 1}:
        raise ValueError(f"headers and headers_env: {min(twice)} is given twice")
    named = {f"headers_env.{header}": variable for header, variable in headers_env.items()}
    if api_key_env:
        named["api_key_env"] = api_key_env
    for field, variable in named.items():
        if not variable.isidentifier() or _KEY.fullmatch(variable):
            SECRETS.add(field, variable, declared=True)  # it may be the key itself
            raise ValueError(
                f"{field}: not the name of an environment variable; export the value as one "
                f"(export NAME=...) and give its name: {field}=NAME"
            )


def request_headers(
    given: Mapping[str, str], of_key: Mapping[str, str], secret: Mapping[str, str]
) -> dict[str, str]:
    """Return the headers of a model's requests; of names equal but for case, the last one wins.

    `given` are the configuration's, `of_key` the dialect's, `secret` those of `headers_env`. Values
    that carry a key, or may by their length, are registered as secrets.
    """
    for name, value in (*given.items(), *of_key.items()):
        if looks_secret(name, value):
            SECRETS.add(name, value, declared=True)
        elif len(value) >= _OPAQUE and " " not in value and name.lower() not in _PLAIN:
            SECRETS.add(name, value)
    found: dict[str, tuple[str, str]] = {}
    for part in ({"Content-Type": "application/json"}, given, of_key, secret):
        found |= {name.lower(): (name, value) for name, value in part.items()}
    return dict(found.values())


def without_secrets(reply: Reply) -> Reply:
    """Return the reply as the journal will hold it, so that a resumed run reads the same text."""
    texts = (reply.text, reply.reasoning, reply.finish_reason, reply.model)
    if not SECRETS.are_in("\n".join(texts).encode("utf-8", "surrogatepass")):
        return reply
    text, reasoning, finish_reason, model = map(redact, texts)
    return replace(reply, text=text, reasoning=reasoning, finish_reason=finish_reason, model=model)
