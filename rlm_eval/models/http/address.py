"""An API's base URL: paths go before its query, and an unspecified address means this machine."""

from __future__ import annotations

import functools
import ipaddress
import re
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

_HOSTS_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what servers say they listen on
_VERSION = re.compile(r"/v\d")


def check(base_url: str, path: str) -> None:
    """Raise `ValueError` where no request to `path` below this address can be valid."""
    given = f"base_url={base_url}"
    if not base_url.strip().startswith(("http://", "https://")):
        raise ValueError(f"{given}: must start with http:// or https://")
    try:
        parts = urlsplit(base_url.strip())
        place = parts.netloc.rpartition("@")[2]
        if place.count(":") > 1 and "[" not in place:
            wrong = "IPv6 goes in brackets, as http://[::1]:8000/v1"
        else:
            wrong = "" if parts.hostname and parts.port != 0 else "no host or port"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise ValueError(f"{given}: {wrong}; as http://127.0.0.1:8000/v1")
    if parts.fragment:
        raise ValueError(f"{given}: leave out #{parts.fragment}")
    if parts.path.rstrip("/").endswith(path):
        raise ValueError(f"{given}: leave out {path}; the address ends before it, mostly in /v1")


@functools.lru_cache(256)
def below(base_url: str, path: str) -> str:
    """Return the URL of `path` (`/models`) below the base, its query (`?api-version=`) kept."""
    parts = _parts(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def relative(base_url: str, path: str) -> str:
    """Return the URL of a path that may leave the base (`../tokenize`)."""
    parts = _parts(base_url)
    return urlunsplit(parts._replace(path=urljoin(parts.path.rstrip("/") + "/", path)))


def root(base_url: str) -> str:
    """Return the base without its `/v1` and query, where servers have `/metrics`."""
    parts = _parts(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix("/v1"), query=""))


def has_query(base_url: str) -> bool:
    """Return whether the address has a query, as Azure's `?api-version=`."""
    return bool(_parts(base_url).query)


def is_loopback(base_url: str) -> bool:
    """Return whether the server is on this machine."""
    host = (_parts(base_url).hostname or "").rstrip(".").lower()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def hint(base_url: str) -> str:
    """Return the likely mistake in an address without such a page; empty where none is apparent."""
    parts = _parts(base_url)
    if _VERSION.search(parts.path):
        return ""
    better = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/v1"))
    return f"; base_url mostly ends in /v1: try base_url={better}"


def moved(base_url: str, path: str, location: str) -> str:
    """Return what a redirect to `location` means for `base_url`, as an error text."""
    target = urljoin(below(base_url, path), location)
    parts = urlsplit(target)
    if parts.path.rstrip("/").endswith(path):
        base = urlunsplit(
            parts._replace(path=parts.path.rstrip("/").removesuffix(path), fragment="")
        )
        return f"set base_url={base}"
    return "redirects are not followed; check base_url"


def _parts(base_url: str) -> SplitResult:
    parts = urlsplit(base_url.strip())
    here = _HOSTS_HERE.get(parts.hostname or "")
    if here is None:
        return parts
    host = f"[{here}]" if ":" in here else here
    return parts._replace(netloc=host if parts.port is None else f"{host}:{parts.port}")
