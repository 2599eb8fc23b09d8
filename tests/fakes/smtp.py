"""A local mail server with configurable replies, which records the messages it receives."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FakeMailServer:
    """``replies`` replaces the reply to a command, such as ``{"AUTH": "535 5.7.8 no"}``. An empty reply hangs up."""

    def __init__(self, port: int) -> None:
        self.url = (
            f"mailto://bob:pass-word@127.0.0.1:{port}?mode=insecure&from=ops@example.com&to=team@example.com"
        )
        self.replies: dict[str, str] = {}
        self.mails: list[str] = []
        self.recipients: list[str] = []


PLAIN_REPLIES = {
    "EHLO": "250-local\r\n250 AUTH PLAIN",
    "AUTH": "235 2.7.0 ok",
    "DATA": "354 go on",
    "QUIT": "221 bye",
}


@contextmanager
def serve() -> Iterator[FakeMailServer]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say(mail.replies.get("CONNECT", "220 local"))
            for line in self.rfile:
                command = line.decode().split()[0].upper()
                reply = mail.replies.get(command, PLAIN_REPLIES.get(command, "250 ok"))
                if command == "RCPT":
                    recipient = line.decode().strip().partition(":")[2]
                    mail.recipients.append(recipient)
                    reply = mail.replies.get(recipient, reply)
                if not self.say(reply):
                    return
                if command == "DATA" and reply.startswith("354"):
                    mail.mails.append(self.read_mail())
                    if not self.say(mail.replies.get("END", "250 queued")):
                        return

        def say(self, reply: str) -> bool:
            self.wfile.write(f"{reply}\r\n".encode() if reply else b"")
            return bool(reply) and not reply.startswith("221")

        def read_mail(self) -> str:
            lines = []
            while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                lines.append(line.decode())
            return "".join(lines)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mail = FakeMailServer(server.server_address[1])
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield mail
    finally:
        server.shutdown()
        server.server_close()
