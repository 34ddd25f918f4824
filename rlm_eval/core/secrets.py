"""Secrets of this process, and their redaction from all output.

A value is a secret where a configuration names its environment variable: `api_key_env`,
`headers_env`, `${oc.env:NAME}`. It is replaced by `[NAME]` in files, error texts and terminal
output, also in the forms in which a server echoes it (escaped, percent-encoded, base64). Not a
scanner for keys: a literal that no configuration names as a secret is not detected here.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO, cast
from urllib.parse import parse_qsl, urlsplit

from rlm_eval.core.terminal import MessageStream

MIN_CHARS = 8
"""Shorter values ("1", "prod", a local server's "EMPTY") are replaced only in the bodies of server
errors: elsewhere they would redact ordinary text, and change answers."""

_PARTIAL = 16
"""From this many characters on, the first half of a key, cut by a server, counts as the key."""
_SCHEME = re.compile(r"(?:bearer|basic|token|key)\s+(?=\S)", re.IGNORECASE)
_TAIL = r"[^\s\"'<>,;(){}\[\]]{0,2000}"


@dataclass(frozen=True)
class _Secret:
    """One secret text."""

    value: str
    name: str
    """Replaces the secret, in brackets."""
    declared: bool
    """Named as a key; a part of it is redacted too."""

    @cached_property
    def needles(self) -> tuple[bytes, ...]:
        """The secret as our JSON holds it."""
        return tuple(_needles(self.value))

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The secret in any form that other programs may write."""
        return tuple(_patterns(self.value, partial=self.declared))


class Secrets:
    """Values that must not be written, with the names that replace them."""

    def __init__(self) -> None:
        self._known: dict[str, _Secret] = {}
        self._aliases: set[str] = set()
        self._public: set[str] = set()
        self._needles: tuple[bytes, ...] = ()
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._short: list[tuple[re.Pattern[str], str]] = []

    def add(self, name: str, value: str, *, declared: bool = False) -> bool:
        """Redact `value` as `[name]` from now on; return false if it is not a secret.

        A `declared` secret (a key, a header) may have any length. Any other must have `MIN_CHARS`
        characters, be no existing path and no part of a published name: redacting these would make
        text unreadable, and neither is secret.
        """
        if value in self._aliases:  # also of every client that is reopened
            return True
        plain = value.strip()
        if not plain or (not declared and not self._is_secret(plain)):
            return False
        for form in _forms_of(plain):
            self._known.setdefault(form, _Secret(form, name, declared))
        self._aliases |= {value, plain}
        self._rebuild()
        return True

    def publish(self, name: str) -> None:
        """Mark `name` as used in tables and paths: a part of it is a secret only where declared."""
        if name in self._public:
            return
        self._public.add(name)
        hidden = {f for f, known in self._known.items() if not known.declared and f in name}
        if hidden:
            self._known = {f: known for f, known in self._known.items() if f not in hidden}
            self._aliases -= hidden
            self._rebuild()

    def _is_secret(self, value: str) -> bool:
        published = any(value in name for name in self._public)
        return len(value) >= MIN_CHARS and not published and not _is_path(value)

    def _rebuild(self) -> None:
        # The longest first: a key may be a part of another value.
        long = [known for known in self._known.values() if len(known.value) >= MIN_CHARS]
        ordered = sorted(long, key=lambda known: -len(known.value))
        self._needles = tuple(dict.fromkeys(n for known in ordered for n in known.needles))
        self._patterns = [(p, f"[{known.name}]") for known in ordered for p in known.patterns]
        short = [known for known in self._known.values() if len(known.value) < MIN_CHARS]
        self._short = [
            (re.compile(rf"(?<![\w-]){re.escape(known.value)}(?![\w-])"), f"[{known.name}]")
            for known in sorted(short, key=lambda known: -len(known.value))
        ]

    def text(self, text: str) -> str:
        """Return `text` with every secret of `MIN_CHARS` or more replaced, whatever its form."""
        for pattern, mark in self._patterns:
            text = pattern.sub(mark, text)
        return text

    def data(self, data: bytes) -> bytes:
        """Redact the body of a server's error like `text`; short keys too, where they are words."""
        if not self._known:
            return data
        text = self.text(data.decode("utf-8", "surrogateescape"))
        for pattern, mark in self._short:
            text = pattern.sub(mark, text)
        return text.encode("utf-8", "surrogateescape")

    def are_in(self, data: bytes) -> bool:
        """Return true if our JSON holds a secret: a fast search for the forms found there."""
        return any(needle in data for needle in self._needles)

    def tree(self, value: Any) -> Any:
        """Return JSON-shaped `value` with the secrets of its strings replaced; numbers stay."""
        if not self._patterns:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._key(key): self.tree(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(inner) for inner in value]
        return value

    def _key(self, key: Any) -> Any:
        """Return a mapping's key; a field's name stays, or the file could not be read."""
        return key if not isinstance(key, str) or key.isidentifier() else self.text(key)

    def json(self, data: bytes) -> bytes:
        """Return a line of our JSON without its secrets. Fast where it holds none."""
        if not self.are_in(data):
            return data
        # Not orjson: it accepts no lone surrogate and no integer beyond 64 bits.
        return json.dumps(self.tree(json.loads(data))).encode() + b"\n"


SECRETS = Secrets()
"""The secrets of this process."""


def _is_path(value: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111 - any string
    except ValueError:  # a null byte
        return False


def _forms_of(value: str) -> Iterator[str]:
    """Yield the secret texts of a value: without its scheme, and what Basic encodes."""
    bare = value[found.end() :] if (found := _SCHEME.match(value)) else value
    yield bare
    if found and value[:5].lower() == "basic":
        try:
            inside = base64.b64decode(bare, validate=True).decode()
        except ValueError:
            return
        yield inside
        if len(password := inside.partition(":")[2]) >= MIN_CHARS:
            yield password


def _needles(value: str) -> Iterator[bytes]:
    """Yield a value as our JSON holds it."""
    yield value.encode("utf-8", "surrogatepass")
    yield json.dumps(value)[1:-1].encode()
    yield json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    yield from (core.encode() for core in _base64_cores(value))


def _base64_cores(value: str) -> Iterator[str]:
    """Yield the characters that every base64 text of data with `value` in it contains."""
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) < MIN_CHARS:
        return
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        core = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        yield core
        if (safe := core.translate(str.maketrans("+/", "-_"))) != core:
            yield safe


def _patterns(value: str, *, partial: bool) -> Iterator[re.Pattern[str]]:
    """Yield patterns for every form of `value`, each character in any escape."""
    parts = [_character(c) for c in value]
    whole = "".join(parts)
    if partial and len(value) >= _PARTIAL:
        half = max(MIN_CHARS, len(value) // 2)
        whole = "".join(parts[:half]) + f"(?:{''.join(parts[half:])}|{_TAIL})"
    yield re.compile(whole)
    for core in _base64_cores(value):
        yield re.compile("".join(map(_character, core)) + "[A-Za-z0-9+/_-]{0,3}={0,2}")


def _character(c: str) -> str:
    """Match a character: plain, or escaped as in JSON (nested too), a URL, HTML or `repr`."""
    number = ord(c)
    units = c.encode("utf-16-be", "surrogatepass")
    pairs = [units[i : i + 2].hex() for i in range(0, len(units), 2)]
    # Each form begins with a literal, so that the search skips to the first one quickly.
    forms = [
        re.escape(c),
        rf"\\\\{{0,15}}{re.escape(c)}",
        "".join(rf"\\\\{{0,15}}u(?i:{pair})" for pair in pairs),
        "".join(f"%(?:25){{0,3}}(?i:{b:02x})" for b in c.encode("utf-8", "surrogatepass")),
        rf"&(?:amp;){{0,3}}\#0{{0,6}}{number};",
        rf"&(?:amp;){{0,3}}\#[xX]0{{0,6}}(?i:{number:x});",
    ]
    if number < 256:
        forms.append(rf"\\\\{{0,15}}x(?i:{number:02x})")
    if (escaped := html.escape(c)) != c:
        forms.append(rf"&(?:amp;){{0,3}}{re.escape(escaped[1:])}")
    if c == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def redact(text: str) -> str:
    """Return `text` without the secrets of this process."""
    return SECRETS.text(text)


_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:auth|authorization|pwd|passwd|cookie|signature|sig|jwt|credentials?)(?:$|[^a-z])"
    r"|(?:key|token|secret|password)(?:$|[^a-z])",
)
_KEY_VALUE = re.compile(
    r"(?:bearer|basic)\s+\S|(?:(?:sk|pk|rk|gsk|xai|hf|ghp|glpat)[-_]|AKIA|AIza)[\w-]{12,}",
    re.IGNORECASE,
)


