"""A local stand-in for Slack: accepts webhook posts, answers ``ok``, and prints the messages in the demo's output."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opsconsole.demo.output import say

PATH = "/services/demo"
MOST_BYTES = 1_000_000


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if self.path != PATH or not 0 < length <= MOST_BYTES:
            self._answer(404, "no_service")
            return
        try:
            message = json.loads(self.rfile.read(length))
        except ValueError:
            self._answer(400, "invalid_payload")
            return
        for line in lines(message):
            say("slack", line)
        self._answer(200, "ok")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Print no access log: the messages are printed instead."""


def lines(message: dict[str, Any]) -> list[str]:
    """Return the message as a reader sees it: its texts, its facts, and its buttons with their addresses."""
    found: list[str] = []
    for block in message.get("blocks") or [{"text": {"text": _unescaped(str(message.get("text", "")))}}]:
        if "text" in block:
            found += block["text"]["text"].splitlines()
        found += [": ".join(each["text"].splitlines()) for each in block.get("fields", ())]
        for element in [*block.get("elements", ()), *filter(None, [block.get("accessory")])]:
            found.append(_element(element))
    return [line for line in found if line]


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _element(element: dict[str, Any]) -> str:
    if element.get("type") == "button":
        return f"[{element['text']['text']}] {element['url']}"
    return str(element.get("text", ""))


def main() -> None:
    """Serve on the given port until the demo ends."""
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
