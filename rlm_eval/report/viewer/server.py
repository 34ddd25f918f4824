"""`rlm-eval view`: the trajectories of runs of any size, page by page, on this machine only.

Listens on 127.0.0.1; every request needs this process's random key and the right Host header, so
that no web page and no other user can read the data. Contexts are served in chunks. Not for
publishing: protected text is excluded, but all other text is served unchanged.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.report.viewer import page as html
from rlm_eval.report.viewer import rows
from rlm_eval.report.viewer.shelf import ViewerData

if TYPE_CHECKING:
    from rlm_eval.report.hooks import ContextOf

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:"
)


class _Handler(BaseHTTPRequestHandler):
    shelf: ViewerData
    key: str
    page: bytes

    def do_GET(self) -> None:
        """Answer one request."""
        try:
            url = urlsplit(self.path)
        except ValueError as error:  # "http://["
            self._send(HTTPStatus.BAD_REQUEST, str(error).encode("utf-8", "replace"))
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        port = self.request.getsockname()[1]
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        given = query.pop("key", "").encode("utf-8", "replace")  # compare_digest: ASCII or bytes
        has_key = secrets.compare_digest(given, self.key.encode())
        if self.headers.get("Host") not in hosts or not has_key:
            self._send(HTTPStatus.FORBIDDEN, b"open the address that rlm-eval view printed")
            return
        if url.path == "/":
            self._send(HTTPStatus.OK, self.page, "text/html; charset=utf-8")
            return
        routes: dict[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "/list": self.shelf.list,
            "/trajectory": self.shelf.trajectory,
            "/context": self.shelf.context,
            "/search": self.shelf.search,
        }
        try:
            body = json.dumps(routes[url.path](query), allow_nan=False).encode()
        except (KeyError, IndexError, ValueError, RlmEvalError) as error:
            told = str(error) if isinstance(error, RlmEvalError) else f"not here: {error}"
            self._send(HTTPStatus.NOT_FOUND, told.encode("utf-8", "replace"))
            return
        self._send(HTTPStatus.OK, body, "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: every address contains the key."""


def open_server(
    run_dirs: Sequence[Path], *, port: int = 0, context_of: ContextOf | None = None
) -> tuple[ThreadingHTTPServer, str]:
    """Return (bound server, address with its key). Raises `RlmEvalError` for a port in use."""
    shelf = ViewerData(run_dirs, context_of)
    key = secrets.token_urlsafe(24)
    data: dict[str, Any] = {"source": "server", "key": key, "contexts": context_of is not None}
    data |= shelf.list({}) | {"words": rows.words()}
    names = ", ".join(dict.fromkeys(run.name for run in map(Path, run_dirs)))
    page = html.document(
        "rlm_eval trajectories", f"<h1>{escape(names)}</h1>{html.VIEWER}", data, _POLICY
    ).encode()
    handler = type("Handler", (_Handler,), {"shelf": shelf, "key": key, "page": page})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise RlmEvalError(f"port {port}: {error.strerror}; port=0 takes a free one") from error
    server.daemon_threads = True
    return server, f"http://127.0.0.1:{server.server_address[1]}/?key={key}"


def serve(
    run_dirs: Sequence[Path],
    *,
    port: int = 0,
    context_of: ContextOf | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted; `ready` is called with the address."""
    server, address = open_server(run_dirs, port=port, context_of=context_of)
    with server:
        ready(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
