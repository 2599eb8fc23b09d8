"""A local Slack server with configurable answers and failures, which records the requests it receives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """A configured response. ``hang``: accept the message and send no response until the server is closed."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


OK = Reply()
HANG = Reply(hang=True)


class FakeSlack:
    """A server that sends ``replies`` in order, and then answers each message with ``ok``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: list[Reply] = []
        self.always: Reply | None = None
        self.posts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.received = threading.Event()
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def take(self, path: str, headers: dict[str, str], post: dict[str, Any]) -> Reply:
        with self._lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.posts.append(post)
            self.received.set()
            if self.always:
                return self.always
            return self.replies.pop(0) if self.replies else OK

    @property
    def texts(self) -> list[str]:
        return [post["text"] for post in self.posts]


@contextmanager
def serve() -> Iterator[FakeSlack]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = slack.take(self.path, dict(self.headers), json.loads(body))
            if reply.hang:
                slack.closing.wait(60)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body.encode())))
            self.end_headers()
            self.wfile.write(reply.body.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    slack = FakeSlack(f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret-word")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield slack
    finally:
        slack.closing.set()
        server.shutdown()
        server.server_close()
