"""A small hub on 127.0.0.1 that can be told to misbehave."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0de"


@dataclass
class Served:
    """One file and how it is served."""

    content: bytes
    cut_after: int | None = None  # bytes of each answer's body before the line is dropped
    ranges: bool = True
    status: int = 200  # of every answer
    failures: list[int] = field(default_factory=list)  # states of the next answers to GET, one each
    stated_sha256: str | None = None  # None: the true one
    redirect: str | None = None  # of GET and HEAD, to another path
    etag: str = '"one"'


class Mirror:
    """``files`` maps paths such as /owner/repository/resolve/main/name to what is served there."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                mirror.answer(self, body=False)

            def do_GET(self) -> None:
                mirror.answer(self, body=True)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def gets(self, path: str) -> list[dict[str, str]]:
        """Headers of the GET requests for ``path``."""
        return [headers for method, asked, headers in self.requests if method == "GET" and asked == path]

    def answer(self, handler: BaseHTTPRequestHandler, body: bool) -> None:
        path = handler.path
        self.requests.append((handler.command, path, {name.lower(): value for name, value in handler.headers.items()}))
        served = self.files.get(path)
        status = 404 if served is None else served.status
        if served and body and served.failures:
            status = served.failures.pop(0)
        if served and status == 200 and served.redirect:
            handler.send_response(302)
            handler.send_header("Location", served.redirect)
            self._hub_headers(handler, self.files.get(served.redirect.removeprefix(self.url), served))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if status != 200:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, served, body)

    def _send(self, handler: BaseHTTPRequestHandler, served: Served, body: bool) -> None:
        start, content = 0, served.content
        asked = handler.headers.get("Range")
        if asked and served.ranges and handler.headers.get("If-Range") in (None, served.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        self._hub_headers(handler, served)
        handler.end_headers()
        if body:
            piece = content[start:]
            handler.wfile.write(piece if served.cut_after is None else piece[: served.cut_after])
            if served.cut_after is not None and served.cut_after < len(piece):
                handler.close_connection = True

    def _hub_headers(self, handler: BaseHTTPRequestHandler, served: Served) -> None:
        handler.send_header("ETag", served.etag)
        handler.send_header("X-Repo-Commit", COMMIT)
        stated = served.stated_sha256 or hashlib.sha256(served.content).hexdigest()
        handler.send_header("X-Linked-Etag", f'"{stated}"')
        handler.send_header("X-Linked-Size", str(len(served.content)))
