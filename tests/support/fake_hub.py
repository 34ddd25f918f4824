"""A hub on loopback: made-up repositories of the real layout, real HTTP, its own counters.

`with FakeHub({"org/name": {"data/train-00000-of-00001.parquet": b"..."}}) as hub:` serves them at
`hub.url` (`HF_ENDPOINT`). It speaks what the hub's client asks: lists of files at a revision, lists
of commits, `resolve` with HEAD, ETag, X-Repo-Commit and Range. `hub.log` has every request with the
bytes sent; `refuse`, `cut_after` and `parts` make it fail on demand.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/(datasets|models)/([^/]+/[^/]+)/(revision|commits|tree)/([^/]+)(/.*)?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_REASONS = {"gated": (403, "GatedRepo"), "gated_401": (401, "GatedRepo")}
_REASONS |= {"missing": (401, "RepoNotFound"), "missing_404": (404, "RepoNotFound")}
_REASONS |= {"no_revision": (404, "RevisionNotFound"), "forbidden": (403, ""), "down": (503, "")}


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    status: int
    sent: int
    """Bytes of the body."""
    range: str | None
    token: str | None


class FakeHub:
    """See the module's docstring."""

    def __init__(
        self,
        repositories: Mapping[str, Mapping[str, bytes]],
        commits: Mapping[str, str] | None = None,
        cards: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Files by path of each repository; its commit and card data where they matter."""
        self.repositories = repositories
        self.commits = dict(commits or {})
        self.cards = dict(cards or {})
        self.log: list[Asked] = []
        self.refuse: str | None = None
        """A key of `_REASONS`: every request is refused so."""
        self.cut_after: int | None = None
        """Bytes after which the next file's connection is dropped, once."""
        self.parts = True
        """False answers a Range request with the whole file."""
        self._server: ThreadingHTTPServer | None = None

    def commit(self, repository: str) -> str:
        """The repository's only commit."""
        made = hashlib.sha1(repository.encode()).hexdigest()
        return self.commits.get(repository, made)

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def downloads(self) -> list[Asked]:
        """Requests for the content of whole files; those for a part are left out."""
        return [a for a in self.log if a.method == "GET" and "/resolve/" in a.path and not a.range]

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[FakeHub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer and log one request."""
        path = unquote(urlsplit(self.path).path)
        if self.hub.refuse is not None:
            status, code = _REASONS[self.hub.refuse]
            self._send(status, b"", {"X-Error-Code": code} if code else {})
        elif match := _API.fullmatch(path):
            self._send_json(match[2], match[3], match[4])
        elif match := _FILE.fullmatch(path):
            self._send_file(match[2], match[3], match[4])
        else:
            self._send(404, b"", {})

    do_HEAD = do_GET

    def _send_json(self, repository: str, what: str, revision: str) -> None:
        files = self.hub.repositories.get(repository)
        commit = self.hub.commit(repository)
        if files is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif what != "commits" and revision not in (commit, "main"):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": _hash(data)}
                for name, data in files.items()
            ]
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _hash(data)}
                for name, data in files.items()
            ]
            info = {"id": repository, "sha": commit, "siblings": siblings, "private": False}
            info |= {"cardData": self.hub.cards.get(repository, {}), "tags": [], "downloads": 0}
            listed = [{"id": commit, "title": "", "message": "", "authors": []}]
            listed[0]["date"] = "2025-12-01T00:00:00.000Z"
            answer = {"revision": info, "commits": listed, "tree": tree}[what]
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send_file(self, repository: str, revision: str, name: str) -> None:
        data = self.hub.repositories.get(repository, {}).get(name)
        commit = self.hub.commit(repository)
        if data is None or revision not in (commit, "main"):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{_hash(data)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if match is None or not self.hub.parts:
            self._send(200, data, headers)
            return
        first, last = match.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = int(last) + 1 if first and last else len(data)
        headers["Content-Range"] = f"bytes {start}-{min(end, len(data)) - 1}/{len(data)}"
        self._send(206, data[start:end], headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        cut = self.hub.cut_after if "/resolve/" in self.path and self.command == "GET" else None
        sent = b"" if self.command == "HEAD" else body if cut is None else body[:cut]
        asked = Asked(
            self.command,
            urlsplit(self.path).path,
            status,
            len(sent),
            self.headers.get("Range"),
            self.headers.get("Authorization"),
        )
        self.hub.log.append(asked)  # before the client knows: it may look at once
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)
        if cut is not None and len(sent) < len(body):
            self.hub.cut_after = None
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


def _hash(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
