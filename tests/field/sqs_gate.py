"""A door in front of the SQS emulator: it denies single actions, as IAM does, changes answers, and its clock can be wrong."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Gate:
    """``denied``: pairs of an action, such as 'SendMessageBatch', and the end of a queue's address.

    ``changed`` returns what is answered instead of an answer of the emulator to an action, after it has done that.
    """

    address: str
    denied: set[tuple[str, str]] = field(default_factory=set)
    clock: timedelta = timedelta(0)
    changed: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _action, answer: answer


@contextmanager
def gate(emulator: str) -> Iterator[Gate]:
    """Serve the gate on loopback; everything that it does not deny goes to the emulator."""
    behind = urlsplit(emulator)

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            action = self.headers.get("X-Amz-Target", "").partition(".")[2]
            url = str(json.loads(body or b"{}").get("QueueUrl", ""))
            if any(action == denied and url.endswith(end) for denied, end in own.denied):
                text = {"__type": "com.amazonaws.sqs#AccessDenied", "message": "no policy allows it"}
                self._answer(403, json.dumps(text).encode(), {"Content-Type": "application/x-amz-json-1.0"})
                return
            there = http.client.HTTPConnection(str(behind.hostname), behind.port, timeout=30)
            there.request("POST", self.path, body, dict(self.headers))
            answer = there.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower().startswith(("x-", "content-type"))
            }
            content = answer.read()
            there.close()
            if answer.status == HTTPStatus.OK and content:
                content = json.dumps(own.changed(action, json.loads(content))).encode()
            self._answer(answer.status, content, kept)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            self.send_header("Date", format_datetime(datetime.now(UTC) + own.clock, usegmt=True))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    own = Gate(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
