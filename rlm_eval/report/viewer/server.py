"""`rlm-eval view`: the trajectories of runs of any size, page by page, on this machine only.

Listens on 127.0.0.1; every request needs the random key of this start and the right Host header,
so that no web page and no other user can read along. Whole contexts come in stretches. Not for
publishing: protected text is left out, but the rest is served as it is.
"""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.build import cost_of
from rlm_eval.records.record import load_records
from rlm_eval.report import summary
from rlm_eval.report.tables import card
from rlm_eval.report.viewer import page as html
from rlm_eval.report.viewer import trajectories
from rlm_eval.storage.cell_store import CellStore, raw_lines, stored_sample

if TYPE_CHECKING:
    from rlm_eval.report.hooks import ContextOf

PAGE = 100
_STRETCH = 200_000  # characters of a context in one answer
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:"
)


class ViewerData:
    """What the viewer may ask for. Reads a cell's journal when one of its samples is opened."""

    def __init__(self, run_dirs: Sequence[Path], context_of: ContextOf | None = None) -> None:
        """Raises `RlmEvalError` where a run has no records."""
        frame = summary.prepare(load_records(run_dirs), card.manifests(run_dirs))
        self.rows = frame.to_dict("records")
        self.context_of = context_of
        self._folders = {
            (run.name, json.loads(path.read_text())["identity"]): path.parent
            for run in run_dirs
            for path in run.glob("cells/*/manifest.json")
        }
        # The places of a cell's lines are kept for two cells, and one context.
        self._cell = functools.lru_cache(2)(CellStore)
        self._context = functools.lru_cache(1)(self._read_context)

    def choices(self) -> dict[str, list[str]]:
        """Values of the filters."""
        return {n: sorted({str(r[n]) for r in self.rows}) for n in ("outcome", "series")}

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of the list: `outcome`, `series`, `score` (right, wrong), `words`, `page`."""
        words = query.get("words", "").lower()
        found = self._holding(words) if words else None
        rows = [
            trajectories.listed(row) | {"at": at, "sample": row["sample_id"], "index": row["index"]}
            for at, row in enumerate(self.rows)
            if query.get("outcome") in (None, "", row["outcome"])
            and query.get("series") in (None, "", row["series"])
            and query.get("score") in (None, "", "right" if row["score"] >= 1 else "wrong")
            and (found is None or self._key(row) in found or words in str(row["sample_id"]))
        ]
        start = int(query.get("page", 0)) * PAGE
        return {"rows": rows[start : start + PAGE], "total": len(rows)}

    def trajectory(self, query: Mapping[str, str]) -> dict[str, Any]:
        """One trajectory with its texts."""
        row = self.rows[int(query["at"])]
        store = self._cell(self._folder(row))
        line, attempt = store.one(str(row["sample_id"]), int(row["epoch"]))
        pool = trajectories.Pool(hidden=bool(row["protected"]), longest=1_000_000)
        cost = cost_of(store.manifest)
        item = trajectories.as_json(stored_sample(line), attempt, pool, cost)
        return {
            "item": trajectories.listed(row) | item | {"at": int(query["at"])},
            "texts": pool.texts,
        }

    def context(self, query: Mapping[str, str]) -> dict[str, Any]:
        """A stretch of a sample's context."""
        row = self.rows[int(query["at"])]
        if row["protected"]:
            return {"text": "[protected: not shown]"}
        start = int(query["start"])
        try:
            text = self._context(self._folder(row), str(row["sample_id"]))
        except RlmEvalError as error:
            return {"text": f"[{error}]"}
        return {"text": text[start : min(int(query["end"]), start + _STRETCH)]}

    def _folder(self, row: Mapping[Any, Any]) -> Path:
        try:
            return self._folders[row["run"], row["cell_id"]]
        except KeyError as error:
            raise RlmEvalError(f"run {row['run']}: the cell's directory is gone") from error

    def _read_context(self, folder: Path, sample: str) -> str:
        found = self.context_of(CellStore(folder).manifest, sample) if self.context_of else None
        if found is None:
            raise RlmEvalError(
                f"the text of the context of sample {sample} is not at hand: `rlm-eval prefetch` "
                "with the arguments of the run fetches its data set"
            )
        return found

    def _key(self, row: Mapping[Any, Any]) -> tuple[str, str, int]:
        return str(row["cell_id"]), str(row["sample_id"]), int(row["epoch"])

    def _holding(self, words: str) -> set[tuple[str, str, int]]:
        """Samples whose stored lines hold the words: code, output, answers, replies."""
        needle = json.dumps(words, ensure_ascii=False)[1:-1].encode()
        found = set()
        for (_, cell), folder in self._folders.items():
            owners: dict[int, tuple[str, int]] = {}
            hits: set[int] = set()
            for name, raw in raw_lines(folder):
                started = raw.startswith(b'{"k":"start"')
                hit = needle in raw.lower()
                if not (started or hit or name == "trajectories.jsonl"):
                    continue
                line = json.loads(raw)
                if "sample" in line:
                    owners[line["t"]] = (line["sample"], line["epoch"])
                if hit and "t" in line:
                    hits.add(line["t"])
            found |= {(cell, *owners[t]) for t in hits if t in owners}
        return found


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
        given = query.pop("key", "").encode("utf-8", "replace")  # text of ASCII alone compares
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
        }
        try:
            body = json.dumps(routes[url.path](query), allow_nan=False).encode()
        except (KeyError, IndexError, ValueError, RlmEvalError) as error:
            self._send(HTTPStatus.NOT_FOUND, f"{type(error).__name__}: {error}".encode())
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
        """Quiet: the key is part of every address."""


def open_server(
    run_dirs: Sequence[Path], *, port: int = 0, context_of: ContextOf | None = None
) -> tuple[ThreadingHTTPServer, str]:
    """(bound server, address with its key). Raises `RlmEvalError` for a port in use."""
    shelf = ViewerData(run_dirs, context_of)
    key = secrets.token_urlsafe(24)
    data: dict[str, Any] = {"source": "server", "key": key, "choices": shelf.choices()}
    data |= {"contexts": context_of is not None}
    page = html.document("rlm_eval trajectories", '<div id="viewer"></div>', data, _POLICY).encode()
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
    """Serve until interrupted; `ready` is told the address."""
    server, address = open_server(run_dirs, port=port, context_of=context_of)
    with server:
        ready(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