def looks_secret(name: str, value: str = "") -> bool:
    """Return true if a header's or parameter's name, or the value, looks like that of a key."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return bool(_SECRET_NAME.search(words) or _KEY_VALUE.match(value))


def check_url(url: str) -> None:
    """Raise `ValueError` where an address carries a user, a password or a key."""
    found = urlsplit(url)
    what = "a user or a password" if "@" in found.netloc else ""
    for name, value in parse_qsl(found.query):
        if looks_secret(name, value):
            what = f"a key (the parameter {name})"
    if any(looks_secret("", part) for part in found.path.split("/")):
        what = "a key (in its path)"
    if what:
        raise ValueError(
            f"base_url: holds {what}, which would be stored with the configuration; export it as "
            "an environment variable and give its name: api_key_env=NAME, or "
            "headers_env={HEADER: NAME}; for a user and password "
            "headers_env={Authorization: NAME}, with NAME='Basic BASE64'"
        )


class _Redacted:
    """A text stream that writes no secret; otherwise like the stream that it replaces."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text` without its secrets."""
        return self._stream.write(SECRETS.text(text))

    def writelines(self, lines: Any) -> None:
        """Write lines without their secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_output() -> None:
    """Redact all output of this process from now on, tracebacks of any thread included.

    A character that the locale's encoding lacks is written as an escape: a name must not end a run.
    Neither does a stream of messages that nobody can read any more.
    """
    for name in ("stdout", "stderr"):
        # Closed by the caller (`2>&-`): its number must not go to a file of ours.
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: PTH123, SIM115
        if not isinstance(stream, _Redacted):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
            # Results in a file or a pipe are no messages: there an error is an error.
            if name == "stderr" or stream.isatty():
                stream = cast(TextIO, MessageStream(stream))
            setattr(sys, name, cast(TextIO, _Redacted(stream)))
